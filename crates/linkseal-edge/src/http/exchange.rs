//! A request on its way through the edge: its head, read once, what it is answered from, and how far
//! the answer is.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, request};
use linkseal_base::clock::Timestamp;
use linkseal_domain::registry::Entry;
use linkseal_event::Appending;
use linkseal_link::{Destination, KillKind};
use uuid::Uuid;

use super::context::Settings;
use super::pages;
use super::reply::{self, Reply};
use super::router::{Route, RouteLabel, route};
use super::session::Session;
use super::upstream::Rule;

/// The head of a request and what its path asks for. The route is decided once: a reload that moves
/// the links does not change a request that is being answered.
pub(super) struct Head {
    pub(super) parts: request::Parts,
    route: Route<Span>,
}

/// A part of the path, so that a head can be moved together with its route.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    len: usize,
}

impl Head {
    /// `prefix`: `links.prefix`, without a slash at its end.
    pub(super) fn new(parts: request::Parts, prefix: &str) -> Self {
        let path = parts.uri.path();
        let route = route(path, prefix).map(|text| Span {
            start: text.as_ptr().addr().wrapping_sub(path.as_ptr().addr()),
            len: text.len(),
        });
        Self { parts, route }
    }

    pub(super) fn route(&self) -> Route<&str> {
        let path = self.parts.uri.path();
        let text = |span: Span| path.get(span.start..span.start.checked_add(span.len)?);
        self.route.map(|span| text(span).unwrap_or_default())
    }

    /// A copy with these headers only. It shares no memory with what it was read from: a head may
    /// have 16 KiB, and its values hold on to all of it.
    pub(super) fn slim(self, names: &[HeaderName]) -> Self {
        let (mut slim, ()) = Request::new(()).into_parts();
        let parts = self.parts;
        for name in names {
            let value = parts.headers.get(name);
            if let Some(value) = value.and_then(|v| HeaderValue::from_bytes(v.as_bytes()).ok()) {
                slim.headers.insert(name, value);
            }
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        slim.uri = Uri::try_from(target).unwrap_or_default();
        slim.method = parts.method;
        slim.version = parts.version;
        Self {
            parts: slim,
            route: self.route,
        }
    }
}

/// A request to a domain that is served here, and what it is answered from.
pub(super) struct Exchange<'r> {
    pub(super) session: &'r Session,
    pub(super) settings: &'r Settings,
    pub(super) head: &'r Head,
    pub(super) entry: &'r Entry,
    pub(super) now: Timestamp,
}

impl<'r> Exchange<'r> {
    pub(super) fn new(session: &'r Session, settings: &'r Settings, head: &'r Head, entry: &'r Entry) -> Self {
        Self {
            session,
            settings,
            head,
            entry,
            now: session.context.clock.now(),
        }
    }

    pub(super) fn method(&self) -> &'r Method {
        &self.head.parts.method
    }

    pub(super) fn headers(&self) -> &'r HeaderMap {
        &self.head.parts.headers
    }

    /// Whether a host, in lower-case ASCII, is served here.
    pub(super) fn is_served(&self, host: &str) -> bool {
        host == self.entry.name.as_str()
            || self.settings.names.contains(host)
            || self.session.context.registry.get(host).is_some()
    }

    /// The upstream rule for what this edge does not answer itself: other paths, and links whose
    /// token does not verify. No rule applies to the edge's own routes.
    pub(super) fn rule_for(&self, route: Route<&str>) -> Option<Arc<Rule>> {
        match route {
            Route::Open { .. }
            | Route::Click { .. }
            | Route::Unsubscribe { .. }
            | Route::Redirect { .. }
            | Route::Other => {
                let (domain, path) = (self.entry.name.as_str(), self.head.parts.uri.path());
                self.settings.upstreams.find(domain, path).map(Arc::clone)
            }
            _ => None,
        }
    }

    /// The kill switch that applies to a link. A stored redirect has no message.
    pub(super) fn kill_switch(
        &self,
        tenant: &str,
        message: Option<Uuid>,
        destination: &Destination<'_>,
    ) -> Option<KillKind> {
        self.session.context.kills.hit(tenant, message, destination)
    }

    /// The page for a link that was killed: 410, as it does not come back by itself. It links to
    /// nothing, least of all to the link's destination.
    pub(super) fn killed(&self) -> Reply {
        reply::page(StatusCode::GONE, &pages::killed(pages::language(self.headers())))
    }

    /// The page for a link that leads nowhere.
    pub(super) fn not_found(&self) -> Reply {
        reply::page(
            StatusCode::NOT_FOUND,
            &pages::not_found(pages::language(self.headers())),
        )
    }
}

/// The answer to a request, and its label in metrics.
pub(super) struct Answer {
    pub(super) route: RouteLabel,
    pub(super) step: Step,
}

/// How far an answer is.
pub(super) enum Step {
    Done(Reply),
    /// The reply goes out when its event is written.
    Recorded(Reply, Appending),
    /// Rare, so it is kept out of every connection's future.
    Pending(Pin<Box<dyn Future<Output = Reply>>>),
}

impl Answer {
    pub(super) fn done(route: RouteLabel, reply: Reply) -> Self {
        let step = Step::Done(reply);
        Self { route, step }
    }

    pub(super) fn pending(route: RouteLabel, reply: impl Future<Output = Reply> + 'static) -> Self {
        let step = Step::Pending(Box::pin(reply));
        Self { route, step }
    }

    /// Adds the domain's `Strict-Transport-Security`; it replaces a back end's.
    pub(super) fn with_hsts(mut self, hsts: HeaderValue) -> Self {
        self.step = match self.step {
            Step::Done(mut reply) => {
                reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                Step::Done(reply)
            }
            Step::Recorded(mut reply, event) => {
                reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                Step::Recorded(reply, event)
            }
            Step::Pending(reply) => Step::Pending(Box::pin(async move {
                let mut reply = reply.await;
                reply.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
                reply
            })),
        };
        self
    }
}

impl Step {
    /// The reply goes out when its event is written.
    pub(super) fn after(reply: Reply, event: Option<Appending>) -> Self {
        match event.filter(|event| !event.is_settled()) {
            Some(event) => Self::Recorded(reply, event),
            None => Self::Done(reply),
        }
    }

    /// The reply. Not to be called again afterwards.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        match self {
            Self::Done(reply) => Poll::Ready(std::mem::take(reply)),
            Self::Recorded(reply, event) => {
                // Serving goes before counting: the journal has counted and logged what it could not take.
                let _ = ready!(event.poll_written(cx));
                Poll::Ready(std::mem::take(reply))
            }
            Self::Pending(reply) => reply.as_mut().poll(cx),
        }
    }

    pub(super) async fn settle(mut self) -> Reply {
        poll_fn(|cx| self.poll(cx)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> Head {
        let (parts, ()) = Request::get(target)
            .header("cookie", "a=b")
            .body(())
            .unwrap()
            .into_parts();
        Head::new(parts, "/track")
    }

    #[test]
    fn the_route_moves_with_the_head() {
        for target in ["/track/c/abc?x", "https://links.example/track/c/abc"] {
            let head = head(target);
            let expected = Route::Click {
                tenant: None,
                token: "abc",
            };
            assert_eq!(head.route(), expected, "{target}");
            let slim = head.slim(&[http::header::USER_AGENT]);
            assert_eq!(slim.route(), expected, "{target}");
            assert!(slim.parts.headers.is_empty());
        }
        let route = head("/t/acme/u/abc").route().map(str::to_owned);
        assert!(matches!(route, Route::Unsubscribe { tenant: Some(tenant), .. } if tenant == "acme"));
    }
}
