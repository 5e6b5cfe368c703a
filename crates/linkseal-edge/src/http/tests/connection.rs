//! The life of a connection: drain, limits, size, counters.

use super::*;

/// Shorter than any time limit of a connection, but long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "local")]
async fn a_drain_ends_idle_connections_gracefully() {
    for first in [
        &b""[..],
        b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\n\r\n",
    ] {
        let edge = Edge::new();
        let mut io = edge.connect(BOTH[0]);
        io.write_all(first).await.unwrap();
        if !first.is_empty() {
            assert!(io.read(&mut [0; 4096]).await.unwrap() > 0);
        }
        edge.drain.cancel();
        let ended = tokio::time::timeout(SOON, io.read_to_end(&mut Vec::new())).await;
        assert_eq!(ended.expect("it ends soon").unwrap(), 0);
    }

    let edge = Edge::new();
    let io = TokioIo::new(edge.connect(BOTH[1]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = edge.tasks.spawn(connection);
    let request = || {
        Request::get(format!("https://{CUSTOMER}/robots.txt"))
            .body(Full::<Bytes>::default())
            .unwrap()
    };
    assert_eq!(sender.send_request(request()).await.unwrap().status(), StatusCode::OK);
    edge.drain.cancel();
    // GOAWAY without an error (RFC 9113 §6.8): the client's connection ends without one.
    tokio::time::timeout(SOON, connection)
        .await
        .expect("it ends soon")
        .unwrap()
        .unwrap();
    assert!(sender.send_request(request()).await.is_err());
}

const ROBOTS: &[u8] = b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\n\r\n";

/// Everything until the close.
async fn rest(io: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut rest = String::new();
    let ended = tokio::time::timeout(SOON, io.read_to_string(&mut rest)).await;
    ended.expect("it ends soon").unwrap();
    rest
}

/// Whether one request was answered, with `Connection: close`.
fn is_last_answer(answer: &str) -> bool {
    let statuses = ["HTTP/1.1 200 ", "HTTP/1.1 302 "];
    statuses.iter().any(|s| answer.starts_with(s)) && answer.contains("\r\nconnection: close\r\n")
}

#[tokio::test(flavor = "local")]
async fn in_a_drain_the_first_request_of_a_connection_is_still_answered() {
    for via in [Via::Http, BOTH[0]] {
        // Whether the drain came before the connection, before its request, or in the middle of it.
        for (before, after) in [(0, 0), (0, 20), (20, 0)] {
            let edge = Edge::new();
            if (before, after) == (0, 0) {
                edge.drain.cancel();
            }
            let mut io = edge.connect(via);
            io.write_all(&ROBOTS[..before]).await.unwrap();
            tokio::task::yield_now().await;
            edge.drain.cancel();
            tokio::task::yield_now().await;
            io.write_all(&ROBOTS[before..][..after]).await.unwrap();
            tokio::task::yield_now().await;
            io.write_all(&ROBOTS[before + after..]).await.unwrap();
            let answer = rest(&mut io).await;
            assert!(is_last_answer(&answer), "{via:?} {before} {after}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn in_a_drain_the_first_request_of_an_http2_connection_is_still_answered() {
    let edge = Edge::new();
    edge.drain.cancel();
    let io = TokioIo::new(edge.connect(BOTH[1]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = edge.tasks.spawn(connection);
    let request = Request::get(format!("https://{CUSTOMER}/robots.txt"))
        .body(Full::<Bytes>::default())
        .unwrap();
    // As a client over a network would: after the server's first frames.
    sender.ready().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key("connection"));
    drop(answer);
    let ended = tokio::time::timeout(SOON, connection).await;
    ended.expect("it ends soon").unwrap().unwrap();
}

/// Bytes that are in the socket's buffer, not yet noticed by this side.
#[tokio::test(flavor = "local")]
async fn received_requests_are_answered_before_a_connection_is_closed() {
    use std::io::Write as _;
    for evicted in [false, true] {
        for kept in [false, true] {
            let edge = Edge::new();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let (context, drain) = (Arc::clone(&edge.context), edge.drain.clone());
            let connection = edge.connection(Via::Http);
            let presence = Arc::clone(&connection.presence);
            edge.tasks.spawn_local(serve(server, connection, &context, drain));
            let answers = client.try_clone().unwrap();
            answers.set_nonblocking(true).unwrap();
            let mut answers = tokio::net::TcpStream::from_std(answers).unwrap();
            tokio::task::yield_now().await;
            if kept {
                client.write_all(ROBOTS).unwrap();
                assert!(answers.read(&mut [0; 4096]).await.unwrap() > 0);
                tokio::task::yield_now().await;
            }
            client.write_all(ROBOTS).unwrap();
            if evicted {
                presence.evict();
            } else {
                edge.drain.cancel();
            }
            let answer = rest(&mut answers).await;
            assert!(is_last_answer(&answer), "evicted {evicted}, kept {kept}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "local")]
async fn slow_clients_are_closed() {
    let brief = |c: &mut Context| {
        let tick = Duration::from_millis(20);
        c.timeouts = Arc::new(Timeouts {
            tick,
            settle: tick,
            headers: tick * 3,
            idle: tick * 6,
            stall: tick * 9,
            body: tick * 3,
            farewell: tick * 2,
        });
    };
    for (via, said) in [
        (BOTH[0], &b""[..]),
        (BOTH[0], b"GET /robots.txt HTTP/1.1\r\nHo"),
        (
            BOTH[0],
            b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\n\r\n",
        ),
        (BOTH[1], b""),
        (BOTH[1], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        (
            BOTH[0],
            b"POST /u/x HTTP/1.1\r\nHost: links.customer.example\r\nContent-Length: 9\r\n\r\nList",
        ),
    ] {
        let edge = Edge::with(|_| {}, brief);
        let mut io = edge.connect(via);
        io.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), io.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{said:?} kept the connection open");
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_takes_little_memory() {
    let edge = Edge::new();
    let (_client, server) = tokio::io::duplex(64);
    let serving = serve(server, edge.connection(BOTH[0]), &edge.context, edge.drain.clone());
    // The rest of a connection is in hyper's and TLS's own allocations.
    assert!(size_of_val(&serving) <= 640, "{} bytes", size_of_val(&serving));
}

#[tokio::test(flavor = "local")]
async fn requests_are_counted_by_route_and_class() {
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let edge = Edge::with(|_| {}, |c| c.metrics = metrics);
    edge.get(BOTH[0], CUSTOMER, &click("acme", "https://example.com/"))
        .await;
    edge.get(BOTH[1], CUSTOMER, "/c/bad").await;
    edge.get(Via::Http, CUSTOMER, "/").await;
    edge.get(Via::Http, CUSTOMER, "/.well-known/acme-challenge/a").await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        "linkseal_http_requests_total{route=\"click\",status=\"3xx\"} 1",
        "linkseal_http_requests_total{route=\"click\",status=\"4xx\"} 1",
        "linkseal_http_requests_total{route=\"to_https\",status=\"3xx\"} 1",
        "linkseal_http_request_seconds_count{route=\"click\"} 2",
        "linkseal_http01_challenges_total{result=\"answered\"} 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains(CUSTOMER));
}
