//! Waiting on conditions.

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Far above what anything takes even on a
/// busy machine: only a failing test waits this long.
pub const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Polls until `ask` returns a value; panics with `what` after [`TIMEOUT`].
pub async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(TIMEOUT, what, ask).await
}

/// As [`until`], with another limit.
pub async fn until_within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
