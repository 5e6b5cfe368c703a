//! Clients: a plain HTTP(S) one for APIs, and raw TLS handshakes as recipients make them.

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
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;

/// An answer, read whole.
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

/// A client for APIs.
#[derive(Clone)]
pub(crate) struct Web {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    token: Option<String>,
}

impl Web {
    /// Trusts one root.
    pub(crate) fn trusting(root_pem: &str) -> Self {
        Self::with(tls(root_pem, &[]))
    }

    /// For plain HTTP.
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
        tokio::time::timeout(PATIENCE, answer)
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

/// A TLS configuration that trusts the roots of a PEM text.
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

/// The same at the time of a clock that may have been moved; every handshake is a full one.
pub(crate) fn tls_at(root_pem: &str, alpn: &[&[u8]], clock: &Clock) -> ClientConfig {
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

/// One that takes any certificate, as some content delivery networks do towards their origins.
pub(crate) fn tls_to_anybody() -> ClientConfig {
    let mut config = tls("", &[]);
    let algorithms = config.crypto_provider().signature_verification_algorithms;
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(Anybody(algorithms)));
    config
}

#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The time that certificates are judged by.
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

/// The alert with which the server ended a handshake. `None`: it did not.
pub(crate) fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A handshake for a name with the edge at an address.
pub(crate) async fn handshake(
    edge: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    handshake_over(TcpStream::connect(edge).await?, name, config).await
}

/// The same over a connection that is there.
pub(crate) async fn handshake_over(
    io: TcpStream,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, io);
    tokio::time::timeout(PATIENCE, handshake)
        .await
        .map_err(std::io::Error::other)?
}

/// A connection over HTTP/1.1 that is kept for further requests.
pub(crate) struct Kept {
    name: String,
    send: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Kept {
    /// Over this session with a name.
    pub(crate) async fn over(session: TlsStream<TcpStream>, name: &str) -> Result<Self, String> {
        let (send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(session))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Self {
            name: name.to_owned(),
            send,
        })
    }

    /// The next request.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, String> {
        let request = http::Request::get(path).header("host", &self.name);
        let request = request.body(Full::default()).map_err(|e| e.to_string())?;
        let answer = async {
            // The connection may still be seeing to the end of the answer before.
            self.send.ready().await.map_err(|e| e.to_string())?;
            read(self.send.send_request(request).await.map_err(|e| e.to_string())?).await
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(|_| "no answer".to_owned())?
    }

    /// Waits until the edge has closed it.
    pub(crate) async fn closed(&mut self) {
        while self.send.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One request to a name over TLS, HTTP/2 where ALPN chose it, as a recipient makes it.
pub(crate) async fn fetch(
    edge: SocketAddr,
    name: &str,
    path: &str,
    config: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    fetch_as(edge, name, name, path, config).await
}

/// The same, by a program that calls itself so.
pub(crate) async fn fetch_by(
    agent: &'static str,
    edge: SocketAddr,
    name: &str,
    path: &str,
    config: &Arc<ClientConfig>,
) -> Result<Answer, String> {
    send(Some(agent), edge, name, name, path, config).await
}

/// The same for another host than the name of the handshake.
pub(crate) async fn fetch_as(
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
    tokio::time::timeout(PATIENCE, answer)
        .await
        .map_err(|_| "no answer".to_owned())?
}

fn by(agent: Option<&'static str>, request: http::request::Builder) -> http::request::Builder {
    match agent {
        Some(agent) => request.header("user-agent", agent),
        None => request,
    }
}
