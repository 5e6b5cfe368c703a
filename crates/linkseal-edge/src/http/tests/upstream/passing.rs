//! What is passed on, and how the back end sees it.

use linkseal_domain::links::Kill;
use linkseal_link::KillKind;

use super::*;

#[tokio::test(flavor = "local")]
async fn the_back_end_sees_path_host_and_client() {
    for via in BOTH {
        let back_end = BackEnd::start().await;
        let metrics = UpstreamMetrics::register(&prometheus::Registry::new()).unwrap();
        let rules = vec![rule("/track/", &back_end.url())];
        let upstreams = Upstreams::new(rules, &Upstreams::default(), &metrics, &Tasks::new()).unwrap();
        let public = |settings: &mut Settings| {
            settings.upstreams = upstreams;
            settings.public_https_port = 8443;
        };
        let edge = Edge::with(public, |_| {});
        let request = Request::get("/track/%2F/~//x%zz/a%20b?q=%2f&r=//")
            .header(USER_AGENT, "Agent/1.0 (x)")
            .header("x-forwarded-for", "1.2.3.4")
            .header("forwarded", "for=1.2.3.4")
            .header("x-custom", "kept");
        let got = edge.send(via, "Links.Customer.Example.:1337", request, "").await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"ok"[..]), "{via:?}");
        let seen = back_end.requests();
        assert_eq!(seen.len(), 1);
        assert!(
            seen[0].starts_with("GET /track/%2F/~//x%zz/a%20b?q=%2f&r=// HTTP/1.1\r\n"),
            "{seen:?}"
        );
        for line in [
            "host: links.customer.example:8443",
            "user-agent: Agent/1.0 (x)",
            "x-custom: kept",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-proto: https",
            "x-forwarded-host: links.customer.example:8443",
            "forwarded: for=203.0.113.9;host=\"links.customer.example:8443\";proto=https",
            "cdn-loop: track.platform.example",
        ] {
            assert!(seen[0].contains(&format!("\r\n{line}\r\n")), "{line} in {seen:?}");
        }
        assert!(!seen[0].contains("1.2.3.4") && !seen[0].contains("content-length"));
    }
}

#[tokio::test(flavor = "local")]
async fn the_clients_port_is_not_passed_on() {
    for via in BOTH {
        let back_end = BackEnd::start().await;
        let edge = edge(rule("/", &back_end.url()));
        for host in ["links.customer.example:1337", "links.customer.example:443"] {
            edge.get(via, host, "/x").await;
        }
        assert_eq!(back_end.requests().len(), 2);
        for seen in back_end.requests() {
            for line in [
                "host: links.customer.example",
                "x-forwarded-host: links.customer.example",
                "forwarded: for=203.0.113.9;host=links.customer.example;proto=https",
            ] {
                assert!(seen.contains(&format!("\r\n{line}\r\n")), "{line} in {seen}");
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn every_method_is_passed_on_with_its_body() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/", &back_end.url()));
    for via in BOTH {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"] {
            let body = if matches!(method, "POST" | "PUT" | "PATCH") {
                "a=b"
            } else {
                ""
            };
            let request = Request::builder().method(method).uri("/x");
            assert_eq!(
                edge.send(via, CUSTOMER, request, body).await.status,
                StatusCode::OK,
                "{method}"
            );
            let seen = back_end.requests().pop().unwrap();
            assert!(seen.starts_with(&format!("{method} /x HTTP/1.1\r\n")), "{seen}");
            assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{seen}");
            assert_eq!(seen.contains("content-length: 3"), !body.is_empty(), "{seen}");
        }
        let got = edge.method(via, CUSTOMER, Method::TRACE, "/x").await;
        assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(got.header(ALLOW).contains("PATCH"));
    }
    // This back end sends a body even after HEAD: its connection is not used again.
    assert!(back_end.connections() <= 3, "{}", back_end.connections());
}

#[tokio::test(flavor = "local")]
async fn only_what_the_edge_does_not_answer_itself_is_passed_on() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/", &back_end.url()));
    redirects::store(&edge, &[]);
    let good = click("acme", "https://example.com/");
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &good).await.status, StatusCode::FOUND);
    let open = format!("/o/{}.gif", minter("acme").open(&message()));
    assert_eq!(
        edge.get(BOTH[0], CUSTOMER, &open).await.header(CONTENT_TYPE),
        "image/gif"
    );
    assert_eq!(
        edge.method(BOTH[0], CUSTOMER, Method::POST, &good).await.status,
        StatusCode::METHOD_NOT_ALLOWED
    );
    let unsubscribe = format!("/u/{}", minter("acme").unsubscribe(&message(), 1));
    let post = Request::post(&unsubscribe).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let got = edge.send(BOTH[0], CUSTOMER, post, "List-Unsubscribe=One-Click").await;
    assert_eq!(got.status, StatusCode::OK);
    for path in [
        "/.well-known/acme-challenge/abc",
        "/.well-known/acme-challenge/",
        "/.well-known/apple-app-site-association",
        "/.well-known/assetlinks.json",
        "/.well-known/traffic-advice",
        "/robots.txt",
    ] {
        edge.get(BOTH[0], CUSTOMER, path).await;
    }
    let edges_own = Via::H1(Some(EDGE));
    assert_eq!(&edge.get(edges_own, EDGE, "/healthz").await.body[..], b"ok\n");
    assert_eq!(
        edge.get(BOTH[0], "other.example", "/x").await.status,
        StatusCode::MISDIRECTED_REQUEST
    );
    assert_eq!(back_end.requests(), Vec::<String>::new());

    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/o/old.gif"),
        (Method::GET, "/c/old-token"),
        (Method::HEAD, "/c/old-token"),
        (Method::PUT, "/c/old-token"),
        (Method::GET, "/u/old"),
        (Method::POST, "/u/old"),
        (Method::GET, "/r/slug"),
        (Method::GET, "/t/acme/c/old"),
        (Method::GET, "/.well-known/security.txt"),
    ] {
        edge.method(BOTH[1], CUSTOMER, method.clone(), path).await;
        let seen = back_end.requests().pop().unwrap_or_default();
        assert!(
            seen.starts_with(&format!("{method} {path} HTTP/1.1\r\n")),
            "{method} {path}: {seen}"
        );
    }
    // Another tenant's token is not valid on this domain.
    edge.get(BOTH[0], CUSTOMER, &click("other", "https://example.com/"))
        .await;
    assert!(back_end.requests().pop().unwrap().starts_with("GET /c/"));
}

#[tokio::test(flavor = "local")]
async fn without_a_matching_rule_the_edge_answers() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/track/", &back_end.url()));
    redirects::store(&edge, &[]);
    assert_eq!(
        edge.get(BOTH[0], CUSTOMER, "/o/bad.gif").await.header(CONTENT_TYPE),
        "image/gif"
    );
    for path in [
        "/c/bad",
        "/r/bad",
        "/u/bad",
        "/",
        "/track",
        "/track/../c",
        "/track/%2e%2E%2fadmin",
    ] {
        assert_eq!(
            edge.get(BOTH[0], CUSTOMER, path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    assert_eq!(back_end.connections(), 0);
}

#[tokio::test(flavor = "local")]
async fn over_plain_http_only_while_a_certificate_is_pending() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/", &back_end.url()));
    let got = edge.get(Via::Http, CUSTOMER, "/track/1?a").await;
    assert_eq!(got.status, StatusCode::FOUND);
    assert_eq!(got.header(LOCATION), "https://links.customer.example/track/1?a");
    assert_eq!(
        edge.get(Via::Http, "nobody.example", "/track/1").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(back_end.connections(), 0);
    assert_eq!(edge.get(Via::Http, PENDING, "/track/1").await.status, StatusCode::OK);
    assert!(back_end.requests()[0].contains("\r\nx-forwarded-proto: http\r\n"));
}

#[tokio::test(flavor = "local")]
async fn a_back_end_learns_that_a_cdn_took_a_request_over_https() {
    let back_end = BackEnd::start().await;
    let edge = edge(rule("/", &back_end.url()));
    for (host, name, value) in [
        (CUSTOMER, "X-Forwarded-Proto", "https"),
        (CUSTOMER, "CF-Visitor", "{\"scheme\":\"https\"}"),
        (CUSTOMER, "Forwarded", "for=192.0.2.1;proto=https"),
        (PENDING, "X-Forwarded-Proto", "https"),
    ] {
        let request = Request::get("/track/1").header(name, value);
        let got = edge.send(Via::Http, host, request, "").await;
        assert_eq!(got.status, StatusCode::OK, "{host} {name}");
        let requests = back_end.requests();
        let last = requests.last().unwrap();
        assert!(last.contains("\r\nx-forwarded-proto: https\r\n"), "{last}");
        let forwarded = format!("\r\nforwarded: for=203.0.113.9;host={host};proto=https\r\n");
        assert!(last.contains(&forwarded), "{last}");
        assert!(!last.contains("192.0.2.1"), "{last}");
    }
    // Over TLS it is HTTPS, whatever a header says.
    let request = Request::get("/track/1").header("X-Forwarded-Proto", "http");
    edge.send(BOTH[0], CUSTOMER, request, "").await;
    let requests = back_end.requests();
    assert!(requests.last().unwrap().contains("\r\nx-forwarded-proto: https\r\n"));
}

#[tokio::test(flavor = "local")]
async fn hop_by_hop_headers_of_a_response_are_removed() {
    let said = b"HTTP/1.1 203 Odd\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nAlt-Svc: h3=\":443\"\r\n\
                 Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: old\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n";
    let back_end = BackEnd::with(|_, _| Act::Say(said.to_vec())).await;
    let edge = edge(rule("/", &back_end.url()));
    for via in BOTH {
        let got = edge.get(via, CUSTOMER, "/x").await;
        assert_eq!((got.status.as_u16(), &got.body[..]), (203, &b"abc"[..]));
        for gone in ["connection", "x-hop", "keep-alive", "alt-svc", "trailer", "x-t"] {
            assert!(!got.headers.contains_key(gone), "{gone} over {via:?}");
        }
        assert_eq!(got.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(got.header("server"), "old");
    }
    assert_eq!(back_end.connections(), 1, "the connection is used again");
}

#[tokio::test(flavor = "local")]
async fn the_length_of_a_head_response_is_kept() {
    let said = b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n";
    let back_end = BackEnd::with(|_, _| Act::Say(said.to_vec())).await;
    let edge = edge(rule("/", &back_end.url()));
    for via in BOTH {
        let got = edge.method(via, CUSTOMER, Method::HEAD, "/x").await;
        assert_eq!((got.header(CONTENT_LENGTH), got.body.len()), ("1234", 0), "{via:?}");
    }
    assert_eq!(back_end.connections(), 1);
}

#[tokio::test(flavor = "local")]
async fn bodies_stream_both_ways() {
    let (tell, mut told) = tokio::sync::mpsc::channel::<()>(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let back_end = Tasks::new().spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"first\r\n") {
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
        }
        tell.send(()).await.unwrap();
        while !seen.ends_with(b"second\r\n0\r\n\r\n") {
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0);
        }
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
            .await
            .unwrap();
        socket
    });
    let edge = edge(rule("/", &url));
    let mut io = edge.connect(BOTH[0]);
    let head = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    told.recv().await.unwrap();
    io.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        assert!(io.read_buf(&mut answer).await.unwrap() > 0);
    }
    let mut socket = back_end.await.unwrap();
    socket.write_all(b"world").await.unwrap();
    while !answer.ends_with(b"helloworld") {
        assert!(io.read_buf(&mut answer).await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "local")]
async fn a_slow_client_slows_the_back_end() {
    // Far more than all buffers in between hold.
    const MUCH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&written);
    Tasks::new().spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while whole(&seen).is_none() {
            socket.read_buf(&mut seen).await.unwrap();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let piece = vec![7; 64 * 1024];
        while count.load(Ordering::Relaxed) < MUCH && socket.write_all(&piece).await.is_ok() {
            count.fetch_add(piece.len(), Ordering::Relaxed);
        }
    });
    let edge = edge(rule("/", &url));
    let mut io = edge.connect(BOTH[0]);
    let head = format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nConnection: close\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    // It comes to a stop with most of it unsent.
    let mut last = usize::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = written.load(Ordering::Relaxed);
        if now > 0 && now == last {
            break;
        }
        last = now;
    }
    assert!(
        last < MUCH / 2,
        "{last} bytes were taken from the back end for a client that reads nothing"
    );
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > MUCH);
}

#[tokio::test(flavor = "local")]
async fn events_are_written_if_the_rule_says_so() {
    let back_end = BackEnd::start().await;
    let mut quiet = rule("/quiet/", &back_end.url());
    quiet.events = false;
    let mut told = rule("/track/", &back_end.url());
    told.events = true;
    let (edge, _) = edge_with(vec![quiet, told]);
    edge.get(BOTH[0], CUSTOMER, "/quiet/secret-token").await;
    assert!(edge.events().is_empty());
    let request = Request::get("/track/secret-token").header(USER_AGENT, "curl/8");
    edge.send(BOTH[1], CUSTOMER, request, "").await;
    let events = edge.events();
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event["type"], "upstream");
    assert_eq!(event["tenant"], "acme");
    assert_eq!(event["domain"], CUSTOMER);
    assert_eq!(event["url"], "https://links.customer.example/track/");
    assert_eq!(event["verdict"]["class"], "scanner");
    assert!(!event.to_string().contains("secret-token"));
}

#[tokio::test(flavor = "local")]
async fn kill_switches_apply_to_a_back_ends_redirect() {
    let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ";
    for (location, killed) in [
        ("https://login.evil.example/", true),
        ("//evil.example/", true),
        ("https://a!$b.evil.example/", true),
        ("https://good.example/\r\nLocation: https://evil.example/", true),
        ("https://good.example/", false),
        ("/evil.example", false),
    ] {
        let answer = format!("{head}{location}\r\n\r\n").into_bytes();
        let back_end = BackEnd::with(move |_, _| Act::Say(answer.clone())).await;
        let edge = edge(rule("/old/", &back_end.url()));
        let kill = Kill::new(KillKind::Host, "evil.example").unwrap();
        edge.context.kills.set([kill].into_iter().collect());
        let got = edge.get(BOTH[0], CUSTOMER, "/old/1").await;
        let right = if killed {
            (StatusCode::GONE, "")
        } else {
            (StatusCode::FOUND, location)
        };
        assert_eq!((got.status, got.header(LOCATION)), right);
        let kill = Kill::new(KillKind::Tenant, "acme").unwrap();
        edge.context.kills.set([kill].into_iter().collect());
        let got = edge.get(BOTH[0], CUSTOMER, "/old/1").await;
        assert_eq!(
            got.status == StatusCode::GONE,
            location != "/evil.example",
            "{location}"
        );
    }
}
