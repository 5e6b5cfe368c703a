//! What was removed or renamed in this boot's folder while it was written, by someone else than
//! linkseal.
//!
//! The journal's thread notices it and goes on in a new segment (`writer`). A sink that has the old
//! segment open reads it to its end. What a sink can read no more is counted as lost when the sink
//! goes past it, once for all sinks; numbers of events that were lost before are counted with it.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The sequence numbers that were removed, and those of them that are counted as lost.
#[derive(Default)]
pub(super) struct Gone {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    removed: Ranges,
    counted: Ranges,
}

/// Ranges in order, apart from each other.
#[derive(Default)]
struct Ranges(Vec<Range<u64>>);

impl Gone {
    /// Takes in what was removed.
    pub(super) fn add(&self, numbers: Range<u64>) {
        self.with(|known| known.removed.add(numbers));
    }

    /// Whether nothing was removed.
    pub(super) fn is_empty(&self) -> bool {
        self.with(|known| known.removed.0.is_empty())
    }

    /// A sink goes past these without having got them: how many of them were removed and are not
    /// counted yet. They are from now on.
    pub(super) fn pass(&self, numbers: &Range<u64>) -> u64 {
        self.with(|known| {
            let removed = known.removed.within(numbers);
            let counted = length(&known.counted.within(numbers));
            let lost = length(&removed).saturating_sub(counted);
            for range in removed {
                known.counted.add(range);
            }
            lost
        })
    }

    /// The first number from `next` on that was not removed.
    pub(super) fn end(&self, next: u64) -> u64 {
        self.with(|known| {
            let around = known.removed.0.iter().find(|range| range.contains(&next));
            around.map_or(next, |range| range.end)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ranges {
    fn add(&mut self, mut new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        self.0.retain(|old| {
            let apart = old.end < new.start || new.end < old.start;
            if !apart {
                new = old.start.min(new.start)..old.end.max(new.end);
            }
            apart
        });
        let at = self.0.partition_point(|old| old.start < new.start);
        self.0.insert(at, new);
    }

    fn within(&self, bounds: &Range<u64>) -> Vec<Range<u64>> {
        let cut = |range: &Range<u64>| range.start.max(bounds.start)..range.end.min(bounds.end);
        self.0.iter().map(cut).filter(|range| !range.is_empty()).collect()
    }
}

fn length(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_counted_once_for_all_sinks() {
        let gone = Gone::default();
        assert!(gone.is_empty());
        assert_eq!((gone.pass(&(1..100)), gone.end(1)), (0, 1));
        gone.add(1..1);
        assert!(gone.is_empty());
        gone.add(10..20);
        gone.add(30..40);
        assert_eq!(gone.pass(&(15..35)), 10, "a sink that held up to 14");
        assert_eq!(gone.pass(&(1..40)), 10, "one that held less counts the rest");
        assert_eq!(gone.pass(&(1..40)), 0);
        assert_eq!((gone.end(9), gone.end(10), gone.end(20), gone.end(39)), (9, 20, 20, 40));
        // The whole folder, later.
        gone.add(1..50);
        assert_eq!(gone.end(1), 50);
        assert_eq!(gone.pass(&(1..60)), 29);
        gone.add(50..55);
        assert_eq!((gone.end(3), gone.pass(&(1..60))), (55, 5));
    }
}
