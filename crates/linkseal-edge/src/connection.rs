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
mod tests;
