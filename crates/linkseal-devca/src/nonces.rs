//! Replay nonces (RFC 8555 §6.5): each is valid for one request.

use std::collections::{HashSet, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkseal_base::random;

/// Most unused nonces. A client that keeps one while this many others are issued gets badNonce and
/// tries again, as at any CA.
const MAX_OUT: usize = 16_384;

/// The nonces that were issued and not used yet.
#[derive(Default)]
pub(super) struct Nonces {
    out: HashSet<String>,
    /// Oldest first; may contain used ones.
    order: VecDeque<String>,
}

impl Nonces {
    /// A new nonce; drops the oldest if too many are unused.
    pub(super) fn issue(&mut self) -> String {
        let nonce = URL_SAFE_NO_PAD.encode(random::bytes::<16>());
        while self.order.len() >= MAX_OUT {
            if let Some(oldest) = self.order.pop_front() {
                self.out.remove(&oldest);
            }
        }
        self.out.insert(nonce.clone());
        self.order.push_back(nonce.clone());
        nonce
    }

    /// Uses up a nonce; returns whether it was valid.
    pub(super) fn redeem(&mut self, nonce: &str) -> bool {
        self.out.remove(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_valid_once_and_their_number_is_bounded() {
        let mut nonces = Nonces::default();
        let first = nonces.issue();
        assert!(nonces.redeem(&first));
        assert!(!nonces.redeem(&first));
        let old = nonces.issue();
        for _ in 0..MAX_OUT {
            nonces.issue();
        }
        assert!(!nonces.redeem(&old), "the oldest is dropped");
        assert!(nonces.out.len() <= MAX_OUT && nonces.order.len() <= MAX_OUT);
    }
}
