//! Patience with a CA: looking again while it works on something, and calling again when a call
//! brought no answer, both in growing steps, as the CA wishes, and with an end.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use super::IssueError;
use super::client::Fetched;
use super::order::Driver;
use super::problem::CallError;

/// First wait between two looks at what the CA is working on; doubles up to [`POLL_MAX`].
pub(super) const POLL_FIRST: Duration = Duration::from_millis(100);
/// Longest wait between two looks, unless the CA asks for a longer one.
const POLL_MAX: Duration = Duration::from_secs(5);
/// Longest wait that a CA may ask for between two looks.
const POLL_WISH_MAX: Duration = Duration::from_secs(30);
/// How often a call that can be repeated is made when no answer comes.
const TRIES: u32 = 4;
/// First wait before such a call is repeated; doubles.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
/// A CA that wants a longer pause than this gets it: the order is taken up again later.
const AGAIN_MAX: Duration = Duration::from_secs(10);

impl Driver<'_> {
    /// Looks until it is `done`: after `first`, then in growing steps, not before the CA wishes,
    /// and not beyond the deadline, on the steady clock.
    pub(super) async fn poll<T, F>(
        &self,
        first: Duration,
        deadline: Duration,
        fetch: impl Fn() -> F,
        done: impl Fn(&T) -> bool,
    ) -> Result<T, IssueError>
    where
        F: Future<Output = Result<Fetched<T>, CallError>>,
    {
        let mut delay = first;
        let mut wish = None;
        loop {
            let now = self.clock.now();
            let wished = wish
                .map_or(Duration::ZERO, |w: Timestamp| w.saturating_since(now))
                .min(POLL_WISH_MAX);
            let left = deadline.saturating_sub(self.clock.uptime());
            self.clock.sleep(delay.max(wished).min(left)).await;
            let silent = match fetch().await {
                Ok(fetched) if done(&fetched.value) => return Ok(fetched.value),
                Ok(fetched) => {
                    wish = fetched.retry_after;
                    None
                }
                Err(e) if e.is_passing() => {
                    wish = retry_after(&e);
                    Some(e)
                }
                Err(e) => return Err(self.failed(e)),
            };
            if self.clock.uptime() >= deadline {
                return Err(silent.map_or_else(|| self.stuck(), |e| self.failed(e)));
            }
            delay = (delay * 2).clamp(POLL_FIRST, POLL_MAX);
        }
    }

    /// Makes a call that can be repeated, again when it brings no answer.
    pub(super) async fn with_retries<T, F>(&self, call: impl Fn() -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let mut delay = AGAIN_FIRST;
        for _ in 1..TRIES {
            match call().await {
                Err(e) if e.is_passing() => {
                    let now = self.clock.now();
                    let wait = retry_after(&e).map_or(delay, |at| at.saturating_since(now).max(delay));
                    if wait > AGAIN_MAX {
                        return Err(e);
                    }
                    self.clock.sleep(wait).await;
                    delay *= 2;
                }
                other => return other,
            }
        }
        call().await
    }
}

fn retry_after(error: &CallError) -> Option<Timestamp> {
    match error {
        CallError::Refused(problem) => problem.retry_after,
        _ => None,
    }
}
