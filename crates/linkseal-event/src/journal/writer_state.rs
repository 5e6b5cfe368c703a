//! The state that the journal's thread shares with the rest of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::boot_folder::BootFolder;
use super::queue::Queue;
use super::reclaim::Reclaimer;
use super::removed::Removed;
use super::repeats::Repeats;
use crate::metrics::Metrics;
use crate::settings::Durability;

/// What the journal's thread shares with the rest of the process.
pub(super) struct WriterState {
    pub(super) queue: Arc<Queue>,
    pub(super) repeats: Repeats,
    pub(super) reclaimer: Reclaimer,
    pub(super) boot_folder: BootFolder,
    pub(super) removed: Removed,
    pub(super) metrics: Metrics,
    /// [`Durability`] as a number; a reload changes it.
    durability: AtomicU8,
    published: AtomicU64,
    changed: Notify,
}

impl WriterState {
    pub(super) fn new(
        queue: Queue,
        boot_folder: BootFolder,
        reclaimer: Reclaimer,
        durability: Durability,
        metrics: Metrics,
    ) -> Self {
        Self {
            queue: Arc::new(queue),
            repeats: Repeats::new(metrics.repeated.clone()),
            reclaimer,
            boot_folder,
            removed: Removed::default(),
            metrics,
            durability: AtomicU8::new(durability as u8),
            published: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// The last sequence number that readers may see.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Lets readers see events up to this sequence number.
    pub(super) fn publish(&self, last: u64) {
        self.published.store(last, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Notified when more has been published.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    pub(super) fn set_durability(&self, durability: Durability) {
        self.durability.store(durability as u8, Ordering::Relaxed);
    }

    pub(super) fn durability(&self) -> Durability {
        match self.durability.load(Ordering::Relaxed) {
            0 => Durability::Queued,
            1 => Durability::Written,
            _ => Durability::Synced,
        }
    }
}
