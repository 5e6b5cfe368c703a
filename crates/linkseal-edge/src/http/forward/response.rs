//! What comes back: a back end's response without what was for one hop only, or a page that says
//! that there is none.

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode, response};
use http_body::Body as _;

use crate::http::pages::{language, unavailable};
use crate::http::reply::{self, Body, Reply};
use crate::http::upstream::Download;
use crate::http::upstream::request::{HOP_BY_HOP, named_by_connection};

/// A back end's response. `None`: it answers something that was not asked (101).
pub(super) fn passed_on(head: response::Parts, method: &Method, body: Download) -> Option<Reply> {
    if head.status.is_informational() {
        return None;
    }
    let mut headers = head.headers;
    let said = length(&headers);
    for name in named_by_connection(&headers).into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    // Other ways to the same content (RFC 7838) are ways past this edge.
    headers.remove(ALT_SVC);
    headers.remove(CONTENT_LENGTH);
    let bodiless = *method == Method::HEAD || head.status == StatusCode::NOT_MODIFIED;
    let length = if bodiless { said } else { body.size_hint().exact() };
    if let Some(length) = length.filter(|_| head.status != StatusCode::NO_CONTENT) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let mut reply = Reply::new(Body::Stream(Box::new(body)));
    *reply.status_mut() = head.status;
    *reply.headers_mut() = headers;
    Some(reply)
}

/// The length a response says it would have. `None`: none, or none that can be relied on.
fn length(headers: &HeaderMap) -> Option<u64> {
    let mut all = headers.get_all(CONTENT_LENGTH).iter();
    let first = all.next()?;
    let digits = first.to_str().ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    let usable = !headers.contains_key(TRANSFER_ENCODING) && all.next().is_none();
    digits.parse().ok().filter(|_| usable)
}

/// The page for people whose request came to nothing by the back end's doing.
pub(super) fn failed(status: StatusCode, headers: &HeaderMap, method: &Method) -> Reply {
    let reply = if status == StatusCode::SERVICE_UNAVAILABLE {
        reply::come_again(headers)
    } else {
        reply::page(status, &unavailable(language(headers)))
    };
    reply::for_method(reply, method)
}

/// The client's connection ends after this: HTTP/1.1 with a body whose length was not certain from
/// the start (RFC 9112 §6.3 asks for it when both lengths are given, which hyper does not tell).
pub(super) fn last(reply: &mut Reply) {
    reply
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
}
