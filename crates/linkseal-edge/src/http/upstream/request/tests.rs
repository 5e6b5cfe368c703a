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
    // The same address, on a dual-stack socket.
    let mapped = Seen {
        client: "::ffff:203.0.113.9".parse().unwrap(),
        ..SEEN
    };
    assert_eq!(sent(&[], &mapped), sent(&[], &SEEN));
}

#[test]
fn hop_by_hop_headers_are_not_passed_on() {
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
fn cookies_are_joined_and_other_repeated_headers_kept() {
    let lines = [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("accept", "y")];
    let sent = sent(&lines, &SEEN);
    assert!(sent.contains(&"cookie: a=1; b=2".into()), "{sent:?}");
    assert!(sent.contains(&"accept: x".into()) && sent.contains(&"accept: y".into()));
}

#[test]
fn a_request_that_passed_here_before_is_a_loop() {
    for line in ["track.platform.example", "other; v=1, Track.Platform.example ;a=b"] {
        let error = outgoing(Method::GET, &[("cdn-loop", line)], &SEEN).err();
        assert_eq!(error, Some(Refusal::Loop), "{line}");
    }
    let sent = sent(&[("cdn-loop", "mytrack.platform.example")], &SEEN);
    assert!(sent.contains(&"cdn-loop: mytrack.platform.example".into()));
    assert!(sent.contains(&"cdn-loop: track.platform.example".into()));
    // `Connection` cannot remove the mark.
    let hidden = [("cdn-loop", "track.platform.example"), ("connection", "cdn-loop")];
    assert_eq!(outgoing(Method::GET, &hidden, &SEEN).err(), Some(Refusal::Loop));
}

#[test]
fn ambiguous_requests_are_refused() {
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

#[test]
fn a_target_of_http2_goes_to_the_back_end_in_bytes_that_http1_allows() {
    let request = Request::builder().uri("/a|\"{}?b=^\u{e9}").body(()).unwrap();
    let (head, ()) = request.into_parts();
    let outgoing = Outgoing::new(&head, Some(0), 100, &SEEN).unwrap();
    assert_eq!(outgoing.target.as_str(), "/a%7C%22{}?b=^%C3%A9");
}
