//! HTTP/1.1 connections that give their buffers back while they are idle.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::testing::{PATIENT, until};
use crate::waitable::Waitable;

const ROBOTS: &[u8] = b"GET /robots.txt HTTP/1.1\r\nHost: links.customer.example\r\n\r\n";

/// A server's socket that counts how often it began to wait without buffers.
struct Counted {
    io: TcpStream,
    waits: Rc<Cell<u32>>,
}

impl Waitable for Counted {
    fn poll_readable(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.waits.set(self.waits.get() + 1);
        self.io.poll_readable(cx)
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A client's connection, and how often the server's side began to wait.
struct Client {
    io: TcpStream,
    waits: Rc<Cell<u32>>,
    presence: Arc<crate::presence::Presence>,
}

impl Client {
    async fn of(edge: &Edge) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let io = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let waits = Rc::default();
        let server = Counted {
            io: listener.accept().await.unwrap().0,
            waits: Rc::clone(&waits),
        };
        let connection = edge.connection(BOTH[0]);
        let presence = Arc::clone(&connection.presence);
        edge.tasks
            .spawn_local(serve(server, connection, &edge.context, edge.drain.clone()));
        Self { io, waits, presence }
    }

    /// Waits until the server's side has begun to wait.
    async fn rests(&self) {
        let before = self.waits.get();
        until(|| self.waits.get() > before).await;
    }

    /// Sends a request and returns its answer.
    async fn asks(&mut self, request: &[u8]) -> String {
        self.io.write_all(request).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"Disallow: /\n") {
            let read = tokio::time::timeout(PATIENT, self.io.read_buf(&mut answer)).await;
            assert!(read.unwrap().unwrap() > 0, "{}", answer.escape_ascii());
        }
        String::from_utf8(answer).unwrap()
    }

    /// Whether the server closes without sending anything.
    async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENT, self.io.read(&mut [0])).await;
        matches!(read, Ok(Ok(0)))
    }
}

/// An edge whose connections rest after `settle`.
fn edge(settle: Duration) -> Edge {
    Edge::with(
        |_| {},
        |context| {
            context.timeouts = Arc::new(Timeouts {
                settle,
                ..Timeouts::default()
            });
        },
    )
}

const SOON: Duration = Duration::from_millis(5);

#[tokio::test(flavor = "local")]
async fn a_connection_that_rests_answers_its_next_request() {
    let edge = edge(SOON);
    let mut client = Client::of(&edge).await;
    client.rests().await;
    for _ in 0..3 {
        assert!(client.asks(ROBOTS).await.starts_with("HTTP/1.1 200 "));
        client.rests().await;
    }
    // A client that closes is noticed.
    drop(client);
    edge.tasks.stop();
    assert!(edge.tasks.wait(PATIENT).await);
}

#[tokio::test(flavor = "local")]
async fn a_part_of_a_request_is_kept() {
    let edge = edge(SOON);
    let mut client = Client::of(&edge).await;
    client.rests().await;
    for cut in [1, 20, ROBOTS.len() - 1] {
        client.io.write_all(&ROBOTS[..cut]).await.unwrap();
        // Longer than it takes to rest, which it must not.
        let waits = client.waits.get();
        tokio::time::sleep(SOON * 10).await;
        assert!(client.waits.get() <= waits + 1, "it rests with a part of a request");
        assert!(client.asks(&ROBOTS[cut..]).await.starts_with("HTTP/1.1 200 "), "{cut}");
        client.rests().await;
    }
}

/// A stream that takes no more than its buffer until the client reads.
#[tokio::test(flavor = "local")]
async fn an_answer_that_the_client_has_not_read_is_not_lost() {
    let edge = edge(SOON);
    let (mut client, server) = tokio::io::duplex(64);
    let connection = edge.connection(BOTH[0]);
    let presence = Arc::clone(&connection.presence);
    edge.tasks
        .spawn_local(serve(server, connection, &edge.context, edge.drain.clone()));
    client.write_all(ROBOTS).await.unwrap();
    until(|| !presence.is_busy()).await;
    tokio::time::sleep(SOON * 10).await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"Disallow: /\n") {
        let read = tokio::time::timeout(PATIENT, client.read_buf(&mut answer)).await;
        assert!(read.unwrap().unwrap() > 0, "{}", answer.escape_ascii());
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_rests_ends_in_a_drain_and_makes_way() {
    for evicted in [false, true] {
        let edge = edge(SOON);
        let mut client = Client::of(&edge).await;
        client.asks(ROBOTS).await;
        client.rests().await;
        if evicted {
            client.presence.evict();
        } else {
            edge.drain.cancel();
        }
        assert!(client.is_closed().await, "evicted {evicted}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_rests_is_closed_after_its_idle_time() {
    for asks in [false, true] {
        let edge = Edge::with(
            |_| {},
            |context| {
                context.timeouts = Arc::new(Timeouts {
                    tick: SOON * 4,
                    settle: SOON,
                    headers: SOON * 20,
                    idle: SOON * 20,
                    ..Timeouts::default()
                });
            },
        );
        let mut client = Client::of(&edge).await;
        if asks {
            client.asks(ROBOTS).await;
        }
        client.rests().await;
        assert!(client.is_closed().await, "asks {asks}");
    }
}

/// Bytes of the next request that came while hyper's connection was taken apart are read first.
#[tokio::test(flavor = "local")]
async fn requests_in_a_row_are_answered_whether_it_rests_between_them_or_not() {
    let edge = edge(Duration::ZERO);
    let mut client = Client::of(&edge).await;
    for _ in 0..200 {
        assert!(client.asks(ROBOTS).await.starts_with("HTTP/1.1 200 "));
    }
}

/// The beginning of a request in the same packet as the one before it.
#[tokio::test(flavor = "local")]
async fn the_beginning_of_a_pipelined_request_has_its_time_and_does_not_rest() {
    let edge = Edge::with(
        |_| {},
        |context| {
            context.timeouts = Arc::new(Timeouts {
                tick: SOON,
                settle: SOON,
                headers: SOON * 20,
                idle: PATIENT,
                ..Timeouts::default()
            });
        },
    );
    let mut client = Client::of(&edge).await;
    client.rests().await;
    let answer = client.asks(&[ROBOTS, b"GET /ro"].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "));
    let waits = client.waits.get();
    assert!(client.is_closed().await, "its head never came");
    assert_eq!(client.waits.get(), waits, "it rests with a part of a request");
}

/// A client that wakes a connection without sending a request does not prolong its time.
#[tokio::test(flavor = "local")]
async fn time_at_rest_counts_however_often_it_is_interrupted() {
    let edge = Edge::with(
        |_| {},
        |context| {
            context.timeouts = Arc::new(Timeouts {
                tick: PATIENT,
                settle: SOON,
                headers: SOON * 20,
                ..Timeouts::default()
            });
        },
    );
    let (client, server) = tokio::io::duplex(64);
    let connection = edge.connection(BOTH[0]);
    // Its stream is always readable: every wait is interrupted at once.
    edge.tasks
        .spawn_local(serve(server, connection, &edge.context, edge.drain.clone()));
    assert!(
        edge.tasks.wait(PATIENT).await,
        "it ends although no tick of a wait ever passes"
    );
    drop(client);
}
