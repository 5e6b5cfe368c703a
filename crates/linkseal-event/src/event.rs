//! An event as its producer fills it in, and its JSON (docs/specification.md §6).

use std::borrow::Cow;
use std::net::IpAddr;

use linkseal_base::clock::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use crate::event_type::EventType;
use crate::json::{Object, key};
use crate::privacy::Privacy;
use crate::verdict::{Class, Verdict};

/// Longest User-Agent and Referer that are kept, in bytes: real ones are under 512, and a client must
/// not be able to fill the journal with them.
const MAX_HEADER: usize = 1024;

/// Length of a UUID in text.
const UUID: usize = 36;

/// Something that happened. It borrows from the request it is about and is encoded once, when the
/// journal takes it, which adds `seq`, `boot`, `node` and usually the id. Members that are `None` are
/// left out of the JSON.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// A UUIDv7, if the event already has an id; otherwise the journal assigns one.
    pub id: Option<Uuid>,
    /// Its type.
    pub kind: EventType,
    /// When it happened, by the edge's clock.
    pub time: Timestamp,
    /// The domain it is about.
    pub domain: &'a str,
    /// The tenant of the domain or of the link.
    pub tenant: &'a str,
    /// The message, from the link's token.
    pub message_id: Option<Uuid>,
    /// The number of the link in the message, for clicks.
    pub link: Option<u16>,
    /// The mailing list, for unsubscriptions.
    pub list: Option<u16>,
    /// The slug of a stored redirect.
    pub slug: Option<&'a str>,
    /// The destination, even if a warning was shown instead.
    pub url: Option<&'a str>,
    /// The kind of kill switch because of which a warning was shown.
    pub killed: Option<&'static str>,
    /// When the link was minted; `since_issue_ms` is derived from it.
    pub issued_at: Option<Timestamp>,
    /// The client, for events of requests.
    pub client: Option<Client<'a>>,
    /// The request, for events of requests.
    pub request: Option<Request<'a>>,
    /// Whether a person or a machine made the request.
    pub verdict: Option<Verdict>,
    /// The event whose verdict this one corrects.
    pub corrects: Option<Uuid>,
    /// The domain's SSL state as in the admin API, for `domain.ssl.*` events.
    pub ssl: Option<&'a serde_json::Value>,
}

/// The client of a request.
#[derive(Clone, Debug)]
pub struct Client<'a> {
    /// Its address; the journal keeps as much of it as the privacy settings allow.
    pub ip: Option<IpAddr>,
    /// Its `User-Agent` header.
    pub user_agent: Option<&'a [u8]>,
    /// Its `Referer` header.
    pub referer: Option<&'a [u8]>,
    /// The mail provider, such as `gmail`, if it is one's proxy.
    pub proxy: Option<&'static str>,
    /// The label of its network in `events.networks_file`; [`crate::EventRecorder::record`] fills it in.
    pub network: Option<&'a str>,
    /// Whether it asked not to be tracked (`DNT: 1`, `Sec-GPC: 1`).
    pub opted_out: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// The HTTP version, such as `HTTP/2`.
    pub version: &'a str,
    /// The TLS version, such as `1.3`; `None` for plain HTTP.
    pub tls: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// An event with the members that every event has.
    pub fn new(kind: EventType, time: Timestamp, domain: &'a str, tenant: &'a str) -> Self {
        Self {
            id: None,
            kind,
            time,
            domain,
            tenant,
            message_id: None,
            link: None,
            list: None,
            slug: None,
            url: None,
            killed: None,
            issued_at: None,
            client: None,
            request: None,
            verdict: None,
            corrects: None,
            ssl: None,
        }
    }

    /// The class of its verdict, if any.
    pub(crate) fn class(&self) -> Option<Class> {
        self.verdict.as_ref().map(|v| v.class)
    }

    /// Writes the members that the journal assigns, and leaves the object open.
    pub(crate) fn encode_head(out: &mut Vec<u8>, id: Uuid, seq: u64, boot: Uuid) {
        let mut head = Object::open(out);
        head.uuid(key!("id"), id);
        head.number(key!("seq"), seq);
        head.uuid(key!("boot"), boot);
    }

    /// Writes all other members, and closes the object.
    pub(crate) fn encode_rest(&self, out: &mut Vec<u8>, node: &str, privacy: Privacy) {
        let mut o = Object::resume(out);
        o.text(key!("type"), self.kind.as_str());
        o.time(key!("time"), self.time);
        o.text(key!("node"), node);
        o.text(key!("domain"), self.domain);
        o.text(key!("tenant"), self.tenant);
        if let Some(id) = self.message_id {
            o.uuid(key!("message_id"), id);
        }
        if let Some(link) = self.link {
            o.number(key!("link"), u64::from(link));
        }
        if let Some(list) = self.list {
            o.number(key!("list"), u64::from(list));
        }
        o.text_opt(key!("slug"), self.slug);
        o.text_opt(key!("url"), self.url);
        o.text_opt(key!("killed"), self.killed);
        if let Some(issued) = self.issued_at {
            o.time(key!("issued_at"), issued);
            // 0 when the minter's clock is ahead of ours.
            o.number(
                key!("since_issue_ms"),
                u64::try_from(self.time.saturating_since(issued).as_millis()).unwrap_or(0),
            );
        }
        if let Some(client) = self.client.as_ref().map(|c| c.kept(privacy)).filter(Client::is_known) {
            let mut c = o.object(key!("client"));
            if let Some(address) = client.ip {
                c.plain(key!("ip"), |out| privacy.ip.write(address, out));
            }
            c.text_opt(key!("network"), client.network);
            c.bytes_opt(key!("user_agent"), client.user_agent, MAX_HEADER);
            c.bytes_opt(key!("referer"), client.referer, MAX_HEADER);
            c.text_opt(key!("proxy"), client.proxy);
            c.close();
        }
        if let Some(request) = &self.request {
            let mut r = o.object(key!("request"));
            r.text(key!("method"), request.method);
            r.text(key!("version"), request.version);
            r.text_opt(key!("tls"), request.tls);
            r.close();
        }
        if let Some(verdict) = &self.verdict {
            let mut v = o.object(key!("verdict"));
            v.text(key!("class"), verdict.class.as_str());
            v.list(key!("reasons"), verdict.reasons());
            v.text(key!("rules"), verdict.rules);
            v.close();
        }
        if let Some(id) = self.corrects {
            o.uuid(key!("corrects"), id);
        }
        if let Some(ssl) = self.ssl {
            o.value(key!("ssl"), ssl);
        }
        o.close();
    }
}

impl Client<'_> {
    /// The part that may be kept.
    fn kept(&self, privacy: Privacy) -> Self {
        let keep = privacy.of(self.opted_out);
        let ip = self.ip.filter(|_| keep.ip.keeps());
        Self {
            ip,
            // Derived from the address, so it may not outlive it.
            network: self.network.filter(|_| ip.is_some()),
            user_agent: self.user_agent.filter(|_| keep.user_agent),
            referer: self.referer.filter(|_| keep.referer),
            ..*self
        }
    }

    /// Whether anything is known about it.
    fn is_known(&self) -> bool {
        self.ip.is_some() || self.user_agent.is_some() || self.referer.is_some() || self.proxy.is_some()
    }
}

/// What readers need to know of a written event.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Head<'j> {
    #[serde(rename = "type", borrow)]
    pub(crate) kind: Cow<'j, str>,
    /// In RFC 3339.
    #[serde(borrow)]
    pub(crate) time: Cow<'j, str>,
}

/// Reads the type and time from an event's JSON; `None` when it is not an event.
pub(crate) fn head(json: &[u8]) -> Option<Head<'_>> {
    // The form that this version writes needs no JSON parser.
    let quick = quick_head(json).map(|(head, _)| head);
    quick.or_else(|| serde_json::from_slice(json).ok())
}

/// The id of a written event.
pub(crate) fn id_of(json: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Id {
        id: Uuid,
    }
    let quick = json.strip_prefix(br#"{"id":""#).and_then(|rest| rest.get(..UUID));
    quick
        .and_then(|id| Uuid::try_parse_ascii(id).ok())
        .or_else(|| serde_json::from_slice(json).ok().map(|Id { id }| id))
}

/// The time of a written event.
pub(crate) fn time_of(json: &[u8]) -> Option<Timestamp> {
    head(json).and_then(|h| Timestamp::parse_rfc3339(&h.time))
}

/// The head of an event in the form that this version writes, and the members behind it.
pub(crate) fn quick_head(json: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let rest = json
        .strip_prefix(br#"{"id":""#)?
        .get(UUID..)?
        .strip_prefix(br#"","seq":"#)?;
    let rest = rest.get(rest.iter().position(|b| !b.is_ascii_digit())?..)?;
    let rest = rest
        .strip_prefix(br#","boot":""#)?
        .get(UUID..)?
        .strip_prefix(br#"","type":""#)?;
    let (kind, rest) = quick_text(rest)?;
    let (time, rest) = quick_text(rest.strip_prefix(br#","time":""#)?)?;
    let head = Head {
        kind: kind.into(),
        time: time.into(),
    };
    Some((head, rest))
}

/// A string without escapes whose opening quote has been read, and what follows its closing quote.
pub(crate) fn quick_text(json: &[u8]) -> Option<(&str, &[u8])> {
    let end = json.iter().position(|b| matches!(b, b'"' | b'\\'))?;
    let (text, rest) = json.split_at_checked(end)?;
    Some((std::str::from_utf8(text).ok()?, rest.strip_prefix(b"\"")?))
}

#[cfg(test)]
mod tests;
