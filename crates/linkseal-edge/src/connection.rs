//! One connection, from the accepted socket to the end of its HTTP: core, permit, PROXY header, TLS.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use linkseal_net::listener::{Accepted, Bound};
use linkseal_net::proxy_protocol::{self, Balancers, Header};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, debug_span, error, field, warn};

use super::cores::{CoreSet, Place};
use super::limits::{Limits, Newcomer, Permit};
use super::metrics::{Metrics, Open};
use super::presence::Presence;
use super::tls::acceptor::Acceptor;
use super::waitable::Waitable;
use super::{Connection, Listener};

/// How many cores accept from one socket. Each of them wakes for every connection, so that more would cost
/// more than they bring; they give connections to all cores.
const ACCEPTING: usize = 4;

/// Serves HTTP on a connection: [`crate::http::Context`], or an echo in tests.
pub trait ServeHttp: Send + Sync + 'static {
    /// Serves until the client or the protocol ends the connection, on the thread that called this. Once
    /// `drain` is cancelled, requests in progress are finished and no more are accepted.
    fn serve<IO: Waitable>(
        &self,
        io: IO,
        connection: Connection,
        drain: CancellationToken,
    ) -> impl Future<Output = ()> + use<IO, Self> + 'static;
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
    cores: CoreSet,
}

impl<H: ServeHttp> Connections<H> {
    /// Connections run on the cores and drain when these stop.
    pub fn new(
        limits: Limits,
        balancers: Balancers,
        acceptor: Acceptor,
        http: H,
        metrics: Metrics,
        cores: CoreSet,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits,
                balancers,
                acceptor,
                http,
                metrics,
                cores,
            }),
        }
    }

    /// The TLS side, for a reload.
    pub fn acceptor(&self) -> &Acceptor {
        &self.inner.acceptor
    }

    /// Starts accepting on a listener, which is closed when the cores stop.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn listen(&self, bound: Bound) -> std::io::Result<()> {
        let cores = &self.inner.cores;
        for (core, shared) in bound.share(cores.count().min(ACCEPTING))?.into_iter().enumerate() {
            let this = self.clone();
            let stop = cores.stopping().clone();
            cores.spawn_on(core, shared.run(stop, move |accepted| this.accept(core, accepted)));
        }
        Ok(())
    }

    /// Gives a connection to the core that has the fewest; `core`: the one that accepted it.
    fn accept(&self, core: usize, accepted: Accepted) {
        let place = self.inner.cores.place(core);
        if place.core == core {
            return self.start(accepted, place);
        }
        let Accepted {
            stream,
            peer,
            local,
            listener,
        } = accepted;
        // A socket is driven by the runtime that it was made on.
        let Ok(stream) = stream.into_std() else { return };
        let this = self.clone();
        self.inner.cores.spawn_on(place.core, async move {
            match TcpStream::from_std(stream) {
                Ok(stream) => this.start(
                    Accepted {
                        stream,
                        peer,
                        local,
                        listener,
                    },
                    place,
                ),
                Err(error) => error!(%error, "a connection cannot be served"),
            }
        });
    }

    /// Starts serving a connection on this core. If too many are open, another has to make way; the
    /// connection is closed if none does, or if too many wait for that already.
    fn start(&self, accepted: Accepted, place: Place) {
        let Some(tasks) = self.inner.cores.tasks(place.core) else {
            return;
        };
        let open = self.inner.metrics.accepted(accepted.listener);
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
            open.refused();
            debug!(peer = %accepted.peer, "{limit}; connection closed");
            return;
        }
        // Boxed: most connections have a permit.
        let permit = permit.map_err(|(_, newcomer)| newcomer.map(Box::new));
        let span = debug_span!("connection", peer = %accepted.peer, client = field::Empty, sni = field::Empty);
        let inner = Arc::clone(&self.inner);
        tasks.spawn_local(async move { inner.serve(accepted, permit, Held { open, place }).await }.instrument(span));
    }
}

impl<H> Clone for Connections<H> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// What a connection holds until it ends.
struct Held {
    open: Open,
    place: Place,
}

/// A connection that is counted for its client.
struct Counted {
    held: Held,
    #[expect(dead_code, reason = "held until it is dropped")]
    permit: Permit,
    presence: Arc<Presence>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.presence.is_evicted() {
            self.held.open.evicted();
        }
    }
}

impl<H: ServeHttp> Inner<H> {
    /// Serves a connection up to its first request, and hands it to a task of its own: that one is small
    /// and lives long. `permit`: the permit, or a place among the connections that wait for one.
    async fn serve(&self, accepted: Accepted, permit: Result<Permit, Option<Box<Newcomer>>>, held: Held) {
        let Accepted {
            mut stream,
            peer,
            local,
            listener,
        } = accepted;
        let Some((client, local)) = self.addresses(&mut stream, peer, local).await else {
            return;
        };
        let Some(counted) = self.count(listener, client, permit, held).await else {
            return;
        };
        let connection = Connection {
            listener,
            client,
            local,
            tls: None,
            presence: Arc::clone(&counted.presence),
        };
        match listener {
            Listener::Http => self.hand_over(stream, connection, counted),
            Listener::Https => {
                // Boxed: what a handshake needs would make every task that starts a connection large.
                let accept = Box::pin(self.acceptor.accept(stream, client.ip()));
                let session = tokio::select! {
                    biased;
                    session = accept => session,
                    () = counted.presence.evicted() => return,
                };
                match session {
                    Ok((io, tls)) => {
                        if let Some(name) = &tls.name {
                            Span::current().record("sni", field::display(name));
                        }
                        let tls = Some(tls);
                        self.hand_over(io, Connection { tls, ..connection }, counted);
                    }
                    Err(why) => debug!(fault = why.fault().label(), "no TLS session: {why}"),
                }
            }
        }
    }

    fn hand_over(&self, io: impl Waitable, connection: Connection, counted: Counted) {
        let Some(tasks) = self.cores.tasks(counted.held.place.core) else {
            return;
        };
        let serving = self.http.serve(io, connection, tasks.token().clone());
        let task = async move {
            let _counted = counted;
            serving.await;
        };
        tasks.spawn_local(task.instrument(Span::current()));
    }

    /// Counts a connection for its client, waiting for room if there is none.
    async fn count(
        &self,
        listener: Listener,
        client: SocketAddr,
        permit: Result<Permit, Option<Box<Newcomer>>>,
        held: Held,
    ) -> Option<Counted> {
        let permit = match permit {
            Ok(permit) => Some(permit),
            Err(place) => Box::pin(self.permit_soon(listener, client.ip(), place)).await,
        };
        let Some(mut permit) = permit else {
            held.open.refused();
            debug!(%client, "max_connections is reached; connection closed");
            return None;
        };
        if let Err(limit) = permit.count_for(client.ip()) {
            let room = match self.limits.newcomer(Some(client.ip())) {
                Some(place) => Box::pin(place.unless_taken_away(permit.count_for_soon(client.ip(), limit))).await,
                None => false,
            };
            if !room {
                held.open.refused();
                debug!(%client, "{limit}; connection closed");
                return None;
            }
        }
        let presence = permit.presence().map(Arc::clone)?;
        Some(Counted { held, permit, presence })
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
        stream: &mut TcpStream,
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
