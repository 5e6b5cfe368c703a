//! Minting links: for platforms, the command line and the tests. The crate root has an example.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

use super::destination::Destination;
use super::key::{LinkKey, TAG};
use super::token::{HEADER, Kind, NUMBER};

/// Mints the links of one tenant under one key.
#[derive(Clone)]
pub struct Minter {
    key_id: u8,
    key: hmac::Key,
}

/// The message that links belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id. It must not identify the recipient: anyone who sees a link can read it.
    pub id: Uuid,
    /// When its links are minted, in Unix seconds.
    pub issued_at: u32,
}

impl Minter {
    /// Derives the tenant's key. A domain's tenant is its own name unless it was registered with another.
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

    /// The token of a link in the message; `link` distinguishes the links of a message.
    pub fn click(&self, message: &Message, link: u16, destination: &Destination<'_>) -> String {
        let destination = destination.as_str().as_bytes();
        let mut signed = self.header(Kind::Click, message, NUMBER + destination.len());
        signed.extend_from_slice(&link.to_be_bytes());
        signed.extend_from_slice(destination);
        self.seal(signed)
    }

    /// The token that unsubscribes the recipient; `list` distinguishes the sender's lists.
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

    /// Appends the tag and encodes the token.
    pub(super) fn seal(&self, mut signed: Vec<u8>) -> String {
        let tag = hmac::sign(&self.key, &signed);
        signed.extend(tag.as_ref().iter().take(TAG));
        URL_SAFE_NO_PAD.encode(signed)
    }
}

/// The URL of a token. `base` is scheme, host and, if configured, `links.prefix`, without a trailing slash.
/// For a tenant without a domain of its own it is edge.name's URL with `/t/{tenant}`.
pub fn url(base: &str, kind: Kind, token: &str) -> String {
    let suffix = if kind == Kind::Open { ".gif" } else { "" };
    format!("{base}/{}/{token}{suffix}", kind.letter())
}
