//! TLS connections and HTTP/1.1 requests with checked responses.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Fallible;
use crate::arguments::{Arguments, Expected, Mode};

pub(crate) const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";
/// Limit for one response, so that a hanging server ends the script.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// The end of a response's head.
const END: &[u8] = b"\r\n\r\n";

/// What all clients of a run share.
pub(crate) struct Client {
    address: SocketAddr,
    host: String,
    name: ServerName<'static>,
    tls: ClientConfig,
    /// Whether clients keep tickets.
    resumes: bool,
    requests: Vec<Request>,
    next: Cell<usize>,
    expected: Expected,
}

pub(crate) struct Request {
    pub(crate) path: String,
    kept: Vec<u8>,
    closing: Vec<u8>,
}

impl Client {
    pub(crate) fn new(arguments: &Arguments) -> Fallible<Self> {
        let name = &arguments.name;
        let request = |path: &str, close: &str| {
            format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: {USER_AGENT}\r\n{close}\r\n").into_bytes()
        };
        Ok(Self {
            address: arguments.address,
            host: name.clone(),
            name: ServerName::try_from(name.clone())?,
            tls: tls(arguments)?,
            resumes: arguments.mode == Mode::Resumed,
            requests: arguments
                .paths
                .iter()
                .map(|path| Request {
                    path: path.clone(),
                    kept: request(path, ""),
                    closing: request(path, "Connection: close\r\n"),
                })
                .collect(),
            next: Cell::new(0),
            expected: arguments.expected.clone(),
        })
    }

    /// SNI and Host.
    pub(crate) fn name(&self) -> &str {
        &self.host
    }

    pub(crate) fn resumes(&self) -> bool {
        self.resumes
    }

    /// The next request in turn.
    pub(crate) fn request(&self) -> Fallible<&Request> {
        let n = self.next.get();
        self.next.set((n + 1) % self.requests.len());
        Ok(self.requests.get(n).ok_or("no paths")?)
    }

    /// What a client connects with. It has no tickets yet, and uses each only once.
    pub(crate) fn connector(&self) -> TlsConnector {
        let mut tls = self.tls.clone();
        tls.resumption = match self.resumes {
            true => Resumption::default(),
            false => Resumption::disabled(),
        };
        TlsConnector::from(Arc::new(tls))
    }

    pub(crate) async fn connect(&self, connector: &TlsConnector) -> Fallible<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        Ok(connector.connect(self.name.clone(), socket).await?)
    }

    /// One connection with one request, closed by the server.
    pub(crate) async fn once(&self, connector: &TlsConnector, kind: HandshakeKind) -> Fallible<()> {
        timeout(TIMEOUT, async {
            let mut stream = self.connect(connector).await?;
            stream.write_all(&self.request()?.closing).await?;
            let mut answer = Vec::with_capacity(1024);
            stream.read_to_end(&mut answer).await?;
            if self.check(&answer)?.is_none() {
                return Err(format!("half a response: {}", answer.escape_ascii()).into());
            }
            match stream.get_ref().1.handshake_kind() {
                Some(k) if k == kind => Ok(()),
                other => Err(format!("expected a {kind:?} handshake, got {other:?}").into()),
            }
        })
        .await?
    }

    /// One request on a kept connection. `buffer` is for reuse.
    pub(crate) async fn exchange(&self, stream: &mut TlsStream<TcpStream>, buffer: &mut Vec<u8>) -> Fallible<()> {
        stream.write_all(&self.request()?.kept).await?;
        buffer.clear();
        loop {
            if stream.read_buf(buffer).await? == 0 {
                return Err("the server closed a kept connection".into());
            }
            match self.check(buffer)? {
                Some(length) if length == buffer.len() => return Ok(()),
                Some(_) => return Err(format!("more than a response: {}", buffer.escape_ascii()).into()),
                None => {}
            }
        }
    }

    /// The length of a response, `None` before its end. Its status, and its body or Location, must be as
    /// expected.
    fn check(&self, answer: &[u8]) -> Fallible<Option<usize>> {
        let Some(end) = answer.windows(END.len()).position(|w| w == END) else {
            return Ok(None);
        };
        let (head, rest) = answer.split_at(end);
        let length: usize = match header(head, "content-length") {
            Some(value) => std::str::from_utf8(value)?.parse()?,
            None => 0,
        };
        let Some(body) = rest.get(END.len()..END.len() + length) else {
            return Ok(None);
        };
        let right = match &self.expected {
            Expected::Body(expected) => head.starts_with(b"HTTP/1.1 200 ") && body == expected,
            Expected::Location(url) => {
                head.starts_with(b"HTTP/1.1 302 ") && header(head, "location") == Some(url.as_bytes())
            }
        };
        match right {
            true => Ok(Some(end + END.len() + length)),
            false => Err(format!("expected {}, got: {}", self.expected, answer.escape_ascii()).into()),
        }
    }

    /// The body that HTTP/2 responses must have.
    pub(crate) fn expected_body(&self) -> Fallible<&[u8]> {
        match &self.expected {
            Expected::Body(body) => Ok(body),
            Expected::Location(_) => Err("`streams` reads no Location: give --body".into()),
        }
    }
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|b| *b == b'\n').skip(1).find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

fn tls(arguments: &Arguments) -> Fallible<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&arguments.ca)? {
        roots.add(certificate?)?;
    }
    let provider = CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        cipher_suites: vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match arguments.mode {
        Mode::Streams => vec![b"h2".to_vec()],
        _ => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}
