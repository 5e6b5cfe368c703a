//! One boot's folder of the journal, as long as this process holds its lock.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use uuid::Uuid;

/// The last sequence number of a folder whose end cannot be read: nothing counts as its end, so
/// that retention takes nothing in it for delivered.
pub(super) const END_UNKNOWN: u64 = u64::MAX;

/// One boot's folder, while this process holds its lock.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) boot: Uuid,
    pub(super) path: PathBuf,
    /// Its last sequence number. `None`: it is this boot's, and grows.
    pub(super) last: Option<u64>,
    /// How many feeds are in it.
    feeds: AtomicUsize,
    /// What is after this is counted as lost, or is no one's loss.
    counted: AtomicU64,
    /// `None`: the journal itself holds this boot's.
    _lock: Option<File>,
}

/// A feed in a folder; it leaves when this is dropped.
pub(super) struct Inside(Arc<Folder>);

impl Folder {
    pub(super) fn new(boot: Uuid, path: PathBuf, last: Option<u64>, lock: Option<File>) -> Self {
        Self {
            boot,
            path,
            last,
            feeds: AtomicUsize::new(0),
            counted: AtomicU64::new(u64::MAX),
            _lock: lock,
        }
    }

    /// Keeps retention from removing the folder; its segments may still go at the size cap.
    pub(super) fn enter(self: &Arc<Self>) -> Inside {
        self.feeds.fetch_add(1, Ordering::AcqRel);
        Inside(Arc::clone(self))
    }

    /// The folder is gone, and a sink holds it up to here only: how many events are lost that were
    /// not counted for another sink.
    pub(super) fn lose_after(&self, held: u64) -> u64 {
        let last = self.last.filter(|last| *last != END_UNKNOWN).unwrap_or(0);
        let counted = self.counted.fetch_min(held, Ordering::AcqRel);
        counted.min(last).saturating_sub(held)
    }

    /// It was removed because its time was over: nothing is lost by that.
    pub(super) fn set_over(&self) {
        self.counted.store(0, Ordering::Release);
    }

    /// Whether a feed is in it.
    pub(super) fn is_in_use(&self) -> bool {
        self.feeds.load(Ordering::Acquire) > 0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.feeds.fetch_sub(1, Ordering::AcqRel);
    }
}
