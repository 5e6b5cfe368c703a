//! HTTP-01 (RFC 8555 §8.3), really done: the challenge's URL is fetched over TCP, as Let's Encrypt
//! does, except that names lead where [`Hosts`] says and ports 80 and 443 are the edge's.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Core;
use super::problem::Problem;
use super::state::Challenge;
use super::unverified;

/// As many redirects as Let's Encrypt follows.
const MAX_REDIRECTS: usize = 10;
/// A key authorization has 87 bytes; a longer body is none, and is not read to its end.
const MAX_BODY: usize = 16 * 1024;
/// How much of a wrong body the error repeats, in characters.
const EXCERPT: usize = 200;

/// Where names lead: the CA's view of DNS.
pub struct Hosts {
    table: RwLock<Table>,
}

struct Table {
    default: Option<IpAddr>,
    names: HashMap<String, Option<IpAddr>>,
}

impl Default for Hosts {
    fn default() -> Self {
        let default = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self {
            table: RwLock::new(Table {
                default,
                names: HashMap::new(),
            }),
        }
    }
}

impl Hosts {
    /// Where every name leads that has no entry of its own. `None`: nowhere, as if not in DNS.
    pub fn set_default(&self, address: Option<IpAddr>) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).default = address;
    }

    /// Where one name leads. `None`: nowhere, as if not in DNS.
    pub fn set(&self, name: &str, address: Option<IpAddr>) {
        self.table
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .insert(name.to_owned(), address);
    }

    fn look_up(&self, name: &str) -> Option<IpAddr> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.names.get(name).copied().unwrap_or(table.default)
    }
}

/// Validates one challenge, in the background, and writes down what came of it.
pub(super) async fn validate(core: Arc<Core>, authorization: String) {
    let Some((name, token, thumbprint)) = core.challenge_to_validate(&authorization) else {
        return;
    };
    // Before it is counted: a test that saw the count may move the clock at once.
    let due = core.clock.now() + core.faults.validation_delay();
    core.stats.count(|s| s.validations += 1);
    core.stats.count_names([name.as_str()], |s| s.validations += 1);
    core.clock.sleep_until(due).await;
    if core.faults.is_stuck(&name) {
        return;
    }
    let mut records = Vec::new();
    let result = match core.faults.rejected_challenge(&name) {
        Some(problem) => Err(problem),
        None => {
            let Ok(_turn) = core.validations.acquire().await else {
                return;
            };
            fetch(&core, &name, &token, &format!("{token}.{thumbprint}"), &mut records).await
        }
    };
    if let Err(problem) = &result {
        tracing::info!(%name, detail = %problem.detail, "devca: the challenge failed");
        core.stats.count_names([name.as_str()], |s| s.failed += 1);
    }
    {
        let mut state = core.state();
        if let Some(authorization) = state.authorizations.get_mut(&authorization) {
            authorization.records = records;
            authorization.challenge = match result {
                Ok(()) => Challenge::Valid(core.clock.now()),
                Err(problem) => Challenge::Invalid(problem),
            };
        }
    }
    // After the change, so that whoever waits sees it.
    core.stats.count(|_| {});
}

async fn fetch(core: &Core, name: &str, token: &str, expected: &str, records: &mut Vec<Value>) -> Result<(), Problem> {
    let mut target = Target {
        https: false,
        host: name.to_owned(),
        path: format!("/.well-known/acme-challenge/{token}"),
    };
    for _ in 0..=MAX_REDIRECTS {
        let Some(ip) = core.hosts.look_up(&target.host) else {
            return Err(no_such_name(&target.host));
        };
        let address = SocketAddr::new(ip, core.port(target.https));
        records.push(json!({
            "url": target.to_string(), "hostname": target.host, "port": address.port().to_string(),
            "addressesResolved": [ip], "addressUsed": ip,
        }));
        let failed = |what: &str| {
            let detail = format!("{ip}: Fetching {target}: {what}");
            Problem::new(StatusCode::BAD_REQUEST, "connection", detail)
        };
        match get(core, address, &target).await.map_err(|e| failed(&e))? {
            Answer::Redirect(location) => target = target.follow(core, &location).map_err(|e| failed(&e))?,
            Answer::Body(status, _) if status != StatusCode::OK => {
                let detail = format!("{ip}: Invalid response from {target}: {}", status.as_u16());
                return Err(Problem::unauthorized(detail));
            }
            Answer::Body(_, body) if body.trim_end() == expected => return Ok(()),
            Answer::Body(_, body) => {
                let got: String = body.chars().take(EXCERPT).collect();
                return Err(Problem::unauthorized(format!(
                    "{ip}: The key authorization file from the server did not match this challenge. Expected {expected:?} (got {got:?})"
                )));
            }
        }
    }
    Err(Problem::new(
        StatusCode::BAD_REQUEST,
        "connection",
        format!("Fetching {target}: Too many redirects"),
    ))
}

/// The next URL to fetch.
struct Target {
    https: bool,
    host: String,
    path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            if self.https { "https" } else { "http" },
            self.host,
            self.path
        )
    }
}

impl Target {
    fn follow(&self, core: &Core, location: &str) -> Result<Self, String> {
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
            && ![80, 443, core.port(false), core.port(true)].contains(&port)
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

/// One request, with a time limit; an error in Let's Encrypt's words.
async fn get(core: &Core, address: SocketAddr, target: &Target) -> Result<Answer, String> {
    let deadline = tokio::time::Instant::now() + core.validation_timeout;
    let connect = tokio::time::timeout_at(deadline, TcpStream::connect(address));
    let stream = match connect.await {
        Ok(connected) => connected.map_err(|e| words(&e))?,
        Err(_) => return Err("Timeout during connect (likely firewall problem)".to_owned()),
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
        Ok(answer) => answer,
        Err(_) => Err("Timeout after connect (your server may be slow or overloaded)".to_owned()),
    }
}

async fn exchange<S>(stream: S, target: &Target) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let request = Request::get(&target.path)
        .header(header::HOST, &target.host)
        .header(
            header::USER_AGENT,
            "Mozilla/5.0 (compatible; linkseal devca validation)",
        )
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

fn no_such_name(name: &str) -> Problem {
    let text = |record| {
        format!("DNS problem: NXDOMAIN looking up {record} for {name} - check that a DNS record exists for this domain")
    };
    Problem::new(
        StatusCode::BAD_REQUEST,
        "dns",
        format!("{}; {}", text("A"), text("AAAA")),
    )
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

/// How long a validation may take, as at Let's Encrypt.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
