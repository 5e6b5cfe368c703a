//! Answers while the start waits for the store: health checks get their status, so that no supervisor
//! restarts the process or declares the host dead; everything else gets a 503 or a TLS alert. No connection hangs.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use linkseal_edge::tls::alert;
use linkseal_net::listener::Bound;
use linkseal_net::listener::Listener;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// How long opening the store may take before connections are answered here.
const GRACE: Duration = Duration::from_secs(2);
/// Concurrent connections per port.
const OPEN: usize = 256;
/// How long a connection may take.
const TIME: Duration = Duration::from_secs(5);
/// The longest request head that is read, in bytes.
const HEAD: usize = 8 * 1024;
/// Pause after a failed accept.
const REST: Duration = Duration::from_millis(100);
/// The first byte that a TLS client sends.
const TLS_HANDSHAKE: u8 = 0x16;
/// Waits for the store, and answers on these sockets if that takes longer than [`GRACE`]. `why`: the reason given to
/// clients.
pub(super) async fn answered<T>(
    opening: impl Future<Output = T>,
    why: &'static str,
    bound: &[Bound],
    other: &[&TcpListener],
) -> T {
    tokio::pin!(opening);
    if let Ok(opened) = timeout(GRACE, &mut opening).await {
        return opened;
    }
    let edge = bound.iter().map(|b| (b.socket(), b.kind().label()));
    for (socket, listener) in edge.chain(other.iter().map(|socket| (*socket, "admin"))) {
        if let Ok(address) = socket.local_addr() {
            tracing::info!(listener, %address, "listening");
        }
    }
    tracing::error!("{why}; answering health checks only until it does");
    let edge = bound
        .iter()
        .map(|b| accept(b.socket(), why, b.kind() == Listener::Https));
    let answering = join_all(edge.chain(other.iter().map(|socket| accept(socket, why, false))));
    let opened = tokio::select! {
        opened = &mut opening => opened,
        // Ends only if there is no socket.
        _ = answering => opening.await,
    };
    tracing::warn!("the start goes on");
    opened
}

async fn accept(socket: &TcpListener, why: &str, tls: bool) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = socket.accept(), if open.len() < OPEN => match accepted {
                Ok(accepted) => open.push(timeout(TIME, answer(accepted, why, tls))),
                Err(_) => sleep(REST).await,
            },
            Some(_) = open.next() => {}
        }
    }
}

async fn answer((mut io, _): (TcpStream, SocketAddr), why: &str, tls: bool) {
    if tls {
        return alert::send_and_close(io, &alert::INTERNAL_ERROR).await;
    }
    let mut head = Vec::new();
    while head.len() < HEAD && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match io.read_buf(&mut head).await {
            Ok(1..) if head.first() != Some(&TLS_HANDSHAKE) => {}
            Ok(1..) => return alert::send_and_close(io, &alert::INTERNAL_ERROR).await,
            _ => return,
        }
    }
    // The client may be gone; that is no error here.
    drop(io.write_all(response(&head, why).as_bytes()).await);
    drop(io.shutdown().await);
}

fn response(head: &[u8], why: &str) -> String {
    let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
    let target = line.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let (status, kind, body) = match path {
        "/healthz" => ("200 OK", "application/json", json!({"alive": true})),
        "/readyz" => (
            "503 Service Unavailable",
            "application/json",
            json!({
                "ready": false,
                "missing": [{"what": "store", "detail": why}],
                "mass_failure_guard": false,
                "suspects_itself": false,
            }),
        ),
        _ => (
            "503 Service Unavailable",
            "application/problem+json",
            json!({
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "code": "store_unavailable",
                "detail": format!("{why}; try again later"),
            }),
        ),
    };
    let body = body.to_string();
    let retry = if status.starts_with("200") {
        ""
    } else {
        "Retry-After: 5\r\n"
    };
    let sent = if line.starts_with("HEAD ") { "" } else { body.as_str() };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{retry}Connection: close\r\n\r\n{sent}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_are_answered_and_the_rest_gets_503() {
        let of = |request: &str| {
            response(
                format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
                "the store does not respond",
            )
        };
        assert!(of("GET /healthz").starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(of("GET /healthz?x=1").ends_with(r#"{"alive":true}"#));
        assert!(of("HEAD /healthz").ends_with("\r\n\r\n"));
        for request in ["GET /readyz", "GET /c/token", "POST /v1/domains", "nonsense"] {
            let answer = of(request);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.contains("Retry-After: 5\r\n"), "{answer}");
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(
                answer.contains(&format!("Content-Length: {}\r\n", body.len())),
                "{answer}"
            );
        }
    }
}
