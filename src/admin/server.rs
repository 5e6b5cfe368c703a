//! The sockets of the admin port: bound, accepted from in bounds, TLS off loopback, HTTP/1.1.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Context;
use crate::edge::listener::{self, BindError};
use crate::shutdown::Tasks;

/// Connections to one socket at a time; people and back ends need few, and each may hold a body.
const MAX_CONNECTIONS: usize = 256;
/// From accept, or from the answer before, to the end of a request's headers.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// For a TLS handshake, with edge.name's certificate to be loaded first.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

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

/// The address a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    /// Whether it came under TLS.
    pub(super) tls: bool,
}

/// Serves one socket.
pub(super) struct Server {
    context: Arc<Context>,
    router: Router,
    tls: TlsAcceptor,
    permits: Arc<Semaphore>,
    tasks: Tasks,
}

impl Server {
    pub(super) fn new(context: Arc<Context>, router: Router, tasks: &Tasks) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(EdgeCertificate(Arc::clone(&context))));
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            context,
            router,
            tls: Arc::new(tls).into(),
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            tasks: tasks.clone(),
        })
    }

    /// Accepts until the tasks are told to stop, then closes the socket.
    pub(super) async fn run(self, socket: TcpListener) {
        let server = Arc::new(self);
        let Ok(local) = socket.local_addr() else { return };
        let on_loopback = local.ip().to_canonical().is_loopback();
        let stop = server.tasks.token().clone();
        let each = |(stream, peer): (TcpStream, SocketAddr)| {
            // Beyond the bound a connection is closed at once: waiting ones would be held for whoever floods.
            let Ok(permit) = Arc::clone(&server.permits).try_acquire_owned() else {
                tracing::debug!(%peer, "more than {MAX_CONNECTIONS} connections to the admin port");
                return;
            };
            let this = Arc::clone(&server);
            server.tasks.spawn(async move {
                this.connection(stream, peer.ip().to_canonical(), on_loopback).await;
                drop(permit);
            });
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = listener::accept_all(local, || socket.accept(), each) => {}
        }
    }

    async fn connection(&self, stream: TcpStream, peer: IpAddr, on_loopback: bool) {
        if on_loopback || self.context.live.load().plain {
            return self.serve(stream, Peer { ip: peer, tls: false }).await;
        }
        let handshake = async {
            self.load_certificate().await;
            self.tls.accept(stream).await
        };
        match timeout(HANDSHAKE_TIME, handshake).await {
            Ok(Ok(stream)) => self.serve(stream, Peer { ip: peer, tls: true }).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake on the admin port failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake on the admin port took too long"),
        }
    }

    /// Has edge.name's certificate brought into memory, where it may not be yet.
    async fn load_certificate(&self) {
        let name = self.context.live.load().edge_name.clone();
        let now = self.context.control.clock().now();
        if self.context.certificates.cached(&name, now).is_none() {
            // The resolver looks into the cache: when nothing came of it, the handshake says so.
            drop(self.context.certificates.request(name).await);
        }
    }

    async fn serve<IO>(&self, io: IO, peer: Peer)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.call(request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .serve_connection(TokioIo::new(io), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = self.tasks.stopping() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(peer = %peer.ip, %error, "a connection to the admin port broke off");
        }
    }
}

/// edge.name's certificate, whatever name the client asks for: admin ports are reached by address too.
struct EdgeCertificate(Arc<Context>);

impl ResolvesServerCert for EdgeCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let context = &self.0;
        let name = &context.live.load().edge_name;
        let certificate = context.certificates.cached(name, context.control.clock().now())?;
        Some(Arc::clone(&certificate.key))
    }
}

impl std::fmt::Debug for EdgeCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EdgeCertificate")
    }
}
