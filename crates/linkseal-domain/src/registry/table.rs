//! The entries by name: many small hash tables, each behind a lock of its own.
//!
//! A table holds the entries alone, which have their names: with names beside them it would take three times
//! the space. It grows by rehashing all that it holds, while look-ups in it wait; of ten million domains
//! that is ten thousand, about two milliseconds. At the start they get their size at once.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::{Entry as Found, VacantEntry};
use parking_lot::RwLock;

use super::Entry;
use crate::DomainName;

/// How many tables there are. A power of two.
pub const PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 10;
/// The bits of a hash that choose the table: hashbrown uses the lowest and the highest ones.
const PART_SHIFT: u32 = 32;

#[derive(Debug)]
pub(super) struct Table {
    parts: Box<[Part]>,
    /// Keyed, since clients choose names.
    hasher: RandomState,
    len: AtomicUsize,
}

/// On a cache line of its own, so that look-ups in different tables do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(RwLock<HashTable<Arc<Entry>>>);

/// The place of a name.
pub(super) enum Place<'a> {
    Taken(&'a mut Arc<Entry>),
    Free(Free<'a>),
}

/// A place without an entry.
pub(super) struct Free<'a> {
    place: VacantEntry<'a, Arc<Entry>>,
    len: &'a AtomicUsize,
}

impl Free<'_> {
    /// Puts an entry of this name there.
    pub(super) fn insert(self, entry: Arc<Entry>) -> Arc<Entry> {
        self.len.fetch_add(1, Ordering::Relaxed);
        Arc::clone(self.place.insert(entry).get())
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Makes room for this many names in all.
    pub(super) fn reserve(&self, names: usize) {
        let each = names / PARTS;
        for part in &self.parts {
            let mut part = part.0.write();
            // Names are not spread evenly: with three standard deviations more, few tables have to grow.
            let more = (each + 3 * each.isqrt()).saturating_sub(part.len());
            part.reserve(more, |entry| self.hasher.hash_one(entry.name.as_str()));
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Entry>> {
        let hash = self.hasher.hash_one(name);
        let part = self.part(hash).0.read();
        part.find(hash, |entry| entry.name.as_str() == name).map(Arc::clone)
    }

    /// Calls `f` with the place of a name, which nothing else changes meanwhile.
    pub(super) fn at<T>(&self, name: &DomainName, f: impl FnOnce(Place<'_>) -> T) -> T {
        let hash = self.hasher.hash_one(name.as_str());
        let mut part = self.part(hash).0.write();
        let is_same = |entry: &Arc<Entry>| entry.name == *name;
        match part.entry(hash, is_same, |entry| self.hasher.hash_one(entry.name.as_str())) {
            Found::Occupied(mut place) => f(Place::Taken(place.get_mut())),
            Found::Vacant(place) => f(Place::Free(Free { place, len: &self.len })),
        }
    }

    pub(super) fn remove_if(&self, name: &DomainName, is_meant: impl FnOnce(&Entry) -> bool) {
        let hash = self.hasher.hash_one(name.as_str());
        let mut part = self.part(hash).0.write();
        if let Ok(place) = part.find_entry(hash, |entry| entry.name == *name)
            && is_meant(place.get())
        {
            place.remove();
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn for_each_of(&self, part: usize, f: impl FnMut(&Arc<Entry>)) {
        if let Some(part) = self.parts.get(part) {
            part.0.read().iter().for_each(f);
        }
    }

    fn part(&self, hash: u64) -> &Part {
        #[allow(
            clippy::indexing_slicing,
            reason = "there are as many parts as the remainder has values"
        )]
        &self.parts[(hash >> PART_SHIFT) as usize % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Timestamp;

    use super::*;
    use crate::DomainRecord;
    use crate::record::Origin;

    /// The two counts of an `Arc`, before what it holds.
    const COUNTS: usize = 2 * size_of::<usize>();

    fn add(table: &Table, text: &str) {
        let name = DomainName::parse(text).unwrap();
        let record = DomainRecord::new(name, None, Origin::Registered, Timestamp::from_secs(0));
        table.at(&record.name, |place| {
            let Place::Free(place) = place else { panic!("{text}") };
            place.insert(Arc::new(Entry::of(&record)));
        });
    }

    #[test]
    fn a_domain_takes_144_bytes_with_its_name() {
        let table = Table::new();
        let names = 200_000;
        for n in 0..names {
            add(&table, &format!("links.customer-{n:08}.example"));
        }
        let parts = table.parts.iter().map(|part| part.0.read().allocation_size());
        let entry = COUNTS + size_of::<Entry>();
        let name = (COUNTS + "links.customer-00000000.example".len()).next_multiple_of(16);
        let each = entry + name + parts.sum::<usize>() / names;
        assert_eq!(entry, 64, "a cache line");
        // 1.34 GiB with ten million. Right after it has grown, a table has ten bytes more for each.
        assert!(
            each <= 144 - 10,
            "{each} bytes: {entry} for the entry, {name} for the name"
        );
    }

    #[test]
    fn names_are_spread_over_all_parts_and_counted() {
        let table = Table::new();
        let names = 64 * PARTS;
        for n in 0..names {
            add(&table, &format!("d{n}.example"));
        }
        let mut seen = 0;
        for part in 0..PARTS {
            let mut here = 0;
            table.for_each_of(part, |_| here += 1);
            // 64 on average, with a standard deviation of 8.
            assert!((1..=192).contains(&here), "{here} in part {part}");
            seen += here;
        }
        assert_eq!((seen, table.len()), (names, names));
        let first = DomainName::parse("d0.example").unwrap();
        table.remove_if(&first, |_| false);
        assert!(table.get("d0.example").is_some());
        table.remove_if(&first, |_| true);
        table.remove_if(&first, |_| true);
        assert!(table.get("d0.example").is_none());
        assert_eq!(table.len(), names - 1);
    }
}
