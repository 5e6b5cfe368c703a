//! Unsubscribing: GET asks, only POST does it (RFC 8058), because scanners follow every link. It
//! works whatever was killed and however old the link is: no one may be kept on a list.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use linkseal_domain::registry::Entry;
use linkseal_event::Appending;
use linkseal_link::Kind;

use super::context::Settings;
use super::one_click::says_otherwise;
use super::pages::{confirm_unsubscribe, language, unsubscribed};
use super::record;
use super::reply::{self, Reply};
use super::respond::{Exchange, Step};
use super::router::{Route, route};
use super::server::{Session, at_hand};
use super::upstream;

/// Largest body, in bytes: one short pair, with what multipart wraps around it.
const MAX_BODY: usize = 4 * 1024;

/// GET: a page that asks. No one is unsubscribed, nothing is recorded. `None`: the token is not right.
pub(super) fn ask(x: &Exchange<'_>, tenant: Option<&str>, token: &str) -> Option<Reply> {
    x.verified(Kind::Unsubscribe, tenant, token, |_| {
        Some(reply::page(StatusCode::OK, &confirm_unsubscribe(language(x.headers))))
    })
}

/// POST: from a mail program's button (RFC 8058 §3.2) or the page's own form.
pub(super) async fn post(session: Arc<Session>, request: Request<Incoming>, entry: Arc<Entry>) -> Reply {
    let (head, body) = request.into_parts();
    let head = Kept::of(head);
    // The token first: who has none that is right is not waited for.
    {
        let settings = session.context.settings.load();
        let x = head.exchange(&session, &settings, &entry);
        let right = match route(x.uri.path(), &settings.prefix) {
            Route::Unsubscribe { tenant, token } => x.verified(Kind::Unsubscribe, tenant, token, |_| Some(())),
            _ => None,
        };
        if right.is_none() {
            return x.not_found();
        }
    }
    let mut read = pin!(Limited::new(body, MAX_BODY).collect());
    let read = match at_hand(read.as_mut()).await {
        Some(read) => Ok(read),
        None => {
            let Some(waits) = session.wait_for_client() else {
                return upstream::come_again(&head.headers);
            };
            tokio::select! {
                biased;
                read = tokio::time::timeout(session.context.limits.body, read) => read,
                () = waits.taken_away() => return upstream::come_again(&head.headers),
            }
        }
    };
    let body = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_)) => return reply::empty(StatusCode::BAD_REQUEST),
        Err(_) => return reply::empty(StatusCode::REQUEST_TIMEOUT),
    };
    let step = {
        let settings = session.context.settings.load();
        let x = head.exchange(&session, &settings, &entry);
        let (reply, event) = posted(&x, &body);
        Step::after(reply, event)
    };
    step.settle().await
}

/// What is kept of a request's head while its body is waited for: what the answer and the event
/// need. Thousands may wait, and a head may have 16 KiB.
struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Kept {
    const HEADERS: [HeaderName; 10] = [
        USER_AGENT,
        REFERER,
        ACCEPT_LANGUAGE,
        CONTENT_TYPE,
        HeaderName::from_static("dnt"),
        HeaderName::from_static("sec-gpc"),
        HeaderName::from_static("purpose"),
        HeaderName::from_static("sec-purpose"),
        HeaderName::from_static("x-purpose"),
        HeaderName::from_static("x-moz"),
    ];

    fn of(head: request::Parts) -> Self {
        let mut headers = HeaderMap::new();
        for name in Self::HEADERS {
            let value = head.headers.get(&name);
            // Copies, here and below: the values themselves hold on to all that came with them.
            if let Some(value) = value.and_then(|v| HeaderValue::from_bytes(v.as_bytes()).ok()) {
                headers.insert(name, value);
            }
        }
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
        Self {
            method: head.method,
            uri: Uri::try_from(target).unwrap_or_default(),
            version: head.version,
            headers,
        }
    }

    fn exchange<'r>(&'r self, session: &'r Session, settings: &'r Settings, entry: &'r Entry) -> Exchange<'r> {
        Exchange {
            session,
            settings,
            method: &self.method,
            uri: &self.uri,
            version: self.version,
            headers: &self.headers,
            now: session.context.clock.now(),
            entry,
        }
    }
}

fn posted(x: &Exchange<'_>, body: &Bytes) -> (Reply, Option<Appending>) {
    let Route::Unsubscribe { tenant, token } = route(x.uri.path(), &x.settings.prefix) else {
        return (x.not_found(), None);
    };
    let language = language(x.headers);
    if says_otherwise(x.headers, body) {
        let right = x.verified(Kind::Unsubscribe, tenant, token, |_| Some(()));
        let asked = || reply::page(StatusCode::BAD_REQUEST, &confirm_unsubscribe(language));
        return (right.map_or_else(|| x.not_found(), |()| asked()), None);
    }
    match x.verified(Kind::Unsubscribe, tenant, token, |token| {
        Some(record::link(x, token, None))
    }) {
        Some(event) => (reply::page(StatusCode::OK, &unsubscribed(language)), Some(event)),
        None => (x.not_found(), None),
    }
}
