//! Clients: an HTTP(S) client for APIs, and TLS handshakes and requests as recipients make them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use linkseal_base::clock::Clock;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TIMEOUT;

/// A complete response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// An HTTP(S) client for APIs.
#[derive(Clone)]
pub(crate) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    token: Option<String>,
}

impl Web {
    /// Trusts the roots in `root_pem`.
    pub(crate) fn trusting(root_pem: &str) -> Self {
        Self::with(tls(root_pem, &[]))
    }

    /// Trusts no root: for plain HTTP.
    pub(crate) fn plain() -> Self {
        Self::with(tls("", &[]))
    }

    fn with(tls: ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            token: None,
        }
    }

    /// Sends a bearer token with every request.
    pub(crate) fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Answer, String> {
        self.call("GET", url, None, &[]).await
    }

    pub(crate) async fn post(&self, url: &str, body: &serde_json::Value) -> Result<Answer, String> {
        self.call("POST", url, Some(body.to_string()), &[]).await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        url: &str,
        body: Option<String>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let mut request = http::Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|e| e.to_string())?;
        let answer = async {
            let response = self.client.request(request).await.map_err(|e| format!("{e:?}"))?;
            read(response).await
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .map_err(|_| "no answer".to_owned())?
    }
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    })
}

/// One HTTP/1.1 request over a connection of its own; the response as text, head included.
pub(crate) async fn get_once(mut stream: TcpStream, host: &str, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A TLS configuration that trusts the roots in `root_pem`.
pub(crate) fn tls(root_pem: &str, alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots(root_pem))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config
}

/// As [`tls`], but validity periods are checked against `clock`, and no session is resumed.
pub(crate) fn tls_with_clock(root_pem: &str, alpn: &[&[u8]], clock: &Clock) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots(root_pem))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config
}

/// Accepts any certificate, as some content delivery networks do towards their origins.
pub(crate) fn tls_any_certificate() -> ClientConfig {
    linkseal_net::unverified::config().expect("TLS versions")
}

#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let secs = u64::try_from(self.0.now().as_secs()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(secs)))
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(root.expect("PEM")).expect("a root");
    }
    roots
}

/// The serial number of the server's certificate, in lower-case hexadecimal.
pub(crate) fn serial(stream: &TlsStream<TcpStream>) -> String {
    let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("X.509");
    hex::encode(leaf.tbs_certificate.raw_serial())
}

/// The alert with which the server ended a handshake; `None` when it failed for another reason.
pub(crate) fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A TLS handshake for `name` with the edge.
pub(crate) async fn handshake(
    edge: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake_over(TcpStream::connect(edge).await?, name, config).await
}

/// As [`handshake`], over an established connection.
pub(crate) async fn handshake_over(
    io: TcpStream,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, io);
    tokio::time::timeout(TIMEOUT, handshake)
        .await
        .map_err(std::io::Error::other)?
}

/// An HTTP/1.1 keep-alive connection.
pub(crate) struct KeepAliveConnection {
    name: String,
    send: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl KeepAliveConnection {
    pub(crate) async fn new(session: TlsStream<TcpStream>, name: &str) -> Result<Self, String> {
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(session))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Self {
            name: name.to_owned(),
            send,
        })
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, String> {
        let request = http::Request::get(path).header("host", &self.name);
        let request = request.body(Full::default()).map_err(|e| e.to_string())?;
        let answer = async {
            // The connection may still be reading the end of the previous response.
            self.send.ready().await.map_err(|e| e.to_string())?;
            read(self.send.send_request(request).await.map_err(|e| e.to_string())?).await
        };
        tokio::time::timeout(TIMEOUT, answer)
            .await
            .map_err(|_| "no answer".to_owned())?
    }

    /// Waits until the edge closes the connection.
    pub(crate) async fn closed(&mut self) {
        while self.send.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One request over TLS, HTTP/2 when ALPN selects it, as a recipient makes it.
pub(crate) async fn fetch(
    edge: SocketAddr,
    name: &str,
    path: &str,
    config: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    fetch_host(edge, name, name, path, config).await
}

/// As [`fetch`], with a User-Agent.
pub(crate) async fn fetch_with_agent(
    agent: &'static str,
    edge: SocketAddr,
    name: &str,
    path: &str,
    config: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    send(Some(agent), edge, name, name, path, config).await
}

/// As [`fetch`], for a host that differs from the name of the handshake.
pub(crate) async fn fetch_host(
    edge: SocketAddr,
    name: &str,
    host: &str,
    path: &str,
    config: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    send(None, edge, name, host, path, config).await
}

async fn send(
    agent: Option<&'static str>,
    edge: SocketAddr,
    name: &str,
    host: &str,
    path: &str,
    config: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    let stream = handshake(edge, name, config).await.map_err(|e| e.to_string())?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let answer = async {
        if h2 {
            let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            let request = http::Request::get(format!("https://{host}{path}"));
            let request = by(agent, request)
                .body(Full::<Bytes>::default())
                .map_err(|e| e.to_string())?;
            read(send.send_request(request).await.map_err(|e| e.to_string())?).await
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(io)
                .await
                .map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            let request = http::Request::get(path).header("host", host);
            let request = by(agent, request)
                .body(Full::<Bytes>::default())
                .map_err(|e| e.to_string())?;
            read(send.send_request(request).await.map_err(|e| e.to_string())?).await
        }
    };
    tokio::time::timeout(TIMEOUT, answer)
        .await
        .map_err(|_| "no answer".to_owned())?
}

fn by(agent: Option<&'static str>, request: http::request::Builder) -> http::request::Builder {
    match agent {
        Some(agent) => request.header("user-agent", agent),
        None => request,
    }
}
