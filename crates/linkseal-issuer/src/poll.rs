//! Polling (RFC 8555 §7.5.1) and retries: both with exponential back-off, honouring Retry-After, up to a
//! deadline on the steady clock.

use std::time::Duration;

use linkseal_base::clock::{Clock, Timestamp};

use super::client::Fetched;
use super::problem::CallError;

/// First pause between two polls; doubles up to [`POLL_MAX`].
pub(super) const POLL_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between two polls, unless the CA asks for a longer one.
const POLL_MAX: Duration = Duration::from_secs(5);
/// Longest pause that the CA's Retry-After can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// How many times a repeatable call is made if no answer arrives.
const TRIES: u32 = 4;
/// First pause before such a call is repeated; doubles.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// If the CA asks for a longer pause than this, the call fails and the order is resumed later.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Why polling ended without a result.
#[derive(Debug)]
pub(super) enum PollError {
    /// The deadline passed while the CA was still working.
    Stuck,
    /// A call failed.
    Call(CallError),
}

/// Fetches until the value is `done`: after `first`, then with growing pauses, never before the CA's
/// Retry-After, until the deadline.
pub(super) async fn poll<T, F>(
    clock: &Clock,
    first: Duration,
    deadline: Duration,
    fetch: impl Fn() -> F,
    done: impl Fn(&T) -> bool,
) -> Result<T, PollError>
where
    F: Future<Output = Result<Fetched<T>, CallError>>,
{
    let mut delay = first;
    let mut not_before = None;
    loop {
        let now = clock.now();
        let asked_for = not_before
            .map_or(Duration::ZERO, |at: Timestamp| at.saturating_since(now))
            .min(RETRY_AFTER_MAX);
        let left = deadline.saturating_sub(clock.uptime());
        clock.sleep(delay.max(asked_for).min(left)).await;
        let unanswered = match fetch().await {
            Ok(fetched) if done(&fetched.value) => return Ok(fetched.value),
            Ok(fetched) => {
                not_before = fetched.retry_after;
                None
            }
            Err(e) if e.is_temporary() => {
                not_before = retry_after(&e);
                Some(e)
            }
            Err(e) => return Err(PollError::Call(e)),
        };
        if clock.uptime() >= deadline {
            return Err(unanswered.map_or(PollError::Stuck, PollError::Call));
        }
        delay = (delay * 2).clamp(POLL_FIRST, POLL_MAX);
    }
}

/// Makes a repeatable call, and repeats it while no answer arrives.
pub(super) async fn with_retries<T, F>(clock: &Clock, call: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut delay = RETRY_FIRST;
    for _ in 1..TRIES {
        match call().await {
            Err(e) if e.is_temporary() => {
                let now = clock.now();
                let pause = retry_after(&e).map_or(delay, |at| at.saturating_since(now).max(delay));
                if pause > RETRY_MAX {
                    return Err(e);
                }
                clock.sleep(pause).await;
                delay *= 2;
            }
            other => return other,
        }
    }
    call().await
}

fn retry_after(error: &CallError) -> Option<Timestamp> {
    match error {
        CallError::Refused(problem) => problem.retry_after,
        _ => None,
    }
}
