//! Bounds: of bodies, of time, of requests at once.

use super::*;

/// Short enough to wait for, long against what a busy machine needs in between.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_or_cut() {
    let back_end = BackEnd::start().await;
    let mut small = rule("/", &back_end.url());
    small.max_body = 8;
    let (edge, registry) = edge_with(vec![small]);
    for via in BOTH {
        let got = edge.send(via, CUSTOMER, Request::post("/x"), "123456789").await;
        assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            edge.send(via, CUSTOMER, Request::post("/x"), "12345678").await.status,
            StatusCode::OK
        );
    }
    assert_eq!(back_end.requests().len(), 2);
    let chunked = format!(
        "POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n"
    );
    assert!(raw(&edge, chunked.as_bytes()).await.starts_with("HTTP/1.1 413 "));
    for seen in back_end.requests().iter().skip(2) {
        assert!(!seen.ends_with("0\r\n\r\n"), "what was cut never looks whole: {seen}");
    }
    assert_eq!(counted(&registry, "refused"), 3);
    assert_eq!(counted(&registry, "answered"), 2);
}

#[tokio::test]
async fn a_back_end_that_says_nothing_is_given_up() {
    let back_end = BackEnd::with(|_, _| Act::Silence).await;
    let mut brief = rule("/", &back_end.url());
    brief.response_timeout = SHORT;
    let (edge, registry) = edge_with(vec![brief]);
    let request = Request::get("/x").header(ACCEPT_LANGUAGE, "de");
    let got = edge.send(BOTH[0], CUSTOMER, request, "").await;
    assert_eq!(got.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(String::from_utf8_lossy(&got.body).contains("nicht erreichbar"));
    assert_eq!(got.header(CACHE_CONTROL), "no-store");
    assert_eq!(counted(&registry, "timeout"), 1);
    assert_eq!(
        back_end.requests().len(),
        1,
        "what may have been done is not sent again"
    );
}

#[tokio::test]
async fn a_response_that_stops_in_the_middle_is_cut() {
    let back_end = BackEnd::with(|_, _| Act::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec())).await;
    let mut brief = rule("/", &back_end.url());
    brief.idle_timeout = SHORT;
    let edge = edge(brief);
    let answer = raw(&edge, format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\n\r\n").as_bytes()).await;
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    assert!(
        answer.contains("content-length: 10"),
        "it cannot be taken for whole: {answer}"
    );
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_let_go() {
    let back_end = BackEnd::start().await;
    let mut brief = rule("/", &back_end.url());
    brief.idle_timeout = SHORT;
    let (edge, registry) = edge_with(vec![brief]);
    let half = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nContent-Length: 10\r\n\r\nhello");
    assert!(raw(&edge, half.as_bytes()).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(counted(&registry, "refused"), 1);
}

#[tokio::test]
async fn what_is_too_much_at_once_is_told_to_come_again() {
    let back_end = BackEnd::with(|_, _| Act::Silence).await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 1;
    let (edge, registry) = edge_with(vec![narrow]);
    let mut first = edge.connect(BOTH[0]);
    let head = format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\n\r\n");
    first.write_all(head.as_bytes()).await.unwrap();
    until(|| back_end.requests().len() == 1).await;
    let got = edge.get(BOTH[1], CUSTOMER, "/x").await;
    assert_eq!(
        (got.status, got.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "5")
    );
    assert_eq!(counted(&registry, "busy"), 1);
    // Whoever gives up makes room, and is not waited for at the back end either.
    drop(first);
    let mut second = edge.connect(BOTH[0]);
    second.write_all(head.as_bytes()).await.unwrap();
    until(|| back_end.requests().len() == 2).await;
}

#[tokio::test]
async fn a_long_stream_outlives_the_limits_of_a_quiet_connection() {
    let tick = Duration::from_millis(20);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    Tasks::new().spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while whole(&seen).is_none() {
            socket.read_buf(&mut seen).await.unwrap();
        }
        tokio::time::sleep(tick * 20).await;
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            .await
            .unwrap();
        tokio::time::sleep(tick * 20).await;
        socket.write_all(b"cd").await.unwrap();
    });
    let metrics = UpstreamMetrics::register(&prometheus::Registry::new()).unwrap();
    let upstreams = Upstreams::new(vec![rule("/", &url)], &Upstreams::default(), &metrics, &Tasks::new()).unwrap();
    let edge = Edge::with(
        |s| s.upstreams = upstreams,
        |c| {
            c.limits = Limits {
                tick,
                // The client may take its time until it asks.
                headers: PATIENT,
                idle: tick * 6,
                stall: tick * 9,
                body: tick * 3,
            };
        },
    );
    assert_eq!(&edge.get(BOTH[0], CUSTOMER, "/x").await.body[..], b"abcd");
}
