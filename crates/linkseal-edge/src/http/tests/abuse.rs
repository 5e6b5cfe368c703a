//! Clients that take more than their share, and a bystander that must not notice.

use std::time::Instant;

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;

/// What a bystander's request may take on a busy machine.
const SOON: Duration = Duration::from_secs(2);
/// What all of an attacker's requests together may take there.
const LONG: Duration = Duration::from_secs(30);

type Endless = StreamBody<futures_util::stream::Pending<Result<Frame<Bytes>, std::convert::Infallible>>>;

/// A body that never comes.
fn endless() -> Endless {
    StreamBody::new(futures_util::stream::pending())
}

fn unsubscribe() -> String {
    format!("/u/{}", minter("acme").unsubscribe(&message(), 1))
}

/// An HTTP/2 connection of a client of its own.
async fn connect(edge: &Edge, client: &str) -> http2::SendRequest<Endless> {
    let mut connection = edge.connection(BOTH[1]);
    connection.client = client.parse().unwrap();
    let io = TokioIo::new(edge.accept(connection));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    edge.tasks.spawn(connection);
    sender
}

fn post(path: &str) -> Request<Endless> {
    Request::post(format!("https://{CUSTOMER}{path}"))
        .body(endless())
        .unwrap()
}

#[tokio::test(flavor = "local")]
async fn a_wrong_token_is_answered_before_its_body() {
    let edge = Edge::new();
    let mut sender = connect(&edge, "198.51.100.7:1").await;
    let answered = tokio::time::timeout(SOON, sender.send_request(post("/u/x"))).await;
    assert_eq!(answered.expect("at once").unwrap().status(), StatusCode::NOT_FOUND);
    let mut io = edge.connect(BOTH[0]);
    let head = format!("POST /u/x HTTP/1.1\r\nHost: {CUSTOMER}\r\nContent-Length: 9\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(SOON, io.read_exact(&mut answer))
        .await
        .expect("at once")
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
}

#[tokio::test(flavor = "local")]
async fn bodies_that_never_come_have_a_share_and_a_bystander_unsubscribes() {
    let edge = Edge::new();
    let path = unsubscribe();
    let mut senders = Vec::new();
    let mut waiting = FuturesUnordered::new();
    for n in 1..=4 {
        let mut sender = connect(&edge, &format!("198.51.100.{n}:1")).await;
        for _ in 0..40 {
            waiting.push(Box::pin(sender.send_request(post(&path))));
        }
        senders.push(sender);
    }
    // The network's share waits, the rest is refused; requests that wait have no answer yet.
    for _ in 0..96 {
        let answer = tokio::time::timeout(LONG, waiting.next()).await.expect("refused");
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "5");
    }
    assert_eq!(waiting.len(), 64);
    let started = Instant::now();
    for via in BOTH {
        let request = Request::post(&path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let got = edge.send(via, CUSTOMER, request, "List-Unsubscribe=One-Click").await;
        assert_eq!(got.status, StatusCode::OK, "{via:?}");
    }
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(
        waiting.next().now_or_never().is_none(),
        "none of the others was answered"
    );
    drop(waiting);
}

#[tokio::test(flavor = "local")]
async fn a_new_connection_waits_for_few_bodies() {
    let edge = Edge::with(|_| {}, |c| c.bodies = FairRoom::new(1_000, 1_000));
    let path = unsubscribe();
    let mut sender = connect(&edge, "198.51.100.7:1").await;
    let mut waiting: FuturesUnordered<_> = (0..33).map(|_| Box::pin(sender.send_request(post(&path)))).collect();
    let refused = tokio::time::timeout(LONG, waiting.next()).await.expect("one too many");
    assert_eq!(refused.unwrap().unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(waiting.next().now_or_never().is_none(), "the others wait");
}

/// Bodies that never come, from enough networks to take all the room.
async fn full_of_bodies(
    edge: &Edge,
    path: &str,
) -> (
    Vec<http2::SendRequest<Endless>>,
    Vec<tokio::task::JoinHandle<StatusCode>>,
) {
    let (mut senders, mut answers) = (Vec::new(), Vec::new());
    for n in 0..8 {
        let mut sender = connect(edge, &format!("198.51.{n}.1:1")).await;
        for _ in 0..8 {
            let answer = sender.send_request(post(path));
            answers.push(edge.tasks.spawn(async move { answer.await.unwrap().status() }));
        }
        senders.push(sender);
    }
    let full = async {
        while edge.context.bodies.taken() < 64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, full).await.expect("all wait");
    (senders, answers)
}

#[tokio::test(flavor = "local")]
async fn a_body_that_has_arrived_needs_no_room_and_a_later_one_gets_some() {
    let edge = Edge::with(|_| {}, |c| c.bodies = FairRoom::new(64, 16));
    let path = unsubscribe();
    let (senders, answers) = full_of_bodies(&edge, &path).await;
    for via in BOTH {
        let request = Request::post(&path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let got = edge.send(via, CUSTOMER, request, "List-Unsubscribe=One-Click").await;
        assert_eq!(got.status, StatusCode::OK, "{via:?}");
    }
    assert!(answers.iter().all(|answer| !answer.is_finished()), "no one had to go");
    // A body in two parts, from another network: one of the largest network makes way.
    let mut io = edge.connect(BOTH[0]);
    let head = format!("POST {path} HTTP/1.1\r\nHost: {CUSTOMER}\r\nContent-Length: 26\r\n\r\nList-Unsub");
    io.write_all(head.as_bytes()).await.unwrap();
    let gone = futures_util::future::select_all(answers);
    let (status, _, others) = tokio::time::timeout(LONG, gone).await.expect("one makes way");
    assert_eq!(status.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    io.write_all(b"scribe=One-Click").await.unwrap();
    let mut answer = [0; 12];
    let answered = tokio::time::timeout(LONG, io.read_exact(&mut answer)).await;
    answered.expect("it is answered").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(others.iter().all(|answer| !answer.is_finished()), "one was enough");
    drop(senders);
}

/// A connection on port 80 that has a place of the reserve.
fn reserved(edge: &Edge) -> DuplexStream {
    let mut connection = edge.connection(Via::Http);
    connection.presence = Arc::new(crate::presence::Presence::new(connection.client.ip(), true));
    edge.accept(connection)
}

/// Sends a request on such a connection and returns all that comes back.
async fn on_reserve(edge: &Edge, request: &str) -> String {
    let mut io = reserved(edge);
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LONG, io.read_to_end(&mut answer)).await;
    read.expect("it is closed").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "local")]
async fn the_reserve_serves_only_what_needs_no_waiting() {
    let rules = vec![upstream::rule("/old/", "http://192.0.2.1:9")];
    let metrics = crate::http::upstream::Metrics::register(&prometheus::Registry::new()).unwrap();
    let none = crate::http::upstream::Upstreams::default();
    let upstreams = crate::http::upstream::Upstreams::new(rules, &none, &metrics, &Tasks::new()).unwrap();
    // Longer than the test: nothing below is closed by it.
    let edge = Edge::with(|s| s.upstreams = upstreams, |c| c.brief = LONG * 2);
    let (link, leave) = (click("acme", "https://example.com/"), unsubscribe());
    let get =
        |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: https\r\n\r\n");
    let post = |length: usize, body: &str| {
        format!(
            "POST {leave} HTTP/1.1\r\nHost: {CUSTOMER}\r\nX-Forwarded-Proto: https\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for (request, status) in [
        (get("any.example", "/.well-known/acme-challenge/abc"), "200 "),
        (get(EDGE, "/healthz"), "200 "),
        (get(CUSTOMER, "/robots.txt"), "200 "),
        (format!("GET /x HTTP/1.1\r\nHost: {CUSTOMER}\r\n\r\n"), "302 "),
        (get(CUSTOMER, &link), "302 "),
        (post(26, "List-Unsubscribe=One-Click"), "200 "),
        // Each of these would have to wait: for the client, a look-up, a back end.
        (post(10, "x"), "503 "),
        (get(CUSTOMER, "/r/unknown"), "503 "),
        (get(CUSTOMER, "/old/1"), "503 "),
    ] {
        let answer = on_reserve(&edge, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert_eq!(answer.contains("retry-after: 5"), status == "503 ", "{answer}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_of_the_reserve_is_short() {
    let edge = Edge::with(|_| {}, |c| c.brief = Duration::from_millis(50));
    let half = format!("GET / HTTP/1.1\r\nHost: {CUSTOMER}\r\nX-A: ");
    for sent in ["", "GET", &half] {
        assert_eq!(on_reserve(&edge, sent).await, "", "{sent}");
    }
    // However steadily requests come.
    let mut io = reserved(&edge);
    io.write_all(half.as_bytes()).await.unwrap();
    let dribble = async {
        while io.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, dribble).await.expect("it is closed");
}

#[tokio::test(flavor = "local")]
async fn a_head_of_many_fields_is_refused_in_both_versions() {
    let edge = Edge::new();
    for via in BOTH {
        for (fields, status) in [(90, StatusCode::OK), (101, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)] {
            let mut request = Request::get("/robots.txt");
            for n in 0..fields {
                request = request.header(format!("x{n}"), "a");
            }
            let got = edge.send(via, CUSTOMER, request, "").await;
            assert_eq!(got.status, status, "{via:?} {fields}");
        }
    }
}
