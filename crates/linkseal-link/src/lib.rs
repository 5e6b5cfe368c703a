//! Tracking links, format v1 (contract, section 5): who minted them, and where they lead.
//!
//! A link carries all that is needed to serve it, signed under a key of the tenant: nothing is
//! looked up, nothing can be forged. The edge verifies ([`Token`]), platforms mint ([`Minter`]),
//! people who wonder why a link does not work inspect ([`explain`]). Redirects that are stored
//! instead of signed are in [`RedirectCache`]; what is no longer led to is in [`KillSwitches`].
//! Nothing here does I/O beyond reading a key file.

#![warn(missing_docs)]

mod destination;
mod host;
mod inspect;
mod key;
mod kill_kind;
mod mint;
mod pasted;
mod path;
mod reference;
mod slug;
#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;
mod token;
mod wrapped;

pub use destination::{Destination, DestinationError, MAX_DESTINATION};
pub use inspect::{Finding, Inspection, KillLookup, Place, Served, explain};
pub use key::{KeyError, LinkKey, LinkKeys, SECRET_LEN};
pub use kill_kind::KillKind;
pub use mint::{Message, Minter, url};
pub use pasted::Pasted;
pub use path::{LinkKind, LinkPath, comes_back, decoded, slugs_in, token_in};
pub use reference::encoded_target;
pub use slug::{MAX_SLUG, Slug, SlugError, is_slug};
pub use token::{Kind, MAX_TOKEN_TEXT, Token, TokenBody, TokenError, VerifiedToken};
pub use wrapped::unwrapped;
