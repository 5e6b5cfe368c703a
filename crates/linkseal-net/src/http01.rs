//! Fetches the URL of an HTTP-01 challenge (RFC 8555 §8.3) as a CA does: through redirects, without
//! verifying certificates, with bounds on time, size and hops. Errors are worded as Let's Encrypt words
//! them. The development CA validates with it and the control plane's pre-flight check tries with it; each
//! resolves names in its own way ([`HostResolver`]).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::unverified;

/// Let's Encrypt follows as many.
const MAX_REDIRECTS: usize = 10;
/// In bytes. A key authorization has 87; a longer body cannot be one and is not read to its end.
const MAX_BODY: usize = 16 * 1024;
/// Characters of a wrong body that the error quotes.
const EXCERPT: usize = 200;

/// Resolves the names in a challenge's URL and its redirects.
#[async_trait]
pub trait HostResolver: Send + Sync {
    /// The addresses of port 80 (443 for HTTPS) of a host, in the order to be tried. The caller connects
    /// to any of them.
    async fn addresses(&self, host: &str, https: bool) -> Result<Vec<SocketAddr>, ResolveError>;

    /// The port used in place of 80 (443 for HTTPS); redirects may name these only.
    fn port(&self, https: bool) -> u16;

    /// Called before each connection.
    fn visits(&self, _url: &str, _host: &str, _to: SocketAddr) {}
}

/// Why a host cannot be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// It has no address.
    NoAddress,
    /// Its addresses are not allowed, or unknown.
    NotTried,
}

/// Why the challenge could not be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeFailure {
    NoAddress {
        host: String,
    },
    /// A host was not connected to, see [`ResolveError::NotTried`].
    NotTried {
        host: String,
    },
    /// No connection, or no usable answer on it.
    Connection(String),
    /// The answer was wrong.
    Wrong(String),
}

impl fmt::Display for ChallengeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress { host } => {
                let text = |record| {
                    format!(
                        "DNS problem: NXDOMAIN looking up {record} for {host} - check that a DNS record exists for this domain"
                    )
                };
                write!(f, "{}; {}", text("A"), text("AAAA"))
            }
            Self::NotTried { host } => write!(f, "{host} resolves to no public address"),
            Self::Connection(detail) | Self::Wrong(detail) => f.write_str(detail),
        }
    }
}

/// Fetches the challenge `token` of a name and compares the answer. Each hop may take `within`.
pub async fn fetch(
    resolver: &dyn HostResolver,
    name: &str,
    token: &str,
    expected: &str,
    within: Duration,
) -> Result<(), ChallengeFailure> {
    let mut target = Target {
        https: false,
        host: name.to_owned(),
        path: format!("/.well-known/acme-challenge/{token}"),
    };
    for _ in 0..=MAX_REDIRECTS {
        let host = || target.host.clone();
        let addresses = resolver
            .addresses(&target.host, target.https)
            .await
            .map_err(|why| match why {
                ResolveError::NoAddress => ChallengeFailure::NoAddress { host: host() },
                ResolveError::NotTried => ChallengeFailure::NotTried { host: host() },
            })?;
        let (ip, answer) = visit(resolver, &addresses, &target, within).await?;
        let failed = |what: &str| ChallengeFailure::Connection(format!("{ip}: Fetching {target}: {what}"));
        match answer.map_err(|e| failed(&e))? {
            Answer::Redirect(location) => target = target.follow(resolver, &location).map_err(|e| failed(&e))?,
            Answer::Body(status, _) if status != StatusCode::OK => {
                let status = status.as_u16();
                return Err(ChallengeFailure::Wrong(format!(
                    "{ip}: Invalid response from {target}: {status}"
                )));
            }
            Answer::Body(_, body) if body.trim_end() == expected => return Ok(()),
            Answer::Body(_, body) => {
                let got: String = body.chars().take(EXCERPT).collect();
                return Err(ChallengeFailure::Wrong(format!(
                    "{ip}: The key authorization file from the server did not match this challenge. Expected {expected:?} (got {got:?})"
                )));
            }
        }
    }
    Err(ChallengeFailure::Connection(format!(
        "Fetching {target}: Too many redirects"
    )))
}

/// Asks the first address that accepts a connection. If none does, the last one's error is returned.
async fn visit(
    resolver: &dyn HostResolver,
    addresses: &[SocketAddr],
    target: &Target,
    within: Duration,
) -> Result<(IpAddr, Result<Answer, String>), ChallengeFailure> {
    let mut last = None;
    for to in addresses {
        resolver.visits(&target.to_string(), &target.host, *to);
        match get(*to, target, within).await {
            Err(Failed::NotConnected(what)) => last = Some((to.ip(), Err(what))),
            Err(Failed::Broken(what)) => return Ok((to.ip(), Err(what))),
            Ok(answer) => return Ok((to.ip(), Ok(answer))),
        }
    }
    last.ok_or_else(|| ChallengeFailure::NoAddress {
        host: target.host.clone(),
    })
}

/// A URL to fetch.
struct Target {
    https: bool,
    host: String,
    path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.host, self.path)
    }
}

impl Target {
    fn follow(&self, resolver: &dyn HostResolver, location: &str) -> Result<Self, String> {
        let uri: Uri = location
            .parse()
            .map_err(|_| format!("Invalid redirect target {location:?}"))?;
        let path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        let Some(host) = uri.host() else {
            return Ok(Self {
                https: self.https,
                host: self.host.clone(),
                path,
            });
        };
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("Invalid protocol scheme in redirect target, only http and https are followed".to_owned()),
        };
        if let Some(port) = uri.port_u16()
            && ![80, 443, resolver.port(false), resolver.port(true)].contains(&port)
        {
            return Err(format!(
                "Invalid port in redirect target. Only ports 80 and 443 are supported, not {port}"
            ));
        }
        if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
            return Err(format!(
                "Invalid host in redirect target {host:?}. Only domain names are supported"
            ));
        }
        Ok(Self {
            https,
            host: host.to_ascii_lowercase(),
            path,
        })
    }
}

enum Answer {
    Body(StatusCode, String),
    Redirect(String),
}

/// Why there is no answer, worded as by Let's Encrypt.
enum Failed {
    /// There was no connection: another address may work.
    NotConnected(String),
    /// The connection failed later.
    Broken(String),
}

/// One request, with a time limit.
async fn get(address: SocketAddr, target: &Target, within: Duration) -> Result<Answer, Failed> {
    let deadline = tokio::time::Instant::now() + within;
    let connect = tokio::time::timeout_at(deadline, TcpStream::connect(address));
    let stream = match connect.await {
        Ok(connected) => connected.map_err(|e| Failed::NotConnected(io_text(&e)))?,
        Err(_) => {
            let what = "Timeout during connect (likely firewall problem)".to_owned();
            return Err(Failed::NotConnected(what));
        }
    };
    let exchange = async {
        if !target.https {
            return exchange(stream, target).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|_| "Invalid host name".to_owned())?;
        let tls = unverified::connector()
            .map_err(|e| e.to_string())?
            .connect(name, stream);
        exchange(tls.await.map_err(|e| format!("tls: {e}"))?, target).await
    };
    match tokio::time::timeout_at(deadline, exchange).await {
        Ok(answer) => answer.map_err(Failed::Broken),
        Err(_) => Err(Failed::Broken(
            "Timeout after connect (your server may be slow or overloaded)".to_owned(),
        )),
    }
}

async fn exchange<S>(stream: S, target: &Target) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = Request::get(&target.path)
        .header(header::HOST, &target.host)
        .header(header::USER_AGENT, "Mozilla/5.0 (compatible; linkseal HTTP-01)")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| hyper_text(&e))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| hyper_text(&e))?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
        if let Some(location) = location.filter(|_| is_redirect(status)) {
            return Ok(Answer::Redirect(location.to_owned()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|e| format!("Error reading the response: {e}"))?.to_bytes();
        Ok(Answer::Body(status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection ends once the sender and the body are dropped; its error shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "Connection reset by peer".to_owned(),
        io::ErrorKind::TimedOut => "Timeout during connect (likely firewall problem)".to_owned(),
        io::ErrorKind::HostUnreachable => "No route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "Network unreachable".to_owned(),
        _ => error.to_string(),
    }
}

fn hyper_text(error: &hyper::Error) -> String {
    let io = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    match io {
        Some(io) => io_text(io),
        None if error.is_incomplete_message() => "EOF".to_owned(),
        None => error.to_string(),
    }
}
