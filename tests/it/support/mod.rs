//! What the tests start and ask: edges, CAs, DNS, clients.

pub(crate) mod client;
pub(crate) mod door;
pub(crate) mod edge;
pub(crate) mod nats;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod pebble;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod stall;
pub(crate) mod world;

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// Longest wait for what must come; far above what anything takes, also on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

/// Held by a test that keeps both cores busy or measures time: one of them runs at a time.
pub(crate) async fn heavy() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

/// Asks again and again until there is an answer; panics with `what` when there is none in time.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, ask).await
}

/// The same, for what takes its time.
pub(crate) async fn until_within<T>(patience: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < patience, "not within {patience:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}
