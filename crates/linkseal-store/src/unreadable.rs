//! Records that this version cannot read: a newer version wrote them, or the file was edited or damaged.
//! Each affects its own domain only: it is skipped, counted and reported to operators.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Names remembered at most; a store with more of them was written by another program.
const KEPT: usize = 10_000;

/// The records that were found unreadable since the start.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// The cause of each, by name.
    names: Mutex<BTreeMap<String, String>>,
}

impl Unreadable {
    /// Records one; it is logged the first time.
    pub(super) fn note(&self, name: &str, why: &str) {
        let mut names = self.names.lock();
        if names.contains_key(name) || names.len() >= KEPT {
            return;
        }
        names.insert(name.to_owned(), why.to_owned());
        drop(names);
        tracing::error!(
            domain = name,
            why,
            "a stored record cannot be read and is skipped; run the version that wrote it, or purge the domain"
        );
    }

    /// Removes one: it was read, or is gone.
    pub(super) fn forget(&self, name: &str) {
        let mut names = self.names.lock();
        if !names.is_empty() {
            names.remove(name);
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.lock().contains_key(name)
    }

    pub(super) fn len(&self) -> usize {
        self.names.lock().len()
    }

    /// Name and cause of each, sorted by name.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let names = self.names.lock();
        names.iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }
}
