//! The head of a request to a back end: rewritten, so that it is unambiguous, and so that only the edge
//! says who the client is.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, request};

use super::upload::Upload;
use crate::http::target;

/// `CDN-Loop` (RFC 8586): which proxies a request has passed. Not `Via`, for which nginx, for one, stops
/// compressing responses.
pub(in crate::http) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Headers for one connection only (RFC 9110 §7.6.1), and those of proxies.
pub(in crate::http) const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Headers that only the edge may set: where a request comes from, by which protocol, and for which URL.
/// Back ends trust some of these from a known proxy. `Proxy` becomes HTTP_PROXY in CGI (CVE-2016-5385);
/// the URL headers change the path in some frameworks.
#[rustfmt::skip]
const EDGES_OWN: [&str; 53] = [
    "forwarded", "x-real-ip", "x-real-port", "x-client-ip", "x-cluster-client-ip",
    "client-ip", "x-remote-ip", "x-remote-addr", "remote-addr", "x-originating-ip",
    "x-proxyuser-ip", "x-original-forwarded-for", "x-original-host", "x-original-proto", "x-host",
    "true-client-ip", "cf-connecting-ip", "cf-connecting-ipv6", "cf-pseudo-ipv4", "cf-visitor",
    "cloudfront-viewer-address", "cloudfront-forwarded-proto", "fastly-client-ip", "fastly-ssl", "fly-client-ip",
    "do-connecting-ip", "incap-client-ip", "ali-cdn-real-ip", "cdn-src-ip", "x-nf-client-connection-ip",
    "x-sucuri-clientip", "x-vercel-forwarded-for", "x-azure-clientip", "x-azure-socketip", "x-envoy-external-address",
    "x-envoy-internal", "x-appengine-user-ip", "x-appengine-remote-addr", "proxy-client-ip", "wl-proxy-client-ip",
    "front-end-https", "x-scheme", "x-url-scheme", "x-arr-ssl", "x-arr-clientcert",
    "client-cert", "client-cert-chain", "x-client-cert", "remote-user", "x-remote-user",
    "x-original-url", "x-rewrite-url", "proxy",
];
/// The same, by prefix.
const EDGES_OWN_STARTS: [&str; 6] = [
    "x-forwarded-",
    "ssl-client-",
    "x-ssl-",
    "x-amzn-mtls-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
];

/// Whether only the edge may set a header.
fn is_edges_own(name: &str) -> bool {
    EDGES_OWN.contains(&name) || EDGES_OWN_STARTS.iter().any(|start| name.starts_with(start))
}

/// What the edge knows of a request.
pub(in crate::http) struct Seen<'a> {
    pub(in crate::http) client: IpAddr,
    /// Whether it came over HTTPS, here or to a CDN in front.
    pub(in crate::http) https: bool,
    /// Its host in lower case, with the port unless it is the scheme's default.
    pub(in crate::http) host: &'a str,
    /// The edge's name, to detect loops.
    pub(in crate::http) edge: &'a str,
}

/// A request that goes to a back end.
pub(in crate::http) struct Outgoing {
    pub(in crate::http) method: Method,
    target: PathAndQuery,
    host: String,
    headers: HeaderMap,
    /// The body's length, if it is known.
    length: Option<u64>,
    /// Whether the length is sent even if it is zero.
    says_length: bool,
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// With this status.
    Status(StatusCode),
    /// 405: the method is not passed on.
    Method,
    /// The request has passed this edge before.
    Loop,
}

/// For `Allow`. Unknown methods are passed on too; TRACE is not, as it would show the client what the edge
/// has added.
pub(in crate::http) const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Outgoing {
    /// From the client's head. `length` is the body's, if it is known; more than `max` is refused.
    pub(in crate::http) fn new(
        head: &request::Parts,
        length: Option<u64>,
        max: u64,
        seen: &Seen<'_>,
    ) -> Result<Self, Refusal> {
        refuse(head)?;
        if length.is_some_and(|length| length > max) {
            return Err(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        let target = http1_target(&head.uri).ok_or(Refusal::Status(StatusCode::BAD_REQUEST))?;
        let mut headers = end_to_end(&head.headers);
        passed_on(&mut headers, seen.edge)?;
        from_edge(&mut headers, seen)?;
        one_cookie(&mut headers)?;
        Ok(Self {
            method: head.method.clone(),
            target,
            host: seen.host.to_owned(),
            headers,
            length,
            says_length: head.headers.contains_key(CONTENT_LENGTH)
                || matches!(head.method, Method::POST | Method::PUT | Method::PATCH),
        })
    }

    /// Whether it may be sent again if the connection breaks before the response: its method is safe (RFC 9110
    /// §9.2.1) and it has no body.
    pub(in crate::http) fn may_be_repeated(&self) -> bool {
        self.method.is_safe() && self.length == Some(0)
    }

    /// Whether it has a body where few back ends expect one. A back end that does not read it would take it
    /// for the next request, so its connection is not used again.
    pub(in crate::http) fn has_odd_body(&self) -> bool {
        matches!(
            self.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
        ) && self.length != Some(0)
    }

    /// As sent on a connection; HTTP/2 needs the scheme.
    pub(in crate::http) fn request(&self, h2: Option<&Scheme>, body: Upload) -> Result<Request<Upload>, Refusal> {
        let bad = |_| Refusal::Status(StatusCode::BAD_REQUEST);
        let mut headers = self.headers.clone();
        match self.length {
            Some(0) if !self.says_length => {}
            Some(length) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            None if h2.is_none() => {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            None => {}
        }
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(self.target.clone());
        if let Some(scheme) = h2 {
            uri.scheme = Some(scheme.clone());
            uri.authority = Some(Authority::try_from(self.host.as_str()).map_err(|_| bad(()))?);
        } else {
            headers.insert(HOST, HeaderValue::try_from(&self.host).map_err(|_| bad(()))?);
            if self.has_odd_body() {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        let mut request = Request::new(body);
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| bad(()))?;
        *request.version_mut() = if h2.is_some() {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        };
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// The target, spelled as over HTTP/1.1.
fn http1_target(uri: &Uri) -> Option<PathAndQuery> {
    let target = uri.path_and_query()?;
    match target::encoded(target.as_str()) {
        Some(encoded) => encoded.try_into().ok(),
        None => Some(target.clone()),
    }
}

/// Refuses what cannot be passed on unambiguously.
fn refuse(head: &request::Parts) -> Result<(), Refusal> {
    if head.method == Method::TRACE || head.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    // An unknown transfer coding (RFC 9112 §6.1). hyper decodes the last one only.
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let plain = codings
        .next()
        .is_none_or(|c| c.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !plain || codings.next().is_some() {
        return Err(Refusal::Status(StatusCode::NOT_IMPLEMENTED));
    }
    // hyper answers 100-continue when the body is first polled: then there is a place at a back end.
    let mut expected = head.headers.get_all(EXPECT).iter();
    if !expected.all(|e| e.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::Status(StatusCode::EXPECTATION_FAILED));
    }
    let mut upgrades = head.headers.get_all(UPGRADE).iter();
    if upgrades.any(|u| contains_token(u, "websocket")) {
        return Err(Refusal::Status(StatusCode::NOT_IMPLEMENTED));
    }
    Ok(())
}

/// The client's end-to-end headers.
fn end_to_end(all: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(all);
    let mut headers = HeaderMap::with_capacity(all.len() + 5);
    for (name, value) in all {
        let dropped = *name == HOST
            || *name == CONTENT_LENGTH
            || *name == EXPECT
            || *name == HeaderName::from_static("http2-settings")
            || HOP_BY_HOP.contains(name)
            || is_edges_own(name.as_str())
// CGI and its successors do not tell `X_Forwarded_For` from `X-Forwarded-For`.
            || name.as_str().contains('_')
            || named.contains(name);
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// The headers that `Connection` names, which are for one hop only. The edge sets its own after these are
/// removed.
pub(in crate::http) fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // It must not be removed (RFC 8586 §2).
        .filter(|name| *name != CDN_LOOP)
        .collect()
}

/// Adds this edge to `CDN-Loop`.
fn passed_on(headers: &mut HeaderMap, edge: &str) -> Result<(), Refusal> {
    if headers.get_all(CDN_LOOP).iter().any(|v| contains_token(v, edge)) {
        return Err(Refusal::Loop);
    }
    let edge = HeaderValue::try_from(edge).map_err(|_| Refusal::Status(StatusCode::BAD_REQUEST))?;
    headers.append(CDN_LOOP, edge);
    Ok(())
}

/// Adds who the client is and what it asked for, as seen by the edge.
fn from_edge(headers: &mut HeaderMap, seen: &Seen<'_>) -> Result<(), Refusal> {
    let proto = if seen.https { "https" } else { "http" };
    let client = seen.client.to_canonical();
    let mut forwarded = String::with_capacity(96);
    // Anything but a token is quoted, IPv6 is in brackets (RFC 7239 §4, §6).
    let _ = match client {
        IpAddr::V4(v4) => write!(forwarded, "for={v4}"),
        IpAddr::V6(v6) => write!(forwarded, "for=\"[{v6}]\""),
    };
    let _ = if seen.host.contains([':', '[']) {
        write!(forwarded, ";host=\"{}\"", seen.host)
    } else {
        write!(forwarded, ";host={}", seen.host)
    };
    let _ = write!(forwarded, ";proto={proto}");
    let value = |text: String| {
        HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| Refusal::Status(StatusCode::BAD_REQUEST))
    };
    headers.insert(X_FORWARDED_FOR, value(client.to_string())?);
    headers.insert(X_FORWARDED_HOST, value(seen.host.to_owned())?);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    headers.insert(FORWARDED, value(forwarded)?);
    Ok(())
}

/// Joins cookies, which HTTP/2 may split over several fields, into one (RFC 9113 §8.2.3).
fn one_cookie(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut all = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (all.next(), all.next()) else {
        return Ok(());
    };
    let mut joined = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(all) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(value.as_bytes());
    }
    let joined =
        HeaderValue::from_maybe_shared(Bytes::from(joined)).map_err(|_| Refusal::Status(StatusCode::BAD_REQUEST))?;
    headers.insert(COOKIE, joined);
    Ok(())
}

/// Whether a list (RFC 9110 §5.6.1) has an item that starts with this token, ignoring parameters.
fn contains_token(list: &HeaderValue, token: &str) -> bool {
    list.as_bytes().split(|b| *b == b',').any(|item| {
        let end = item.iter().position(|b| matches!(b, b';' | b'/')).unwrap_or(item.len());
        let name = item.get(..end).unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(token.as_bytes())
    })
}

#[cfg(test)]
mod tests;
