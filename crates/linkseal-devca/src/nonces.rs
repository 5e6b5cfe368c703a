//! Replay nonces (RFC 8555 §6.5): each is good for one request.

use std::collections::{HashSet, VecDeque};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkseal_base::random;

/// Nonces that are out at the same time. A client that sits on one while this many others are
/// given out gets badNonce and tries again, as at any CA.
const MAX_OUT: usize = 16_384;

/// The nonces that were given out and not used yet.
#[derive(Default)]
pub(super) struct Nonces {
    out: HashSet<String>,
    /// Oldest first; may still hold some that were used.
    order: VecDeque<String>,
}

impl Nonces {
    /// A fresh one; forgets the oldest when too many are out.
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

    /// Whether it was good; it no longer is.
    pub(super) fn redeem(&mut self, nonce: &str) -> bool {
        self.out.remove(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_their_number_is_bounded() {
        let mut nonces = Nonces::default();
        let first = nonces.issue();
        assert!(nonces.redeem(&first));
        assert!(!nonces.redeem(&first));
        let old = nonces.issue();
        for _ in 0..MAX_OUT {
            nonces.issue();
        }
        assert!(!nonces.redeem(&old), "the oldest is forgotten");
        assert!(nonces.out.len() <= MAX_OUT && nonces.order.len() <= MAX_OUT);
    }
}
