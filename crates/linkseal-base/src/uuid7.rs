//! UUIDs of version 7 (RFC 9562 §5.7), which sort by time. They are made from a [`Timestamp`], because
//! the `uuid` crate's `now_v7` reads the system's clock, which tests cannot move.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::random;

/// Random bytes per id; 74 of their 80 bits are used.
pub const RANDOM_BYTES: usize = 10;

/// A new id for `time`; times before 1970 count as 1970.
pub fn at(time: Timestamp) -> Uuid {
    with_random(time, &random::bytes())
}

/// The id for `time` with the given random bytes.
pub fn with_random(time: Timestamp, random: &[u8; RANDOM_BYTES]) -> Uuid {
    let ms = u64::try_from(time.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(ms, random).into_uuid()
}

/// The time of a version 7 id, in milliseconds since the Unix epoch.
pub fn unix_ms(id: &Uuid) -> i64 {
    // 48 bits, so it fits.
    (id.as_u128() >> 80) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_time_and_sort_by_it() {
        let time = Timestamp::from_millis(1_800_000_000_123);
        let id = at(time);
        assert_eq!((id.get_version_num(), unix_ms(&id)), (7, time.as_millis()));
        assert!(at(Timestamp::from_millis(1_800_000_000_124)) > id);
        assert_eq!(unix_ms(&at(Timestamp::from_millis(-1))), 0);
    }
}
