//! Looks whether the store can be written, so that it is known before a change needs it: a disk that
//! is full or read-only, and a file that was removed or replaced while it is in use.

use std::time::Duration;

use super::Control;

/// Between two looks: two syncs each.
const LOOK: Duration = Duration::from_secs(30);

impl Control {
    /// Watches for ever.
    pub(super) async fn watch_store(self) {
        let mut failing = false;
        loop {
            match self.inner.store.probe().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::warn!("the store works again: what waited for it goes on");
                    let settings = self.inner.settings.load_full();
                    let own: Vec<_> = std::iter::once(&settings.target)
                        .chain(&settings.aliases)
                        .cloned()
                        .collect();
                    // What could not be stored at the start.
                    self.own_names(&own).await;
                    self.inner.wake.notify_one();
                }
                Ok(()) => {}
                Err(error) => {
                    failing = true;
                    self.store_fails("write to the store", None, &error);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
