//! One connection, from its first request to its close.

use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, TrackedIo};
use super::context::Context;
use super::graceful::{Closable, CoalesceWrites, OnTasks, TimeLimited};
use super::service::answer;
use super::session::Session;
use super::target::Encoded;
use super::timeouts::{Verdict, Watch};
use crate::Connection;
use crate::connection::ServeHttp;

/// Most bytes of a request's head: the longest token (5.5 KiB) twice, as the page it leads to may be
/// its referrer, with room for cookies of a back end and what mail proxies add.
const MAX_HEAD: usize = 16 * 1024;
/// Requests at once on one HTTP/2 connection: RFC 9113 §6.5.2 asks for at least 100.
const MAX_STREAMS: u32 = 100;
/// Bytes that may be in flight from the client, per stream and per connection: bodies here have 4 KiB.
const WINDOW: u32 = 64 * 1024;
/// Bytes of replies that wait for a slow HTTP/2 client, per stream.
const SEND_BUFFER: usize = 16 * 1024;
/// Streams that the client has reset before they were accepted, at one time (rapid reset,
/// CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that this side resets for the client's errors (CVE-2025-8671), over a connection's life.
const MAX_ERROR_RESETS: usize = 100;

impl ServeHttp for Arc<Context> {
    async fn serve<IO>(&self, io: IO, connection: Connection, drain: &CancellationToken)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        serve(io, connection, self, drain.clone()).await;
    }
}

/// Serves a connection until it ends. When `drain` is cancelled it ends gracefully: after the requests
/// at hand, and one that is in flight, telling the client to reconnect elsewhere. The future is small;
/// what hyper keeps for the connection is behind one allocation of its own size.
pub(super) fn serve<IO>(
    io: IO,
    connection: Connection,
    context: &Arc<Context>,
    drain: CancellationToken,
) -> impl Future<Output = ()> + Send + use<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let h2 = connection.is_h2();
    // Under the stand-in, a connection ends with its request: the next one is to get the real certificate.
    let keep_alive = !connection.tls.as_ref().is_some_and(|tls| tls.challenges_only) && !connection.presence.is_brief();
    let activity = Arc::new(Activity::new(Arc::clone(&connection.presence)));
    let io = TrackedIo {
        io,
        activity: Arc::clone(&activity),
    };
    let session = Arc::new(Session {
        context: Arc::clone(context),
        activity,
        connection,
    });
    let service = {
        let session = Arc::clone(&session);
        service_fn(move |request| answer(&session, request))
    };
    let connection: Pin<Box<dyn Closable>> = if h2 {
        let mut builder = http2::Builder::new(OnTasks(context.tasks.clone()));
        builder
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD as u32)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS);
        let connection = builder.serve_connection(TokioIo::new(io), service);
        Box::pin(CoalesceWrites::new(connection))
    } else {
        Box::pin(
            http1::Builder::new()
                .max_buf_size(MAX_HEAD)
                .keep_alive(keep_alive)
                .serve_connection(TokioIo::new(Encoded::new(io)), service),
        )
    };
    let connection: Pin<Box<dyn Closable>> = if session.is_brief() {
        Box::pin(TimeLimited::new(connection, context.brief))
    } else {
        connection
    };
    drive(connection, session, Watch::new(context.timeouts, h2), drain)
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// It is to end, but requests that have come, or are in flight, are answered.
    Leaving,
    Closing,
}

/// Runs the connection, its tick and its end.
async fn drive(
    mut connection: Pin<Box<dyn Closable>>,
    session: Arc<Session>,
    mut watch: Watch,
    drain: CancellationToken,
) {
    let mut drained = pin!(drain.cancelled());
    let mut evicted = pin!(session.connection.presence.evicted());
    let mut next = pin!(tokio::time::sleep(watch.tick()));
    let mut stage = Stage::Open;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    // Resets, bad requests, broken connections: the client's fault.
                    tracing::debug!(client = %session.connection.client, %error, "connection ended");
                }
                return;
            }
            () = &mut drained, if stage == Stage::Open => {
                stage = Stage::Leaving;
                next.as_mut().reset(tokio::time::Instant::now() + watch.leave(&session.activity));
            }
            () = &mut evicted, if stage == Stage::Open => {
                stage = Stage::Leaving;
                next.as_mut().reset(tokio::time::Instant::now() + watch.make_way(&session.activity));
            }
            () = &mut next => {
                let displaced = session.connection.presence.is_displaced();
                if stage == Stage::Leaving {
                    // Its place has gone to another client: requests in progress end here.
                    if displaced && session.connection.presence.is_busy() {
                        return;
                    }
                    stage = Stage::Closing;
                    // What has come was read before this: the connection goes first above. A part of
                    // a request has the rest of its time; its answer ends the connection.
                    if displaced || !watch.awaits_rest(&session.activity) {
                        connection.as_mut().close();
                    }
                } else {
                    match watch.look(&session.activity, session.context.connections.fullness()) {
                        Verdict::Fine => {}
                        Verdict::Idle => connection.as_mut().close(),
                        Verdict::Stuck => return,
                    }
                }
                next.as_mut().reset(tokio::time::Instant::now() + watch.tick());
            }
        }
    }
}
