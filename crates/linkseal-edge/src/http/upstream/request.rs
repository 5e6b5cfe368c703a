//! The head of a request as it goes to a back end: rewritten, so that it means one thing only,
//! and so that who the client is, is what the edge says.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, request};

use super::upload::Upload;

/// `CDN-Loop` (RFC 8586): who has passed a request on already. Not `Via`: nginx, for one, no longer
/// compresses what it sends for requests that have it.
pub(in crate::http) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Headers about one connection only (RFC 9110 §7.6.1), and those of proxies.
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

/// What only the edge may say: where a request comes from, over what, and what it is for. Back ends
/// believe some of these when a proxy they know sends them. `Proxy` becomes HTTP_PROXY in CGI
/// (CVE-2016-5385); the URL headers change the path in some frameworks.
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
/// The same, by how their names begin.
const EDGES_OWN_STARTS: [&str; 6] = [
    "x-forwarded-",
    "ssl-client-",
    "x-ssl-",
    "x-amzn-mtls-",
    "x-goog-authenticated-user-",
    "x-ms-client-principal",
];

/// Whether a header is the edge's own to say.
fn is_edges_own(name: &str) -> bool {
    EDGES_OWN.contains(&name) || EDGES_OWN_STARTS.iter().any(|start| name.starts_with(start))
}

/// What the edge knows of a request's sender and target.
pub(in crate::http) struct Seen<'a> {
    /// Who sent it.
    pub(in crate::http) client: IpAddr,
    /// Whether over HTTPS, here or up to a CDN in front.
    pub(in crate::http) https: bool,
    /// For which host, in lower case; with the port if it is not the scheme's own.
    pub(in crate::http) host: &'a str,
    /// The edge's name, by which loops are found.
    pub(in crate::http) edge: &'a str,
}

/// A request that goes to a back end.
pub(in crate::http) struct Outgoing {
    pub(in crate::http) method: Method,
    target: PathAndQuery,
    host: String,
    headers: HeaderMap,
    /// The body's length. `None`: not known before its end.
    length: Option<u64>,
    /// Whether the length is said even if it is zero.
    says_length: bool,
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// With this status.
    Status(StatusCode),
    /// 405: the method is not one to pass on.
    Method,
    /// It has been here before.
    Loop,
}

/// Methods that are passed on, for `Allow`. Others that HTTP may have are passed on too; TRACE
/// would show the client what the edge has added.
pub(in crate::http) const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl Outgoing {
    /// From what a client sent. `length` is its body's, where known; more than `max` is refused.
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
        let target = head.uri.path_and_query().cloned();
        let mut headers = end_to_end(&head.headers);
        passed_on(&mut headers, seen.edge)?;
        from_edge(&mut headers, seen)?;
        one_cookie(&mut headers)?;
        Ok(Self {
            method: head.method.clone(),
            target: target.ok_or(Refusal::Status(StatusCode::BAD_REQUEST))?,
            host: seen.host.to_owned(),
            headers,
            length,
            says_length: head.headers.contains_key(CONTENT_LENGTH)
                || matches!(head.method, Method::POST | Method::PUT | Method::PATCH),
        })
    }

    /// Whether it may be sent again when a connection broke before any answer: it changes nothing
    /// (RFC 9110 §9.2.1), and nothing of it is gone.
    pub(in crate::http) fn may_be_repeated(&self) -> bool {
        self.method.is_safe() && self.length == Some(0)
    }

    /// Whether it has a body where few back ends look for one. One that does not read it would take
    /// it for the next request: its connection is used for nothing else.
    pub(in crate::http) fn has_odd_body(&self) -> bool {
        matches!(
            self.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE
        ) && self.length != Some(0)
    }

    /// As it is written on a connection, for HTTP/2 with the scheme that is spoken there.
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

/// What cannot be passed on as it is meant.
fn refuse(head: &request::Parts) -> Result<(), Refusal> {
    if head.method == Method::TRACE || head.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    // A transfer coding that is not known here (RFC 9112 §6.1). hyper decodes the last one only.
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let plain = codings
        .next()
        .is_none_or(|c| c.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if !plain || codings.next().is_some() {
        return Err(Refusal::Status(StatusCode::NOT_IMPLEMENTED));
    }
    // hyper answers 100-continue when the body is first asked for: by then a back end has taken it.
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

/// The headers that are for the back end, as the client sent them.
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
            // `X_Forwarded_For` is the same as `X-Forwarded-For` to CGI and its heirs.
            || name.as_str().contains('_')
            || named.contains(name);
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// The headers that `Connection` names: they are for the next hop only. What the edge itself sets
/// is set after they are taken out.
pub(in crate::http) fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // RFC 8586 §2: no one takes it away.
        .filter(|name| *name != CDN_LOOP)
        .collect()
}

/// Adds this edge to those who passed the request on.
fn passed_on(headers: &mut HeaderMap, edge: &str) -> Result<(), Refusal> {
    if headers.get_all(CDN_LOOP).iter().any(|v| contains_token(v, edge)) {
        return Err(Refusal::Loop);
    }
    let edge = HeaderValue::try_from(edge).map_err(|_| Refusal::Status(StatusCode::BAD_REQUEST))?;
    headers.append(CDN_LOOP, edge);
    Ok(())
}

/// Who the client is and what it asked for, as the edge saw it.
fn from_edge(headers: &mut HeaderMap, seen: &Seen<'_>) -> Result<(), Refusal> {
    let proto = if seen.https { "https" } else { "http" };
    let client = seen.client.to_canonical();
    let mut forwarded = String::with_capacity(96);
    // RFC 7239 §4 and §6: what is no token is quoted; IPv6 stands in brackets.
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

/// HTTP/2 may split cookies over several fields; HTTP/1.1 has one (RFC 9113 §8.2.3).
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

/// Whether a list (RFC 9110 §5.6.1) has an item that starts with this token, parameters aside.
fn contains_token(list: &HeaderValue, token: &str) -> bool {
    list.as_bytes().split(|b| *b == b',').any(|item| {
        let end = item.iter().position(|b| matches!(b, b';' | b'/')).unwrap_or(item.len());
        let name = item.get(..end).unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(token.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen<'static> = Seen {
        client: IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)),
        https: true,
        host: "links.customer.example",
        edge: "track.platform.example",
    };

    fn outgoing(method: Method, lines: &[(&str, &str)], seen: &Seen<'_>) -> Result<Outgoing, Refusal> {
        let mut request = Request::builder().method(method).uri("/track/%2F//~?a=%zz");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Outgoing::new(&head, Some(0), 100, seen)
    }

    fn sent(lines: &[(&str, &str)], seen: &Seen<'_>) -> Vec<String> {
        let headers = outgoing(Method::GET, lines, seen).unwrap().headers;
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(n, v)| format!("{n}: {}", v.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_edge_says_who_the_client_is() {
        let spoofed = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "1"),
            ("x_forwarded_for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("fly-client-ip", "1"),
            ("cf-connecting-ipv6", "1"),
            ("x-azure-clientip", "1"),
            ("x-envoy-external-address", "1"),
            ("x-appengine-user-ip", "1"),
            ("wl-proxy-client-ip", "1"),
            ("x-original-forwarded-for", "1"),
            ("x-remote-ip", "1"),
            ("x-original-host", "1"),
            ("x-host", "1"),
            ("front-end-https", "1"),
            ("x-scheme", "1"),
            ("x-url-scheme", "1"),
            ("ssl-client-cert", "1"),
            ("x-ssl-client-cert", "1"),
            ("client-ip", "1"),
            ("client-cert", "1"),
            ("true-client-ip", "1.2.3.4"),
            ("proxy", "http://evil.example"),
            ("user-agent", "A/1"),
        ];
        assert_eq!(
            sent(&spoofed, &SEEN),
            [
                "cdn-loop: track.platform.example",
                "forwarded: for=203.0.113.9;host=links.customer.example;proto=https",
                "user-agent: A/1",
                "x-forwarded-for: 203.0.113.9",
                "x-forwarded-host: links.customer.example",
                "x-forwarded-proto: https",
            ]
        );
        let v6 = Seen {
            client: "2001:db8::1".parse().unwrap(),
            https: false,
            host: "links.customer.example:8080",
            ..SEEN
        };
        let of_v6 = sent(&[], &v6);
        assert!(
            of_v6.contains(&"forwarded: for=\"[2001:db8::1]\";host=\"links.customer.example:8080\";proto=http".into()),
            "{of_v6:?}"
        );
        assert!(of_v6.contains(&"x-forwarded-for: 2001:db8::1".into()));
        // The same address, seen by a socket that takes both.
        let mapped = Seen {
            client: "::ffff:203.0.113.9".parse().unwrap(),
            ..SEEN
        };
        assert_eq!(sent(&[], &mapped), sent(&[], &SEEN));
    }

    #[test]
    fn what_is_for_one_hop_goes_no_further() {
        let lines = [
            ("connection", "keep-alive, X-Secret ,x-forwarded-for"),
            ("connection", "upgrade"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x-later"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "close"),
            ("expect", "100-Continue"),
            ("content-length", "0"),
            ("authorization", "Bearer x"),
        ];
        let sent = sent(&lines, &SEEN);
        assert_eq!(sent.len(), 6, "{sent:?}");
        assert!(sent.contains(&"authorization: Bearer x".into()));
        assert!(sent.contains(&"x-forwarded-for: 203.0.113.9".into()));
    }

    #[test]
    fn cookies_are_one_and_other_repeated_headers_stay() {
        let lines = [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("accept", "y")];
        let sent = sent(&lines, &SEEN);
        assert!(sent.contains(&"cookie: a=1; b=2".into()), "{sent:?}");
        assert!(sent.contains(&"accept: x".into()) && sent.contains(&"accept: y".into()));
    }

    #[test]
    fn a_request_that_was_here_before_is_a_loop() {
        for line in ["track.platform.example", "other; v=1, Track.Platform.example ;a=b"] {
            let error = outgoing(Method::GET, &[("cdn-loop", line)], &SEEN).err();
            assert_eq!(error, Some(Refusal::Loop), "{line}");
        }
        let sent = sent(&[("cdn-loop", "mytrack.platform.example")], &SEEN);
        assert!(sent.contains(&"cdn-loop: mytrack.platform.example".into()));
        assert!(sent.contains(&"cdn-loop: track.platform.example".into()));
        // Connection cannot take the mark away.
        let hidden = [("cdn-loop", "track.platform.example"), ("connection", "cdn-loop")];
        assert_eq!(outgoing(Method::GET, &hidden, &SEEN).err(), Some(Refusal::Loop));
    }

    #[test]
    fn what_cannot_be_passed_on_as_it_is_meant() {
        for (method, line, refusal) in [
            (Method::TRACE, ("a", "b"), Refusal::Method),
            (
                Method::POST,
                ("transfer-encoding", "gzip, chunked"),
                Refusal::Status(StatusCode::NOT_IMPLEMENTED),
            ),
            (
                Method::POST,
                ("expect", "a-miracle"),
                Refusal::Status(StatusCode::EXPECTATION_FAILED),
            ),
            (
                Method::GET,
                ("upgrade", "WebSocket"),
                Refusal::Status(StatusCode::NOT_IMPLEMENTED),
            ),
        ] {
            assert_eq!(outgoing(method, &[line], &SEEN).err(), Some(refusal), "{line:?}");
        }
        let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
        let too_long = Outgoing::new(&head, Some(101), 100, &SEEN).err();
        assert_eq!(too_long, Some(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE)));
    }
}
