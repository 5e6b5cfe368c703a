//! One connection to a back end: name, TCP, TLS, with one time limit for all.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use linkseal_net::tls_client::{self, Trust};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Http2, Origin, UpstreamError};

/// Most addresses of a name that are tried: with more, each would get too little time.
const MAX_ADDRESSES: usize = 4;

/// How a back end is reached.
pub(in crate::http) struct Connector {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    http2: Http2,
    timeout: Duration,
}

pub(in crate::http) struct Connected {
    pub(in crate::http) io: Box<dyn Io>,
    pub(in crate::http) h2: bool,
}

/// A stream that HTTP runs over.
pub(in crate::http) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum ConnectError {
    #[error("its name could not be resolved: {0}")]
    Resolve(io::Error),
    #[error("its name has no address")]
    NoAddress,
    #[error("connection failed: {0}")]
    Tcp(io::Error),
    #[error("TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("HTTP handshake failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("recent connections failed; it is retried every few seconds")]
    Down,
}

impl Connector {
    pub(in crate::http) fn new(origin: &Origin) -> Result<Self, UpstreamError> {
        let bad = |reason: String| UpstreamError {
            to: origin.to.to_string(),
            reason,
        };
        let https = match origin.to.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("must be an http or https URL".into())),
        };
        let host = origin.to.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if https {
            let name = ServerName::try_from(host.clone()).map_err(|e| bad(e.to_string()))?;
            let config = tls(&origin.trust, origin.http2).map_err(|e| bad(e.to_string()))?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self {
            host,
            port: origin.to.port_u16().unwrap_or(if https { 443 } else { 80 }),
            tls,
            http2: origin.http2,
            timeout: origin.connect_timeout,
        })
    }

    pub(in crate::http) async fn connect(&self) -> Result<Connected, ConnectError> {
        timeout(self.timeout, self.unbounded())
            .await
            .unwrap_or(Err(ConnectError::Timeout(self.timeout)))
    }

    async fn unbounded(&self) -> Result<Connected, ConnectError> {
        let socket = self.tcp().await?;
        // Heads and short bodies are sent immediately.
        socket.set_nodelay(true).map_err(ConnectError::Tcp)?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Connected {
                io: Box::new(socket),
                h2: self.http2 == Http2::PriorKnowledge,
            });
        };
        let io = connector
            .connect(name.clone(), socket)
            .await
            .map_err(ConnectError::Tls)?;
        let chosen = io.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connected {
            h2: chosen || self.http2 == Http2::PriorKnowledge,
            io: Box::new(io),
        })
    }

    /// Tries one address after the other, each with its share of the time.
    async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found.map_err(ConnectError::Resolve)?.take(MAX_ADDRESSES).collect();
        let share = self.timeout / u32::try_from(addresses.len()).unwrap_or(1).max(1);
        let mut failure = ConnectError::NoAddress;
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failure = ConnectError::Tcp(error),
                Err(_) => failure = ConnectError::Timeout(share),
            }
        }
        Err(failure)
    }
}

fn tls(trust: &[CertificateDer<'static>], http2: Http2) -> Result<ClientConfig, rustls::Error> {
    let trust = match trust {
        [] => Trust::PublicAnd(&[]),
        these => Trust::Only(these),
    };
    let offered: &[&[u8]] = match http2 {
        Http2::Auto => &[b"h2", b"http/1.1"],
        Http2::PriorKnowledge => &[b"h2"],
        Http2::Off => &[b"http/1.1"],
    };
    tls_client::config(trust, offered)
}
