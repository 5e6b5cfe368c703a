//! A DNS server for tests: scriptable, on loopback, over UDP and TCP.
//!
//! It answers like a recursive resolver with the scripted records only (aliases among them are
//! followed), and like an authoritative server if recursion is not desired. Names can be made to
//! fail, and the questions for each name are counted.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use hickory_resolver::proto::op::{Edns, Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::opt::EdnsOption;
use hickory_resolver::proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use linkseal_base::shutdown::Tasks;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::lookup::{Kind, normal, plain};

/// TTL of every record, in seconds.
const TTL: u32 = 300;
/// Negative TTL, in seconds.
const NEGATIVE_TTL: u32 = 60;
/// Aliases followed among the scripted records.
const MAX_ALIASES: usize = 16;
/// Attempts to bind the same port for TCP and UDP.
const BIND_TRIES: usize = 32;
/// The longest string of a TXT record, in bytes (RFC 1035 §3.3).
const TXT_STRING: usize = 255;

/// How a name fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// SERVFAIL, to every question.
    ServFail,
    /// SERVFAIL with an extended error (RFC 8914): info-code and text.
    Extended(u16, &'static str),
    /// SERVFAIL unless checking is disabled, as validating resolvers do without extended errors.
    Bogus,
    /// REFUSED.
    Refused,
    /// No answer at all.
    Silent,
    /// A truncated answer over UDP; the whole answer over TCP.
    Truncated,
}

/// A running server. It stops with the [`Tasks`] it was started on.
#[derive(Clone, Debug)]
pub struct DnsServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    records: HashMap<(String, Kind), Vec<RData>>,
    failures: HashMap<String, Failure>,
    asked: HashMap<String, usize>,
}

impl DnsServer {
    /// Starts a server on a free port of 127.0.0.1, the same for UDP and TCP.
    pub async fn start(tasks: &Tasks) -> io::Result<Self> {
        let mut tries = 0;
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            match TcpListener::bind(udp.local_addr()?).await {
                Ok(tcp) => break (udp, tcp),
                Err(e) if tries == BIND_TRIES => return Err(e),
                Err(_) => tries += 1,
            }
        };
        let server = Self {
            address: udp.local_addr()?,
            state: Arc::default(),
        };
        tasks.spawn_until_stop(server.clone().serve_udp(udp));
        tasks.spawn_until_stop(server.clone().serve_tcp(tcp, tasks.clone()));
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a record, with its value as zone files write it, for instance
    /// `add("links.customer.example", Kind::Cname, "track.platform.example")`. A first label `*`
    /// answers for every name below that does not exist.
    ///
    /// # Panics
    /// If the value is invalid for the type.
    pub fn add(&self, name: &str, kind: Kind, value: &str) {
        let Some(data) = rdata(kind, value) else {
            panic!("`{value}` is not a valid value of a {} record", kind.as_str())
        };
        self.with(|s| s.records.entry((normal(name), kind)).or_default().push(data));
    }

    /// Removes the records of one type at a name.
    pub fn remove(&self, name: &str, kind: Kind) {
        self.with(|s| s.records.remove(&(normal(name), kind)));
    }

    /// Makes every question for a name fail.
    pub fn fail(&self, name: &str, failure: Failure) {
        self.with(|s| s.failures.insert(normal(name), failure));
    }

    /// Ends a failure.
    pub fn heal(&self, name: &str) {
        self.with(|s| s.failures.remove(&normal(name)));
    }

    /// Questions for a name so far, of any type.
    pub fn asked(&self, name: &str) -> usize {
        self.with(|s| s.asked.get(&normal(name)).copied().unwrap_or(0))
    }

    /// Questions for all names so far.
    pub fn asked_in_all(&self) -> usize {
        self.with(|s| s.asked.values().sum())
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock())
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            if let Some(reply) = buffer.get(..length).and_then(|q| self.reply(q, true)) {
                // The client may have closed its socket.
                socket.send_to(&reply, peer).await.ok();
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener, tasks: Tasks) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let server = self.clone();
            tasks.spawn_until_stop(async move { server.serve_stream(stream).await.unwrap_or_default() });
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        loop {
            let mut question = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut question).await?;
            if let Some(reply) = self.reply(&question, false) {
                stream.write_u16(u16::try_from(reply.len()).unwrap_or(u16::MAX)).await?;
                stream.write_all(&reply).await?;
            }
        }
    }

    /// `None`: no reply is sent.
    fn reply(&self, question: &[u8], udp: bool) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).ok()?;
        let query = question.queries.first()?.clone();
        let name = normal(&query.name().to_ascii());
        let failure = self.with(|s| {
            *s.asked.entry(name.clone()).or_default() += 1;
            s.failures.get(&name).cloned()
        });
        let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
        reply.metadata.recursion_desired = question.metadata.recursion_desired;
        reply.metadata.recursion_available = question.metadata.recursion_desired;
        reply.metadata.authoritative = !question.metadata.recursion_desired;
        reply.add_query(query.clone());
        if question.edns.is_some() {
            reply.set_edns(Edns::new());
        }
        match failure {
            Some(Failure::Silent) => return None,
            Some(Failure::Refused) => reply.metadata.response_code = ResponseCode::Refused,
            Some(Failure::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
            Some(Failure::Bogus) if !question.metadata.checking_disabled => {
                reply.metadata.response_code = ResponseCode::ServFail;
            }
            Some(Failure::Extended(code, text)) => {
                reply.metadata.response_code = ResponseCode::ServFail;
                let bytes = [code.to_be_bytes().as_slice(), text.as_bytes()].concat();
                reply
                    .edns
                    .get_or_insert_default()
                    .options_mut()
                    .insert(EdnsOption::Unknown(15, bytes));
            }
            Some(Failure::Truncated) if udp => reply.metadata.truncation = true,
            Some(Failure::Truncated | Failure::Bogus) | None => self.answer(&mut reply, &name, query.query_type()),
        }
        let bytes = reply.to_vec().ok()?;
        let fits = usize::from(question.max_payload());
        if udp && bytes.len() > fits {
            reply.truncate().to_vec().ok()
        } else {
            Some(bytes)
        }
    }

    fn answer(&self, reply: &mut Message, name: &str, wanted: RecordType) {
        let mut current = name.to_owned();
        for _ in 0..MAX_ALIASES {
            let source = self.source(&current).unwrap_or_default();
            let (found, alias) = self.with(|s| {
                let of = |kind: Kind| s.records.get(&(source.clone(), kind)).cloned().unwrap_or_default();
                let kind = KINDS.into_iter().find(|k| k.record_type() == wanted);
                (kind.map(of).unwrap_or_default(), of(Kind::Cname))
            });
            let Ok(owner) = absolute(&current) else { return };
            let next = match alias.first() {
                Some(RData::CNAME(target)) if found.is_empty() => Some(normal(&target.0.to_ascii())),
                _ => None,
            };
            let records = if found.is_empty() { alias } else { found };
            reply.add_answers(
                records
                    .into_iter()
                    .map(|data| Record::from_rdata(owner.clone(), TTL, data)),
            );
            match next {
                Some(next) => current = next,
                None => break,
            }
        }
        if !reply.answers.iter().any(|r| r.record_type() == wanted) {
            if self.source(&current).is_none() {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            let apex = absolute(crate::lookup::zone_of(&current)).unwrap_or_default();
            let soa = SOA::new(apex.clone(), apex.clone(), 1, 3600, 600, 86_400, NEGATIVE_TTL);
            reply.add_authority(Record::from_rdata(apex, NEGATIVE_TTL, RData::SOA(soa)));
        }
    }

    /// The name whose records answer for `name`: itself, or the closest wildcard (RFC 4592 §3.3).
    /// `None`: the name does not exist.
    fn source(&self, name: &str) -> Option<String> {
        // A name also exists if only names below it have records (RFC 8020 §2).
        let exists = |n: &str| {
            let below = format!(".{n}");
            self.with(|s| s.records.keys().any(|(k, _)| k == n || k.ends_with(&below)))
        };
        if exists(name) {
            return Some(name.to_owned());
        }
        let parents = std::iter::successors(name.split_once('.').map(|p| p.1), |n| n.split_once('.').map(|p| p.1));
        let closest = parents.into_iter().find(|p| exists(p))?;
        Some(format!("*.{closest}")).filter(|wildcard| exists(wildcard))
    }
}

const KINDS: [Kind; 7] = [
    Kind::A,
    Kind::Aaaa,
    Kind::Cname,
    Kind::Caa,
    Kind::Txt,
    Kind::Mx,
    Kind::Ns,
];

fn absolute(name: &str) -> Result<Name, hickory_resolver::proto::ProtoError> {
    // A backslash escapes a character that zones may contain, but host names may not.
    let mut name = if name.contains('\\') {
        Name::from_labels(name.split('.').map(|label| plain(label).into_bytes()))?
    } else {
        Name::from_ascii(name)?
    };
    name.set_fqdn(true);
    Ok(name)
}

fn rdata(kind: Kind, value: &str) -> Option<RData> {
    Some(match kind {
        Kind::A => RData::A(A(value.parse().ok()?)),
        Kind::Aaaa => RData::AAAA(AAAA(value.parse().ok()?)),
        Kind::Cname => RData::CNAME(CNAME(absolute(value).ok()?)),
        Kind::Ns => RData::NS(NS(absolute(value).ok()?)),
        Kind::Mx => {
            let (preference, exchange) = value.split_once(' ')?;
            RData::MX(MX::new(preference.parse().ok()?, absolute(exchange).ok()?))
        }
        Kind::Txt => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(TXT_STRING).collect())),
        Kind::Caa => {
            let mut parts = value.splitn(3, ' ');
            let flags = u8::from_str(parts.next()?).ok()?;
            let mut caa = CAA::new_issue(flags & 0x80 != 0, None, Vec::new());
            caa.tag = parts.next()?.to_owned();
            caa.value = parts.next()?.trim_matches('"').as_bytes().to_vec();
            RData::CAA(caa)
        }
    })
}
