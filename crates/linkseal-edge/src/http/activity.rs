//! What a connection is doing: counted by its I/O and by guards of its requests, read by its tick.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::presence::Presence;

/// What moves on a connection. Written and read on its core: by its own tasks and by its tick
/// ([`super::timeouts`]). The counters only have to differ when something happened.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Reads and writes that transferred bytes.
    moves: Cell<u32>,
    /// Bytes have come that belong to no request yet.
    partial: Cell<bool>,
    /// Bytes may have been written that are not on their way yet.
    unflushed: Cell<bool>,
    /// Requests whose headers have come.
    requests: Cell<u32>,
    /// Shows the limits whether the connection is busy.
    presence: Arc<Presence>,
    /// Requests that wait for a back end, which has time limits of its own.
    waiting: Cell<u32>,
    /// Requests that wait for the client to send their body.
    bodies: Cell<u32>,
    /// Whether any request was answered.
    answered: Cell<bool>,
    /// The next answer is the last one.
    leaving: Cell<bool>,
}

impl Activity {
    pub(super) fn new(presence: Arc<Presence>) -> Self {
        Self {
            presence,
            ..Self::default()
        }
    }

    /// A request's headers are complete.
    pub(super) fn request_began(&self, now: Instant) {
        self.partial.set(false);
        self.requests.set(self.requests.get().wrapping_add(1));
        self.presence.request(now);
    }

    /// A request was answered, or its client gave up.
    pub(super) fn request_ended(&self) {
        // Bytes that came since were the request's body.
        self.partial.set(false);
        self.presence.ends(Instant::now());
    }

    /// A reply's body begins to stream.
    pub(super) fn body_began(&self) {
        self.presence.begins();
    }

    /// A request begins to wait for a back end.
    pub(super) fn backend_wait_began(&self) {
        self.waiting.set(self.waiting.get() + 1);
    }

    pub(super) fn backend_wait_ended(&self) {
        self.waiting.set(self.waiting.get() - 1);
    }

    /// A request begins to wait for its body. Returns how many waited before.
    pub(super) fn body_wait_began(&self) -> u32 {
        self.bodies.replace(self.bodies.get() + 1)
    }

    pub(super) fn body_wait_ended(&self) {
        self.bodies.set(self.bodies.get() - 1);
    }

    /// A request was answered.
    pub(super) fn note_answer(&self) {
        self.answered.set(true);
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// The connection ends with its next answer.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Whether any request has come.
    pub(super) fn has_begun(&self) -> bool {
        self.requests.get() > 0
    }

    /// Whether a part of an HTTP/1.1 request has come.
    pub(super) fn has_part_of_request(&self) -> bool {
        self.partial.get() && !self.presence.is_busy()
    }

    pub(super) fn moved(&self) {
        self.moves.set(self.moves.get().wrapping_add(1));
    }

    /// Bytes came that may be the beginning of a request.
    pub(super) fn bytes_came(&self) {
        self.moved();
        self.partial.set(true);
    }

    /// Bytes were handed down to be written.
    fn wrote(&self) {
        self.unflushed.set(true);
    }

    /// Everything written is on its way.
    fn flushed(&self) {
        self.unflushed.set(false);
    }

    /// Whether nothing is in flight in either direction.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.presence.is_busy() && !self.partial.get() && !self.unflushed.get()
    }

    /// The state that the tick compares with the last one.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            moves: self.moves.get(),
            requests: self.requests.get(),
            busy: self.presence.is_busy(),
            waits_for_backend: self.waiting.get() > 0,
            partial: self.partial.get(),
        }
    }
}

/// The state of a connection at one tick.
pub(super) struct Snapshot {
    pub(super) moves: u32,
    pub(super) requests: u32,
    pub(super) busy: bool,
    pub(super) waits_for_backend: bool,
    /// Bytes have come that belong to no request yet.
    pub(super) partial: bool,
}

/// Marks a reply whose body streams, until it is dropped.
pub(super) struct StreamingBody(Rc<Activity>);

impl StreamingBody {
    pub(super) fn new(activity: &Rc<Activity>) -> Self {
        activity.body_began();
        Self(Rc::clone(activity))
    }
}

impl Drop for StreamingBody {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// Marks a request that waits for a back end, until it is dropped.
pub(super) struct BackendWait(Rc<Activity>);

impl BackendWait {
    pub(super) fn new(activity: &Rc<Activity>) -> Self {
        activity.backend_wait_began();
        Self(Rc::clone(activity))
    }
}

impl Drop for BackendWait {
    fn drop(&mut self) {
        self.0.backend_wait_ended();
    }
}

/// A stream that counts its reads and writes.
pub(super) struct TrackedIo<IO> {
    pub(super) io: IO,
    pub(super) activity: Rc<Activity>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for TrackedIo<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() != before {
            self.activity.bytes_came();
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for TrackedIo<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if result.is_ready() {
            self.activity.moved();
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.wrote();
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if result.is_ready() {
            self.activity.moved();
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when its own buffer is empty.
        let result = Pin::new(&mut self.io).poll_flush(cx);
        if matches!(result, Poll::Ready(Ok(()))) {
            self.activity.flushed();
        }
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
