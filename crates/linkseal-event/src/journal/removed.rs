//! Events of this boot's folder that were removed or renamed by hand while the folder was written.
//!
//! The journal's thread notices this and continues in a new segment (`writer`). A sink that has the
//! old segment open reads it to its end. Events that a sink can no longer read are counted as lost
//! when the sink skips them, once for all sinks; sequence numbers that were lost before are counted
//! with them.

use std::ops::Range;

use parking_lot::Mutex;

/// The sequence numbers that were removed, and those of them that have been counted as lost.
#[derive(Default)]
pub(crate) struct Removed {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    removed: Ranges,
    counted: Ranges,
}

/// Sorted, non-adjacent ranges.
#[derive(Default)]
struct Ranges(Vec<Range<u64>>);

impl Removed {
    pub(super) fn add(&self, numbers: Range<u64>) {
        self.known.lock().removed.add(numbers);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.lock().removed.0.is_empty()
    }

    /// A sink skips these numbers: returns how many of them were removed and had not been counted,
    /// and marks them as counted.
    pub(super) fn skip(&self, numbers: &Range<u64>) -> u64 {
        let mut known = self.known.lock();
        let removed = known.removed.within(numbers);
        let counted = length(&known.counted.within(numbers));
        let lost = length(&removed).saturating_sub(counted);
        for range in removed {
            known.counted.add(range);
        }
        lost
    }

    /// The first number from `next` on that was not removed.
    pub(crate) fn next_present(&self, next: u64) -> u64 {
        let known = self.known.lock();
        let around = known.removed.0.iter().find(|range| range.contains(&next));
        around.map_or(next, |range| range.end)
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
    fn removed_events_are_counted_once_for_all_sinks() {
        let removed = Removed::default();
        assert!(removed.is_empty());
        assert_eq!((removed.skip(&(1..100)), removed.next_present(1)), (0, 1));
        removed.add(1..1);
        assert!(removed.is_empty());
        removed.add(10..20);
        removed.add(30..40);
        assert_eq!(removed.skip(&(15..35)), 10, "a sink that held up to 14");
        assert_eq!(removed.skip(&(1..40)), 10, "one that held less counts the rest");
        assert_eq!(removed.skip(&(1..40)), 0);
        assert_eq!(
            (
                removed.next_present(9),
                removed.next_present(10),
                removed.next_present(20),
                removed.next_present(39)
            ),
            (9, 20, 20, 40)
        );
        // The whole folder, later.
        removed.add(1..50);
        assert_eq!(removed.next_present(1), 50);
        assert_eq!(removed.skip(&(1..60)), 29);
        removed.add(50..55);
        assert_eq!((removed.next_present(3), removed.skip(&(1..60))), (55, 5));
    }
}
