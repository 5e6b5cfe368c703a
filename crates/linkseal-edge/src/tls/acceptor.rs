//! From an accepted socket to a TLS session under the certificate of the requested name.
//!
//! The steps: ClientHello, name, admission, certificate, handshake. A known name whose certificate is in
//! memory goes straight through. Others wait for admission and the certificate, together for at most
//! `handshake_wait`.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_domain::DomainName;
use linkseal_domain::admission::{Admission, Admitted, ClientNetwork};
use linkseal_domain::cert::cache::{CertificateAnswer, Certificates};
use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::cert::tickets::TicketKeys;
use linkseal_domain::handshakes::HandshakeFailures;
use linkseal_domain::registry::{Entry, Registry};
use linkseal_domain::ssl::{Intent, Reason};
use linkseal_net::shares::network;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;

use super::hello::{self, Hello};
use super::metrics::Metrics;
use super::refusal::{Refusal, refuse};
use super::server_config::{self, ALPN_H2};
use super::stand_in::StandIn;
use super::waiting::Waiting;
use crate::TlsInfo;

/// How long a client may take for the whole handshake. After a wait for admission or a certificate it
/// starts again, for the rest of the handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An established session. Boxed: a kilobyte that every future it passes through would otherwise hold, for
/// the life of the connection.
pub(crate) type TlsIo = Box<TlsStream<TcpStream>>;

/// What the acceptor reads from and writes to.
pub struct Parts {
    pub registry: Registry,
    pub certificates: Certificates,
    /// Decides about names that the registry does not hold.
    pub admission: Arc<dyn Admission>,
    /// Keys that seal session tickets.
    pub tickets: TicketKeys,
    /// Receives the failed handshakes of known domains.
    pub failures: HandshakeFailures,
    pub clock: Clock,
    pub metrics: Metrics,
}

/// What a reload changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its certificate is served where there is no SNI.
    pub edge_name: DomainName,
    /// How long a handshake waits for admission and certificate.
    pub handshake_wait: Duration,
    /// [`HANDSHAKE_TIMEOUT`], except in tests.
    pub handshake_timeout: Duration,
}

/// Makes TLS sessions.
pub struct Acceptor {
    parts: Parts,
    template: ServerConfig,
    waiting: Waiting,
    stand_in: StandIn,
    settings: ArcSwap<Settings>,
}

type Found = (Arc<Entry>, Arc<Certificate>);

impl Settings {
    pub fn new(edge_name: DomainName, handshake_wait: Duration) -> Self {
        Self {
            edge_name,
            handshake_wait,
            handshake_timeout: HANDSHAKE_TIMEOUT,
        }
    }
}

impl Acceptor {
    /// # Errors
    /// rustls was built without the cipher suites it needs.
    pub fn new(parts: Parts, settings: Settings) -> Result<Self, rustls::Error> {
        let template = server_config::template(parts.tickets.clone())?;
        Ok(Self {
            parts,
            template,
            waiting: Waiting::default(),
            stand_in: StandIn::default(),
            settings: ArcSwap::from_pointee(settings),
        })
    }

    /// Changes the settings for handshakes from now on.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    #[cfg(test)]
    pub(crate) fn names_waited_for(&self) -> usize {
        self.waiting.names()
    }

    /// Makes a session, or sends an alert and closes.
    pub(crate) async fn accept(&self, io: TcpStream, client: IpAddr) -> Result<(TlsIo, TlsInfo), Refusal> {
        let started = Instant::now();
        let outcome = self.handshake(io, client).await;
        match &outcome {
            Ok((io, _)) => {
                let session = io.get_ref().1;
                let tls13 = session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
                self.parts.metrics.done(tls13, resumed, started.elapsed());
            }
            // No handshake was begun, so none is counted.
            Err(Refusal::Silent) => {}
            Err(why) => self.parts.metrics.refused(*why),
        }
        outcome
    }

    async fn handshake(&self, io: TcpStream, client: IpAddr) -> Result<(TlsIo, TlsInfo), Refusal> {
        let handshake_timeout = self.settings.load().handshake_timeout;
        // One timer for all steps; it is reset only after a wait.
        let mut deadline = pin!(sleep(handshake_timeout));
        let hello = tokio::select! {
            biased;
            hello = hello::read(io) => hello?,
            () = &mut deadline => return Err(Refusal::HelloTimeout),
        };
        let (start, named) = match hello {
            Hello::Named(start) => (start, true),
            Hello::Nameless(start) => (start, false),
            Hello::BadName(io) => return Err(refuse(io, Refusal::UnrecognizedName).await),
        };
        let in_memory = if named {
            self.in_memory(start.client_hello().server_name().unwrap_or_default())
        } else {
            self.in_memory(self.settings.load().edge_name.as_str())
        };
        let (entry, config, challenges_only) = match in_memory {
            Some((entry, certificate)) => (entry, self.serving(&certificate), false),
            None => {
                let settings = self.settings.load_full();
                let name = if named {
                    DomainName::parse(start.client_hello().server_name().unwrap_or_default())
                } else {
                    Ok(settings.edge_name.clone())
                };
                let Ok(name) = name else {
                    return Err(refuse(start.io, Refusal::UnrecognizedName).await);
                };
                if let Some((entry, config)) = self.stand_in(&name) {
                    (entry, config, true)
                } else {
                    deadline
                        .as_mut()
                        .reset(tokio::time::Instant::now() + settings.handshake_wait);
                    let found = tokio::select! {
                        biased;
                        found = self.find(&name, client) => found,
                        () = gone(&start.io) => Err(Refusal::Gone),
                        () = &mut deadline => Err(Refusal::CertificateTimeout),
                    };
                    match self.or_last_stored(&name, found) {
                        Ok((entry, certificate)) => {
                            deadline.as_mut().reset(tokio::time::Instant::now() + handshake_timeout);
                            (entry, self.serving(&certificate), false)
                        }
                        Err(why) => {
                            if self.parts.registry.get(name.as_str()).is_some() {
                                self.note_failure(&name, &why);
                            }
                            return Err(refuse(start.io, why).await);
                        }
                    }
                }
            }
        };
        if entry.reason == Reason::Moved {
            let now = self.parts.clock.now();
            self.parts.certificates.note_handshake(&entry.name, now);
        }
        let stream = tokio::select! {
            biased;
            stream = start.into_stream(config) => match stream {
                Ok(stream) => Box::new(stream),
                Err(error) => {
                    self.note_failure(&entry.name, &error);
                    return Err(Refusal::from(error));
                }
            },
            () = &mut deadline => {
                self.note_failure(&entry.name, &Refusal::HandshakeTimeout);
                return Err(Refusal::HandshakeTimeout);
            }
        };
        let session = stream.get_ref().1;
        let info = TlsInfo {
            name: named.then(|| entry.name.clone()),
            version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                "1.3"
            } else {
                "1.2"
            },
            h2: session.alpn_protocol() == Some(ALPN_H2),
            challenges_only,
            entry,
        };
        Ok((stream, info))
    }

    /// From memory, without allocating or waiting. Admission is not asked: a stored certificate is served.
    fn in_memory(&self, name: &str) -> Option<Found> {
        let entry = self.parts.registry.get(name)?;
        let certificate = self.parts.certificates.cached(&entry.name, self.parts.clock.now())?;
        Some((entry, certificate))
    }

    /// Notes a failed handshake of a known domain.
    fn note_failure(&self, name: &DomainName, error: &dyn std::fmt::Display) {
        let now = self.parts.clock.now();
        self.parts.failures.note(name, &error.to_string(), now);
    }

    fn serving(&self, certificate: &Certificate) -> Arc<ServerConfig> {
        Arc::clone(certificate.served_with(&self.template))
    }

    /// The stand-in, for a name that has one now. Such a handshake does not wait for a certificate.
    fn stand_in(&self, name: &DomainName) -> Option<(Arc<Entry>, Arc<ServerConfig>)> {
        let entry = self.parts.registry.get(name.as_str())?;
        if !entry.has_stand_in(self.parts.clock.now()) {
            return None;
        }
        let config = self.stand_in.config(&self.template)?;
        Some((entry, config))
    }

    async fn find(&self, name: &DomainName, client: IpAddr) -> Result<Found, Refusal> {
        let entry = self.admitted(name, client).await?;
        if let Some(certificate) = self.parts.certificates.cached(&entry.name, self.parts.clock.now()) {
            return Ok((entry, certificate));
        }
        let wait = self.waiting.enter(&entry.name, client).ok_or(Refusal::Busy)?;
        let answer = tokio::select! {
            biased;
            answer = self.parts.certificates.request(entry.name.clone()) => answer,
            () = wait.taken_away() => return Err(Refusal::Busy),
        };
        match answer {
            CertificateAnswer::Ready(certificate) => Ok((entry, certificate)),
            CertificateAnswer::None => Err(Refusal::NoCertificate),
            CertificateAnswer::Busy => Err(Refusal::Busy),
        }
    }

    /// If no certificate comes, the last stored one, even if it has expired: the client decides, and our
    /// clock may be wrong.
    fn or_last_stored(&self, name: &DomainName, found: Result<Found, Refusal>) -> Result<Found, Refusal> {
        let why = match found {
            Err(why @ (Refusal::NoCertificate | Refusal::CertificateTimeout | Refusal::Busy)) => why,
            found => return found,
        };
        let entry = self.parts.registry.get(name.as_str()).ok_or(why)?;
        let certificate = self.parts.certificates.held(name).ok_or(why)?;
        Ok((entry, certificate))
    }

    async fn admitted(&self, name: &DomainName, client: IpAddr) -> Result<Arc<Entry>, Refusal> {
        let now = self.parts.clock.now();
        match self.parts.registry.get(name.as_str()) {
            Some(entry) if has_certificate(&entry, now) => return Ok(entry),
            Some(entry) if entry.intent == Intent::Retired => return Err(Refusal::UnrecognizedName),
            Some(entry) if entry.reason != Reason::Denied => return Ok(entry),
            _ => {}
        }
        let why = match self
            .parts
            .admission
            .admit(name, ClientNetwork::of(network(client)))
            .await
        {
            Admitted::Yes(entry) => return Ok(entry),
            Admitted::No => Refusal::UnrecognizedName,
            Admitted::Unreachable => Refusal::AdmissionUnreachable,
        };
        // The registry may have been loaded in the meantime.
        self.parts
            .registry
            .get(name.as_str())
            .filter(|e| has_certificate(e, now))
            .ok_or(why)
    }
}

fn has_certificate(entry: &Entry, now: Timestamp) -> bool {
    entry.not_after().is_some_and(|t| t > now)
}

/// Resolves when the client has closed or reset. It sends nothing after its ClientHello; if it does (early
/// data, which is skipped), this never resolves.
async fn gone(io: &TcpStream) {
    if matches!(io.peek(&mut [0]).await, Ok(1..)) {
        std::future::pending::<()>().await;
    }
}
