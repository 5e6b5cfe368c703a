//! Accepts connections on a socket of the admin port or the health port and serves them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use linkseal_base::shutdown::Tasks;
use linkseal_net::listener::{self, BindError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::slots::{self, Arrival, Slots};
use super::tls;
use super::watchdog::{LongLived, Watchdog, Watched, WatchedBody};
use crate::context::Context;
use crate::counters::Closed;
use crate::peer::Peer;

/// From accept, or from the previous answer, to the end of a request's headers.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// For a TLS handshake, including loading edge.name's certificate.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a handshake waits for edge.name's certificate to be loaded, before the self-signed one is
/// presented.
const CERTIFICATE_TIME: Duration = Duration::from_secs(3);
/// How often a connection is checked for its time limits.
const CHECK: Duration = Duration::from_secs(1);

/// Binds the sockets of the admin or health port. Needs a tokio runtime.
///
/// # Errors
/// When an address cannot be bound; the error says which and why.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    addresses
        .iter()
        .map(|&address| listener::bind_socket(address))
        .collect()
}

/// Which port a socket is of.
#[derive(Clone)]
pub(crate) enum Port {
    /// API and pages; TLS off loopback.
    Admin(TlsAcceptor),
    /// Probes and scrapers; plain HTTP everywhere.
    Health,
}

/// Serves one socket.
pub(crate) struct Server {
    context: Arc<Context>,
    router: Router,
    port: Port,
    slots: Arc<Slots>,
    tasks: Tasks,
}

impl Server {
    pub(crate) fn new(context: &Arc<Context>, router: Router, port: Port, tasks: &Tasks) -> Self {
        Self {
            context: Arc::clone(context),
            router,
            port,
            slots: Arc::default(),
            tasks: tasks.clone(),
        }
    }

    /// Accepts until the tasks stop, then closes the socket.
    pub(crate) async fn run(self, socket: TcpListener) {
        let server = Arc::new(self);
        let Ok(local) = socket.local_addr() else { return };
        let on_loopback = local.ip().to_canonical().is_loopback();
        let stop = server.tasks.token().clone();
        let mut each = |(stream, peer): (TcpStream, SocketAddr)| {
            let (slot, evicted) = server.slots.take(server.arrival(peer.ip()));
            if let Some(client) = evicted {
                server.context.counters.closed(Closed::Displaced);
                tracing::debug!(%peer, %client, "no slot left on the admin port; closed another connection for a new one");
            }
            let this = Arc::clone(&server);
            server.tasks.spawn(async move {
                let watchdog = &slot.watchdog;
                tokio::select! {
                    () = watchdog.closing() => {}
                    () = this.connection(stream, peer, on_loopback, watchdog) => {}
                }
            });
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listener::accept_all(local, || socket.accept(), &mut each) => {}
        }
        listener::accept_waiting(socket, each);
    }

    /// A trusted proxy and this machine stand for many clients, so they may take all slots.
    fn arrival(&self, peer: IpAddr) -> Arrival {
        let is_proxy = self.context.live.load().proxies.contain(peer);
        let on_this_machine = peer.to_canonical().is_loopback();
        Arrival {
            peer,
            share: if on_this_machine || is_proxy {
                slots::MAX
            } else {
                slots::PER_CLIENT
            },
            is_local: on_this_machine && !is_proxy,
        }
    }

    async fn connection(&self, mut stream: TcpStream, peer: SocketAddr, on_loopback: bool, watchdog: &Arc<Watchdog>) {
        let live = self.context.live.load_full();
        let client = match live.proxies.read_proxy_header(&mut stream, peer).await {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%peer, %error, "invalid PROXY header from a trusted proxy"),
        };
        let tls = match &self.port {
            Port::Admin(tls) if !on_loopback && !live.plain => tls,
            _ => return self.serve(stream, Peer { ip: client, tls: false }, watchdog).await,
        };
        let handshake = async {
            self.load_certificate().await;
            tls.accept(stream).await
        };
        match timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => self.serve(stream, Peer { ip: client, tls: true }, watchdog).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake on the admin port failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake on the admin port timed out"),
        }
    }

    /// Loads edge.name's certificate into memory, if it is not there.
    async fn load_certificate(&self) {
        let name = self.context.live.load().names.name.clone();
        if !tls::has_certificate(&self.context, &name) {
            // The resolver reads the cache, whatever the outcome.
            let _ = timeout(CERTIFICATE_TIME, self.context.certificates.request(name)).await;
        }
    }

    pub(crate) async fn serve<IO>(&self, io: IO, peer: Peer, watchdog: &Arc<Watchdog>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| self.answer(request, peer, watchdog));
        let io = Watched {
            io,
            watchdog: Arc::clone(watchdog),
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        let result = loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => break result,
                () = self.tasks.stopping(), if !stopping => {
                    stopping = true;
                    // A request that has been sent is still answered.
                    check.reset();
                }
                _ = check.tick() => {
                    if let Some(why) = watchdog.overdue(Instant::now()) {
                        self.context.counters.closed(Closed::Overdue);
                        return tracing::debug!(peer = %peer.ip, why, "connection to the admin port overdue; closed it");
                    }
                    if stopping {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %peer.ip, %error, "connection to the admin port broke");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        watchdog: &Arc<Watchdog>,
    ) -> Result<http::Response<WatchedBody<Body>>, std::convert::Infallible> {
        watchdog.request_began(Instant::now());
        let mut request = request.map(Body::new);
        let client = self.context.live.load().proxies.client(request.headers(), peer);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(Arc::clone(watchdog));
        let mut response = self.router.clone().call(request).await?;
        if self.tasks.is_stopping() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if response.extensions().get::<LongLived>().is_some() {
            watchdog.stream_began();
        }
        Ok(response.map(|body| WatchedBody::new(body, Arc::clone(watchdog))))
    }
}
