//! DNS questions, answers and failures, as far as the checks distinguish them.
//!
//! The checks use DNS through [`Lookup`] only: [`crate::resolver::Resolver`] implements it, unit
//! tests script it.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::proto::rr::RecordType;
use linkseal_domain::name::registered_domain;

/// Answers DNS questions without a cache: a person who has just fixed a record must see it.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// Asks the recursive resolvers. Aliases are followed, except for [`Kind::Cname`].
    async fn lookup(&self, name: &str, kind: Kind) -> Result<Answer, LookupError>;

    /// Asks the zone's authoritative servers, past the resolvers' caches. `None`: they cannot be
    /// found or reached, or give no authoritative answer.
    async fn authoritative(&self, _name: &str, _kind: Kind) -> Option<Result<Answer, LookupError>> {
        None
    }
}

/// The record types that are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An IPv4 address (RFC 1035 §3.4.1).
    A,
    /// An IPv6 address (RFC 3596 §2.1).
    Aaaa,
    /// An alias (RFC 1035 §3.3.1).
    Cname,
    /// Certification authority authorization (RFC 8659).
    Caa,
    /// Text (RFC 1035 §3.3.14).
    Txt,
    /// A mail exchanger (RFC 1035 §3.3.9).
    Mx,
    /// A name server (RFC 1035 §3.3.11).
    Ns,
}

impl Kind {
    /// The type as zone files write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Caa => "CAA",
            Self::Txt => "TXT",
            Self::Mx => "MX",
            Self::Ns => "NS",
        }
    }

    pub(crate) fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Cname => RecordType::CNAME,
            Self::Caa => RecordType::CAA,
            Self::Txt => RecordType::TXT,
            Self::Mx => RecordType::MX,
            Self::Ns => RecordType::NS,
        }
    }

    /// Reads a type as zone files write it. `None`: not one of these types.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::A,
            Self::Aaaa,
            Self::Cname,
            Self::Caa,
            Self::Txt,
            Self::Mx,
            Self::Ns,
        ];
        all.into_iter().find(|k| k.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

/// The data of a record. Names are in lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Of an A or AAAA record.
    Address(IpAddr),
    /// The target of a CNAME, or the host of an NS record.
    Name(String),
    /// A mail exchanger.
    Mx {
        /// Lower is tried first.
        preference: u16,
        exchange: String,
    },
    /// A CAA property (RFC 8659 §4.1).
    Caa {
        /// Whether a CA that does not know the tag must refuse.
        critical: bool,
        /// Such as `issue`, in lower case.
        tag: String,
        /// As published.
        value: String,
    },
    /// The strings of a TXT record, joined as SPF and DKIM join them (RFC 7208 §3.3).
    Txt(String),
}

impl std::fmt::Display for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
            Self::Mx { preference, exchange } => write!(f, "{preference} {exchange}"),
            Self::Caa { critical, tag, value } => write!(f, "{} {tag} \"{value}\"", if *critical { 128 } else { 0 }),
            Self::Txt(text) => f.write_str(text),
        }
    }
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name; not the one asked for if aliases were followed.
    pub owner: String,
    /// In seconds.
    pub ttl: u32,
    pub data: Data,
}

/// Records of the type asked for, at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub records: Vec<Record>,
}

impl Answer {
    pub fn addresses(&self) -> Vec<IpAddr> {
        let address = |r: &Record| match &r.data {
            Data::Address(ip) => Some(*ip),
            _ => None,
        };
        self.records.iter().filter_map(address).collect()
    }

    /// Targets of CNAME records, or hosts of NS records.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.records.iter().filter_map(|r| match &r.data {
            Data::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.records.iter().filter_map(|r| match &r.data {
            Data::Txt(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// The texts at this name itself, not at the target of an alias.
    pub(crate) fn texts_at(&self, owner: &str) -> impl Iterator<Item = &str> {
        self.records.iter().filter_map(move |r| match &r.data {
            Data::Txt(text) if normal(&r.owner) == owner => Some(text.as_str()),
            _ => None,
        })
    }

    /// The highest TTL, in seconds.
    pub(crate) fn ttl(&self) -> Option<u32> {
        self.records.iter().map(|r| r.ttl).max()
    }
}

/// Why there is no record. The texts appear in reports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist (RFC 8020).
    #[error("NXDOMAIN")]
    NxDomain {
        /// The negative TTL, in seconds (RFC 2308 §5). `None`: not given.
        ttl: Option<u32>,
    },
    /// The name exists, but has no record of this type.
    #[error("no such record")]
    NoData {
        /// The negative TTL, in seconds (RFC 2308 §5). `None`: not given.
        ttl: Option<u32>,
    },
    /// The resolver got no usable answer from the zone's servers.
    #[error("SERVFAIL{}", detail(.text))]
    ServFail {
        /// The extended error (RFC 8914). `None`: the resolver gave none.
        text: Option<String>,
    },
    /// The zone's signatures are invalid; validating resolvers, including a CA's, reject its records.
    #[error("DNSSEC bogus{}", detail(&.text.as_ref().filter(|t| !t.eq_ignore_ascii_case("DNSSEC Bogus")).cloned()))]
    DnssecBogus {
        /// The extended error (RFC 8914). `None`: found by asking with checking disabled.
        text: Option<String>,
    },
    /// The server does not answer for the zone.
    #[error("REFUSED{}", detail(.text))]
    Refused {
        /// The extended error (RFC 8914). `None`: the server gave none.
        text: Option<String>,
    },
    /// No answer in time.
    #[error("timeout")]
    Timeout,
    /// The aliases form a loop, or there are too many.
    #[error("CNAME loop")]
    Loop,
    /// Anything else: an unreachable resolver, a malformed answer or name.
    #[error("{0}")]
    Other(String),
}

impl LookupError {
    /// Whether the servers answered that there is no such record.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::NxDomain { .. } | Self::NoData { .. })
    }

    /// The negative TTL, in seconds. `None`: not known, or not a negative answer.
    pub(crate) fn negative_ttl(&self) -> Option<u32> {
        match self {
            Self::NxDomain { ttl } | Self::NoData { ttl } => *ttl,
            _ => None,
        }
    }
}

fn detail(text: &Option<String>) -> String {
    text.as_ref().map(|t| format!(" ({t})")).unwrap_or_default()
}

/// A name as DNS compares it: lower case, no trailing dot.
pub(crate) fn normal(name: &str) -> String {
    let name = name.trim();
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether a text in that form can be a name; a target that was pasted as a URL, or with a space or
/// comma, cannot.
pub(crate) fn is_name(text: &str) -> bool {
    let is_label = |l: &str| {
        let letters = l.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_*".contains(&b));
        letters && (1..=63).contains(&l.len())
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

/// A name as it was typed, for sentences: without the escapes of a zone file (RFC 1035 §5.1). The DNS
/// library writes character codes in octal, zone files in decimal.
pub(crate) fn plain(name: &str) -> String {
    let mut typed = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('\\') {
        typed.push_str(before);
        let code = after.get(..3).and_then(|c| u8::from_str_radix(c, 8).ok());
        let (c, length) = match (code, after.chars().next()) {
            (Some(code), _) => (char::from(code), 3),
            (None, Some(c)) => (c, c.len_utf8()),
            (None, None) => break,
        };
        typed.push(c);
        rest = after.get(length..).unwrap_or_default();
    }
    typed.push_str(rest);
    typed.chars().filter(|c| !c.is_control()).collect()
}

/// Whether a name is `suffix` or below it.
pub(crate) fn ends_in(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether the name is `localhost` or below it, which is loopback without a question (RFC 6761 §6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// The zone that sentences name to people: the registrable domain, else the name itself.
pub(crate) fn zone_of(name: &str) -> &str {
    registered_domain(name)
}
