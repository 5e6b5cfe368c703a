//! One connection, from the accepted socket to the end of its HTTP: permit, PROXY header, TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, debug_span, field};

use super::limits::{Limits, Permit};
use super::listener::{Accepted, Bound};
use super::proxy_protocol::{self, Balancers, Header};
use super::tls::acceptor::Acceptor;
use super::{Connection, Listener};
use crate::shutdown::Tasks;

/// What serves HTTP on a connection.
pub trait ServeHttp: Send + Sync + 'static {
    /// Serves until the client or the protocol ends it. When `drain` is cancelled the requests
    /// under way are finished and no more are taken.
    fn serve<IO>(&self, io: IO, connection: Connection, drain: &CancellationToken) -> impl Future<Output = ()> + Send
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// Serves connections. Clones share everything.
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
    /// Connections run in `tasks`, which tells them to drain when it is stopped.
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

    /// Starts accepting on a listener. It is closed, and its connections drain, when the tasks stop.
    pub fn listen(&self, bound: Bound) {
        let this = self.clone();
        let stop = self.inner.tasks.token().clone();
        self.inner
            .tasks
            .spawn(bound.run(stop, move |accepted| this.start(accepted)));
    }

    /// Starts serving a connection, unless too many are open: then it is closed at once.
    pub fn start(&self, accepted: Accepted) {
        let counts = self.inner.metrics.of(accepted.listener);
        counts.total.inc();
        let permit = match self.inner.limits.permit() {
            Ok(permit) => permit,
            Err(limit) => {
                counts.refused.inc();
                debug!(peer = %accepted.peer, "{limit}: closed");
                return;
            }
        };
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

impl<H: ServeHttp> Inner<H> {
    async fn serve(&self, accepted: Accepted, mut permit: Permit, _open: Open) {
        let Accepted {
            mut stream,
            peer,
            local,
            listener,
        } = accepted;
        let Some((client, local)) = self.ends(&mut stream, peer, local).await else {
            return;
        };
        if let Err(limit) = permit.count_for(client.ip()) {
            self.metrics.of(listener).refused.inc();
            debug!(%client, "{limit}: closed");
            return;
        }
        let drain = self.tasks.token();
        match listener {
            Listener::Http => {
                let connection = Connection {
                    listener,
                    client,
                    local,
                    tls: None,
                };
                self.http.serve(stream, connection, drain).await;
            }
            Listener::Https => match self.acceptor.accept(stream).await {
                Ok((io, tls)) => {
                    if let Some(name) = &tls.name {
                        Span::current().record("sni", field::display(name));
                    }
                    let connection = Connection {
                        listener,
                        client,
                        local,
                        tls: Some(tls),
                    };
                    self.http.serve(io, connection, drain).await;
                }
                Err(why) => debug!(fault = why.fault().label(), "no TLS session: {why}"),
            },
        }
    }

    /// Who is at the two ends. `None`: a balancer did not say.
    async fn ends(
        &self,
        stream: &mut tokio::net::TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Option<(SocketAddr, SocketAddr)> {
        if !self.balancers.contain(peer.ip()) {
            return Some((peer, local));
        }
        match proxy_protocol::read(stream, proxy_protocol::DEADLINE).await {
            Ok(Header::Proxied { client, local }) => {
                Span::current().record("client", field::display(client));
                Some((client, local))
            }
            Ok(Header::Direct) => Some((peer, local)),
            Err(error) => {
                debug!(%error, "closed");
                None
            }
        }
    }
}

/// The counters of connections, resolved for both listeners.
#[derive(Clone)]
pub struct Metrics {
    http: Counts,
    https: Counts,
}

#[derive(Clone)]
struct Counts {
    open: IntGauge,
    total: IntCounter,
    refused: IntCounter,
}

impl Metrics {
    /// Registers the metrics of connections.
    pub fn register(registry: &Registry) -> Self {
        let open = Opts::new("linkseal_connections_open", "Connections that are open.");
        let total = Opts::new(
            "linkseal_connections_total",
            "Connections accepted by the system, also those closed at once.",
        );
        let refused = Opts::new(
            "linkseal_connections_refused_total",
            "Connections closed at once because a limit was reached.",
        );
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        let (open, total, refused) = (
            IntGaugeVec::new(open, &["listener"]).expect("valid"),
            IntCounterVec::new(total, &["listener"]).expect("valid"),
            IntCounterVec::new(refused, &["listener"]).expect("valid"),
        );
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        {
            registry.register(Box::new(open.clone())).expect("registered once");
            registry.register(Box::new(total.clone())).expect("registered once");
            registry.register(Box::new(refused.clone())).expect("registered once");
        }
        let counts = |listener: Listener| Counts {
            open: open.with_label_values(&[listener.label()]),
            total: total.with_label_values(&[listener.label()]),
            refused: refused.with_label_values(&[listener.label()]),
        };
        Self {
            http: counts(Listener::Http),
            https: counts(Listener::Https),
        }
    }

    fn of(&self, listener: Listener) -> &Counts {
        match listener {
            Listener::Http => &self.http,
            Listener::Https => &self.https,
        }
    }
}

/// Counts a connection as open while it lives.
struct Open(IntGauge);

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
