//! A TLS handshake as any client makes it, to see which certificate is presented.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::Leaf;
use linkseal_domain::record::ProbeResult;
use linkseal_net::unverified;
use rustls::Error;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection, and then a handshake, may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes handshakes.
pub(super) struct Prober {
    connector: TlsConnector,
}

/// The result of a probe, with a detail for people if it is not fine.
pub(super) type Found = (ProbeResult, Option<String>);

impl Prober {
    /// Fails only if rustls lacks a crypto provider.
    pub(super) fn new() -> Result<Self, Error> {
        let mut config = unverified::config()?;
        // A resumed session presents no certificate.
        config.resumption = Resumption::disabled();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Checks what is presented for a name at an address; `expected` is the leaf that should be.
    pub(super) async fn probe(
        &self,
        name: &DomainName,
        address: SocketAddr,
        expected: &CertificateDer<'_>,
        now: Timestamp,
    ) -> Found {
        let at = |error: &dyn std::fmt::Display| Some(format!("{address}: {error}"));
        let stream = match in_time(TcpStream::connect(address)).await {
            Ok(stream) => stream,
            Err(error) => return (ProbeResult::Unreachable, at(&error)),
        };
        let leaf = match in_time(self.leaf(name, stream)).await {
            Ok(leaf) => leaf,
            Err(error) => return (ProbeResult::TlsFailed, at(&error)),
        };
        if leaf == *expected {
            return (ProbeResult::Ok, None);
        }
        // Another node may serve an older or a newer one: any valid certificate for the name is fine.
        match Leaf::of(std::slice::from_ref(&leaf)) {
            Err(error) => (ProbeResult::WrongCertificate, at(&error)),
            Ok(leaf) if !leaf.sans.iter().any(|san| covers(san, name)) => {
                let names = leaf.sans.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
                let what = format!("a certificate for {names}, by {}", leaf.issuer);
                (ProbeResult::WrongCertificate, at(&what))
            }
            Ok(leaf) if leaf.not_after <= now => (ProbeResult::Expired, at(&format!("expired at {}", leaf.not_after))),
            Ok(_) => (ProbeResult::Ok, None),
        }
    }

    async fn leaf(&self, name: &DomainName, stream: TcpStream) -> io::Result<CertificateDer<'static>> {
        let name = ServerName::try_from(name.as_str().to_owned()).map_err(io::Error::other)?;
        let stream = self.connector.connect(name, stream).await?;
        let presented = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let leaf = presented.ok_or_else(|| io::Error::other("no certificate was presented"))?;
        Ok(leaf.clone().into_owned())
    }
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let timed_out = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", TIMEOUT.as_secs()),
        )
    };
    timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(timed_out()))
}

/// Whether a name in a certificate covers the domain (RFC 9525 §6.3: a wildcard is one whole label).
fn covers(san: &str, name: &DomainName) -> bool {
    let below = |rest: &str| {
        name.as_str()
            .split_once('.')
            .is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest))
    };
    san.eq_ignore_ascii_case(name.as_str()) || san.strip_prefix("*.").is_some_and(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_one_whole_label() {
        let name: DomainName = "links.customer.example".parse().unwrap();
        for san in ["links.customer.example", "LINKS.customer.example", "*.customer.example"] {
            assert!(covers(san, &name), "{san}");
        }
        for san in [
            "customer.example",
            "*.example",
            "*.links.customer.example",
            "*",
            "x.customer.example",
        ] {
            assert!(!covers(san, &name), "{san}");
        }
    }
}
