//! Warnings about CAs and the store: the first at once, then one for each subject and cause in a
//! while, however many domains meet it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Between two lines about the same: of a CA, of the store, and of our own resolvers.
pub(super) const OF_CAS: Duration = Duration::from_secs(600);
pub const OF_THE_STORE: Duration = Duration::from_secs(60);
pub(super) const OF_RESOLVERS: Duration = Duration::from_secs(60);

/// A CA, or a kind of the store's failures, and a cause.
type Complaint = (String, &'static str);
/// When, on the steady clock, and how often it was kept quiet about since.
type Said = (Duration, u64);

/// What was complained of lately, by subject and cause. Both are few.
#[derive(Debug)]
pub struct Complaints {
    every: Duration,
    last: Mutex<HashMap<Complaint, Said>>,
}

impl Complaints {
    /// With so long between two lines about the same.
    pub fn every(every: Duration) -> Self {
        Self {
            every,
            last: Mutex::default(),
        }
    }

    /// Whether to say it now, at this moment of the steady clock: with how many that were not said
    /// before. `None`: it was said of late.
    pub fn due(&self, subject: &str, cause: &'static str, now: Duration) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match last.get_mut(&(subject.to_owned(), cause)) {
            Some((at, unsaid)) if now < *at + self.every => {
                *unsaid += 1;
                None
            }
            Some(entry) => Some(std::mem::replace(entry, (now, 0)).1),
            None => {
                last.insert((subject.to_owned(), cause), (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(600);

    #[test]
    fn the_first_is_said_at_once_and_the_rest_are_counted() {
        let (complaints, now) = (Complaints::every(EVERY), Duration::from_secs(1));
        assert_eq!(complaints.due("a", "unreachable", now), Some(0));
        assert!((0..9).all(|_| complaints.due("a", "unreachable", now).is_none()));
        assert_eq!(complaints.due("a", "trust", now), Some(0));
        assert_eq!(complaints.due("b", "unreachable", now), Some(0));
        assert_eq!(complaints.due("a", "unreachable", now + EVERY), Some(9));
        assert_eq!(complaints.due("a", "unreachable", now + EVERY * 2), Some(0));
    }
}
