//! A connection as hyper runs it, with what `server` needs of both protocols: a graceful close.

use std::pin::{Pin, pin};
use std::task::{self, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use linkseal_base::shutdown::Tasks;

/// A connection that can be told to end after the requests at hand.
pub(super) trait Closable: Future<Output = hyper::Result<()>> + Send {
    fn close(self: Pin<&mut Self>);
}

impl<I, S> Closable for http1::Connection<I, S>
where
    Self: Future<Output = hyper::Result<()>> + Send,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: http_body::Body + 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// A connection that is cut when its time is over, whatever moves on it.
pub(super) struct TimeLimited {
    connection: Pin<Box<dyn Closable>>,
    end: Pin<Box<tokio::time::Sleep>>,
}

impl TimeLimited {
    pub(super) fn new(connection: Pin<Box<dyn Closable>>, limit: Duration) -> Self {
        let end = Box::pin(tokio::time::sleep(limit));
        Self { connection, end }
    }
}

impl Future for TimeLimited {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.connection.as_mut().poll(cx) {
            Poll::Pending => self.end.as_mut().poll(cx).map(Ok),
            ended => ended,
        }
    }
}

impl Closable for TimeLimited {
    fn close(mut self: Pin<&mut Self>) {
        self.connection.as_mut().close();
    }
}

/// An HTTP/2 connection whose ready streams are written together. The first stream that is answered
/// wakes the connection, which tokio would run next: each answer would get a TLS record and a
/// `write()` of its own. So the connection yields once before it is polled, until all ready streams
/// have run.
pub(super) struct CoalesceWrites<C> {
    connection: C,
    /// Whether it has yielded since it was last polled.
    yielded: bool,
}

impl<C> CoalesceWrites<C> {
    pub(super) fn new(connection: C) -> Self {
        Self {
            connection,
            yielded: false,
        }
    }
}

impl<C: Future + Unpin> Future for CoalesceWrites<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<C::Output> {
        self.yielded = !self.yielded;
        if self.yielded {
            // Polled once, this wakes the task after those that can run now.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx)
    }
}

impl<I, S, E> Closable for CoalesceWrites<http2::Connection<I, S, E>>
where
    http2::Connection<I, S, E>: Future<Output = hyper::Result<()>> + Unpin + Send,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: http_body::Body + 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn close(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.connection).graceful_shutdown();
    }
}

/// Runs the streams of HTTP/2 among the edge's tasks, which shutdown waits for.
#[derive(Clone)]
pub(super) struct OnTasks(pub(super) Tasks);

impl<F> hyper::rt::Executor<F> for OnTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        // The handle is not needed: the tracker waits for the task.
        drop(self.0.spawn(stream));
    }
}
