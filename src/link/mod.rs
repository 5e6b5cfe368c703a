//! Tracking links, format v1 (contract, section 5): who minted them, and where they lead.
//!
//! A link carries all that is needed to serve it, signed under a key of the tenant: nothing is
//! looked up, nothing can be forged. The edge verifies ([`Token`]), platforms mint ([`Minter`]),
//! people who wonder why a link does not work inspect ([`explain`]). Nothing here does I/O beyond
//! reading a key file.

mod destination;
mod inspect;
mod key;
mod mint;
mod token;

pub use destination::{Destination, DestinationError, MAX_DESTINATION};
pub use inspect::{Finding, Inspection, explain};
pub use key::{KeyError, LinkKey, LinkKeys, SECRET_LEN};
pub use mint::{Message, Minter, url};
pub use token::{Kind, MAX_TOKEN_TEXT, Token, TokenBody, TokenError, VerifiedToken};
