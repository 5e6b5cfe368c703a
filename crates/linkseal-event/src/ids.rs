//! Ids of events: UUIDv7, from random bytes that each thread has some of in stock.

use std::cell::RefCell;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use uuid::Uuid;

/// Random bytes in one id (RFC 9562 §5.7: 74 bits).
const ID_RANDOM: usize = 10;
/// Ids that one call of the random generator is enough for.
const IDS_AHEAD: usize = 256;

/// An id that no other event has.
pub(super) fn next(time: Timestamp) -> Uuid {
    thread_local! {
        static AHEAD: RefCell<([u8; ID_RANDOM * IDS_AHEAD], usize)> =
            const { RefCell::new(([0; ID_RANDOM * IDS_AHEAD], IDS_AHEAD)) };
    }
    let random = AHEAD.with_borrow_mut(|(bytes, used)| {
        if *used >= IDS_AHEAD {
            *bytes = random::bytes();
            *used = 0;
        }
        let at = *used * ID_RANDOM;
        *used += 1;
        bytes
            .get(at..)
            .and_then(|b| b.first_chunk::<ID_RANDOM>())
            .copied()
            .unwrap_or_default()
    });
    let ms = u64::try_from(time.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid()
}
