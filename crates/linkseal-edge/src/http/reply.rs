//! Replies: a status, constant headers, and a body that is empty, one piece, or streamed from a back end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::pages::{Page, language, unavailable};
use super::upstream::{Download, DownloadError};

/// Keeps links out of crawlers' indexes.
const X_ROBOTS_TAG: HeaderName = HeaderName::from_static("x-robots-tag");
const NOINDEX: HeaderValue = HeaderValue::from_static("noindex, nofollow");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// `Retry-After` in seconds, for a client that met a full or dead back end.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("5");

pub(super) type Reply = Response<Body>;

/// The body of a reply.
#[derive(Debug, Default)]
pub(super) enum Body {
    /// Nothing, or already sent.
    #[default]
    Empty,
    Full(Bytes),
    /// Streamed from a back end.
    Stream(Box<Download>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        if let Self::Stream(download) = &mut *self {
            return Pin::new(download).poll_frame(cx);
        }
        match std::mem::take(&mut *self) {
            Self::Stream(_) => Poll::Ready(None),
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(download) => download.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(download) => download.size_hint(),
        }
    }
}

/// An empty body, `no-store`.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::Empty);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    reply
}

/// A body, `no-store`.
pub(super) fn content(status: StatusCode, kind: HeaderValue, body: Bytes) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    *reply.body_mut() = Body::Full(body);
    reply
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = content(
        status,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        text.into(),
    );
    reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    reply
}

/// A redirect that neither caches nor crawlers keep.
pub(super) fn redirect(status: StatusCode, location: HeaderValue) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert(X_ROBOTS_TAG, NOINDEX);
    reply.headers_mut().insert(LOCATION, location);
    reply
}

/// A self-contained page.
pub(super) fn page(status: StatusCode, page: &Page) -> Reply {
    /// Loads nothing, runs nothing; the form posts to its own origin.
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    );
    let mut reply = content(
        status,
        HeaderValue::from_static("text/html; charset=utf-8"),
        Bytes::from_static(page.html.as_bytes()),
    );
    let headers = reply.headers_mut();
    headers.insert(X_ROBOTS_TAG, NOINDEX);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(http::header::CONTENT_LANGUAGE, HeaderValue::from_static(page.language));
    headers.insert(http::header::CONTENT_SECURITY_POLICY, POLICY);
    // The URL of an unsubscribe page holds a token.
    headers.insert(http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    reply
}

/// 503 with `Retry-After`: there is no answer at present.
pub(super) fn come_again(headers: &HeaderMap) -> Reply {
    let mut reply = page(StatusCode::SERVICE_UNAVAILABLE, &unavailable(language(headers)));
    reply.headers_mut().insert(RETRY_AFTER, COME_AGAIN);
    reply
}

/// 405 with the methods that are allowed (RFC 9110 §15.5.6).
pub(super) fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

/// For HEAD: the headers of GET without the body (RFC 9110 §9.3.2), which hyper would send as DATA frames
/// over HTTP/2.
pub(super) fn for_method(mut reply: Reply, method: &Method) -> Reply {
    if method == Method::HEAD
        && let Body::Full(bytes) = std::mem::take(reply.body_mut())
    {
        reply
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    reply
}
