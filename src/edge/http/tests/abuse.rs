//! Clients that take more than their part, and one beside them that must not notice.

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
    edge.context.tasks.spawn(connection);
    sender
}

fn post(path: &str) -> Request<Endless> {
    Request::post(format!("https://{CUSTOMER}{path}"))
        .body(endless())
        .unwrap()
}

#[tokio::test]
async fn a_token_that_is_not_right_is_told_before_its_body() {
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

#[tokio::test]
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
    // The network's share of all waits, the rest is refused; those that wait have no answer to give.
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

#[tokio::test]
async fn a_new_connection_waits_for_few_bodies() {
    let edge = Edge::with(|_| {}, |c| c.bodies = Room::new(1_000, 1_000));
    let path = unsubscribe();
    let mut sender = connect(&edge, "198.51.100.7:1").await;
    let mut waiting = Vec::new();
    for n in 0..33 {
        let mut answer = Box::pin(sender.send_request(post(&path)));
        let answered = tokio::time::timeout(Duration::from_millis(20), &mut answer).await;
        assert_eq!(answered.is_ok(), n == 32, "{n}");
        waiting.push(answer);
    }
}

#[tokio::test]
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
