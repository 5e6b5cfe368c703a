//! An HTTP/2 connection. Its streams are tasks of its own core: answers that are ready in one turn of the
//! core's loop leave in one write, as the connection's task runs after those that woke it.

use std::pin::{Pin, pin};
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::activity::TrackedIo;
use super::lifetime::{Closable, Driven, Lifetime};
use super::server::MAX_HEAD;
use super::service::answer;
use super::session::Session;
use crate::waitable::Waitable;

/// Requests at once on one connection: RFC 9113 §6.5.2 asks for at least 100.
const MAX_STREAMS: u32 = 100;
/// Bytes that may be in flight from the client, per stream and per connection: bodies here have 4 KiB.
const WINDOW: u32 = 64 * 1024;
/// Bytes of replies that wait for a slow client, per stream.
const SEND_BUFFER: usize = 16 * 1024;
/// Streams that the client has reset before they were accepted, at one time (rapid reset,
/// CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that this side resets for the client's errors (CVE-2025-8671), over a connection's life.
const MAX_ERROR_RESETS: usize = 100;

impl<I, S, E> Closable for http2::Connection<I, S, E>
where
    Self: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: http_body::Body + 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<IO: Waitable>(io: IO, session: &Rc<Session>, drain: CancellationToken) -> hyper::Result<()> {
    let io = TrackedIo {
        io,
        activity: Rc::clone(&session.activity),
    };
    let service = {
        let session = Rc::clone(session);
        service_fn(move |request| answer(&session, request))
    };
    let mut builder = http2::Builder::new(OnThisCore);
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    match Lifetime::new(session, drain).drive(connection.as_mut()).await {
        Driven::Ended(result) => result,
        // It is for HTTP/1.1 only.
        Driven::AtRest => Ok(()),
    }
}

/// Runs streams on the thread of their connection. They need no tracker: a connection that ends
/// gracefully waits for its streams, and one that is cut wakes them to end.
#[derive(Clone)]
struct OnThisCore;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisCore {
    fn execute(&self, stream: F) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the connection, which is tracked, waits for its streams"
        )]
        tokio::task::spawn_local(stream);
    }
}
