//! A small buffer between a back end and a client. The back end is done as soon as its last byte is in
//! here, however slow the client is. A client that reads almost nothing is dropped, whatever else moves on
//! its connection.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::places::Yields;

/// Bytes buffered before the back end has to wait: small answers fit.
const BUFFER: usize = 64 * 1024;
/// What a client must read at least, in bytes per second over the rule's `idle_timeout`, while its body
/// waits: a quarter of what the slowest mobile networks carry.
const LEAST: u64 = 1024;

/// The pipe, shared by the body that the client reads and the task that fills it.
#[derive(Default)]
pub(in crate::http) struct Pipe {
    state: Mutex<State>,
    /// Notified when bytes were read, or the client is gone.
    moved: Notify,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    /// Bytes read in all.
    taken: u64,
    /// How the body ended, once it has.
    end: Option<Result<(), DownloadError>>,
    reader: Option<Waker>,
    gone: bool,
    /// Since when the client is waited for, if it is.
    waits: Option<Instant>,
    /// The place at the back end goes to another.
    displaced: bool,
}

/// Why a body ends early. The client's connection is cut, so that the body does not look complete.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum DownloadError {
    #[error("the back end broke off: {0}")]
    BrokenOff(#[from] hyper::Error),
    #[error("the back end was silent for {0:?}")]
    Silent(Duration),
    #[error("the client read almost nothing for upstream.idle_timeout")]
    Stuck,
}

/// The client is no longer served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Lost {
    Gone,
    /// It reads almost nothing.
    Stuck,
}

/// How fast a client reads its body, over the time it was waited for.
pub(in crate::http) struct Pace {
    window: Duration,
    waited: Duration,
    taken: u64,
}

impl Pace {
    pub(in crate::http) fn new(window: Duration) -> Self {
        Self {
            window,
            waited: Duration::ZERO,
            taken: 0,
        }
    }

    /// Whether it was too slow over a whole window of waiting.
    fn is_too_slow(&mut self, waited: Duration, taken: u64) -> bool {
        self.waited += waited;
        if self.waited < self.window {
            return false;
        }
        let least = LEAST.saturating_mul(u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX)) / 1000;
        let slow = taken.saturating_sub(self.taken) < least.max(1);
        (self.waited, self.taken) = (Duration::ZERO, taken);
        slow
    }
}

impl Pipe {
    /// For the filling task: adds a piece.
    pub(in crate::http) fn push(&self, piece: Bytes) {
        let mut state = self.state();
        state.bytes += piece.len();
        state.queue.push_back(piece);
        state.wake();
    }

    /// For the filling task: the body has ended.
    pub(in crate::http) fn end(&self, how: Result<(), DownloadError>) {
        let mut state = self.state();
        state.end = Some(how);
        state.wake();
    }

    /// For the filling task: drops the client and what is buffered for it.
    pub(in crate::http) fn give_up(&self) {
        let mut state = self.state();
        state.queue = VecDeque::new();
        state.bytes = 0;
        state.end = Some(Err(DownloadError::Stuck));
        state.wake();
    }

    /// For the filling task: waits until there is room for more.
    pub(in crate::http) async fn room(&self, pace: &mut Pace) -> Result<(), Lost> {
        self.wait(pace, |state| state.bytes < BUFFER).await
    }

    /// For the filling task: waits until the client has read everything.
    pub(in crate::http) async fn emptied(&self, pace: &mut Pace) -> Result<(), Lost> {
        self.wait(pace, |state| state.queue.is_empty()).await
    }

    /// Whether the client has read everything.
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Resolves when the client is gone.
    pub(in crate::http) async fn gone(&self) {
        loop {
            let moved = self.moved.notified();
            if self.state().gone {
                return;
            }
            moved.await;
        }
    }

    async fn wait(&self, pace: &mut Pace, done: impl Fn(&State) -> bool) -> Result<(), Lost> {
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.state();
                if state.gone {
                    return Err(Lost::Gone);
                }
                if done(&state) {
                    state.waits = None;
                    return Ok(());
                }
                if state.displaced {
                    return Err(Lost::Stuck);
                }
                state.waits.get_or_insert_with(Instant::now);
            }
            let started = Instant::now();
            // Check which of them it was.
            let _ = timeout(pace.window.saturating_sub(pace.waited), moved).await;
            let taken = self.state().taken;
            if pace.is_too_slow(started.elapsed(), taken) && !self.state().gone {
                return Err(Lost::Stuck);
            }
        }
    }

    /// For the client: the next piece, or the end.
    pub(in crate::http) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, DownloadError>>> {
        let mut state = self.state();
        if let Some(piece) = state.queue.pop_front() {
            state.bytes -= piece.len();
            state.taken += piece.len() as u64;
            drop(state);
            self.moved.notify_one();
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end.take() {
            Some(Ok(())) => {
                state.end = Some(Ok(()));
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                state.end = Some(Ok(()));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the client has read everything and the body is complete.
    pub(in crate::http) fn is_at_end(&self) -> bool {
        let state = self.state();
        state.queue.is_empty() && matches!(state.end, Some(Ok(())))
    }

    /// The client is gone, or has read everything.
    pub(in crate::http) fn leave(&self) {
        let mut state = self.state();
        state.gone = true;
        drop(state);
        self.moved.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Yields for Pipe {
    fn awaits_client(&self) -> Option<Instant> {
        self.state().waits
    }

    fn displace(&self) {
        self.state().displaced = true;
        self.moved.notify_one();
    }

    /// A long answer that is cut starts over: the only one of a network stays.
    fn more_than_newcomer(&self) -> usize {
        2
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_must_take_a_kibibyte_a_second_while_it_is_waited_for() {
        let second = Duration::from_secs(1);
        let mut pace = Pace::new(second * 60);
        for taken in 1..60 {
            assert!(!pace.is_too_slow(second, taken), "its window is not over");
        }
        assert!(pace.is_too_slow(second, 60));
        // A fast start does not count for the next window.
        let mut pace = Pace::new(second * 60);
        assert!(!pace.is_too_slow(second * 60, 10 << 20));
        assert!(pace.is_too_slow(second * 60, (10 << 20) + 60 * 1024 - 1));
        let mut pace = Pace::new(second * 60);
        assert!(!pace.is_too_slow(second * 60, 60 * 1024));
    }
}
