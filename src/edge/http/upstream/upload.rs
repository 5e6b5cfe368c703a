//! A request's body on its way to a back end: counted, never kept, never longer than allowed.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

/// Longest time a whole body may take, however steadily it dribbles in.
const LONGEST: Duration = Duration::from_secs(300);
/// What must come of it at least, in bytes a second, once the rule's `idle_timeout` is over.
const LEAST: u64 = 1024;

/// The body. Trailers are left out: nothing says whether the back end may merge them.
pub(super) struct Upload {
    /// `None`: there is no body.
    body: Option<Incoming>,
    left: u64,
    progress: Arc<Progress>,
}

/// How far a body is, for whoever waits for the response.
pub(super) struct Progress {
    started: Instant,
    received: AtomicU64,
    state: Mutex<(Phase, Instant)>,
}

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The back end has to take what there is.
    ToBackEnd,
    /// The client has to send more.
    FromClient,
    /// All is sent: the response has to come.
    Done,
    /// The body is longer than allowed.
    TooLong,
    /// The client broke off.
    BrokenOff,
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("the request's body is longer than upstream.max_body allows")]
    TooLong,
    #[error("the client broke off: {0}")]
    BrokenOff(hyper::Error),
}

impl Upload {
    /// A body of at most `max` bytes.
    pub(super) fn new(body: Incoming, max: u64) -> (Self, Arc<Progress>) {
        let body = Some(body).filter(|b| !b.is_end_stream());
        let phase = if body.is_some() { Phase::ToBackEnd } else { Phase::Done };
        let now = Instant::now();
        let progress = Arc::new(Progress {
            started: now,
            received: AtomicU64::new(0),
            state: Mutex::new((phase, now)),
        });
        let this = Self {
            body,
            left: max,
            progress: Arc::clone(&progress),
        };
        (this, progress)
    }

    /// No body, for a request sent a second time.
    pub(super) fn none(progress: &Arc<Progress>) -> Self {
        Self {
            body: None,
            left: 0,
            progress: Arc::clone(progress),
        }
    }

    /// Its length. `None`: not known before its end.
    pub(super) fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl Progress {
    fn set(&self, phase: Phase) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 != phase || phase == Phase::ToBackEnd {
            *state = (phase, Instant::now());
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Until when something must have happened. `response`: from the body's end to the response;
    /// `idle`: between two pieces of the body.
    pub(super) fn deadline(&self, response: Duration, idle: Duration) -> Instant {
        let (phase, since) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match phase {
            Phase::ToBackEnd => (since + idle).min(self.started + LONGEST),
            Phase::FromClient => {
                let earned = Duration::from_secs(self.received.load(Ordering::Relaxed) / LEAST);
                (since + idle).min(self.started + (idle + earned).min(LONGEST))
            }
            Phase::Done | Phase::TooLong | Phase::BrokenOff => since + response,
        }
    }

    /// The body's own time starts over: a connection had to be made first.
    pub(super) fn restart(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 = Instant::now();
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = self.get_mut();
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
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
