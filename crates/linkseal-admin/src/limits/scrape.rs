//! The last scrape of the health port. Anyone may scrape there and every scrape asks the store, so a scrape is
//! reused for a second.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a scrape is reused.
const FRESH: Duration = Duration::from_secs(1);

/// The last scrape.
#[derive(Default)]
pub(crate) struct ScrapeCache {
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl ScrapeCache {
    /// A recent scrape, else the one that `scrape` makes.
    pub(crate) async fn get(&self, scrape: impl Future<Output = Option<Bytes>>) -> Option<Bytes> {
        // Locked during the scrape, so that concurrent callers share it.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Some(text.clone());
        }
        let text = scrape.await?;
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}
