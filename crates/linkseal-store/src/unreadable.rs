//! Records that this version cannot read: a newer version wrote them, or the file was edited or damaged.
//! Each affects its own domain only: it is skipped, counted and reported to operators.

use std::collections::BTreeMap;

use linkseal_domain::{DomainName, DomainRecord};
use parking_lot::Mutex;

use crate::StoreError;
use crate::values::record_of;

/// Names remembered at most; a store with more of them was written by another program.
const KEPT: usize = 10_000;

/// The records that were found unreadable since the start.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// The cause of each, by name.
    names: Mutex<BTreeMap<String, String>>,
}

impl Unreadable {
    /// Reads the record of a domain, or notes that it cannot be read.
    pub(super) fn read(&self, name: &DomainName, text: &str, version: u64) -> Result<DomainRecord, StoreError> {
        match record_of(name.as_str(), text, version) {
            Ok(record) => {
                self.forget(name.as_str());
                Ok(record)
            }
            Err(why) => {
                self.note(name.as_str(), &why);
                Err(StoreError::Unreadable {
                    name: name.to_string(),
                    why,
                })
            }
        }
    }

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

    /// Name and cause of each, sorted by name.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let names = self.names.lock();
        names.iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }
}
