//! Checks whether the store can be written, so that a fault is known before a change needs it: a full
//! or read-only disk, or a file that was removed or replaced while in use.

use std::sync::Arc;
use std::time::Duration;

use crate::core::Core;
use crate::operator::Operator;

/// Interval between two checks, of two syncs each.
const INTERVAL: Duration = Duration::from_secs(30);

/// Watches until shutdown.
pub(crate) async fn watch(core: Arc<Core>, operator: Arc<Operator>) {
    let mut failing = false;
    loop {
        match core.store.probe().await {
            Ok(()) if failing => {
                failing = false;
                tracing::warn!("store works again; resuming");
                // They may not have been stored at the start.
                operator.register_own_names(&core.settings().names).await;
                core.wake.notify_one();
            }
            Ok(()) => {}
            Err(error) => {
                failing = true;
                core.store_failed("write to the store", None, &error);
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
