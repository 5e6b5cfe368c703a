#![doc = include_str!("../README.md")]
//!
//! # Map
//! | module | does |
//! |---|---|
//! | `token`, `mint`, `key`, `error` | the token format, both ways (docs/specification.md §5) |
//! | `destination`, `host`, `reference` | which URLs a click link may point to, and how a `Location` header spells them |
//! | `path`, `slug` | where a link stands in a URL path; lenient about what mail programs append or re-encode |
//! | `pasted`, `wrapped` | taking apart what people paste, links rewritten by mail gateways included |
//! | `inspect` | explaining why a link does or does not work |
//!
//! The edge verifies tokens and reads paths here, the command line mints, and the admin API inspects. The
//! crate does no I/O except reading a key file. Stored redirects (`/r/{slug}`) and kill switches are state
//! of a server; only their vocabulary ([`Slug`], [`KillKind`]) is here.

#![warn(missing_docs, rustdoc::private_intra_doc_links)]

mod destination;
mod error;
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

// Minting and verifying.
pub use destination::{Destination, DestinationError, MAX_DESTINATION};
pub use error::TokenError;
pub use key::{KeyError, LinkKey, LinkKeys, SECRET_LEN};
pub use mint::{Message, Minter, url};
pub use token::{Kind, MAX_TOKEN_TEXT, Token, TokenBody, VerifiedToken};

// Inspecting.
pub use inspect::{Finding, Inspection, KillLookup, Served, explain};
pub use kill_kind::KillKind;
pub use pasted::{Pasted, Place};
pub use wrapped::unwrapped;

// Reading paths, for a server.
pub use path::{LinkKind, LinkPath, decoded, points_to_link, slugs_in, token_in};
pub use reference::encoded_target;
pub use slug::{MAX_SLUG, Slug, SlugError, is_slug};
