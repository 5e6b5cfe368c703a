//! The sockets of the admin port and of the health port: bound, accepted from in bounds, TLS off
//! loopback, HTTP/1.1.

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

use super::Context;
use super::client::Peer;
use super::counters::Closed;
use super::life::{Answer, Life, Streams, Watched};
use super::places::{self, From, Places};
use super::tls;

/// From accept, or from the answer before, to the end of a request's headers.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// For a TLS handshake, with edge.name's certificate to be loaded first.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long edge.name's certificate is waited for when it is not in memory. Where none can be had,
/// one of our own is shown: this port tells why there is none.
const CERTIFICATE_TIME: Duration = Duration::from_secs(3);
/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Binds the admin port. Port 0 is a free port. Needs a tokio runtime.
///
/// # Errors
/// When an address cannot be listened on; the sentence says which and why.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    addresses
        .iter()
        .map(|&address| listener::bind_socket(address))
        .collect()
}

/// What a port is for.
#[derive(Clone)]
pub(super) enum Port {
    /// Everything; under TLS off loopback.
    Admin(TlsAcceptor),
    /// Probes and scrapers: plain everywhere.
    Health,
}

/// Serves one socket.
pub(super) struct Server {
    context: Arc<Context>,
    router: Router,
    port: Port,
    places: Arc<Places>,
    tasks: Tasks,
}

impl Server {
    pub(super) fn new(context: &Arc<Context>, router: Router, port: Port, tasks: &Tasks) -> Self {
        Self {
            context: Arc::clone(context),
            router,
            port,
            places: Arc::default(),
            tasks: tasks.clone(),
        }
    }

    /// Accepts until the tasks are told to stop, then closes the socket.
    pub(super) async fn run(self, socket: TcpListener) {
        let server = Arc::new(self);
        let Ok(local) = socket.local_addr() else { return };
        let on_loopback = local.ip().to_canonical().is_loopback();
        let stop = server.tasks.token().clone();
        let mut each = |(stream, peer): (TcpStream, SocketAddr)| {
            let (place, gone) = server.places.take(server.from(peer.ip()));
            if let Some(network) = gone {
                server.context.counters.closed(Closed::Displaced);
                tracing::debug!(%peer, %network, "a connection to the admin port had to go for another");
            }
            let this = Arc::clone(&server);
            server.tasks.spawn(async move {
                let life = Arc::clone(&place.life);
                tokio::select! {
                    () = life.closing() => {}
                    () = this.connection(stream, peer, on_loopback, &place.life) => {}
                }
                drop(place);
            });
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listener::accept_all(local, || socket.accept(), &mut each) => {}
        }
        listener::accept_waiting(socket, each);
    }

    /// Behind a trusted proxy and on this machine are many.
    fn from(&self, peer: IpAddr) -> From {
        let is_proxy = self.context.live.load().proxies.contain(peer);
        let on_this_machine = peer.to_canonical().is_loopback();
        From {
            peer,
            share: if on_this_machine || is_proxy {
                places::MAX
            } else {
                places::SHARE
            },
            is_local: on_this_machine && !is_proxy,
        }
    }

    async fn connection(&self, mut stream: TcpStream, peer: SocketAddr, on_loopback: bool, life: &Arc<Life>) {
        let live = self.context.live.load_full();
        let client = match live.proxies.greeted(&mut stream, peer).await {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%peer, %error, "no PROXY header from a trusted proxy"),
        };
        let tls = match &self.port {
            Port::Admin(tls) if !on_loopback && !live.plain => tls,
            _ => return self.serve(stream, Peer { ip: client, tls: false }, life).await,
        };
        let handshake = async {
            self.load_certificate().await;
            tls.accept(stream).await
        };
        match timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => self.serve(stream, Peer { ip: client, tls: true }, life).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake on the admin port failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake on the admin port took too long"),
        }
    }

    /// Has edge.name's certificate brought into memory, where it may not be yet.
    async fn load_certificate(&self) {
        let name = self.context.live.load().edge_name.clone();
        if !tls::has_certificate(&self.context, &name) {
            // The resolver looks into the cache, whatever came of it.
            let _ = timeout(CERTIFICATE_TIME, self.context.certificates.request(name)).await;
        }
    }

    pub(super) async fn serve<IO>(&self, io: IO, peer: Peer, life: &Arc<Life>)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| self.answer(request, peer, life));
        let io = Watched {
            io,
            life: Arc::clone(life),
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopping = false;
        let result = loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => break result,
                () = self.tasks.stopping(), if !stopping => {
                    stopping = true;
                    // A request that is on its way is still answered.
                    look.reset();
                }
                _ = look.tick() => {
                    if let Some(why) = life.overdue(Instant::now()) {
                        self.context.counters.closed(Closed::Overdue);
                        return tracing::debug!(peer = %peer.ip, why, "a connection to the admin port was closed");
                    }
                    if stopping {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %peer.ip, %error, "a connection to the admin port broke off");
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        life: &Arc<Life>,
    ) -> Result<http::Response<Answer<Body>>, std::convert::Infallible> {
        life.begins(Instant::now());
        let mut request = request.map(Body::new);
        let client = self.context.live.load().proxies.client(request.headers(), peer);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(Arc::clone(life));
        let mut response = self.router.clone().call(request).await?;
        if self.tasks.is_stopping() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if response.extensions().get::<Streams>().is_some() {
            life.streams();
        }
        Ok(response.map(|body| Answer::new(body, Arc::clone(life))))
    }
}
