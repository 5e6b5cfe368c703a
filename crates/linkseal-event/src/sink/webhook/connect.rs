//! Connects to a webhook's endpoint, and only to permitted addresses.
//!
//! The addresses that are checked are those that are connected to, so a DNS answer that changes in
//! between (DNS rebinding) has no effect.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use linkseal_net::address::is_public;
use tokio::net::{TcpStream, lookup_host};
use tower_service::Service;

/// For one address; then the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many addresses of a host are tried.
const MAX_ADDRESSES: usize = 4;

#[derive(Clone)]
pub(super) struct Connector {
    allow_private: bool,
}

impl Connector {
    /// With `allow_private`, addresses that are not public are permitted.
    pub(super) fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<TcpStream>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut failed = None;
        for address in self.addresses(host, port).await? {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(TokioIo::new(stream));
                }
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failed.unwrap_or_else(|| io::Error::other("its host name has no address")))
    }

    /// The addresses of a host, if all of them are permitted.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let all: Vec<_> = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => lookup_host((host, port)).await?.collect(),
        };
        let refused = all.iter().find(|a| !self.allow_private && !is_public(a.ip()));
        if let Some(address) = refused {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{host} resolves to {}, which is not a public address; \
                     set `allow_private = true` to permit it for this sink",
                    address.ip()
                ),
            ));
        }
        Ok(all.into_iter().take(MAX_ADDRESSES).collect())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
