//! Files at fixed paths: for app links, crawlers, prefetchers and health checks.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderValue, Method, StatusCode};

use super::context::Context;
use super::exchange::Exchange;
use super::reply::{self, Reply};

/// How long robots.txt and traffic-advice may be cached: crawlers keep them for a day anyway.
const A_DAY: HeaderValue = HeaderValue::from_static("max-age=86400");

/// An app-link file as the platform registered it, if there is one.
pub(super) fn app_links(x: &Exchange<'_>, file: Option<Bytes>) -> Reply {
    match file {
        Some(json) => reply::content(StatusCode::OK, HeaderValue::from_static("application/json"), json),
        None => x.not_found(),
    }
}

/// Nothing here is for search engines (RFC 9309).
pub(super) fn robots() -> Reply {
    cached(reply::text(StatusCode::OK, "User-agent: *\nDisallow: /\n"))
}

/// Tells private prefetch proxies to stay away: their fetches would look like a person's click.
pub(super) fn traffic_advice() -> Reply {
    const ADVICE: &[u8] = br#"[{"user_agent":"prefetch-proxy","disallow":true}]"#;
    let kind = HeaderValue::from_static("application/trafficadvice+json");
    cached(reply::content(StatusCode::OK, kind, Bytes::from_static(ADVICE)))
}

/// For balancers: 503 once this node drains.
pub(super) fn healthz(context: &Context, method: &Method) -> Reply {
    if method != Method::GET && method != Method::HEAD {
        return reply::method_not_allowed("GET, HEAD");
    }
    let reply = if context.draining.load(Ordering::Relaxed) {
        reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        reply::text(StatusCode::OK, "ok\n")
    };
    reply::for_method(reply, method)
}

fn cached(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(CACHE_CONTROL, A_DAY);
    reply
}
