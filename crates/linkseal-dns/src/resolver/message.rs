//! Reads DNS messages: the records that answer a question, and the cause of a failure.
//! No I/O. RFC 1035 §4, RFC 2308 (negative answers), RFC 8914 (extended errors).

use std::net::IpAddr;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_resolver::proto::rr::{self, Name, RData};

use crate::lookup::{Data, Kind, LookupError, Record, normal};

/// The EDNS option code of an extended error (RFC 8914 §5.1).
const EXTENDED_ERROR: u16 = 15;
/// Characters kept of a server's extra text.
const MAX_TEXT: usize = 120;
/// Aliases followed within one message; servers send fewer.
const MAX_INSIDE: usize = 16;

/// How a message answers a question.
pub(crate) enum Reading {
    Records(Vec<Record>),
    /// The name, or a record of this type, does not exist.
    Absent(LookupError),
    /// The name is an alias of this one, and the message has no records of it.
    EndsAt(String),
}

/// The failure a message reports. `None`: it is an answer, possibly a negative one.
pub(crate) fn failure(message: &Message) -> Option<LookupError> {
    let extended = extended_error(message);
    let text = extended.as_ref().map(|(_, text)| text.clone());
    match message.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => None,
        ResponseCode::ServFail if extended.as_ref().is_some_and(|(code, _)| is_dnssec(*code)) => {
            Some(LookupError::DnssecBogus { text })
        }
        ResponseCode::ServFail => Some(LookupError::ServFail { text }),
        ResponseCode::Refused => Some(LookupError::Refused { text }),
        code => Some(LookupError::Other(format!("the DNS server answered `{code}`"))),
    }
}

/// Reads an answer to the question for `name`.
pub(crate) fn read(message: &Message, name: &str, kind: Kind) -> Reading {
    let mut owner = name.to_owned();
    let mut passed = Vec::new();
    if kind != Kind::Cname {
        while let Some(target) = message.answers.iter().find_map(|r| alias(r, &owner)) {
            if passed.contains(&target) || target == owner || passed.len() == MAX_INSIDE {
                return Reading::Absent(LookupError::Loop);
            }
            passed.push(std::mem::replace(&mut owner, target));
        }
    }
    let wanted = kind.record_type();
    let matching = message
        .answers
        .iter()
        .filter(|r| r.record_type() == wanted && text_of(&r.name) == owner);
    let records: Vec<Record> = matching.filter_map(record).collect();
    if !records.is_empty() {
        return Reading::Records(records);
    }
    let ttl = negative_ttl(message);
    match message.metadata.response_code {
        // The code applies to the last name of the chain (RFC 6604 §3).
        ResponseCode::NXDomain => Reading::Absent(LookupError::NxDomain { ttl }),
        _ if owner != name => Reading::EndsAt(owner),
        _ => Reading::Absent(LookupError::NoData { ttl }),
    }
}

fn alias(record: &rr::Record, owner: &str) -> Option<String> {
    match &record.data {
        RData::CNAME(target) if text_of(&record.name) == owner => Some(text_of(&target.0)),
        _ => None,
    }
}

fn record(record: &rr::Record) -> Option<Record> {
    let data = match &record.data {
        RData::A(a) => Data::Address(IpAddr::V4(a.0)),
        RData::AAAA(a) => Data::Address(IpAddr::V6(a.0)),
        RData::CNAME(name) => Data::Name(text_of(&name.0)),
        RData::NS(name) => Data::Name(text_of(&name.0)),
        RData::MX(mx) => Data::Mx {
            preference: mx.preference,
            exchange: text_of(&mx.exchange),
        },
        RData::TXT(txt) => Data::Txt(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        RData::CAA(caa) => Data::Caa {
            critical: caa.issuer_critical,
            tag: caa.tag.to_ascii_lowercase(),
            value: String::from_utf8_lossy(&caa.value).into_owned(),
        },
        _ => return None,
    };
    Some(Record {
        owner: text_of(&record.name),
        ttl: record.ttl,
        data,
    })
}

fn text_of(name: &Name) -> String {
    normal(&name.to_ascii())
}

/// The negative TTL in seconds: the lesser of the SOA's TTL and its MINIMUM field (RFC 2308 §5).
fn negative_ttl(message: &Message) -> Option<u32> {
    message.authorities.iter().find_map(|r| match &r.data {
        RData::SOA(soa) => Some(r.ttl.min(soa.minimum)),
        _ => None,
    })
}

/// The info-code of an extended error, and its name with the extra text.
fn extended_error(message: &Message) -> Option<(u16, String)> {
    let option = message.edns.as_ref()?.option(EdnsCode::Unknown(EXTENDED_ERROR))?;
    let EdnsOption::Unknown(_, bytes) = option else {
        return None;
    };
    let (code, extra) = bytes.split_first_chunk::<2>()?;
    let code = u16::from_be_bytes(*code);
    // Any server can send the text, and people read it: it is kept printable and short.
    let extra: String = String::from_utf8_lossy(extra)
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT)
        .collect();
    let words = code_words(code);
    Some((
        code,
        if extra.is_empty() {
            words
        } else {
            format!("{words}: {extra}")
        },
    ))
}

/// Whether an info-code means that validation failed.
fn is_dnssec(code: u16) -> bool {
    matches!(code, 5..=12)
}

/// Names from the IANA registry "Extended DNS Error Codes".
fn code_words(code: u16) -> String {
    let words = match code {
        5 => "DNSSEC Indeterminate",
        6 => "DNSSEC Bogus",
        7 => "Signature Expired",
        8 => "Signature Not Yet Valid",
        9 => "DNSKEY Missing",
        10 => "RRSIGs Missing",
        11 => "No Zone Key Bit Set",
        12 => "NSEC Missing",
        15 => "Blocked",
        16 => "Censored",
        17 => "Filtered",
        18 => "Prohibited",
        20 => "Not Authoritative",
        22 => "No Reachable Authority",
        23 => "Network Error",
        24 => "Invalid Data",
        other => return format!("extended error {other}"),
    };
    words.to_owned()
}
