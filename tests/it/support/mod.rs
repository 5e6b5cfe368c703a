//! What tests start and talk to: edges, CAs, DNS servers, peers and clients.

pub(crate) mod client;
pub(crate) mod edge;
pub(crate) mod gate;
pub(crate) mod nats;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod pebble;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod stalling_disk;
pub(crate) mod world;

use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// How long a test waits for something that must happen. Far above what anything takes even on a
/// busy machine: only a failing test waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Serializes tests that keep all cores busy or measure time: hold the guard for the whole test.
pub(crate) async fn exclusive() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}

/// Polls until `ask` returns a value; panics with `what` after [`TIMEOUT`].
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(TIMEOUT, what, ask).await
}

/// As [`until`], with another limit.
pub(crate) async fn until_within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
