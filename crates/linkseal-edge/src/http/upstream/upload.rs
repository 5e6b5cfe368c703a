//! A request's body on its way to a back end: counted, and cut at its limit. Its beginning is read before a
//! place at the back end is taken; the rest is never buffered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::places::Yields;

/// Longest time for a whole body, however steadily it comes.
const LONGEST: Duration = Duration::from_secs(300);
/// Least rate of a body in bytes per second, after [`AT_FIRST`].
const LEAST: u64 = 1024;
const AT_FIRST: Duration = Duration::from_secs(10);
/// Bytes of a body of known length that are read before a place at the back end is taken. A body of unknown
/// length is passed on as it comes: its client may wait for an answer in between.
const READ_FIRST: u64 = 16 * 1024;

/// The body. Trailers are left out: nothing says whether the back end may merge them.
pub(in crate::http) struct Upload {
    /// Read before there was a place for it.
    kept: VecDeque<Bytes>,
    body: Option<Incoming>,
    left: u64,
    progress: Arc<Progress>,
}

/// How far a body is, for the task that waits for the response.
pub(in crate::http) struct Progress {
    received: AtomicU64,
    state: Mutex<State>,
    displaced: Notify,
}

#[derive(Clone, Copy)]
struct State {
    started: Instant,
    phase: Phase,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Phase {
    /// Waiting for the back end to take what is there.
    ToBackEnd,
    /// Waiting for the client to send more.
    FromClient,
    /// All is sent. Waiting for the response.
    Done,
    /// The body is longer than allowed.
    TooLong,
    /// The client aborted.
    BrokenOff,
}

/// Why the beginning of a body did not come.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum ReadFirst {
    #[error("the body did not come in time")]
    Late,
    #[error(transparent)]
    Ended(#[from] UploadError),
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum UploadError {
    #[error("the request's body is longer than upstream.max_body allows")]
    TooLong,
    #[error("the client aborted: {0}")]
    BrokenOff(hyper::Error),
}

impl Upload {
    /// A body of at most `max` bytes.
    pub(in crate::http) fn new(body: Incoming, max: u64) -> (Self, Arc<Progress>) {
        let body = Some(body).filter(|b| !b.is_end_stream());
        let phase = if body.is_some() { Phase::ToBackEnd } else { Phase::Done };
        let now = Instant::now();
        let progress = Arc::new(Progress {
            received: AtomicU64::new(0),
            state: Mutex::new(State {
                started: now,
                phase,
                since: now,
            }),
            displaced: Notify::new(),
        });
        let this = Self {
            kept: VecDeque::new(),
            body,
            left: max,
            progress: Arc::clone(&progress),
        };
        (this, progress)
    }

    /// No body, for a request sent a second time.
    pub(in crate::http) fn none(progress: &Arc<Progress>) -> Self {
        Self {
            kept: VecDeque::new(),
            body: None,
            left: 0,
            progress: Arc::clone(progress),
        }
    }

    /// Reads all of a short body, or the beginning of a long one.
    pub(in crate::http) async fn read_first(&mut self, idle: Duration) -> Result<(), ReadFirst> {
        let Some(length) = self.length() else { return Ok(()) };
        let (mut first, mut read) = (VecDeque::new(), 0);
        while read < length.min(READ_FIRST) {
            self.progress.set(Phase::FromClient);
            let until = self.progress.deadline(idle, idle);
            let frame = tokio::time::timeout_at(until, self.frame()).await;
            match frame.map_err(|_| ReadFirst::Late)? {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    read += data.len() as u64;
                    first.push_back(data);
                }
                Some(Err(error)) => return Err(error.into()),
                None => break,
            }
        }
        self.kept = first;
        Ok(())
    }

    /// Whether the client has to send more of it.
    pub(in crate::http) fn is_to_come(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !body.is_end_stream())
    }

    /// Its length, if it is known.
    pub(in crate::http) fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn set(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != phase || phase == Phase::ToBackEnd {
            (state.phase, state.since) = (phase, Instant::now());
        }
    }

    pub(in crate::http) fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Resolves when the request has to make way.
    pub(in crate::http) async fn displaced(&self) {
        self.displaced.notified().await;
    }

    /// When there must be progress. `response`: from the end of the body to the response; `idle`: between two
    /// pieces of the body.
    pub(in crate::http) fn deadline(&self, response: Duration, idle: Duration) -> Instant {
        let State { started, phase, since } = *self.state();
        match phase {
            Phase::ToBackEnd => (since + idle).min(started + LONGEST),
            Phase::FromClient => {
                let earned = Duration::from_secs(self.received.load(Ordering::Relaxed) / LEAST);
                (since + idle).min(started + (idle.min(AT_FIRST) + earned).min(LONGEST))
            }
            Phase::Done | Phase::TooLong | Phase::BrokenOff => since + response,
        }
    }

    /// Restarts the body's time limits: place and connection took time. Bytes read before do not count.
    pub(in crate::http) fn restart(&self) {
        let mut state = self.state();
        (state.started, state.since) = (Instant::now(), Instant::now());
        self.received.store(0, Ordering::Relaxed);
    }
}

impl Yields for Progress {
    fn awaits_client(&self) -> Option<Instant> {
        let state = self.state();
        (state.phase == Phase::FromClient).then_some(state.since)
    }

    fn displace(&self) {
        self.displaced.notify_one();
    }

    fn more_than_newcomer(&self) -> usize {
        1
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
        if let Some(data) = this.kept.pop_front() {
            let done = this.kept.is_empty() && !this.is_to_come();
            this.progress.set(if done { Phase::Done } else { Phase::ToBackEnd });
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => {
                this.progress.set(Phase::FromClient);
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().ok(),
            Some(Err(error)) => {
                this.progress.set(Phase::BrokenOff);
                return Poll::Ready(Some(Err(UploadError::BrokenOff(error))));
            }
            None => None,
        };
        let Some(data) = data else {
            this.progress.set(Phase::Done);
            return Poll::Ready(None);
        };
        let Some(left) = this.left.checked_sub(data.len() as u64) else {
            this.progress.set(Phase::TooLong);
            return Poll::Ready(Some(Err(UploadError::TooLong)));
        };
        this.left = left;
        this.progress.received.fetch_add(data.len() as u64, Ordering::Relaxed);
        let done = body.is_end_stream();
        this.progress.set(if done { Phase::Done } else { Phase::ToBackEnd });
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.kept.is_empty() && !self.is_to_come()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref();
        let mut hint = rest.map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let kept = self.kept.iter().map(Bytes::len).sum::<usize>() as u64;
        // The upper bound first: it must never be below the lower one.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint.set_lower(hint.lower().saturating_add(kept));
        hint
    }
}
