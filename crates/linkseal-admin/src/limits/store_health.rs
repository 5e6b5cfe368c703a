//! Whether the store works, for `/readyz?strict=true`. Anyone may ask and every probe is a write, so
//! an answer is reused for a second.

use std::time::Duration;

use linkseal_store::Store;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer is reused.
const FRESH: Duration = Duration::from_secs(1);
/// A store that takes longer is not ready.
const DEADLINE: Duration = Duration::from_secs(2);

/// The store's last answer.
#[derive(Default)]
pub(crate) struct StoreHealth {
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl StoreHealth {
    /// The error says what is wrong.
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<(), String> {
        // Locked during the probe, so that concurrent callers share its answer.
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = match timeout(DEADLINE, store.probe()).await {
            Ok(answer) => answer.map_err(|e| e.to_string()),
            Err(_) => Err(format!("the store gave no answer within {} s", DEADLINE.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}
