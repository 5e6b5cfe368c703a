use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::testing::{Options, PATIENT, TestEdge, client_hello, echoed, raw};

const A: &str = "links.a.example";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n";
/// As [`V1`], in version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\x01\xbb";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Whether the peer closes without sending anything.
async fn closes(mut socket: TcpStream) -> bool {
    // Unread bytes make it a reset.
    !matches!(
        tokio::time::timeout(PATIENT, socket.read(&mut [0])).await.unwrap(),
        Ok(1..)
    )
}

#[tokio::test(flavor = "local")]
async fn http_goes_straight_through_and_is_counted() {
    let mut edge = TestEdge::start(Options::default());
    let mut socket = TcpStream::connect(edge.http).await.unwrap();
    echoed(&mut socket).await;
    let connection = edge.arrival().await;
    assert_eq!(
        (connection.client, connection.local),
        (socket.local_addr().unwrap(), edge.http)
    );
    assert_eq!((connection.listener, connection.tls.is_none()), (Listener::Http, true));
    assert_eq!(edge.metric("linkseal_connections_open", "http"), 1.0);
    drop(socket);
    edge.until_idle().await;
    assert_eq!(edge.metric("linkseal_connections_open", "http"), 0.0);
    assert_eq!(edge.metric("linkseal_connections_total", "http"), 1.0);
    assert_eq!(edge.metric("linkseal_connections_total", "https"), 0.0);
}

#[tokio::test(flavor = "local")]
async fn the_task_of_a_connection_is_small() {
    let edge = TestEdge::start(Options::default());
    let stream = TcpStream::connect(edge.http).await.unwrap();
    let (peer, local) = (stream.local_addr().unwrap(), edge.https);
    let inner = &edge.connections.inner;
    let accepted = Accepted {
        stream,
        peer,
        local,
        listener: Listener::Https,
    };
    let held = Held {
        open: inner.metrics.accepted(Listener::Https),
        place: inner.cores.place(0),
    };
    let permit = Ok(edge.limits.permit(Listener::Https).unwrap());
    let whole = size_of_val(&inner.serve(accepted, permit, held));
    // The task of the handshake, which ends with it.
    assert!(whole <= 1024, "{whole} bytes");
}

#[tokio::test(flavor = "local")]
async fn a_balancer_names_the_client_on_both_listeners() {
    let mut edge = TestEdge::start(Options {
        balancers: vec!["127.0.0.0/8"],
        ..Options::default()
    });
    edge.issued(A);
    for (header, named) in [(V1, true), (V2, true), (V2_LOCAL, false), (b"PROXY UNKNOWN\r\n", false)] {
        for address in [edge.http, edge.https] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let own = socket.local_addr().unwrap();
            socket.write_all(header).await.unwrap();
            if address == edge.https {
                let connector = tokio_rustls::TlsConnector::from(Arc::new(edge.client()));
                let mut io = connector.connect(A.try_into().unwrap(), socket).await.unwrap();
                echoed(&mut io).await;
            } else {
                echoed(&mut socket).await;
            }
            let connection = edge.arrival().await;
            let ends = (connection.client.to_string(), connection.local.to_string());
            if named {
                assert_eq!(ends, ("192.0.2.7:40000".into(), "198.51.100.1:443".into()));
            } else {
                assert_eq!(ends, (own.to_string(), address.to_string()));
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn a_balancer_without_a_header_is_closed() {
    let mut edge = TestEdge::start(Options {
        balancers: vec!["127.0.0.1/32"],
        ..Options::default()
    });
    edge.issued(A);
    let hello = client_hello(&edge.client(), Some(A));
    for (address, sent) in [
        (edge.http, &b"GET / HTTP/1.1\r\n\r\n"[..]),
        (edge.https, &hello),
        (edge.http, b"PROXY TCP4 junk\r\n"),
    ] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(sent).await.unwrap();
        assert!(closes(socket).await);
    }
    edge.until_idle().await;
    assert!(edge.arrivals.try_recv().is_err());
}

#[tokio::test(flavor = "local")]
async fn a_header_from_other_peers_is_not_trusted() {
    let mut edge = TestEdge::start(Options {
        balancers: vec!["192.0.2.0/24"],
        ..Options::default()
    });
    edge.issued(A);
    let mut socket = TcpStream::connect(edge.http).await.unwrap();
    socket.write_all(V1).await.unwrap();
    assert_eq!(edge.arrival().await.client, socket.local_addr().unwrap());
    let mut seen = vec![0; V1.len()];
    socket.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, V1, "to HTTP it is a bad request");
    let hello = client_hello(&edge.client(), Some(A));
    assert_eq!(
        raw(edge.https, &[V1, &hello].concat()).await[..3],
        [0x15, 3, 3],
        "to TLS it is an alert"
    );
}

#[tokio::test(flavor = "local")]
async fn beyond_a_limit_connections_are_closed_at_once_and_room_is_given_back() {
    let limits = Limits::with_address_limit(3, 2);
    let mut edge = TestEdge::start(Options {
        limits: limits.clone(),
        balancers: vec!["127.0.0.0/8"],
        ..Options::default()
    });
    let open = async |header: &[u8]| {
        let mut socket = TcpStream::connect(edge.http).await.unwrap();
        // Fails if the connection is refused first.
        let _ = socket.write_all(header).await;
        socket
    };
    let other = b"PROXY TCP4 192.0.2.8 198.51.100.1 40000 443\r\n";
    let mut held = Vec::new();
    for header in [V1, V1] {
        let mut socket = open(header).await;
        echoed(&mut socket).await;
        held.push(socket);
    }
    limits.all_are_busy();
    assert!(closes(open(V1).await).await, "the third of one address");
    crate::testing::until(|| limits.open() == 2).await;
    let mut third = open(other).await;
    echoed(&mut third).await;
    limits.all_are_busy();
    assert!(closes(open(other).await).await, "the fourth of all");
    assert_eq!((limits.open(), limits.addresses()), (3, 2));
    assert_eq!(edge.metric("linkseal_connections_refused_total", "http"), 2.0);
    drop((held, third));
    edge.until_idle().await;
    assert_eq!(limits.addresses(), 0);
    echoed(&mut open(V1).await).await;
    for _ in 0..4 {
        edge.arrival().await;
    }
    assert!(edge.arrivals.try_recv().is_err());
}

#[tokio::test(flavor = "local")]
async fn connections_drain_on_shutdown() {
    let edge = TestEdge::start(Options::default());
    edge.issued(A);
    let mut tls = edge.connect(A, &Arc::new(edge.client())).await;
    let mut plain = TcpStream::connect(edge.http).await.unwrap();
    echoed(&mut plain).await;
    edge.cores.set().stop();
    assert_eq!(tls.read(&mut [0]).await.unwrap(), 0, "close_notify, not a cut");
    assert_eq!(plain.read(&mut [0]).await.unwrap(), 0);
    assert!(edge.cores.set().wait(PATIENT).await);
    assert_eq!((edge.limits.open(), edge.limits.addresses()), (0, 0));
    TcpStream::connect(edge.https).await.unwrap_err();
}

#[tokio::test(flavor = "local")]
async fn connections_are_spread_over_the_cores_and_answered_on_both() {
    let edge = TestEdge::start(Options::default());
    let mut open = Vec::new();
    for held in 1..=10 {
        let mut socket = TcpStream::connect(edge.http).await.unwrap();
        echoed(&mut socket).await;
        open.push(socket);
        let loads = edge.cores.set().loads();
        assert_eq!(loads.iter().sum::<usize>(), held);
        assert!(loads.iter().all(|load| load.abs_diff(held / 2) <= 1), "{loads:?}");
    }
    for socket in &mut open {
        echoed(socket).await;
    }
    drop(open);
    edge.until_idle().await;
    crate::testing::until(|| edge.cores.set().loads() == [0, 0]).await;
}
