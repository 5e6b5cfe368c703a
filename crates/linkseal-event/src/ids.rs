//! Ids of events: UUIDv7, from random bytes that each thread draws in bulk.

use std::cell::RefCell;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_base::uuid7::{self, RANDOM_BYTES};
use uuid::Uuid;

/// Ids that one call of the random generator is enough for.
const IDS_AHEAD: usize = 256;

/// A new event id.
pub(crate) fn next(time: Timestamp) -> Uuid {
    thread_local! {
        static AHEAD: RefCell<([u8; RANDOM_BYTES * IDS_AHEAD], usize)> =
            const { RefCell::new(([0; RANDOM_BYTES * IDS_AHEAD], IDS_AHEAD)) };
    }
    let random = AHEAD.with_borrow_mut(|(bytes, used)| {
        if *used >= IDS_AHEAD {
            *bytes = random::bytes();
            *used = 0;
        }
        let at = *used * RANDOM_BYTES;
        *used += 1;
        bytes
            .get(at..)
            .and_then(|b| b.first_chunk::<RANDOM_BYTES>())
            .copied()
            .unwrap_or_default()
    });
    uuid7::with_random(time, &random)
}
