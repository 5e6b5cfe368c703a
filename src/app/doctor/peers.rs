//! The servers that the edge calls: CAs, sinks, the platform's permission endpoint. They are only connected to;
//! nothing is ordered or delivered.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use linkseal_config::admission::Policy;
use linkseal_config::events::{Sink, SinkUrl};
use linkseal_config::{CaConfig, Config, HttpUrl};
use linkseal_dns::{CaIdentity, Caa, Checker, Metrics, Resolver};
use linkseal_issuer::fetch_directory;
use linkseal_net::tls_client::{self, Trust};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Finding, Surroundings, in_time, timed_out, wiring};

/// Tolerated difference from the CA's clock: CAs backdate certificates by more.
const CLOCK: Duration = Duration::from_secs(60);
/// From this difference on, new certificates may be not yet valid or already expired by the clock here.
const CLOCK_WRONG: Duration = Duration::from_secs(3_600);

/// A CA's directory, this machine's clock compared with the CA's, and whether CAA records at edge.name let it issue.
pub(super) async fn authority(config: &Config, ca: CaConfig<'_>, around: &Surroundings) -> Vec<Finding> {
    let check = format!("acme.directory {}", ca.directory);
    let fetching = fetch_directory(ca.directory.as_str(), ca.trust, around.clock.clone());
    let directory = match tokio::time::timeout(super::TIME, fetching).await {
        Ok(Ok(directory)) => directory,
        Ok(Err(why)) => return vec![Finding::failed(check, why)],
        Err(_) => return vec![timed_out(check)],
    };
    let mut found = vec![Finding::ok(check, "can be reached and is trusted")];
    found.extend(directory.now.map(|there| clock(around, there)));
    let identity = CaIdentity {
        identities: directory.caa_identities,
        account_uri: None,
    };
    if !identity.identities.is_empty() {
        found.push(in_time("CAA", caa(config, identity, around)).await);
    }
    found
}

fn clock(around: &Surroundings, there: linkseal_base::clock::Timestamp) -> Finding {
    const CHECK: &str = "clock";
    let here = around.clock.now();
    let apart = here.saturating_since(there).max(there.saturating_since(here));
    let differs = format!("it is {here} here and {there} at the CA: set the clock and synchronize it with NTP");
    if apart > CLOCK_WRONG {
        Finding::failed(CHECK, differs)
    } else if apart > CLOCK {
        Finding::warning(CHECK, differs)
    } else {
        Finding::ok(CHECK, "agrees with the CA's")
    }
}

async fn caa(config: &Config, ca: CaIdentity, around: &Surroundings) -> Finding {
    const CHECK: &str = "CAA";
    let resolver = match Resolver::new(wiring::resolver(config, &around.dns)) {
        Ok(resolver) => Arc::new(resolver),
        Err(error) => return Finding::failed(CHECK, error.to_string()),
    };
    let metrics = Metrics::register(&prometheus::Registry::new());
    let checker = Checker::new(wiring::checker(config), resolver, around.clock.clone(), metrics);
    let name = &config.edge.name;
    let first = ca.identities.first().cloned().unwrap_or_default();
    match checker.caa(name, &ca).await {
        Caa::NotJudged | Caa::Allows { doubtful: false, .. } => Finding::ok(
            CHECK,
            format!("{first} may issue for {name} and the names that point to it"),
        ),
        Caa::Allows { .. } => Finding::warning(
            CHECK,
            format!("some CAs reject the spelling of the CAA record of {name}: write it as 0 issue \"{first}\""),
        ),
        Caa::Forbids { host, .. } => Finding::failed(
            CHECK,
            format!(
                "the CAA record at {host} forbids {first}, for {name} and all customers' names that point to it: add CAA 0 issue \"{first}\""
            ),
        ),
        Caa::Error { zone, error } => Finding::failed(
            CHECK,
            format!(
                "CAA queries for {zone} are not answered ({error}), and a CA that gets no answer refuses to issue: check dns.resolvers, and the name servers of {zone}"
            ),
        ),
    }
}

/// A sink with a URL.
pub(super) async fn sink(config: &Config, at: usize, sink: &Sink) -> Vec<Finding> {
    let Some(url) = &sink.url else {
        return Vec::new();
    };
    let check = format!("events.sink {}", sink.name);
    let trust = config
        .secrets
        .sinks
        .get(at)
        .map(|s| s.trust.as_slice())
        .unwrap_or_default();
    let found = match url {
        SinkUrl::Http(url) => in_time(&check, http(&check, url, trust)).await,
        SinkUrl::Nats(url) => in_time(&check, nats(&check, url)).await,
    };
    vec![found]
}

/// The platform's admission endpoint, where it is asked.
pub(super) fn ask(config: &Config) -> Option<impl Future<Output = Vec<Finding>> + '_> {
    const CHECK: &str = "admission.ask";
    let ask = config.admission.ask.as_ref();
    let ask = ask.filter(|_| config.admission.policy == Policy::Ask)?;
    Some(async move { vec![in_time(CHECK, http(CHECK, &ask.url, &[])).await] })
}

async fn http(check: &str, url: &HttpUrl, trust: &[CertificateDer<'static>]) -> Finding {
    let host = url.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.uri().port_u16().unwrap_or(if url.is_https() { 443 } else { 80 });
    let reached = match url.is_https() {
        true => tls(host, port, trust).await,
        false => tcp(host, port).await.map(drop),
    };
    reached_or_not(check, url.as_str(), reached)
}

/// TCP only: a NATS server says in its first message whether it wants TLS.
async fn nats(check: &str, url: &str) -> Finding {
    let uri: Option<http::Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let port = uri.as_ref().and_then(http::Uri::port_u16).unwrap_or(4_222);
    reached_or_not(check, url, tcp(host.trim_matches(['[', ']']), port).await.map(drop))
}

/// The URL is shown without its query, which may contain a key of the receiver.
fn reached_or_not(check: &str, url: &str, reached: Result<(), String>) -> Finding {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match reached {
        Ok(()) => Finding::ok(check, format!("{url} can be reached")),
        Err(why) => Finding::failed(check, format!("{url}: {why}")),
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((host, port)).await;
    connected.map_err(|e| format!("no connection ({e}): check the URL, the firewall, and that the server runs"))
}

async fn tls(host: &str, port: u16, trust: &[CertificateDer<'static>]) -> Result<(), String> {
    let stream = tcp(host, port).await?;
    let config = tls_client::config(Trust::PublicAnd(trust), &[]).map_err(|e| e.to_string())?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    shaken.map(drop).map_err(|e| {
        format!("no TLS session ({e}): set ca_file to the root certificate of a private CA, else check the server's certificate")
    })
}
