//! The URL of an HTTP-01 challenge (RFC 8555 §8.3), fetched as a CA fetches it: over TCP, through
//! redirects, without a look at certificates, with bounds on time, size and hops; what goes wrong is
//! told in Let's Encrypt's words. The development CA validates by it, the pre-flight of the control
//! plane tries by it; where names lead is theirs to say ([`HostResolver`]).

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

/// As many redirects as Let's Encrypt follows.
const MAX_REDIRECTS: usize = 10;
/// A key authorization has 87 bytes; a longer body is none, and is not read to its end.
const MAX_BODY: usize = 16 * 1024;
/// How much of a wrong body the error repeats, in characters.
const EXCERPT: usize = 200;

/// Where names lead.
#[async_trait]
pub trait HostResolver: Send + Sync {
    /// Where port 80 or, for HTTPS, 443 of a host is, in the order to be tried; all of it may be
    /// connected to.
    async fn addresses(&self, host: &str, https: bool) -> Result<Vec<SocketAddr>, ResolveError>;

    /// The port that stands for 80 or, for HTTPS, 443: a redirect may name these only.
    fn port(&self, https: bool) -> u16;

    /// Told before each connection: the URL, its host, and where that is.
    fn visits(&self, _url: &str, _host: &str, _to: SocketAddr) {}
}

/// Why a host cannot be gone to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// It has no address.
    NoAddress,
    /// It may not be connected to, or it is not known where it is.
    NotTried,
}

/// Why the answer did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeFailure {
    /// A host has no address.
    NoAddress {
        /// Which.
        host: String,
    },
    /// A host cannot be gone to from here.
    NotTried {
        /// Which.
        host: String,
    },
    /// No connection, or none that could be used.
    Connection(String),
    /// Another answer came.
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
            Self::NotTried { host } => write!(f, "{host} leads to no public address"),
            Self::Connection(detail) | Self::Wrong(detail) => f.write_str(detail),
        }
    }
}

/// Fetches the challenge `token` of a name and compares the answer; each hop has `within`.
pub async fn fetch(
    way: &dyn HostResolver,
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
        let addresses = way
            .addresses(&target.host, target.https)
            .await
            .map_err(|why| match why {
                ResolveError::NoAddress => ChallengeFailure::NoAddress { host: host() },
                ResolveError::NotTried => ChallengeFailure::NotTried { host: host() },
            })?;
        let (ip, answer) = visit(way, &addresses, &target, within).await?;
        let failed = |what: &str| ChallengeFailure::Connection(format!("{ip}: Fetching {target}: {what}"));
        match answer.map_err(|e| failed(&e))? {
            Answer::Redirect(location) => target = target.follow(way, &location).map_err(|e| failed(&e))?,
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

/// Goes to the first of the addresses that can be connected to; the last one's failure counts.
async fn visit(
    way: &dyn HostResolver,
    addresses: &[SocketAddr],
    target: &Target,
    within: Duration,
) -> Result<(IpAddr, Result<Answer, String>), ChallengeFailure> {
    let mut last = None;
    for to in addresses {
        way.visits(&target.to_string(), &target.host, *to);
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

/// The next URL to fetch.
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
    fn follow(&self, way: &dyn HostResolver, location: &str) -> Result<Self, String> {
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
            && ![80, 443, way.port(false), way.port(true)].contains(&port)
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

/// Why there is no answer, in Let's Encrypt's words.
enum Failed {
    /// There was no connection: another address may do.
    NotConnected(String),
    /// There was one.
    Broken(String),
}

/// One request, with a time limit.
async fn get(address: SocketAddr, target: &Target, within: Duration) -> Result<Answer, Failed> {
    let deadline = tokio::time::Instant::now() + within;
    let connect = tokio::time::timeout_at(deadline, TcpStream::connect(address));
    let stream = match connect.await {
        Ok(connected) => connected.map_err(|e| Failed::NotConnected(words(&e)))?,
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
        .map_err(|e| hyper_words(&e))?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| hyper_words(&e))?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
        if let Some(location) = location.filter(|_| is_redirect(status)) {
            return Ok(Answer::Redirect(location.to_owned()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map_err(|e| format!("Error reading the response: {e}"))?.to_bytes();
        Ok(Answer::Body(status, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection ends when the answer's sender and body are gone; its own error shows in the answer.
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "Connection reset by peer".to_owned(),
        io::ErrorKind::TimedOut => "Timeout during connect (likely firewall problem)".to_owned(),
        io::ErrorKind::HostUnreachable => "No route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "Network unreachable".to_owned(),
        _ => error.to_string(),
    }
}

fn hyper_words(error: &hyper::Error) -> String {
    let io = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    match io {
        Some(io) => words(io),
        None if error.is_incomplete_message() => "EOF".to_owned(),
        None => error.to_string(),
    }
}
