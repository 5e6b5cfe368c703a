//! The DNS client behind [`Lookup`]: a stub resolver without a cache, on hickory's transports.
//!
//! hickory's own `Resolver` does not fit: it caches negative answers, and its errors keep neither the
//! extended error (RFC 8914), which distinguishes a DNSSEC failure from a missing record, nor the
//! CNAMEs before a failure. Messages are therefore exchanged one by one here, over hickory's UDP
//! (random port and ID per question) and, if truncated, TCP.
//!
//! Without a cache here, a check sees a customer's fix as soon as the resolvers do. To see it
//! before their caches expire, [`crate::resolver::zone_servers`] finds the authoritative servers.

mod message;
mod transport;
mod zone_servers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::proto::op::Message;
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::timeout;

use self::transport::{MIN_PER_SERVER, Question, Recursive, exchange};
use self::zone_servers::ZoneServers;
use crate::lookup::{Answer, Data, Kind, Lookup, LookupError, Record, is_localhost, is_name, normal};

/// Aliases followed; CAs stop at 8 to 16.
const MAX_ALIASES: usize = 12;
/// TTL of names in `localhost`, in seconds: no zone publishes them, so there is none.
const LOCALHOST_TTL: u32 = 0;

/// Which servers to ask, and for how long.
#[derive(Clone, Debug)]
pub struct ResolverSettings {
    /// The recursive resolvers, in order; if empty, the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Time limit of one question, all servers and retries included.
    pub timeout: Duration,
    /// The port of authoritative servers: 53, except in tests.
    pub authority_port: u16,
    /// Whether authoritative servers may have loopback and private addresses: only in tests, because
    /// customers' zones choose these addresses.
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

/// Why no resolver can be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolverError {
    /// The system's configuration cannot be read, or names none.
    #[error("the system's resolvers cannot be read ({0}); set dns.resolvers, for instance [\"127.0.0.1:53\"]")]
    System(String),
}

/// A stub resolver without a cache.
#[derive(Debug)]
pub struct Resolver {
    recursive: Recursive,
    zone_servers: ZoneServers,
    timeout: Duration,
}

impl Resolver {
    /// Reads the system's configuration if the settings name no resolvers.
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
        Ok(Self {
            recursive: Recursive::new(servers, settings.timeout),
            zone_servers: ZoneServers::new(settings.authority_port, settings.authority_private),
            timeout: settings.timeout,
        })
    }

    /// Asks the zone's authoritative servers. `None`: none of them gave an authoritative answer.
    async fn ask_authority(&self, name: &str, kind: Kind) -> Option<Message> {
        let servers = self.zone_servers.of(name, &self.recursive).await;
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

    /// Asks, and asks again for the target if a server does not follow an alias itself.
    /// `None`: `source` is the authoritative servers, and none of them answered.
    async fn follow(&self, name: &str, kind: Kind, source: Source) -> Option<Result<Answer, LookupError>> {
        let mut current = normal(name);
        if is_localhost(&current) {
            return Some(localhost(&current, kind));
        }
        let mut passed = Vec::new();
        while passed.len() < MAX_ALIASES {
            let message = match source {
                Source::Resolvers => match self.recursive.ask(&current, kind).await {
                    Ok(message) => message,
                    Err(e) => return Some(Err(e)),
                },
                Source::Authority => self.ask_authority(&current, kind).await?,
            };
            match message::read(&message, &current, kind) {
                message::Reading::Records(records) => return Some(Ok(Answer { records })),
                message::Reading::Absent(error) => return Some(Err(error)),
                // No server can be asked for it.
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

#[derive(Clone, Copy)]
enum Source {
    Resolvers,
    Authority,
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
mod tests;
