//! HTTP-01 challenges.

use super::*;

#[tokio::test(flavor = "local")]
async fn challenges_are_answered_for_any_host() {
    let edge = Edge::new();
    let path = "/.well-known/acme-challenge/abc-DEF_123";
    for (via, host) in [
        (Via::Http, "never.heard.example"),
        (Via::Http, CUSTOMER),
        (Via::Http, "192.0.2.1"),
        (Via::H1(Some(CUSTOMER)), CUSTOMER),
        (Via::H2(Some(CUSTOMER)), CUSTOMER),
    ] {
        let got = edge.get(via, host, path).await;
        assert_eq!(
            (got.status, &got.body[..]),
            (StatusCode::OK, &b"abc-DEF_123.thumb"[..]),
            "{host}"
        );
        assert!(got.header(CONTENT_TYPE).starts_with("text/plain"));
    }
    for token in ["", "a.b", "%61", &"a".repeat(129)] {
        let got = edge
            .get(Via::Http, CUSTOMER, &format!("/.well-known/acme-challenge/{token}"))
            .await;
        assert_eq!(
            (got.status, got.body.is_empty()),
            (StatusCode::NOT_FOUND, true),
            "{token}"
        );
    }
    edge.context.thumbprint.store(None);
    assert_eq!(
        edge.get(Via::Http, CUSTOMER, path).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test(flavor = "local")]
async fn a_stand_in_certificate_serves_challenges_only() {
    let edge = Edge::new();
    let mut connection = edge.connection(Via::H1(Some(PENDING)));
    connection.tls.as_mut().unwrap().challenges_only = true;
    for (path, status) in [("/robots.txt", "404"), ("/.well-known/acme-challenge/abc", "200")] {
        let mut io = edge.accept(connection.clone());
        io.write_all(format!("GET {path} HTTP/1.1\r\nHost: {PENDING}\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    }
}

/// A network that floods the older system with challenges neither delays the CA's own request for long nor
/// causes a wrong answer to it.
#[tokio::test(flavor = "local")]
async fn a_flood_of_challenges_does_not_keep_the_older_system_from_the_ca() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let edge = Edge::with(
        |_| {},
        |c| {
            c.challenge_upstream
                .store(Some(Arc::new(ChallengeUpstream::new(&base).unwrap())))
        },
    );
    let arrived = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&arrived);
    let tasks = edge.tasks.clone();
    edge.tasks.spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tasks.spawn(async move {
                let mut seen = vec![0; 4096];
                let n = io.read(&mut seen).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                if String::from_utf8_lossy(&seen[..n]).contains("/real ") {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nolder";
                    io.write_all(answer).await.unwrap();
                }
                // Made-up tokens get no answer.
                while io.read(&mut seen).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    let mut flood = Vec::new();
    for n in 0..200 {
        let mut connection = edge.connection(Via::Http);
        connection.client = "198.51.100.7:4711".parse().unwrap();
        let mut io = edge.accept(connection);
        let head = format!("GET /.well-known/acme-challenge/x{n} HTTP/1.1\r\nHost: moving.example\r\n\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        flood.push(io);
    }
    let shared = async {
        while arrived.load(Ordering::Relaxed) < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shared)
        .await
        .expect("its share of the flood arrives");
    let got = edge
        .get(Via::Http, "moving.example", "/.well-known/acme-challenge/real")
        .await;
    assert_eq!(
        &got.body[..],
        b"older",
        "one that had to wait its turn would get our own answer in the end"
    );
    assert_eq!(arrived.load(Ordering::Relaxed), 9, "of the flood, its own share");
}

#[tokio::test(flavor = "local")]
async fn challenges_without_an_order_of_ours_go_to_the_upstream() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/old", listener.local_addr().unwrap());
    let edge = Edge::with(
        |_| {},
        |c| {
            c.challenge_upstream
                .store(Some(Arc::new(ChallengeUpstream::new(&base).unwrap())))
        },
    );
    let (heard, mut seen) = tokio::sync::mpsc::channel(8);
    edge.tasks.spawn(async move {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nolder",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n",
        ] {
            let (mut io, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let n = io.read(&mut buffer).await.unwrap();
            heard
                .send(String::from_utf8(buffer[..n].to_vec()).unwrap())
                .await
                .unwrap();
            io.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let path = "/.well-known/acme-challenge/abc";
    assert_eq!(&edge.get(Via::Http, "moving.example", path).await.body[..], b"older");
    let request = seen.recv().await.unwrap();
    assert!(
        request.starts_with("GET /old/.well-known/acme-challenge/abc HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.to_ascii_lowercase().contains("host: moving.example\r\n"),
        "{request}"
    );
    // An error, and an answer that is too long: this edge answers then.
    for _ in 0..2 {
        assert_eq!(
            &edge.get(Via::Http, "moving.example", path).await.body[..],
            b"abc.thumb"
        );
        seen.recv().await.unwrap();
    }
    // While an order of ours runs, the upstream is not asked.
    edge.context.registry.put(&record(PENDING, None, Reason::Validating));
    assert_eq!(&edge.get(Via::Http, PENDING, path).await.body[..], b"abc.thumb");
    assert!(seen.try_recv().is_err());
}
