//! One request, as hyper calls the edge: decided at once, its reply a small future, then counted and
//! logged.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll, ready};
use std::time::Instant;

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode, request};
use hyper::body::Incoming;
use linkseal_base::log_path::with_cut_segments;

use super::exchange::{Answer, Step};
use super::host::Host;
use super::reply::{self, Reply};
use super::respond::respond;
use super::router::RouteLabel;
use super::session::Session;

/// Most fields of a head in HTTP/2; hyper has the same limit for HTTP/1.1. HPACK makes a field out
/// of one byte.
const MAX_FIELDS: usize = 100;

/// Answers a request. What can be decided at once is decided before the future is made, so that the
/// future holds the reply at most: every connection keeps room for one.
pub(super) fn answer(session: &Rc<Session>, request: Request<Incoming>) -> ResponseFuture {
    let started = Instant::now();
    let session = InFlight::new(session, started);
    let (head, body) = request.into_parts();
    let log = LogFields::of(&head);
    let Answer { route, step } = if head.headers.len() > MAX_FIELDS {
        let refused = reply::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        Answer::done(RouteLabel::Refused, refused)
    } else {
        respond(&session.0, head, body)
    };
    ResponseFuture {
        step,
        route,
        started,
        session,
        log,
    }
}

/// A request that is being answered.
pub(super) struct ResponseFuture {
    step: Step,
    route: RouteLabel,
    started: Instant,
    session: InFlight,
    /// `None` unless debug logging is on.
    log: Option<Box<LogFields>>,
}

impl Future for ResponseFuture {
    type Output = Result<Reply, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut reply = ready!(self.step.poll(cx));
        let Self {
            route,
            started,
            session: InFlight(session),
            log,
            ..
        } = &*self;
        session.activity.note_answer();
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
        if let Some(LogFields { host, path }) = log.as_deref() {
            let (client, status) = (session.connection.client, reply.status().as_u16());
            tracing::debug!(%client, route = route.as_str(), status, host, path, "request");
        }
        Poll::Ready(Ok(reply))
    }
}

/// Marks a request that is being answered, until it is dropped.
struct InFlight(Rc<Session>);

impl InFlight {
    fn new(session: &Rc<Session>, now: Instant) -> Self {
        session.activity.request_began(now);
        Self(Rc::clone(session))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.activity.request_ended();
    }
}

/// What the log line of a request shows.
struct LogFields {
    host: String,
    path: String,
}

impl LogFields {
    fn of(head: &request::Parts) -> Option<Box<Self>> {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return None;
        }
        let host = Host::of(head).ok().flatten().map(|h| h.as_str().to_owned());
        Some(Box::new(Self {
            host: host.unwrap_or_default(),
            path: with_cut_segments(head.uri.path()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every HTTP/1.1 connection keeps room for one, idle or not.
    #[test]
    fn a_response_future_is_little_larger_than_its_reply() {
        assert!(
            size_of::<ResponseFuture>() <= size_of::<Reply>() + 96,
            "{} bytes",
            size_of::<ResponseFuture>()
        );
    }
}
