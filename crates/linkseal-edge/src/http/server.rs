//! One connection, from its first request to its close.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Instant;

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use linkseal_base::shutdown::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::reply::{self, Reply};
use super::respond::{Answer, Step, respond};
use super::router::RouteLabel;
use super::target::Encoded;
use super::watch::{Activity, Found, Watch, Watched};
use crate::Connection;
use crate::fair::FairPlace;

/// Most bytes of a request's head: the longest token (5.5 KiB) twice, as the page it leads to may be
/// its referrer, with room for cookies of a back end and what mail proxies add.
const MAX_HEAD: usize = 16 * 1024;
/// Most fields of a head in HTTP/2; hyper has the same limit for HTTP/1.1. HPACK makes a field out
/// of one byte.
const MAX_FIELDS: usize = 100;
/// Bodies that may be waited for at once on a connection that has not had an answer yet.
const BODIES_AT_FIRST: u32 = 32;
/// Requests at once on one HTTP/2 connection: RFC 9113 §6.5.2 asks for at least 100.
const MAX_STREAMS: u32 = 100;
/// Bytes that may be on their way in, per stream and per connection: bodies here have 4 KiB.
const WINDOW: u32 = 64 * 1024;
/// Bytes of replies that wait for a slow HTTP/2 client, per stream.
const SEND_BUFFER: usize = 16 * 1024;
/// Streams reset before they were looked at (rapid reset, CVE-2023-44487), at one time.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that this side resets for the client's errors (CVE-2025-8671), over a connection's life.
const MAX_ERROR_RESETS: usize = 100;

/// What the requests of a connection share.
pub(super) struct Session {
    pub(super) context: Arc<Context>,
    pub(super) connection: Connection,
    pub(super) activity: Activity,
}

/// Serves a connection until it ends. When `drain` is cancelled it ends in good order: after the
/// requests at hand, and one that is on its way, telling the client to come again elsewhere. The future is small; what hyper
/// keeps for the connection is behind one allocation of its own size.
pub fn serve<IO>(
    io: IO,
    connection: Connection,
    context: &Arc<Context>,
    drain: CancellationToken,
) -> impl Future<Output = ()> + Send + use<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let h2 = connection.is_h2();
    // Under the stand-in, a connection ends with its request: the next is to meet the real certificate.
    let keep_alive = !connection.tls.as_ref().is_some_and(|tls| tls.challenges_only) && !connection.presence.is_brief();
    let session = Arc::new(Session {
        context: Arc::clone(context),
        activity: Activity::of(Arc::clone(&connection.presence)),
        connection,
    });
    let watched = Watched {
        io,
        session: Arc::clone(&session),
    };
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
        Box::pin(Together {
            connection: builder.serve_connection(TokioIo::new(watched), service),
            waited: false,
        })
    } else {
        Box::pin(
            http1::Builder::new()
                .max_buf_size(MAX_HEAD)
                .keep_alive(keep_alive)
                .serve_connection(TokioIo::new(Encoded::new(watched)), service),
        )
    };
    let connection: Pin<Box<dyn Closable>> = if session.is_brief() {
        Box::pin(Brief {
            connection,
            over: Box::pin(tokio::time::sleep(context.brief)),
        })
    } else {
        connection
    };
    drive(connection, session, Watch::new(context.limits, h2), drain)
}

impl Session {
    /// Whether it has a place of the reserve: it is answered from what is at hand, or told to come again.
    pub(super) fn is_brief(&self) -> bool {
        self.connection.presence.is_brief()
    }

    /// Room to wait for the body of a request. `None`: too many do, of all, of this client's
    /// network, or on this connection, which has yet to show that it does something else.
    pub(super) fn wait_for_client(self: &Arc<Self>) -> Option<AwaitsBody> {
        if self.is_brief() {
            return None;
        }
        let place = self.context.bodies.try_enter(self.connection.client.ip())?;
        let awaits = AwaitsBody {
            session: Arc::clone(self),
            place,
        };
        let before = self.activity.awaits_body();
        (before < BODIES_AT_FIRST || self.activity.has_answered()).then_some(awaits)
    }
}

/// How often a connection is let run for what it has read already: over HTTP/1.1 a body comes once it
/// was asked for.
const LOOKS: usize = 8;

/// What is there without waiting for a client. `None`: it has yet to come.
pub(super) async fn at_hand<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    for _ in 0..LOOKS {
        if let Poll::Ready(output) = futures_util::poll!(future.as_mut()) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// A request's body is waited for, until this is dropped.
pub(super) struct AwaitsBody {
    session: Arc<Session>,
    place: FairPlace,
}

impl AwaitsBody {
    /// Resolves when others need the room more.
    pub(super) async fn taken_away(&self) {
        self.place.taken_away().await;
    }
}

impl Drop for AwaitsBody {
    fn drop(&mut self) {
        self.session.activity.has_body();
    }
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
                    // Resets, bad requests, handshakes left: the client's doing, and its concern.
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
                    // Its place has gone to another: what is under way ends here.
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
                        Found::Fine => {}
                        Found::Idle => connection.as_mut().close(),
                        Found::Stuck => return,
                    }
                }
                next.as_mut().reset(tokio::time::Instant::now() + watch.tick());
            }
        }
    }
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// It is to end, but what has come, or is on its way, is answered.
    Leaving,
    Closing,
}

/// A connection that can be told to end in good order.
trait Closable: Future<Output = hyper::Result<()>> + Send {
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
struct Brief {
    connection: Pin<Box<dyn Closable>>,
    over: Pin<Box<tokio::time::Sleep>>,
}

impl Future for Brief {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        match self.connection.as_mut().poll(cx) {
            Poll::Pending => self.over.as_mut().poll(cx).map(Ok),
            ended => ended,
        }
    }
}

impl Closable for Brief {
    fn close(mut self: Pin<&mut Self>) {
        self.connection.as_mut().close();
    }
}

/// An HTTP/2 connection that lets its streams go first. The first of several that are answered
/// wakes the connection, which tokio would run next: each answer would be sent in a TLS record and
/// a system call of its own. So it steps back once, until what can run has run.
struct Together<C> {
    connection: C,
    /// Whether it has stepped back since it last ran.
    waited: bool,
}

impl<C: Future + Unpin> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<C::Output> {
        self.waited = !self.waited;
        if self.waited {
            // Polled once, this wakes the task after those that can run now.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll(cx)
    }
}

impl<I, S, E> Closable for Together<http2::Connection<I, S, E>>
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

/// Runs the streams of HTTP/2 where all tasks of the edge are.
#[derive(Clone)]
struct OnTasks(Tasks);

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

/// One request. What can be decided at once is decided before the future is made, so that the
/// future holds the reply at most: every connection keeps room for one.
fn answer(session: &Arc<Session>, request: Request<Incoming>) -> Answering {
    let started = Instant::now();
    let session = InFlight::new(session, started);
    let shown = Shown::of(&request);
    let Answer { route, step } = if request.headers().len() > MAX_FIELDS {
        Answer {
            route: RouteLabel::Refused,
            step: Step::Done(reply::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)),
        }
    } else {
        respond(&session.0, request)
    };
    Answering {
        step,
        route,
        started,
        session,
        shown,
    }
}

/// A request that is being answered.
struct Answering {
    step: Step,
    route: RouteLabel,
    started: Instant,
    session: InFlight,
    /// What the log shows. `None`: no one listens.
    shown: Option<Box<Shown>>,
}

impl Future for Answering {
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut reply = match &mut self.step {
            Step::Done(reply) => std::mem::take(reply),
            Step::Slow(reply) => ready!(reply.as_mut().poll(cx)),
        };
        let Self {
            route,
            started,
            session: InFlight(session),
            shown,
            ..
        } = &*self;
        session.activity.has_shown_itself();
        if session.activity.is_leaving() && !session.connection.is_h2() {
            // HTTP/2 has GOAWAY for that.
            reply
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        session
            .context
            .metrics
            .answered(*route, reply.status(), started.elapsed());
        if let Some(Shown { host, path }) = shown.as_deref() {
            let (client, status) = (session.connection.client, reply.status().as_u16());
            tracing::debug!(%client, route = route.as_str(), status, host, path, "request");
        }
        Poll::Ready(Ok(reply))
    }
}

/// Tells the tick that a request is being answered, until it is dropped.
struct InFlight(Arc<Session>);

impl InFlight {
    fn new(session: &Arc<Session>, now: Instant) -> Self {
        session.activity.request(now);
        Self(Arc::clone(session))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.activity.answered();
    }
}

/// Tells the tick that a reply's body streams, until it is dropped.
pub(super) struct Ongoing(Arc<Session>);

impl Ongoing {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        session.activity.goes_on();
        Self(Arc::clone(session))
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.activity.answered();
    }
}

/// Tells the tick that a back end is waited for, until it is dropped.
pub(super) struct Waiting(Arc<Session>);

impl Waiting {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        session.activity.waits();
        Self(Arc::clone(session))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.activity.waited();
    }
}

/// What the log line of a request shows.
struct Shown {
    host: String,
    path: String,
}

impl Shown {
    /// Enough of a token to find it by, not enough to use it.
    const SEGMENT: usize = 8;

    /// `None`: no one listens.
    fn of(request: &Request<Incoming>) -> Option<Box<Self>> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return None;
        }
        let host = super::host::Host::of(request)
            .ok()
            .flatten()
            .map(|h| h.as_str().to_owned());
        Some(Box::new(Self {
            host: host.unwrap_or_default(),
            path: Self::path(request.uri().path()),
        }))
    }

    /// The path, each long part cut.
    fn path(path: &str) -> String {
        let mut out = String::new();
        for (i, part) in path.split('/').enumerate() {
            if i > 0 {
                out.push('/');
            }
            out.extend(part.chars().take(Self::SEGMENT));
            if part.chars().nth(Self::SEGMENT).is_some() {
                out.push('…');
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every HTTP/1.1 connection keeps room for one, idle or not.
    #[test]
    fn an_answer_is_little_more_than_its_reply() {
        assert!(
            size_of::<Answering>() <= size_of::<Reply>() + 64,
            "{} bytes",
            size_of::<Answering>()
        );
    }

    #[test]
    fn a_log_line_never_holds_a_whole_token() {
        assert_eq!(Shown::path("/c/EgFrAjCAAZLzpLXGfY6foLHC0-T1"), "/c/EgFrAjCA…");
        assert_eq!(Shown::path("/healthz"), "/healthz");
    }
}
