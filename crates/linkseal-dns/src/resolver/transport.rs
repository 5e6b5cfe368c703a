//! Asks one server over hickory's UDP or TCP, and the recursive resolvers in turn.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::tcp::TcpClientStream;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::{DnsHandle, DnsRequestSender, FirstAnswer};
use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::Name;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::message;
use crate::lookup::{Kind, LookupError};

/// Resolvers that are tried: as many as resolv.conf allows.
const MAX_RESOLVERS: usize = 3;
/// The least time one server gets, even if its share of the question's time limit is shorter.
pub(super) const MIN_PER_SERVER: Duration = Duration::from_millis(250);
/// How long a server is asked after the others, once it was silent and another answered.
const REST: Duration = Duration::from_secs(30);
/// UDP payload announced, in bytes: answers of this size are not fragmented (RFC 9715 §3).
const UDP_PAYLOAD: u16 = 1232;

/// The recursive resolvers.
#[derive(Debug)]
pub(super) struct Recursive {
    servers: Vec<SocketAddr>,
    /// Until when each of them is asked after the others.
    resting: Mutex<Vec<Option<Instant>>>,
    timeout: Duration,
}

impl Recursive {
    /// `timeout`: time limit of one question, for all servers together.
    pub(super) fn new(mut servers: Vec<SocketAddr>, timeout: Duration) -> Self {
        servers.truncate(MAX_RESOLVERS);
        Self {
            resting: Mutex::new(vec![None; servers.len()]),
            servers,
            timeout,
        }
    }

    /// Asks the recursive resolvers in turn until one answers; otherwise returns the failure that
    /// says most about the zone.
    pub(super) async fn ask(&self, name: &str, kind: Kind) -> Result<Message, LookupError> {
        let share = u32::try_from(self.servers.len()).unwrap_or(1);
        let per_server = (self.timeout / share).max(MIN_PER_SERVER);
        let mut telling = LookupError::Timeout;
        let mut silent = Vec::new();
        for (at, server) in self.in_turn(Instant::now()) {
            let answer = self.ask_recursive(server, name, kind, per_server).await;
            match &answer {
                Err(LookupError::Timeout | LookupError::Other(_)) => silent.push(at),
                // It responds, whatever its answer; so the silence of those before it is not the zone's fault.
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

    /// The servers in the order in which they are asked: as configured, but resting ones last. When
    /// the rest of a server is over, one question tries it first; the others ask it last until it
    /// has answered.
    fn in_turn(&self, now: Instant) -> Vec<(usize, SocketAddr)> {
        let mut resting = self.resting.lock();
        let mut servers: Vec<_> = self.servers.iter().copied().enumerate().collect();
        servers.sort_by_key(|(at, _)| resting.get(*at).is_some_and(|r| r.is_some_and(|until| until > now)));
        for until in resting.iter_mut().flatten().filter(|until| **until <= now) {
            *until = now + REST;
        }
        servers
    }

    fn answered(&self, answered: usize, silent: &[usize], now: Instant) {
        let mut resting = self.resting.lock();
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
            // Some resolvers give no reason: a zone that answers with checking disabled
            // (RFC 4035 §3.2.2) has invalid signatures.
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
}

/// How much a failure says about the zone: a server's answer outweighs silence.
fn weight(error: &LookupError) -> u8 {
    match error {
        LookupError::DnssecBogus { .. } => 4,
        LookupError::ServFail { .. } => 3,
        LookupError::Refused { .. } => 2,
        LookupError::Other(_) => 1,
        _ => 0,
    }
}

/// One question to one server.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    pub(super) recursion: bool,
    pub(super) checking_disabled: bool,
}

/// Asks over UDP, and over TCP if the answer did not fit.
pub(super) async fn exchange(
    server: SocketAddr,
    question: Question<'_>,
    within: Duration,
) -> Result<Message, LookupError> {
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
            "the DNS server {server} cannot be reached: {e}"
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
    let request = DnsRequest::from_query(Query::query(name, question.kind.record_type()), options);
    if !question.checking_disabled {
        return Ok(request);
    }
    let (mut message, options) = request.into_parts();
    message.metadata.checking_disabled = true;
    Ok(DnsRequest::new(message, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_resolver_is_asked_last_for_a_while() {
        let servers: Vec<SocketAddr> = vec!["192.0.2.1:53".parse().unwrap(), "192.0.2.2:53".parse().unwrap()];
        let resolver = Recursive::new(servers.clone(), Duration::from_secs(4));
        let now = Instant::now();
        let first = |now| resolver.in_turn(now)[0].1;
        assert_eq!(first(now), servers[0]);
        resolver.answered(1, &[0], now);
        assert_eq!(first(now), servers[1]);
        // After the pause a single question tries it again.
        assert_eq!((first(now + REST), first(now + REST)), (servers[0], servers[1]));
        resolver.answered(0, &[], now + REST);
        assert_eq!(first(now + REST), servers[0]);
        // If all are silent, none is deprioritized: the zone itself may be down.
        assert_eq!(first(now + REST * 2), servers[0]);
    }
}
