//! What one connection to the admin port does, and how long it may: marks left by its reads, writes
//! and requests, looked at now and then.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a client may take no byte of what is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// From a request's headers to the end of its answer, streams aside.
const REQUEST_TIME: Duration = Duration::from_secs(120);

/// Put on an answer that may take as long as it moves: a stream.
#[derive(Clone, Copy)]
pub(super) struct Streams;

/// A connection's marks.
#[derive(Debug)]
pub(super) struct Life {
    marks: Mutex<Marks>,
    /// Whether the last request showed a right token.
    vouched: AtomicBool,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Marks {
    /// When a byte last moved.
    moved: Instant,
    /// Since when a write waits for the client. `None`: none does.
    waits: Option<Instant>,
    /// When the request at hand came. `None`: there is none, or it is a stream.
    began: Option<Instant>,
    /// Whether its answer is complete, though it may not have been taken yet.
    answered: bool,
}

impl Life {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            marks: Mutex::new(Marks {
                moved: now,
                waits: None,
                began: None,
                answered: true,
            }),
            vouched: AtomicBool::new(false),
            closed: CancellationToken::new(),
        }
    }

    /// A request's headers are there.
    pub(super) fn begins(&self, now: Instant) {
        self.vouched.store(false, Relaxed);
        let mut marks = self.marks();
        (marks.began, marks.answered) = (Some(now), false);
    }

    /// The request at hand showed a right token.
    pub(super) fn vouched(&self) {
        self.vouched.store(true, Relaxed);
    }

    /// The answer is a stream, which has no end in time.
    pub(super) fn streams(&self) {
        self.marks().began = None;
    }

    pub(super) fn moved(&self, now: Instant) {
        let mut marks = self.marks();
        (marks.moved, marks.waits) = (now, None);
    }

    pub(super) fn stalled(&self, now: Instant) {
        self.marks().waits.get_or_insert(now);
    }

    fn answered(&self) {
        self.marks().answered = true;
    }

    /// Ends the connection.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Resolves when the connection is to end.
    pub(super) async fn closing(&self) {
        self.closed.cancelled().await;
    }

    #[cfg(test)]
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Whether it showed a right token and takes what it asked for.
    pub(super) fn is_vouched(&self) -> bool {
        self.vouched.load(Relaxed) && self.marks().waits.is_none()
    }

    /// The higher, the longer it is kept: when it last moved, and `bonus` for a right token unless
    /// what was asked for is not taken.
    pub(super) fn worth(&self, bonus: Duration) -> Instant {
        let marks = self.marks();
        match self.vouched.load(Relaxed) && marks.waits.is_none() {
            true => marks.moved + bonus,
            false => marks.moved,
        }
    }

    /// Why it has gone on for too long. `None`: it has not.
    pub(super) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let marks = self.marks();
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.duration_since(at));
        if since(marks.waits) >= WRITE_TIME {
            return Some("what was sent is not read");
        }
        let at_hand = !marks.answered || marks.waits.is_some();
        (at_hand && since(marks.began) >= REQUEST_TIME).then_some("a request took too long")
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        // Nothing in here panics half-way.
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that leaves marks.
pub(super) struct Watched<IO> {
    pub(super) io: IO,
    pub(super) life: Arc<Life>,
}

impl<IO> Watched<IO> {
    fn mark<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written.is_ready() {
            true => self.life.moved(Instant::now()),
            false => self.life.stalled(Instant::now()),
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // What comes in says nothing of whether what goes out is taken: it does not end a wait.
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.mark(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.mark(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_pending() {
            self.life.stalled(Instant::now());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        if shut.is_pending() {
            self.life.stalled(Instant::now());
        }
        shut
    }
}

/// An answer's body, which tells when it is complete or given up.
pub(super) struct Answer<B> {
    body: B,
    _done: Done,
}

struct Done(Arc<Life>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, life: Arc<Life>) -> Self {
        Self {
            body,
            _done: Done(life),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_requests_and_streams_have_their_times() {
        let start = Instant::now();
        let life = Life::new(start);
        assert_eq!(life.overdue(start + REQUEST_TIME * 10), None, "idle: hyper's own bound");
        life.begins(start);
        assert_eq!(life.overdue(start + REQUEST_TIME - Duration::from_secs(1)), None);
        assert!(life.overdue(start + REQUEST_TIME).is_some());
        life.answered();
        assert_eq!(life.overdue(start + REQUEST_TIME), None);
        // Complete, but not taken.
        life.stalled(start + REQUEST_TIME);
        assert!(life.overdue(start + REQUEST_TIME).is_some());
        life.moved(start + REQUEST_TIME);
        life.begins(start);
        life.streams();
        assert_eq!(life.overdue(start + REQUEST_TIME * 10), None);
        life.stalled(start);
        life.stalled(start + WRITE_TIME);
        assert!(life.overdue(start + WRITE_TIME).is_some(), "the first wait counts");
    }
}
