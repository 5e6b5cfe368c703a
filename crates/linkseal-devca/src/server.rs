//! The CA's listener: HTTP/1.1 over TLS on loopback, for clients that keep a connection and for those
//! that open one per request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use linkseal_base::shutdown::Tasks;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::ca::ListenerCertificate;
use super::core::Core;
use super::routes;

/// Connections at a time; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 512;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take until the headers of its next request are complete.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause after a failed accept, mostly for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// TLS of the listener.
pub(super) fn acceptor(certificate: ListenerCertificate) -> io::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificate.chain, certificate.key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until the tasks are stopped.
pub(super) async fn serve(core: Arc<Core>, listener: TcpListener, acceptor: TlsAcceptor, tasks: Tasks) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "devca: accept failed; retrying");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        core.stats.count(|s| s.connections += 1);
        if core.faults.is_down() {
            continue;
        }
        let (core, acceptor) = (core.clone(), acceptor.clone());
        tasks.spawn_until_stop(async move {
            connection(core, stream, acceptor).await;
            drop(permit);
        });
    }
}

async fn connection(core: Arc<Core>, stream: TcpStream, acceptor: TlsAcceptor) {
    // Requests and answers are small; waiting to fill a packet would cost 40 ms each.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "devca: the connection is closed");
        return;
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "devca: the TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |request| routes::answer(core.clone(), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "devca: the connection ended");
    }
}
