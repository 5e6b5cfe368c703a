//! A boot's folder that this process delivers, while it holds the folder's lock.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use uuid::Uuid;

/// The last sequence number of a folder whose end cannot be read: none of it counts as delivered, so
/// retention does not remove it.
pub(crate) const END_UNKNOWN: u64 = u64::MAX;

/// A boot's folder, while this process holds its lock.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) boot: Uuid,
    pub(crate) path: PathBuf,
    /// Its last sequence number; `None` for this boot's, which grows.
    pub(crate) last: Option<u64>,
    /// How many sink workers are in it.
    workers: AtomicUsize,
    /// Events after this one have been counted as lost, or are not lost.
    counted: AtomicU64,
    /// `None` for this boot's folder, whose lock the journal holds.
    _lock: Option<File>,
}

/// A worker's presence in a folder; ends when dropped.
pub(crate) struct Inside(Arc<Folder>);

impl Folder {
    pub(crate) fn new(boot: Uuid, path: PathBuf, last: Option<u64>, lock: Option<File>) -> Self {
        Self {
            boot,
            path,
            last,
            workers: AtomicUsize::new(0),
            counted: AtomicU64::new(u64::MAX),
            _lock: lock,
        }
    }

    /// Keeps retention from removing the folder; its segments may still go at the size cap.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        self.workers.fetch_add(1, Ordering::AcqRel);
        Inside(Arc::clone(self))
    }

    /// For a folder that is gone: how many of the events after `held` are lost and have not been
    /// counted for another sink.
    pub(super) fn lose_after(&self, held: u64) -> u64 {
        let last = self.last.filter(|last| *last != END_UNKNOWN).unwrap_or(0);
        let counted = self.counted.fetch_min(held, Ordering::AcqRel);
        counted.min(last).saturating_sub(held)
    }

    /// Retention removes the folder: no event is lost by that.
    pub(crate) fn set_expired(&self) {
        self.counted.store(0, Ordering::Release);
    }

    /// Whether a worker is in it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.workers.load(Ordering::Acquire) > 0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.workers.fetch_sub(1, Ordering::AcqRel);
    }
}
