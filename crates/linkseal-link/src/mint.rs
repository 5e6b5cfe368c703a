//! Minting links, for platforms written in Rust, the command line and the tests.
//!
//! ```
//! use linkseal_link::{Destination, Kind, LinkKey, Message, Minter, url};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = LinkKey::from_hex(1, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")?;
//! let minter = Minter::new(&key, "links.customer.example");
//! let message = Message { id: "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506".parse()?, issued_at: 1_795_305_600 };
//! let token = minter.click(&message, 0, &Destination::new("https://example.com/")?);
//! assert_eq!(
//!     url("https://links.customer.example", Kind::Click, &token),
//!     "https://links.customer.example/c/EgFrAjCAAZLzpLXGfY6foLHC0-T1BgAAaHR0cHM6Ly9leGFtcGxlLmNvbS9IMADXS-cBEtpqIf7NGXTy",
//! );
//! # Ok(())
//! # }
//! ```

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::destination::Destination;
use super::key::LinkKey;
use super::token::{HEADER, Kind, NUMBER, TAG};

/// Mints the links of one tenant under one key.
#[derive(Clone)]
pub struct Minter {
    key_id: u8,
    key: hmac::Key,
}

/// The message that links belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id; never anything that tells who the recipient is.
    pub id: Uuid,
    /// When its links are minted, in seconds since the Unix epoch.
    pub issued_at: u32,
}

impl Minter {
    /// For a tenant. A domain's tenant is its own name unless it was registered with another.
    pub fn new(key: &LinkKey, tenant: &str) -> Self {
        Self {
            key_id: key.id(),
            key: key.derive(tenant),
        }
    }

    /// The token of the message's open pixel.
    pub fn open(&self, message: &Message) -> String {
        self.seal(self.header(Kind::Open, message, 0))
    }

    /// The token of a link in the message; `link` tells its links apart.
    pub fn click(&self, message: &Message, link: u16, destination: &Destination<'_>) -> String {
        let destination = destination.as_str().as_bytes();
        let mut signed = self.header(Kind::Click, message, NUMBER + destination.len());
        signed.extend_from_slice(&link.to_be_bytes());
        signed.extend_from_slice(destination);
        self.seal(signed)
    }

    /// The token that takes the recipient off a list; `list` tells the sender's lists apart.
    pub fn unsubscribe(&self, message: &Message, list: u16) -> String {
        let mut signed = self.header(Kind::Unsubscribe, message, NUMBER);
        signed.extend_from_slice(&list.to_be_bytes());
        self.seal(signed)
    }

    fn header(&self, kind: Kind, message: &Message, body: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + body + TAG);
        out.extend_from_slice(&[kind.byte(), self.key_id]);
        out.extend_from_slice(&message.issued_at.to_be_bytes());
        out.extend_from_slice(message.id.as_bytes());
        out
    }

    /// Adds the tag and spells it out.
    pub(super) fn seal(&self, mut signed: Vec<u8>) -> String {
        let tag = hmac::sign(&self.key, &signed);
        signed.extend(tag.as_ref().iter().take(TAG));
        URL_SAFE_NO_PAD.encode(signed)
    }
}

/// The URL of a token. `base` is scheme, host and, if configured, `links.prefix`, without a slash
/// at the end; for a tenant without a domain of its own it ends in `/t/{tenant}`.
pub fn url(base: &str, kind: Kind, token: &str) -> String {
    let suffix = if kind == Kind::Open { ".gif" } else { "" };
    format!("{base}/{}/{token}{suffix}", kind.letter())
}
