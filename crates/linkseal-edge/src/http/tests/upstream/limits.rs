//! Limits: of bodies, of time, of concurrent requests.

use super::*;

/// Short enough to wait for, but long for a busy machine.
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn a_silent_back_end_times_out() {
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

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn a_client_that_stops_in_the_middle_times_out() {
    let back_end = BackEnd::start().await;
    let mut brief = rule("/", &back_end.url());
    brief.idle_timeout = SHORT;
    let (edge, registry) = edge_with(vec![brief]);
    let half = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nContent-Length: 10\r\n\r\nhello");
    assert!(raw(&edge, half.as_bytes()).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(counted(&registry, "refused"), 1);
}

#[tokio::test(flavor = "local")]
async fn too_many_concurrent_requests_get_503_with_retry_after() {
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
    // A client that gives up frees its place at the back end.
    drop(first);
    let mut second = edge.connect(BOTH[0]);
    second.write_all(head.as_bytes()).await.unwrap();
    until(|| back_end.requests().len() == 2).await;
}

#[tokio::test(flavor = "local")]
async fn a_long_stream_outlives_the_limits_of_a_quiet_connection() {
    let tick = Duration::from_millis(50);
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
            c.timeouts = Arc::new(Timeouts {
                tick,
                settle: tick,
                // The client pauses before its request.
                headers: PATIENT,
                idle: tick * 6,
                stall: tick * 9,
                body: tick * 3,
                farewell: tick * 2,
            });
        },
    );
    assert_eq!(&edge.get(BOTH[0], CUSTOMER, "/x").await.body[..], b"abcd");
}

/// An HTTP/2 client that gives its streams no window, but sends pings all the time.
async fn takes_nothing(edge: &Edge) -> http2::SendRequest<Full<Bytes>> {
    let mut connection = edge.connection(BOTH[1]);
    connection.client = "198.51.100.7:1".parse().unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(hyper_util::rt::TokioTimer::new())
        .initial_stream_window_size(0)
        .keep_alive_interval(Duration::from_millis(20))
        .handshake(TokioIo::new(edge.accept(connection)))
        .await
        .unwrap();
    edge.tasks.spawn(connection);
    sender
}

fn get_x() -> Request<Full<Bytes>> {
    Request::get(format!("https://{CUSTOMER}/x"))
        .body(Full::default())
        .unwrap()
}

/// A back end whose first `of` answers are longer than the buffer.
async fn long_answers(of: usize) -> BackEnd {
    let long = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 4 << 20).into_bytes(),
        vec![b'x'; 4 << 20],
    ]
    .concat();
    BackEnd::with(move |number, _| if number < of { Act::Say(long.clone()) } else { Act::ok() }).await
}

/// A client that requests a long answer and reads only its beginning.
async fn reads_slowly(edge: &Edge, client: &str) -> DuplexStream {
    let mut io = begun(edge, client, &format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\n\r\n")).await;
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENT, io.read_exact(&mut answer))
        .await
        .expect("in time")
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    io
}

#[tokio::test(flavor = "local")]
async fn networks_of_slow_readers_make_way_for_another_network() {
    let back_end = long_answers(4).await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 4;
    narrow.origin.max_per_network = 2;
    let edge = edge(narrow);
    let mut held = Vec::new();
    for client in ["198.51.1.1:1", "198.51.1.2:1", "198.51.2.1:1", "198.51.2.2:1"] {
        held.push(reads_slowly(&edge, client).await);
    }
    let took = until_served(&edge).await;
    assert!(took < PATIENT / 2, "well before idle_timeout is over: {took:?}");
}

#[tokio::test(flavor = "local")]
async fn the_only_long_answer_of_a_network_is_not_cut_for_another() {
    let back_end = long_answers(2).await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 2;
    let edge = edge(narrow);
    let mut held = Vec::new();
    for client in ["198.51.1.1:1", "198.51.2.1:1"] {
        held.push(reads_slowly(&edge, client).await);
    }
    until(|| back_end.connections() == 2).await;
    for _ in 0..3 {
        let got = edge.get(BOTH[0], CUSTOMER, "/x").await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    for io in &mut held {
        let (mut all, mut buffer) = (12, vec![0; 1 << 16]);
        while all < 4 << 20 {
            let read = tokio::time::timeout(PATIENT, io.read(&mut buffer)).await;
            let read = read.expect("in time").unwrap();
            assert_ne!(read, 0, "cut after {all} bytes");
            all += read;
        }
    }
}

/// Repeats a request until the answer is 200, and returns how long that took.
async fn until_served(edge: &Edge) -> Duration {
    let started = std::time::Instant::now();
    while edge.get(BOTH[0], CUSTOMER, "/x").await.status != StatusCode::OK {
        assert!(started.elapsed() < PATIENT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

#[tokio::test(flavor = "local")]
async fn an_unread_answer_holds_no_place_at_the_back_end() {
    let back_end = BackEnd::start().await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 2;
    let edge = edge(narrow);
    let mut sender = takes_nothing(&edge).await;
    let mut held = Vec::new();
    for n in 0..20 {
        // The place is free a moment after the body's last byte has come.
        let answer = loop {
            let answer = sender.send_request(get_x()).await.unwrap();
            if answer.status() == StatusCode::OK {
                break answer;
            }
            tokio::task::yield_now().await;
        };
        held.push((n, answer));
    }
    // Otherwise they would be held for idle_timeout.
    let took = until_served(&edge).await;
    assert!(took < PATIENT / 2, "{took:?}");
    assert_eq!(back_end.connections(), 1, "its connection is given back too");
}

#[tokio::test(flavor = "local")]
async fn a_client_that_reads_nothing_of_a_long_answer_is_dropped_whatever_else_it_sends() {
    let back_end = long_answers(1).await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 1;
    narrow.idle_timeout = SHORT;
    let edge = edge(narrow);
    let mut sender = takes_nothing(&edge).await;
    let held = sender.send_request(get_x()).await.unwrap();
    assert_eq!(held.status(), StatusCode::OK);
    let took = until_served(&edge).await;
    assert!(took < PATIENT / 2, "{took:?}");
    drop(held);
}

#[tokio::test(flavor = "local")]
async fn a_network_has_its_share_of_a_back_end_and_no_more() {
    let back_end = BackEnd::with(|number, _| if number < 2 { Act::Silence } else { Act::ok() }).await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 4;
    narrow.origin.max_per_network = 2;
    let edge = edge(narrow);
    let mut held = Vec::new();
    for n in 1..=12 {
        let mut connection = edge.connection(BOTH[0]);
        connection.client = format!("198.51.100.{n}:1").parse().unwrap();
        let mut io = edge.accept(connection);
        let head = format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\n\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        held.push(io);
    }
    until(|| back_end.requests().len() == 2).await;
    // A request that had to wait for its turn would be refused in the end.
    assert_eq!(edge.get(BOTH[1], CUSTOMER, "/x").await.status, StatusCode::OK);
    assert_eq!(back_end.requests().len(), 3, "the others of that network wait");
}

#[tokio::test(flavor = "local")]
async fn a_slow_body_times_out() {
    let back_end = BackEnd::start().await;
    let mut brief = rule("/", &back_end.url());
    brief.idle_timeout = SHORT;
    let edge = edge(brief);
    let mut io = edge.connect(BOTH[0]);
    let head = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nContent-Length: 9000\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = tokio::io::split(io);
    let dribble = async {
        // Each byte comes well within idle_timeout.
        while to.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 12];
    let answered = async { from.read_exact(&mut answer).await.map(|_| ()) };
    tokio::select! {
        () = dribble => unreachable!("it never ends"),
        answered = tokio::time::timeout(SHORT * 50, answered) => answered.expect("it is let go").unwrap(),
    }
    assert_eq!(&answer, b"HTTP/1.1 408");
}

/// A request of another network, which begins with these bytes.
async fn begun(edge: &Edge, client: &str, bytes: &str) -> DuplexStream {
    let mut connection = edge.connection(BOTH[0]);
    connection.client = client.parse().unwrap();
    let mut io = edge.accept(connection);
    io.write_all(bytes.as_bytes()).await.unwrap();
    io
}

#[tokio::test(flavor = "local")]
async fn a_request_that_waits_for_its_body_holds_no_place() {
    let back_end = BackEnd::start().await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 2;
    let edge = edge(narrow);
    let mut held = Vec::new();
    for (n, length) in [(1, 10), (2, 10), (3, 60_000), (4, 60_000)] {
        let head = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nContent-Length: {length}\r\n\r\nx");
        held.push(begun(&edge, &format!("198.51.{n}.1:1"), &head).await);
    }
    until(|| edge.context.bodies.taken() == 4).await;
    assert_eq!(edge.get(BOTH[1], CUSTOMER, "/x").await.status, StatusCode::OK);
    assert_eq!(back_end.requests().len(), 1);
    // The rest of one body comes, and it is passed on.
    held[0].write_all(b"123456789").await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENT, held[0].read_exact(&mut answer))
        .await
        .expect("it is answered")
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(back_end.requests()[1].ends_with("\r\n\r\nx123456789"));
    assert_eq!(edge.context.bodies.taken(), 3);
}

/// A network with as many waiting bodies does not cut another's.
#[tokio::test(flavor = "local")]
async fn a_body_makes_no_way_for_a_network_that_has_as_many() {
    let back_end = BackEnd::start().await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 2;
    let edge = edge(narrow);
    let chunked = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    let mut slow = begun(&edge, "198.51.1.1:1", &chunked).await;
    let _crowd = begun(&edge, "198.51.2.1:1", &chunked).await;
    until(|| back_end.connections() == 2).await;
    for n in 2..6 {
        let mut more = begun(&edge, &format!("198.51.2.{n}:1"), &chunked).await;
        let mut answer = [0; 12];
        let answered = tokio::time::timeout(PATIENT, more.read_exact(&mut answer)).await;
        answered.expect("in time").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 503");
    }
    slow.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    let answered = tokio::time::timeout(PATIENT, slow.read_exact(&mut answer)).await;
    answered.expect("in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "local")]
async fn a_body_whose_client_is_slow_makes_way_for_another_network() {
    let back_end = BackEnd::start().await;
    let mut narrow = rule("/", &back_end.url());
    narrow.origin.max_concurrent = 2;
    let edge = edge(narrow);
    let head = format!("POST /x HTTP/1.1\r\nHost: {CUSTOMER}\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    let long = format!("{head}Content-Length: 60000\r\n\r\n{}", "x".repeat(20_000));
    let mut slow = [
        begun(&edge, "198.51.1.1:1", &chunked).await,
        begun(&edge, "198.51.2.1:1", &long).await,
    ];
    until(|| back_end.connections() == 2).await;
    for _ in 0..2 {
        // Until the edge has noticed that it waits for their clients.
        until_served(&edge).await;
    }
    let mut answers = Vec::new();
    for io in &mut slow {
        let mut answer = [0; 12];
        if tokio::time::timeout(SHORT, io.read_exact(&mut answer)).await.is_ok() {
            answers.push(answer);
        }
    }
    assert_eq!(
        answers,
        [*b"HTTP/1.1 503"],
        "one made way, its place was enough for both"
    );
}
