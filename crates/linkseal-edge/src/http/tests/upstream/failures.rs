//! Back ends that are dead, die, or point back here.

use super::*;

#[tokio::test(flavor = "local")]
async fn a_dead_back_end_is_a_page_and_soon_fails_at_once() {
    // A port that nothing listens on while this is held.
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap();
    drop(held);
    let (edge, registry) = edge_with(vec![rule("/", &format!("http://{address}"))]);
    for _ in 0..2 {
        let got = edge.get(BOTH[0], CUSTOMER, "/x").await;
        assert_eq!(got.status, StatusCode::BAD_GATEWAY);
        assert!(String::from_utf8_lossy(&got.body).contains("is unavailable"));
    }
    let got = edge.method(BOTH[1], CUSTOMER, Method::HEAD, "/x").await;
    assert_eq!((got.status, got.body.len()), (StatusCode::BAD_GATEWAY, 0));
    // Each request tried twice: after the third failure they fail at once.
    assert!(counted(&registry, "down") >= 1, "{}", counted(&registry, "down"));
    assert_eq!(counted(&registry, "down") + counted(&registry, "unreachable"), 3);
}

#[tokio::test(flavor = "local")]
async fn a_dead_pooled_connection_is_not_noticed() {
    // The first connection takes a second request, and closes without answering it.
    let back_end = BackEnd::with(|connection, request| match (connection, request) {
        (0, 1) => Act::Close,
        _ => Act::ok(),
    })
    .await;
    let edge = edge(rule("/", &back_end.url()));
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/1").await.status, StatusCode::OK);
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/2").await.status, StatusCode::OK);
    let seen = back_end.requests();
    let paths: Vec<_> = seen.iter().map(|r| r.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["/1", "/2", "/2"]);
}

#[tokio::test(flavor = "local")]
async fn unsafe_requests_are_never_sent_twice() {
    let back_end = BackEnd::with(|_, request| if request == 1 { Act::Close } else { Act::ok() }).await;
    for (method, body) in [(Method::POST, "a=b"), (Method::POST, ""), (Method::DELETE, "")] {
        let edge = edge(rule("/", &back_end.url()));
        assert_eq!(edge.get(BOTH[0], CUSTOMER, "/1").await.status, StatusCode::OK);
        let before = back_end.requests().len();
        let request = Request::builder().method(method).uri("/2");
        assert_eq!(
            edge.send(BOTH[0], CUSTOMER, request, body).await.status,
            StatusCode::BAD_GATEWAY
        );
        assert_eq!(back_end.requests().len(), before + 1);
    }
}

#[tokio::test(flavor = "local")]
async fn a_fresh_connection_that_dies_is_not_tried_again() {
    let back_end = BackEnd::with(|_, _| Act::Close).await;
    let (edge, registry) = edge_with(vec![rule("/", &back_end.url())]);
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/x").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(back_end.requests().len(), 1);
    assert_eq!(counted(&registry, "broken"), 1);
}

#[tokio::test(flavor = "local")]
async fn gracefully_closed_connections_are_not_used_again() {
    let back_end = BackEnd::with(|_, _| Act::SayAndClose(OK.to_vec())).await;
    let edge = edge(rule("/", &back_end.url()));
    for _ in 0..5 {
        // A POST, which could not be repeated.
        let got = edge.send(BOTH[0], CUSTOMER, Request::post("/x"), "").await;
        assert!(got.status == StatusCode::OK || got.status == StatusCode::BAD_GATEWAY);
    }
    for _ in 0..5 {
        assert_eq!(edge.get(BOTH[0], CUSTOMER, "/x").await.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "local")]
async fn a_response_that_is_not_http_is_a_bad_gateway() {
    for said in [
        &b"SSH-2.0-OpenSSH\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
    ] {
        let said = said.to_vec();
        let back_end = BackEnd::with(move |_, _| Act::SayAndClose(said.clone())).await;
        let edge = edge(rule("/", &back_end.url()));
        assert_eq!(edge.get(BOTH[1], CUSTOMER, "/x").await.status, StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_points_back_here_is_a_loop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (edge, registry) = edge_with(vec![rule("/", &url)]);
    let (context, connection) = (Arc::clone(&edge.context), edge.connection(BOTH[0]));
    edge.tasks.spawn_local(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let serving = serve(socket, connection.clone(), &context, CancellationToken::new());
            Tasks::new().spawn_local(serving);
        }
    });
    let got = edge.get(BOTH[0], CUSTOMER, "/x").await;
    assert_eq!(got.status, StatusCode::LOOP_DETECTED);
    assert_eq!((counted(&registry, "loop"), counted(&registry, "failed")), (1, 1));
}

#[tokio::test(flavor = "local")]
async fn a_reload_keeps_connections_and_changes_rules() {
    let back_end = BackEnd::start().await;
    let metrics = UpstreamMetrics::register(&prometheus::Registry::new()).unwrap();
    let first = Upstreams::new(
        vec![rule("/a/", &back_end.url())],
        &Upstreams::default(),
        &metrics,
        &Tasks::new(),
    )
    .unwrap();
    let second = Upstreams::new(vec![rule("/b/", &back_end.url())], &first, &metrics, &Tasks::new()).unwrap();
    let edge = Edge::with(|s| s.upstreams = first, |_| {});
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/a/").await.status, StatusCode::OK);
    let mut settings = Settings {
        max_age: None,
        names: DomainName::parse(EDGE).unwrap().into(),
        public_https_port: 443,
        prefix: String::new(),
        fallback_url: None,
        keys: Arc::new(LinkKeys::new([key()]).unwrap()),
        upstreams: Upstreams::default(),
    };
    settings.upstreams = second;
    edge.context.settings.store(Arc::new(settings));
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/a/").await.status, StatusCode::NOT_FOUND);
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/b/").await.status, StatusCode::OK);
    assert_eq!(back_end.connections(), 1);
}
