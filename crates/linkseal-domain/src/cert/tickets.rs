//! Session tickets (RFC 8446 §4.6.1, RFC 5077), sealed under keys from the store.
//!
//! All nodes of a fleet share the keys, so each node, also after a restart, opens the tickets of all
//! others. The control plane rotates the keys and sets them here.
//!
//! A ticket is `key id(8) || nonce(12) || ciphertext and tag`, AES-256-GCM with the id as associated
//! data. rustls writes the SNI into what is sealed and resumes under the same name only (RFC 6066
//! §3), so one set of keys serves all names.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// Length of a ticket key in bytes.
pub const KEY_LEN: usize = 32;
/// Length of a key's id in a ticket.
const ID_LEN: usize = 8;
const HEADER: usize = ID_LEN + NONCE_LEN;
/// Length of AES-GCM's tag.
const TAG_LEN: usize = 16;
/// The lifetime hint for clients, in seconds: most mails are opened within half a day. How long a
/// ticket really opens depends on its key's lifetime.
const LIFETIME_HINT_SECS: u32 = 12 * 3600;
/// The longest ticket that is decrypted, in bytes: more than rustls ever puts in one for this edge (a
/// name of 253 bytes, a secret of 48, no client certificate).
const MAX_TICKET: usize = 1024;

/// A ticket key, opened.
pub struct TicketKey {
    /// Its id, which a ticket carries in clear.
    pub id: u64,
    pub key: Zeroizing<[u8; KEY_LEN]>,
    /// When it was made; the newest seals.
    pub created: Timestamp,
}

/// The keys in use. Clones share them. Without keys, tickets are neither made nor opened.
#[derive(Clone, Default)]
pub struct TicketKeys {
    keys: Arc<ArcSwap<Vec<Sealing>>>,
}

struct Sealing {
    id: [u8; ID_LEN],
    key: LessSafeKey,
}

impl TicketKeys {
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces all keys. The newest seals, all of them open; tickets sealed under a key that is left out
    /// no longer open.
    pub fn set(&self, mut keys: Vec<TicketKey>) {
        keys.sort_by_key(|k| std::cmp::Reverse((k.created, k.id)));
        let keys = keys
            .iter()
            .map(|k| Sealing {
                id: k.id.to_be_bytes(),
                key: aead(&k.key),
            })
            .collect();
        self.keys.store(Arc::new(keys));
    }
}

fn aead(key: &Zeroizing<[u8; KEY_LEN]>) -> LessSafeKey {
    #[allow(clippy::expect_used, reason = "a 32-byte key fits AES-256 by its type")]
    let unbound = UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("32 bytes");
    LessSafeKey::new(unbound)
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        !self.keys.load().is_empty()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_HINT_SECS
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let Sealing { id, key } = keys.first()?;
        // Random nonces: nodes share the key and could not share a counter. 2^32 tickets under one
        // key are safe (NIST SP 800-38D §8.3), a hundred thousand a second for half a day.
        let nonce: [u8; NONCE_LEN] = random::bytes();
        let mut ticket = Vec::with_capacity(HEADER + plain.len() + TAG_LEN);
        ticket.extend_from_slice(id);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let body = ticket.get_mut(HEADER..)?;
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), body)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > MAX_TICKET {
            return None;
        }
        let (id, rest) = ticket.split_first_chunk::<ID_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.load();
        let Sealing { key, .. } = keys.iter().find(|k| k.id == *id)?;
        let mut body = sealed.to_vec();
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(id), &mut body)
            .ok()?
            .len();
        body.truncate(plain);
        Some(body)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.keys.load().len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(id: u64) -> TicketKey {
        let created = Timestamp::from_secs(i64::try_from(id).unwrap());
        TicketKey {
            id,
            key: Zeroizing::new([u8::try_from(id).unwrap(); KEY_LEN]),
            created,
        }
    }

    #[test]
    fn without_a_key_no_ticket_is_made() {
        let tickets = TicketKeys::new();
        assert!(!tickets.enabled());
        assert_eq!(tickets.encrypt(b"session"), None);
        assert_eq!(tickets.decrypt(&[0; 64]), None);
    }

    #[test]
    fn the_newest_key_seals_and_older_ones_open_until_they_are_dropped() {
        let tickets = TicketKeys::new();
        tickets.set(vec![key(1)]);
        assert!(tickets.enabled());
        let first = tickets.encrypt(b"session").unwrap();
        tickets.set(vec![key(1), key(2)]);
        let second = tickets.encrypt(b"session").unwrap();
        assert_eq!(first[..8], 1u64.to_be_bytes());
        assert_eq!(second[..8], 2u64.to_be_bytes());
        for ticket in [&first, &second] {
            assert_eq!(tickets.decrypt(ticket).as_deref(), Some(&b"session"[..]));
        }
        tickets.set(vec![key(3), key(2)]);
        assert_eq!(tickets.decrypt(&first), None);
        assert_eq!(tickets.decrypt(&second).as_deref(), Some(&b"session"[..]));
    }

    #[test]
    fn tickets_are_never_equal_and_a_changed_one_does_not_open() {
        let tickets = TicketKeys::new();
        tickets.set(vec![key(1), key(2)]);
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"session").unwrap());
        assert_eq!(ticket.len(), HEADER + 7 + TAG_LEN);
        for i in 0..ticket.len() {
            let mut bad = ticket.clone();
            bad[i] ^= 1;
            assert_eq!(tickets.decrypt(&bad), None, "byte {i}");
        }
        for cut in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..cut]), None);
        }
        assert_eq!(tickets.decrypt(&[&ticket[..], &[0; MAX_TICKET]].concat()), None);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let tickets = TicketKeys::new();
        tickets.set(vec![key(7)]);
        assert_eq!(format!("{tickets:?}"), "TicketKeys(1)");
    }

    proptest! {
        #[test]
        fn junk_never_opens(junk in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let tickets = TicketKeys::new();
            tickets.set(vec![key(1)]);
            prop_assert_eq!(tickets.decrypt(&junk), None);
            let with_id = [&1u64.to_be_bytes()[..], &junk].concat();
            prop_assert_eq!(tickets.decrypt(&with_id), None);
        }
    }
}
