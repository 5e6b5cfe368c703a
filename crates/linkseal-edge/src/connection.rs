//! One connection, from the accepted socket to the end of its HTTP: permit, PROXY header, TLS.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use linkseal_base::shutdown::Tasks;
use linkseal_net::listener::{Accepted, Bound};
use linkseal_net::proxy_protocol::{self, Balancers, Header};
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, debug_span, field, warn};

use super::limits::{Limits, Newcomer, Permit};
use super::metrics::{Metrics, Open};
use super::presence::Presence;
use super::tls::acceptor::Acceptor;
use super::{Connection, Listener};

/// Serves HTTP on a connection: [`crate::http::Context`], or an echo in tests.
pub trait ServeHttp: Send + Sync + 'static {
    /// Serves until the client or the protocol ends the connection. Once `drain` is cancelled, requests
    /// in progress are finished and no more are accepted.
    fn serve<IO>(&self, io: IO, connection: Connection, drain: &CancellationToken) -> impl Future<Output = ()> + Send
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// Serves connections. Clones share all state.
pub struct Connections<H> {
    inner: Arc<Inner<H>>,
}

struct Inner<H> {
    limits: Limits,
    balancers: Balancers,
    acceptor: Acceptor,
    http: H,
    metrics: Metrics,
    tasks: Tasks,
}

impl<H: ServeHttp> Connections<H> {
    /// Connections run in `tasks` and drain when it stops.
    pub fn new(
        limits: Limits,
        balancers: Balancers,
        acceptor: Acceptor,
        http: H,
        metrics: Metrics,
        tasks: Tasks,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits,
                balancers,
                acceptor,
                http,
                metrics,
                tasks,
            }),
        }
    }

    /// The TLS side, for a reload.
    pub fn acceptor(&self) -> &Acceptor {
        &self.inner.acceptor
    }

    /// Starts accepting on a listener, which is closed when the tasks stop.
    pub fn listen(&self, bound: Bound) {
        let this = self.clone();
        let stop = self.inner.tasks.token().clone();
        self.inner
            .tasks
            .spawn(bound.run(stop, move |accepted| this.start(accepted)));
    }

    /// Starts serving a connection. If too many are open, another has to make way; the connection is
    /// closed if none does, or if too many wait for that already.
    pub fn start(&self, accepted: Accepted) {
        let counts = self.inner.metrics.of(accepted.listener);
        counts.total.inc();
        let limits = &self.inner.limits;
        let permit = limits.permit(accepted.listener).map_err(|limit| {
            if limits.is_warning_due() {
                warn!(
                    open = limits.open(),
                    "{limit}; closing connections to make room for others (raise edge.max_connections if this lasts)"
                );
            }
            let peer = accepted.peer.ip();
            (
                limit,
                limits.newcomer(Some(peer).filter(|ip| !self.inner.balancers.contain(*ip))),
            )
        });
        if let Err((limit, None)) = &permit {
            counts.refused.inc();
            debug!(peer = %accepted.peer, "{limit}; connection closed");
            return;
        }
        // Boxed: most connections have a permit and live long.
        let permit = permit.map_err(|(_, newcomer)| newcomer.map(Box::new));
        let open = Open::new(&counts.open);
        let span = debug_span!("connection", peer = %accepted.peer, client = field::Empty, sni = field::Empty);
        let inner = Arc::clone(&self.inner);
        self.inner
            .tasks
            .spawn(async move { inner.serve(accepted, permit, open).await }.instrument(span));
    }
}

impl<H> Clone for Connections<H> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// Counts a connection that was closed to make room.
struct End {
    presence: Arc<Presence>,
    evicted: IntCounter,
}

impl Drop for End {
    fn drop(&mut self) {
        if self.presence.is_evicted() {
            self.evicted.inc();
        }
    }
}

impl<H: ServeHttp> Inner<H> {
    /// `permit`: the permit, or a place among the connections that wait for one.
    async fn serve(&self, accepted: Accepted, permit: Result<Permit, Option<Box<Newcomer>>>, _open: Open) {
        let Accepted {
            mut stream,
            peer,
            local,
            listener,
        } = accepted;
        let Some((client, local)) = self.addresses(&mut stream, peer, local).await else {
            return;
        };
        let permit = match permit {
            Ok(permit) => Some(permit),
            Err(place) => Box::pin(self.permit_soon(listener, client.ip(), place)).await,
        };
        let Some(mut permit) = permit else {
            self.metrics.of(listener).refused.inc();
            debug!(%client, "max_connections is reached; connection closed");
            return;
        };
        if let Err(limit) = permit.count_for(client.ip()) {
            let room = match self.limits.newcomer(Some(client.ip())) {
                Some(place) => Box::pin(place.unless_taken_away(permit.count_for_soon(client.ip(), limit))).await,
                None => false,
            };
            if !room {
                self.metrics.of(listener).refused.inc();
                debug!(%client, "{limit}; connection closed");
                return;
            }
        }
        let Some(presence) = permit.presence().map(Arc::clone) else {
            return;
        };
        let _end = End {
            presence: Arc::clone(&presence),
            evicted: self.metrics.of(listener).evicted.clone(),
        };
        let drain = self.tasks.token();
        match listener {
            Listener::Http => {
                let connection = Connection {
                    listener,
                    client,
                    local,
                    tls: None,
                    presence,
                };
                self.http.serve(stream, connection, drain).await;
            }
            // Boxed, like reading the PROXY header: what is needed only at the start must not take up
            // memory for the life of the connection.
            Listener::Https => {
                let session = {
                    let accept = Box::pin(self.acceptor.accept(stream, client.ip()));
                    tokio::select! {
                        biased;
                        session = accept => session,
                        () = presence.evicted() => return,
                    }
                };
                match session {
                    Ok((io, tls)) => {
                        if let Some(name) = &tls.name {
                            Span::current().record("sni", field::display(name));
                        }
                        let connection = Connection {
                            listener,
                            client,
                            local,
                            tls: Some(tls),
                            presence,
                        };
                        self.http.serve(io, connection, drain).await;
                    }
                    Err(why) => debug!(fault = why.fault().label(), "no TLS session: {why}"),
                }
            }
        }
    }

    /// A permit, once another connection makes way. `place`: the place held while waiting.
    async fn permit_soon(&self, listener: Listener, from: IpAddr, place: Option<Box<Newcomer>>) -> Option<Permit> {
        let place = match *place? {
            // The balancer has named the client: from now on it waits among its own network.
            Newcomer::Unnamed(_) => self.limits.newcomer(Some(from))?,
            named @ Newcomer::Named(_) => named,
        };
        place.unless_taken_away(self.limits.permit_soon(listener, from)).await
    }

    /// The client's address and the one it connected to. `None` if a balancer sent no usable header.
    async fn addresses(
        &self,
        stream: &mut tokio::net::TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        if !self.balancers.contain(peer.ip()) {
            return Some((peer, local));
        }
        match Box::pin(proxy_protocol::read(stream, proxy_protocol::DEADLINE)).await {
            Ok(Header::Proxied { client, local }) => {
                Span::current().record("client", field::display(client));
                Some((client, local))
            }
            Ok(Header::Direct) => Some((peer, local)),
            Err(error) => {
                debug!(%error, "no PROXY header; connection closed");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
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

    #[tokio::test]
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
        let open = Open::new(&inner.metrics.of(Listener::Https).open);
        let whole = size_of_val(&inner.serve(accepted, Ok(edge.limits.permit(Listener::Https).unwrap()), open));
        assert!(whole <= 1024, "{whole} bytes");
    }

    #[tokio::test]
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

    #[tokio::test]
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

    #[tokio::test]
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

    #[tokio::test]
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

    #[tokio::test]
    async fn connections_drain_on_shutdown() {
        let edge = TestEdge::start(Options::default());
        edge.issued(A);
        let mut tls = edge.connect(A, &Arc::new(edge.client())).await;
        let mut plain = TcpStream::connect(edge.http).await.unwrap();
        echoed(&mut plain).await;
        edge.tasks.stop();
        assert_eq!(tls.read(&mut [0]).await.unwrap(), 0, "close_notify, not a cut");
        assert_eq!(plain.read(&mut [0]).await.unwrap(), 0);
        assert!(edge.tasks.wait(PATIENT).await);
        assert_eq!((edge.limits.open(), edge.limits.addresses()), (0, 0));
        TcpStream::connect(edge.https).await.unwrap_err();
    }
}
