//! Time limits of one connection to the admin port: notes what its writes and requests do, and says
//! when it is overdue. The server asks once a second.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a client may read nothing of what is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// From a request's headers to the end of its answer, except for streams.
const REQUEST_TIME: Duration = Duration::from_secs(120);

/// Response extension of an answer that may take as long as the client keeps reading: a stream.
#[derive(Clone, Copy)]
pub(crate) struct LongLived;

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct Watchdog {
    progress: Mutex<Progress>,
    /// Whether the last request had a valid token.
    authenticated: AtomicBool,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Progress {
    /// When the client last took a byte.
    moved: Instant,
    /// Since when a write is blocked by the client.
    stalled: Option<Instant>,
    /// When the current request came; `None` between requests and for a stream.
    began: Option<Instant>,
    /// Whether the answer is complete, though the client may not have read all of it.
    answered: bool,
}

impl Watchdog {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            progress: Mutex::new(Progress {
                moved: now,
                stalled: None,
                began: None,
                answered: true,
            }),
            authenticated: AtomicBool::new(false),
            closed: CancellationToken::new(),
        }
    }

    /// The headers of a request have arrived.
    pub(crate) fn request_began(&self, now: Instant) {
        self.authenticated.store(false, Relaxed);
        let mut progress = self.progress.lock();
        (progress.began, progress.answered) = (Some(now), false);
    }

    /// The current request has a valid token.
    pub(crate) fn authenticated(&self) {
        self.authenticated.store(true, Relaxed);
    }

    /// The answer is a stream, which may last.
    pub(crate) fn stream_began(&self) {
        self.progress.lock().began = None;
    }

    pub(crate) fn moved(&self, now: Instant) {
        let mut progress = self.progress.lock();
        (progress.moved, progress.stalled) = (now, None);
    }

    pub(crate) fn stalled(&self, now: Instant) {
        self.progress.lock().stalled.get_or_insert(now);
    }

    fn answered(&self) {
        self.progress.lock().answered = true;
    }

    /// Asks the server to close the connection.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Resolves once [`close`](Self::close) was called.
    pub(crate) async fn closing(&self) {
        self.closed.cancelled().await;
    }

    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Whether the last request had a valid token and the client reads the answer.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Relaxed) && self.progress.lock().stalled.is_none()
    }

    /// Orders connections for eviction, the lowest first: by when the client last took a byte, plus
    /// `bonus` for an authenticated one that reads.
    pub(crate) fn keep_score(&self, bonus: Duration) -> Instant {
        let progress = self.progress.lock();
        match self.authenticated.load(Relaxed) && progress.stalled.is_none() {
            true => progress.moved + bonus,
            false => progress.moved,
        }
    }

    /// Why the connection has to be closed.
    pub(crate) fn overdue(&self, now: Instant) -> Option<&'static str> {
        let progress = self.progress.lock();
        let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| now.duration_since(at));
        if since(progress.stalled) >= WRITE_TIME {
            return Some("the client does not read the answer");
        }
        let unfinished = !progress.answered || progress.stalled.is_some();
        (unfinished && since(progress.began) >= REQUEST_TIME).then_some("the request took too long")
    }
}

/// A stream whose writes are reported to the watchdog.
pub(crate) struct Watched<IO> {
    pub(crate) io: IO,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl<IO> Watched<IO> {
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match written.is_ready() {
            true => self.watchdog.moved(Instant::now()),
            false => self.watchdog.stalled(Instant::now()),
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Reads do not count as progress: a client that sends may still not read its answer.
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_pending() {
            self.watchdog.stalled(Instant::now());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        if shut.is_pending() {
            self.watchdog.stalled(Instant::now());
        }
        shut
    }
}

/// An answer's body, which reports when it is complete or abandoned.
pub(crate) struct WatchedBody<B> {
    body: B,
    _on_end: OnEnd,
}

struct OnEnd(Arc<Watchdog>);

impl Drop for OnEnd {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl<B> WatchedBody<B> {
    pub(crate) fn new(body: B, watchdog: Arc<Watchdog>) -> Self {
        Self {
            body,
            _on_end: OnEnd(watchdog),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for WatchedBody<B> {
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
    fn writes_requests_and_streams_have_time_limits() {
        let start = Instant::now();
        let watchdog = Watchdog::new(start);
        assert_eq!(
            watchdog.overdue(start + REQUEST_TIME * 10),
            None,
            "idle connections are bounded by hyper"
        );
        watchdog.request_began(start);
        assert_eq!(watchdog.overdue(start + REQUEST_TIME - Duration::from_secs(1)), None);
        assert!(watchdog.overdue(start + REQUEST_TIME).is_some());
        watchdog.answered();
        assert_eq!(watchdog.overdue(start + REQUEST_TIME), None);
        // Complete, but not read.
        watchdog.stalled(start + REQUEST_TIME);
        assert!(watchdog.overdue(start + REQUEST_TIME).is_some());
        watchdog.moved(start + REQUEST_TIME);
        watchdog.request_began(start);
        watchdog.stream_began();
        assert_eq!(watchdog.overdue(start + REQUEST_TIME * 10), None);
        watchdog.stalled(start);
        watchdog.stalled(start + WRITE_TIME);
        assert!(
            watchdog.overdue(start + WRITE_TIME).is_some(),
            "counted from the first stalled write"
        );
    }
}
