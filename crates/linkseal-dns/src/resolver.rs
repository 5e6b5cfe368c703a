//! The real [`Lookup`]: a stub resolver without a cache, on hickory's transports.
//!
//! hickory's own `Resolver` is passed over for three reasons. It caches negative answers, and its
//! errors keep neither the extended error (RFC 8914), which tells a DNSSEC failure from a missing
//! record, nor the CNAMEs that came before a failure. So the messages are asked for one by one
//! here, over hickory's UDP (random port and id per question) and, when truncated, TCP.
//!
//! No cache of ours stands between a customer's fix and the check; the resolvers' caches still
//! do, which is what [`super::authority`] is for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::{Instant, timeout};

use super::authority::ZoneServers;
use super::lookup::{Answer, Data, Kind, Lookup, LookupError, Record, is_localhost, is_name, normal};
use super::message;

/// How many resolvers are tried: as many as resolv.conf takes.
const MAX_RESOLVERS: usize = 3;
/// The shortest time one server gets, however little of a question's time is left to it.
const MIN_PER_SERVER: Duration = Duration::from_millis(250);
/// How long a server that was silent where another answered is asked after the others.
const REST: Duration = Duration::from_secs(30);
/// How many aliases are followed; CAs stop at 8 to 16.
const MAX_ALIASES: usize = 12;
/// UDP payload announced (RFC 9715 §3: no fragments anywhere).
const UDP_PAYLOAD: u16 = 1232;
/// TTL given to names in `localhost`, which no one published.
const LOCALHOST_TTL: u32 = 0;

/// Where and how patiently to ask.
#[derive(Clone, Debug)]
pub struct ResolverSettings {
    /// The recursive resolvers, in order. Empty: the system's.
    pub resolvers: Vec<SocketAddr>,
    /// The time one question has, all servers and repetitions included.
    pub timeout: Duration,
    /// The port of authoritative servers: 53, except in tests.
    pub authority_port: u16,
    /// Whether authoritative servers may have loopback and private addresses. A customer's zone
    /// names them, so this stays off wherever customers are not ourselves.
    pub authority_private: bool,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            timeout: Duration::from_secs(4),
            authority_port: 53,
            authority_private: false,
        }
    }
}

/// Why no resolver can be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolverError {
    /// The system's configuration names none.
    #[error("the system's resolvers cannot be read ({0}); set dns.resolvers, for instance [\"127.0.0.1:53\"]")]
    System(String),
}

/// A stub resolver without a cache.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    /// Until when each of them is asked after the others.
    resting: Mutex<Vec<Option<Instant>>>,
    timeout: Duration,
    authorities: ZoneServers,
}

impl Resolver {
    /// A resolver that asks the servers of the settings, or the system's.
    pub fn new(settings: ResolverSettings) -> Result<Self, ResolverError> {
        let mut servers = settings.resolvers;
        if servers.is_empty() {
            let (config, _) = read_system_conf().map_err(|e| ResolverError::System(e.to_string()))?;
            servers = config
                .name_servers()
                .iter()
                .map(|s| SocketAddr::new(s.ip, 53))
                .collect();
        }
        if servers.is_empty() {
            return Err(ResolverError::System("none is configured".into()));
        }
        servers.truncate(MAX_RESOLVERS);
        let authorities = ZoneServers::new(settings.authority_port, settings.authority_private);
        Ok(Self {
            resting: Mutex::new(vec![None; servers.len()]),
            servers,
            timeout: settings.timeout,
            authorities,
        })
    }

    /// One question to the recursive resolvers, the next one when one fails.
    pub(super) async fn ask(&self, name: &str, kind: Kind) -> Result<Message, LookupError> {
        let share = u32::try_from(self.servers.len()).unwrap_or(1);
        let per_server = (self.timeout / share).max(MIN_PER_SERVER);
        let mut telling = LookupError::Timeout;
        let mut silent = Vec::new();
        for (at, server) in self.in_turn(Instant::now()) {
            let answer = self.ask_recursive(server, name, kind, per_server).await;
            match &answer {
                Err(LookupError::Timeout | LookupError::Other(_)) => silent.push(at),
                // It is there, whatever it says of the zone; those before it are not, for this zone is.
                _ => self.answered(at, &silent, Instant::now()),
            }
            match answer {
                Ok(message) => return Ok(message),
                Err(e) if weight(&e) > weight(&telling) => telling = e,
                Err(_) => {}
            }
        }
        Err(telling)
    }

    /// The servers in the order in which they are asked: as configured, but those that rest last.
    /// One whose rest is over is tried by one question; the others follow what comes of that.
    fn in_turn(&self, now: Instant) -> Vec<(usize, SocketAddr)> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut servers: Vec<_> = self.servers.iter().copied().enumerate().collect();
        servers.sort_by_key(|(at, _)| resting.get(*at).is_some_and(|r| r.is_some_and(|until| until > now)));
        for until in resting.iter_mut().flatten().filter(|until| **until <= now) {
            *until = now + REST;
        }
        servers
    }

    fn answered(&self, answered: usize, silent: &[usize], now: Instant) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, until) in resting.iter_mut().enumerate() {
            if at == answered {
                *until = None;
            } else if silent.contains(&at) {
                *until = Some(now + REST);
            }
        }
    }

    async fn ask_recursive(
        &self,
        server: SocketAddr,
        name: &str,
        kind: Kind,
        within: Duration,
    ) -> Result<Message, LookupError> {
        let question = Question {
            name,
            kind,
            recursion: true,
            checking_disabled: false,
        };
        let message = exchange(server, question, within).await?;
        match message::failure(&message) {
            None => Ok(message),
            // Not every resolver explains itself: a zone that answers once checking is disabled
            // (RFC 4035 §3.2.2) fails for its signatures.
            Some(LookupError::ServFail { text: None }) => {
                let unchecked = Question {
                    checking_disabled: true,
                    ..question
                };
                match exchange(server, unchecked, within).await {
                    Ok(m) if m.metadata.response_code == ResponseCode::NoError => {
                        Err(LookupError::DnssecBogus { text: None })
                    }
                    _ => Err(LookupError::ServFail { text: None }),
                }
            }
            Some(failure) => Err(failure),
        }
    }

    /// One question to a zone's own servers. `None`: none of them gave an authoritative answer.
    async fn ask_authority(&self, name: &str, kind: Kind) -> Option<Message> {
        let servers = self.authorities.of(name, self).await;
        let share = u32::try_from(servers.len().max(1)).unwrap_or(1);
        let per_server = (self.timeout / share).max(MIN_PER_SERVER);
        for server in servers {
            let question = Question {
                name,
                kind,
                recursion: false,
                checking_disabled: false,
            };
            let Ok(message) = exchange(server, question, per_server).await else {
                continue;
            };
            if message.metadata.authoritative && message::failure(&message).is_none() {
                return Some(message);
            }
        }
        None
    }

    /// Asks, and asks on where a server ends its answer at an alias without following it.
    /// `None`: the zone's own servers were asked for and cannot be had.
    async fn follow(&self, name: &str, kind: Kind, source: Source) -> Option<Result<Answer, LookupError>> {
        let mut current = normal(name);
        if is_localhost(&current) {
            return Some(localhost(&current, kind));
        }
        let mut passed = Vec::new();
        while passed.len() < MAX_ALIASES {
            let message = match source {
                Source::Resolvers => match self.ask(&current, kind).await {
                    Ok(message) => message,
                    Err(e) => return Some(Err(e)),
                },
                Source::Authority => self.ask_authority(&current, kind).await?,
            };
            match message::read(&message, &current, kind) {
                message::Reading::Records(records) => return Some(Ok(Answer { records })),
                message::Reading::Absent(error) => return Some(Err(error)),
                // Nothing can be there.
                message::Reading::EndsAt(target) if !is_name(&target) => {
                    return Some(Err(LookupError::NxDomain { ttl: None }));
                }
                message::Reading::EndsAt(target) if passed.contains(&target) => return Some(Err(LookupError::Loop)),
                message::Reading::EndsAt(target) => {
                    passed.push(current);
                    current = target;
                }
            }
        }
        Some(Err(LookupError::Loop))
    }
}

#[async_trait]
impl Lookup for Resolver {
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Answer, LookupError> {
        match timeout(self.timeout, self.follow(name, kind, Source::Resolvers)).await {
            Ok(Some(result)) => result,
            Ok(None) | Err(_) => Err(LookupError::Timeout),
        }
    }

    async fn authoritative(&self, name: &str, kind: Kind) -> Option<Result<Answer, LookupError>> {
        if is_localhost(&normal(name)) {
            return None;
        }
        timeout(self.timeout, self.follow(name, kind, Source::Authority))
            .await
            .ok()
            .flatten()
    }
}

/// How much a failure tells of the zone: what a server said weighs more than that one was silent.
fn weight(error: &LookupError) -> u8 {
    match error {
        LookupError::DnssecBogus { .. } => 4,
        LookupError::ServFail { .. } => 3,
        LookupError::Refused { .. } => 2,
        LookupError::Other(_) => 1,
        _ => 0,
    }
}

#[derive(Clone, Copy)]
enum Source {
    Resolvers,
    Authority,
}

/// One question to one server.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    name: &'a str,
    kind: Kind,
    recursion: bool,
    checking_disabled: bool,
}

/// Asks over UDP, and over TCP when the answer did not fit.
async fn exchange(server: SocketAddr, question: Question<'_>, within: Duration) -> Result<Message, LookupError> {
    let request = request(question)?;
    let both = async {
        let provider = TokioRuntimeProvider::new();
        let mut udp = UdpClientStream::builder(server, provider.clone())
            .with_timeout(Some(within))
            .build();
        let response = udp.send_message(request.clone()).first_answer().await?;
        if !response.metadata.truncation {
            return Ok(response.into_message());
        }
        let tcp = TcpClientStream::exchange(server, None, within, None, provider).await?;
        Ok(tcp.send(request).first_answer().await?.into_message())
    };
    match timeout(within, both).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(NetError::Timeout)) | Err(_) => Err(LookupError::Timeout),
        Ok(Err(e)) => Err(LookupError::Other(format!(
            "the DNS server {server} cannot be asked: {e}"
        ))),
    }
}

fn request(question: Question<'_>) -> Result<DnsRequest, LookupError> {
    let mut name = Name::from_ascii(question.name)
        .map_err(|e| LookupError::Other(format!("`{}` is not a DNS name: {e}", question.name)))?;
    name.set_fqdn(true);
    let mut options = DnsRequestOptions::default();
    options.use_edns = true;
    options.edns_payload_len = UDP_PAYLOAD;
    options.recursion_desired = question.recursion;
    let request = DnsRequest::from_query(Query::query(name, record_type(question.kind)), options);
    if !question.checking_disabled {
        return Ok(request);
    }
    let (mut message, options) = request.into_parts();
    message.metadata.checking_disabled = true;
    Ok(DnsRequest::new(message, options))
}

pub(super) fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Cname => RecordType::CNAME,
        Kind::Caa => RecordType::CAA,
        Kind::Txt => RecordType::TXT,
        Kind::Mx => RecordType::MX,
        Kind::Ns => RecordType::NS,
    }
}

fn localhost(name: &str, kind: Kind) -> Result<Answer, LookupError> {
    let address = match kind {
        Kind::A => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Kind::Aaaa => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => return Err(LookupError::NoData { ttl: None }),
    };
    let record = Record {
        owner: name.to_owned(),
        ttl: LOCALHOST_TTL,
        data: Data::Address(address),
    };
    Ok(Answer { records: vec![record] })
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
