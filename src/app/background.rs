//! What runs beside the data plane: at a lower priority, and with an eye on memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use linkseal_base::memory;
use linkseal_base::shutdown::Tasks;

/// How much lower the priority of a background thread is (nice(2)). On a busy machine such a thread gets a
/// third of what a thread of the data plane gets.
const NICE: i32 = 5;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// From this share in use on, in percent, idle HTTP/2 connections are closed sooner.
const SHORT: u8 = 90;

/// Lets the threads of the data plane go first. To be called by a thread of another part when it starts.
pub(crate) fn lower_priority() {
    // Without it the thread works as well; nothing depends on it.
    let _ = rustix::process::nice(NICE);
}

/// Keeps `used` at the share of memory in use, in percent.
pub(super) fn watch_memory(used: Arc<AtomicU8>, tasks: &Tasks) {
    tasks.spawn_until_stop(async move {
        let mut was_short = false;
        loop {
            let now = memory::used_percent().unwrap_or_default();
            used.store(now, Ordering::Relaxed);
            let is_short = now >= SHORT;
            if is_short && !was_short {
                tracing::warn!(
                    used_percent = now,
                    "memory is short; closing idle HTTP/2 connections sooner (give the machine or its control group more, or lower edge.max_connections)"
                );
            }
            was_short = is_short;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    });
}
