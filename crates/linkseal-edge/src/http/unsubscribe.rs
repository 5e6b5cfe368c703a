//! Unsubscribing: GET asks for confirmation, only POST unsubscribes (RFC 8058), because scanners follow
//! every link. Kill switches and the age of the link do not matter: recipients must always be able to
//! leave a list.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderName, REFERER, USER_AGENT};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use linkseal_domain::registry::Entry;
use linkseal_event::Appending;
use linkseal_link::Kind;

use super::exchange::{Exchange, Head, Step};
use super::one_click::says_otherwise;
use super::pages::{confirm_unsubscribe, language, unsubscribed};
use super::record;
use super::reply::{self, Reply};
use super::router::Route;
use super::session::{Session, if_arrived};
use super::verify::{is_ours, verified};

/// Largest body, in bytes: one short pair in its multipart wrapping.
const MAX_BODY: usize = 4 * 1024;
/// What is kept of a head while its body is waited for: what the answer and the event need. Thousands
/// of requests may wait.
const KEPT: [HeaderName; 10] = [
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

/// GET: a page that asks for confirmation. Nothing is recorded. `None` if the token is not right.
pub(super) fn ask(x: &Exchange<'_>, tenant: Option<&str>, token: &str) -> Option<Reply> {
    verified(x, Kind::Unsubscribe, tenant, token, |_| {
        Some(reply::page(StatusCode::OK, &confirm_unsubscribe(language(x.headers()))))
    })
}

/// POST: from a mail program's button (RFC 8058 §3.2) or the page's own form.
pub(super) async fn post(session: Rc<Session>, head: Head, body: Incoming, entry: Arc<Entry>) -> Reply {
    let head = head.slim(&KEPT);
    // The token first: the body is waited for only where it is right.
    {
        let settings = session.context.settings.load();
        let x = Exchange::new(&session, &settings, &head, &entry);
        if !is_ours(&x, head.route()) {
            return x.not_found();
        }
    }
    let mut read = pin!(Limited::new(body, MAX_BODY).collect());
    let read = match if_arrived(read.as_mut()).await {
        Some(read) => Ok(read),
        None => {
            let Some(waits) = session.wait_for_client() else {
                return reply::come_again(&head.parts.headers);
            };
            tokio::select! {
                biased;
                read = tokio::time::timeout(session.context.timeouts.body, read) => read,
                () = waits.taken_away() => return reply::come_again(&head.parts.headers),
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
        let x = Exchange::new(&session, &settings, &head, &entry);
        let (reply, event) = posted(&x, &body);
        Step::after(reply, event)
    };
    step.settle().await
}

fn posted(x: &Exchange<'_>, body: &Bytes) -> (Reply, Option<Appending>) {
    let Route::Unsubscribe { tenant, token } = x.head.route() else {
        return (x.not_found(), None);
    };
    let language = language(x.headers());
    if says_otherwise(x.headers(), body) {
        let right = verified(x, Kind::Unsubscribe, tenant, token, |_| Some(()));
        let asked = || reply::page(StatusCode::BAD_REQUEST, &confirm_unsubscribe(language));
        return (right.map_or_else(|| x.not_found(), |()| asked()), None);
    }
    let event = verified(x, Kind::Unsubscribe, tenant, token, |token| {
        Some(record::link(x, token, None))
    });
    match event {
        Some(event) => (reply::page(StatusCode::OK, &unsubscribed(language)), Some(event)),
        None => (x.not_found(), None),
    }
}
