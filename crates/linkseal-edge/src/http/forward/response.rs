//! The reply: a back end's response without hop-by-hop headers, or a page that says there is none.

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, response};
use http_body::Body as _;

use crate::http::pages::{language, unavailable};
use crate::http::reply::{self, Body, Reply};
use crate::http::upstream::Download;
use crate::http::upstream::request::{HOP_BY_HOP, named_by_connection};

/// A back end's response. `None` if it is informational (101), which was not requested.
pub(super) fn passed_on(head: response::Parts, method: &Method, body: Download) -> Option<Reply> {
    if head.status.is_informational() {
        return None;
    }
    let mut headers = head.headers;
    let announced = length(&headers);
    for name in named_by_connection(&headers).into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    // Alternative services (RFC 7838) would bypass this edge.
    headers.remove(ALT_SVC);
    headers.remove(CONTENT_LENGTH);
    let bodiless = *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    let length = if bodiless { announced } else { body.size_hint().exact() };
    if let Some(length) = length.filter(|_| head.status != StatusCode::NO_CONTENT) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut reply = Reply::new(Body::Stream(Box::new(body)));
    *reply.status_mut() = head.status;
    *reply.headers_mut() = headers;
    Some(reply)
}

/// The `Content-Length` of a response. `None` if there is none, or it cannot be relied on.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let first = all.next()?;
    let digits = first.to_str().ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let usable = !headers.contains_key(TRANSFER_ENCODING) && all.next().is_none();
    digits.parse().ok().filter(|_| usable)
}

/// The page for a request that the back end did not answer.
pub(super) fn failed(status: StatusCode, headers: &HeaderMap, method: &Method) -> Reply {
    let reply = if status == StatusCode::SERVICE_UNAVAILABLE {
        reply::come_again(headers)
    } else {
        reply::page(status, &unavailable(language(headers)))
    };
    reply::for_method(reply, method)
}

/// Closes the client's connection after the reply, for an HTTP/1.1 request with a transfer coding: RFC 9112
/// §6.3 requires it if there was a `Content-Length` too, which hyper hides.
pub(super) fn last(reply: &mut Reply) {
    reply
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
}
