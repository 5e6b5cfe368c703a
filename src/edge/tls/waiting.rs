//! How many handshakes may wait for something that is not in memory.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::domain::DomainName;

/// Handshakes that may wait for one name: a mailing's first readers; more learn nothing by waiting.
pub(super) const MAX_PER_NAME: usize = 256;
/// Handshakes that may wait in all: each holds a connection and its ClientHello, some 10 KiB.
const MAX: usize = 4096;

/// The handshakes that wait. Only names that one waits for are here, so their number is bounded too.
#[derive(Debug, Default)]
pub struct Waiting {
    all: AtomicUsize,
    names: DashMap<DomainName, usize>,
}

/// The right to wait; given back when dropped.
#[derive(Debug)]
pub struct Wait<'a> {
    waiting: &'a Waiting,
    name: DomainName,
}

impl Waiting {
    /// One more for a name. `None`: too many wait already.
    pub fn enter(&self, name: &DomainName) -> Option<Wait<'_>> {
        let more = |all: usize| (all < MAX).then_some(all + 1);
        self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        let mut count = self.names.entry(name.clone()).or_insert(0);
        if *count >= MAX_PER_NAME {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        *count += 1;
        Some(Wait {
            waiting: self,
            name: name.clone(),
        })
    }

    /// How many names are waited for.
    pub fn names(&self) -> usize {
        self.names.len()
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.waiting.all.fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut entry) = self.waiting.names.entry(self.name.clone()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_bounded_per_name_and_in_all_and_leaves_nothing() {
        let waiting = Waiting::default();
        let name = |i: usize| DomainName::parse(&format!("n{i}.example")).unwrap();
        let mut waits: Vec<_> = (0..MAX_PER_NAME).map(|_| waiting.enter(&name(0)).unwrap()).collect();
        assert!(waiting.enter(&name(0)).is_none());
        for i in MAX_PER_NAME..MAX {
            waits.push(waiting.enter(&name(i)).unwrap());
        }
        assert!(waiting.enter(&name(MAX)).is_none());
        waits.pop();
        assert!(waiting.enter(&name(MAX)).is_some());
        waits.clear();
        assert_eq!((waiting.names(), waiting.all.load(Ordering::Relaxed)), (0, 0));
    }
}
