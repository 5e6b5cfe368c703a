//! The known domains in memory, which the data plane reads for every handshake and request.
//!
//! The control plane fills it, in the background at start-up and then with every change, always
//! after the change is durable. Until it is loaded, a name that is missing may still exist.

mod entry;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use self::table::{Place, Table};
use super::DomainName;
use super::record::DomainRecord;

pub use self::entry::Entry;
pub use self::table::PARTS;

/// How many removed names are remembered: a record that was read before the removal may be published
/// after it, and must not bring its domain back.
const GONE_KEPT: u64 = 100_000;
/// How long a removed name is remembered: far longer than a record takes from read to publication.
const GONE_FOR: Duration = Duration::from_secs(600);

/// All known domains. Clones share the same map.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    domains: Table,
    /// The version up to which a name was removed.
    gone: Cache<DomainName, u64>,
    /// Whether a name was ever removed: until then, none is looked up in `gone`.
    removed: AtomicBool,
    loaded: AtomicBool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            domains: Table::new(),
            gone: Cache::builder().max_capacity(GONE_KEPT).time_to_live(GONE_FOR).build(),
            removed: AtomicBool::new(false),
            loaded: AtomicBool::new(false),
        }
    }
}

impl Inner {
    fn is_gone(&self, entry: &Entry) -> bool {
        self.removed.load(Ordering::Acquire) && self.gone.get(&entry.name).is_some_and(|gone| entry.version <= gone)
    }
}

impl Registry {
    /// An empty registry that has not been loaded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for this many domains, so that adding them does not make look-ups wait.
    pub fn reserve(&self, domains: usize) {
        self.inner.domains.reserve(domains);
    }

    /// The entry of a name in lower-case ASCII.
    pub fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.inner.domains.get(name)
    }

    /// Adds or replaces the entry of a durable record, unless the present entry is newer: two changes may
    /// be published in another order than they were stored in. A domain that was removed since the record
    /// was read stays removed. Returns the newest entry known.
    pub fn put(&self, record: &DomainRecord) -> Arc<Entry> {
        let entry = Arc::new(Entry::of(record));
        self.inner.domains.at(&record.name, |place| match place {
            Place::Taken(known) => {
                if known.version <= entry.version {
                    *known = entry;
                }
                Arc::clone(known)
            }
            // Under the same lock as the removal.
            Place::Free(_) if self.inner.is_gone(&entry) => entry,
            Place::Free(place) => place.insert(entry),
        })
    }

    /// Adds or replaces the entry of a record, even if the present entry is newer: the store has lost what came
    /// after it.
    pub fn put_back(&self, record: &DomainRecord) {
        let entry = Arc::new(Entry::of(record));
        self.inner.gone.invalidate(&record.name);
        self.inner.domains.at(&record.name, |place| match place {
            Place::Taken(known) => *known = entry,
            Place::Free(place) => {
                place.insert(entry);
            }
        });
    }

    /// Adds the entry of a record, unless there is one already. Returns whether it was added.
    pub fn put_if_absent(&self, record: &DomainRecord) -> bool {
        self.inner.domains.at(&record.name, |place| match place {
            Place::Taken(_) => false,
            Place::Free(place) => {
                let entry = Entry::of(record);
                let put = !self.inner.is_gone(&entry);
                if put {
                    place.insert(Arc::new(entry));
                }
                put
            }
        })
    }

    /// Removes the entry of a domain up to this version; a domain that was added since stays.
    pub fn remove(&self, name: &DomainName, version: u64) {
        // First, so that an entry added after this line is checked against it, and one added before is
        // removed below.
        self.inner.removed.store(true, Ordering::Release);
        self.inner.gone.insert(name.clone(), version);
        self.inner.domains.remove_if(name, |entry| entry.version <= version);
    }

    /// Whether every stored domain has been loaded, so that a missing name is unknown.
    pub fn is_loaded(&self) -> bool {
        self.inner.loaded.load(Ordering::Acquire)
    }

    /// Notes that every stored domain has been loaded.
    pub fn set_loaded(&self) {
        self.inner.loaded.store(true, Ordering::Release);
    }

    /// How many domains are known; maintained, not counted.
    pub fn len(&self) -> usize {
        self.inner.domains.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `count` entries, in no particular order.
    pub fn some(&self, count: usize) -> Vec<Arc<Entry>> {
        let mut some = Vec::new();
        for part in 0..PARTS {
            if some.len() >= count {
                break;
            }
            self.for_each_of(part, |entry| {
                if some.len() < count {
                    some.push(Arc::clone(entry));
                }
            });
        }
        some
    }

    /// Calls `f` for every entry of one of [`PARTS`] parts. No part is long: all of ten million entries take a
    /// second, a part of them a millisecond, during which no entry of it can change.
    pub fn for_each_of(&self, part: usize, f: impl FnMut(&Arc<Entry>)) {
        self.inner.domains.for_each_of(part, f);
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Timestamp;

    use super::*;
    use crate::record::Origin;

    #[test]
    fn a_late_change_does_not_replace_a_newer_one() {
        let registry = Registry::new();
        let name = DomainName::parse("a.example").unwrap();
        let mut record = DomainRecord::new(name, None, Origin::Registered, Timestamp::from_secs(0));
        let mut older = record.clone();
        (older.version, record.version) = (1, 2);
        record.http_while_pending = false;
        registry.put(&record);
        assert!(!registry.put(&older).http_while_pending);
        assert!(!registry.get("a.example").unwrap().http_while_pending);
        record.version = 3;
        record.http_while_pending = true;
        assert!(registry.put(&record).http_while_pending);
    }

    #[test]
    fn a_removed_domain_is_not_brought_back_by_a_record_read_before() {
        let registry = Registry::new();
        let name = DomainName::parse("a.example").unwrap();
        let now = Timestamp::from_secs(0);
        let mut old = DomainRecord::new(name.clone(), None, Origin::Registered, now);
        old.version = 5;
        registry.put(&old);
        registry.remove(&name, 5);
        registry.put(&old);
        assert!(!registry.put_if_absent(&old));
        assert!(registry.get("a.example").is_none());
        // Registered again for another tenant: a late removal of the old domain leaves it.
        let mut new = DomainRecord::new(name.clone(), Some("other".into()), Origin::Registered, now);
        new.version = 9;
        registry.put(&new);
        registry.remove(&name, 5);
        registry.put(&old);
        assert_eq!(registry.get("a.example").unwrap().tenant(), "other");
    }
}
