//! Which host a request is for, and what every host has: files, health, methods.

use super::*;

#[tokio::test(flavor = "local")]
async fn files_at_fixed_paths() {
    for via in BOTH {
        let edge = Edge::new();
        let apple = edge.get(via, CUSTOMER, "/.well-known/apple-app-site-association").await;
        assert_eq!(
            (apple.status, apple.header(CONTENT_TYPE), &apple.body[..]),
            (StatusCode::OK, "application/json", &b"{\"applinks\":{}}"[..])
        );
        assert_eq!(
            edge.get(via, CUSTOMER, "/.well-known/assetlinks.json").await.status,
            StatusCode::NOT_FOUND
        );
        // Old versions of iOS look at the root.
        let at_root = edge.get(via, CUSTOMER, "/apple-app-site-association?v=1").await;
        assert_eq!(
            (at_root.status, at_root.header(CONTENT_TYPE), &at_root.body),
            (StatusCode::OK, "application/json", &apple.body)
        );
        let posted = edge
            .method(via, CUSTOMER, Method::POST, "/apple-app-site-association")
            .await;
        assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
        let robots = edge.get(via, CUSTOMER, "/robots.txt").await;
        assert_eq!(&robots.body[..], b"User-agent: *\nDisallow: /\n");
        let advice = edge.get(via, CUSTOMER, "/.well-known/traffic-advice").await;
        assert_eq!(advice.header(CONTENT_TYPE), "application/trafficadvice+json");
        let advice: serde_json::Value = serde_json::from_slice(&advice.body).unwrap();
        assert_eq!(advice[0]["disallow"], true);
        assert_eq!(edge.get(via, CUSTOMER, "/").await.status, StatusCode::NOT_FOUND);
    }
    let edge = Edge::new();
    let none = edge.get(Via::H1(Some(EDGE)), EDGE, "/apple-app-site-association").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "local")]
async fn healthz_answers_for_the_edge_only() {
    let edge = Edge::new();
    for (via, host) in [
        (Via::Http, "192.0.2.1"),
        (Via::Http, "[2001:db8::1]:80"),
        (Via::Http, EDGE),
        (Via::H1(None), "192.0.2.1:443"),
        (Via::H2(Some(EDGE)), EDGE),
        (Via::H1(Some(EDGE)), "192.0.2.1"),
        (Via::H1(None), "old.platform.example"),
    ] {
        assert_eq!(
            edge.get(via, host, "/healthz").await.status,
            StatusCode::OK,
            "{via:?} {host}"
        );
    }
    assert_eq!(
        edge.get(Via::H2(Some(CUSTOMER)), CUSTOMER, "/healthz").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        edge.get(Via::Http, "192.0.2.1", "/").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        edge.method(Via::Http, EDGE, Method::POST, "/healthz")
            .await
            .header(ALLOW),
        "GET, HEAD"
    );
    edge.context.draining.store(true, Ordering::Relaxed);
    assert_eq!(
        edge.get(Via::H2(Some(EDGE)), EDGE, "/healthz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test(flavor = "local")]
async fn head_has_the_headers_of_get_and_other_methods_are_named() {
    for via in BOTH {
        let edge = Edge::new();
        let paths = [
            format!("/o/{}", minter("acme").open(&message())),
            click("acme", "https://example.com/"),
            format!("/u/{}", minter("acme").unsubscribe(&message(), 9)),
            "/robots.txt".into(),
            "/.well-known/acme-challenge/abc".into(),
            "/nothing".into(),
        ];
        for path in &paths {
            let get = edge.get(via, CUSTOMER, path).await;
            let head = edge.method(via, CUSTOMER, Method::HEAD, path).await;
            assert_eq!(head.status, get.status, "{path}");
            assert!(head.body.is_empty());
            let of = |got: &Got| {
                let mut headers = got.headers.clone();
                headers.remove("date");
                // An empty body's length may be left out of the reply to HEAD.
                if headers.get(CONTENT_LENGTH).is_some_and(|l| l == "0") {
                    headers.remove(CONTENT_LENGTH);
                }
                let mut all: Vec<_> = headers.iter().map(|(k, v)| format!("{k}: {v:?}")).collect();
                all.sort();
                all
            };
            assert_eq!(of(&head), of(&get), "{path}");
        }
        let methods: Vec<_> = edge
            .events()
            .iter()
            .map(|e| e["request"]["method"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(methods, ["GET", "HEAD", "GET", "HEAD"]);
        for (path, allow) in [
            (&paths[0], "GET, HEAD"),
            (&paths[1], "GET, HEAD"),
            (&paths[2], "GET, HEAD, POST"),
            (&paths[4], "GET, HEAD"),
        ] {
            let got = edge.method(via, CUSTOMER, Method::DELETE, path).await;
            assert_eq!(
                (got.status, got.header(ALLOW)),
                (StatusCode::METHOD_NOT_ALLOWED, allow),
                "{path}"
            );
        }
        assert_eq!(edge.events().len(), 4);
    }
}

#[tokio::test(flavor = "local")]
async fn another_host_than_the_certificates_is_misdirected() {
    let edge = Edge::new();
    for via in BOTH {
        for host in [
            "LINKS.Customer.Example",
            "links.customer.example.",
            "links.customer.example:443",
        ] {
            assert_eq!(
                edge.get(via, host, "/robots.txt").await.status,
                StatusCode::OK,
                "{host}"
            );
        }
        for host in [EDGE, PENDING, "192.0.2.1", "evil.example"] {
            assert_eq!(
                edge.get(via, host, "/robots.txt").await.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host}"
            );
        }
    }
    for via in [Via::H1(None), Via::H2(None)] {
        for (host, status) in [
            (EDGE, StatusCode::OK),
            ("192.0.2.1", StatusCode::OK),
            (CUSTOMER, StatusCode::MISDIRECTED_REQUEST),
        ] {
            assert_eq!(edge.get(via, host, "/robots.txt").await.status, status, "{host}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_removed_domain_is_not_served_on_open_connections() {
    let edge = Edge::new();
    let connection = edge.connection(BOTH[0]);
    edge.context
        .registry
        .remove(&DomainName::parse(CUSTOMER).unwrap(), u64::MAX);
    let mut io = edge.accept(connection);
    io.write_all(b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 421"), "{text}");
}

#[tokio::test(flavor = "local")]
async fn requests_without_one_clear_host_are_bad() {
    let edge = Edge::new();
    for (head, status) in [
        ("GET /robots.txt HTTP/1.1\r\nConnection: close\r\n", "400"),
        (
            "GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\nHost: evil.example\r\nConnection: close\r\n",
            "400",
        ),
        (
            "GET http://links.customer.example/robots.txt HTTP/1.1\r\nHost: links.customer.example\r\nHost: evil.example\r\nConnection: close\r\n",
            "400",
        ),
        ("GET /robots.txt HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n", "400"),
        ("GET /robots.txt HTTP/1.0\r\n", "200"),
        (
            "GET http://evil.example/robots.txt HTTP/1.1\r\nHost: links.customer.example\r\nConnection: close\r\n",
            "421",
        ),
    ] {
        let mut io = edge.connect(Via::H1(Some(CUSTOMER)));
        io.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.split(' ').nth(1), Some(status), "{head}");
    }
}
