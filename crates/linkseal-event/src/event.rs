//! One thing that happened, as its maker fills it in and as it is written (contract section 6).

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use linkseal_base::clock::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::json::Object;
use super::privacy::Privacy;
use super::verdict::{Class, Verdict};

/// Longest User-Agent and Referer kept, in bytes: real ones are under 512, and a client must not
/// be able to fill the journal with them.
const MAX_HEADER: usize = 1024;

/// What happened. It borrows from the request it is about: it is serialised once, when it is
/// handed to [`super::Journal::append`], which also gives it its `seq`, `boot`, `node` and as a rule its id.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Its id, where one was given before (UUIDv7). `None`: the journal gives it one.
    pub id: Option<Uuid>,
    /// What kind of thing.
    pub kind: EventType,
    /// When, by the edge's clock.
    pub time: Timestamp,
    /// The domain it happened on, or to.
    pub domain: &'a str,
    /// Whose it is.
    pub tenant: &'a str,
    /// The message, from the link's token. `None`: it is about no message.
    pub message_id: Option<Uuid>,
    /// Which of the message's links. `None`: no click.
    pub link: Option<u16>,
    /// Which mailing list. `None`: no unsubscription.
    pub list: Option<u16>,
    /// The stored redirect's slug. `None`: no stored redirect.
    pub slug: Option<&'a str>,
    /// Where the client was sent, or would have been. `None`: nowhere.
    pub url: Option<&'a str>,
    /// The kind of kill switch for which it was shown a warning instead. `None`: it was not.
    pub killed: Option<&'static str>,
    /// When the link was minted; `since_issue_ms` is made from it. `None`: not known.
    pub issued_at: Option<Timestamp>,
    /// Who asked. `None`: no one, it happened by itself.
    pub client: Option<Client<'a>>,
    /// How it was asked. `None`: no one asked.
    pub request: Option<Request<'a>>,
    /// Whether a person or a machine did it. `None`: not a question here.
    pub verdict: Option<Verdict>,
    /// The id of the event whose verdict this corrects. `None`: it corrects none.
    pub corrects: Option<Uuid>,
    /// A domain's SSL state as in the admin API. `None`: this is not about it.
    pub ssl: Option<&'a serde_json::Value>,
}

/// Who asked.
#[derive(Clone, Debug)]
pub struct Client<'a> {
    /// Its address; the journal keeps of it what the configuration allows. `None`: not known.
    pub ip: Option<IpAddr>,
    /// Its `User-Agent`. `None`: it sent none.
    pub user_agent: Option<&'a [u8]>,
    /// Its `Referer`. `None`: it sent none.
    pub referer: Option<&'a [u8]>,
    /// The mail provider whose proxy it is, such as `gmail`. `None`: none is known.
    pub proxy: Option<&'static str>,
    /// What `events.networks_file` calls its network; [`super::verdict::Rules::append`] fills it
    /// in. `None`: it is in none of them.
    pub network: Option<&'a str>,
    /// Whether it asked not to be tracked (`DNT: 1`, `Sec-GPC: 1`).
    pub opted_out: bool,
}

/// How it was asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// The version, such as `HTTP/2`.
    pub version: &'a str,
    /// The TLS version, such as `1.3`. `None`: plain HTTP.
    pub tls: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// An event with what each has.
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

    /// Its class, for metrics. `None`: it has no verdict.
    pub(super) fn class(&self) -> Option<Class> {
        self.verdict.as_ref().map(|v| v.class)
    }

    /// Writes the first members, those the journal gives, and leaves the object open.
    pub(super) fn encode_head(out: &mut Vec<u8>, id: Uuid, seq: u64, boot: Uuid) {
        let mut head = Object::open(out);
        head.uuid("id", id);
        head.number("seq", seq);
        head.uuid("boot", boot);
    }

    /// Writes all other members and closes the object.
    pub(super) fn encode_rest(&self, out: &mut Vec<u8>, node: &str, privacy: Privacy) {
        let mut o = Object::resume(out);
        o.text("type", self.kind.as_str());
        o.time("time", self.time);
        o.text("node", node);
        o.text("domain", self.domain);
        o.text("tenant", self.tenant);
        if let Some(id) = self.message_id {
            o.uuid("message_id", id);
        }
        if let Some(link) = self.link {
            o.number("link", u64::from(link));
        }
        if let Some(list) = self.list {
            o.number("list", u64::from(list));
        }
        o.text_opt("slug", self.slug);
        o.text_opt("url", self.url);
        o.text_opt("killed", self.killed);
        if let Some(issued) = self.issued_at {
            o.time("issued_at", issued);
            // A minter whose clock is ahead issued it just now.
            o.number(
                "since_issue_ms",
                u64::try_from(self.time.saturating_since(issued).as_millis()).unwrap_or(0),
            );
        }
        if let Some(client) = self.client.as_ref().map(|c| c.kept(privacy)).filter(Client::is_known) {
            let mut c = o.object("client");
            if let Some(address) = client.ip {
                c.plain("ip", |out| privacy.ip.write(address, out));
            }
            c.text_opt("network", client.network);
            c.bytes_opt("user_agent", client.user_agent, MAX_HEADER);
            c.bytes_opt("referer", client.referer, MAX_HEADER);
            c.text_opt("proxy", client.proxy);
            c.close();
        }
        if let Some(request) = &self.request {
            let mut r = o.object("request");
            r.text("method", request.method);
            r.text("version", request.version);
            r.text_opt("tls", request.tls);
            r.close();
        }
        if let Some(verdict) = &self.verdict {
            let mut v = o.object("verdict");
            v.text("class", verdict.class.as_str());
            v.list("reasons", verdict.reasons());
            v.text("rules", verdict.rules);
            v.close();
        }
        if let Some(id) = self.corrects {
            o.uuid("corrects", id);
        }
        if let Some(ssl) = self.ssl {
            o.value("ssl", ssl);
        }
        o.close();
    }
}

impl Client<'_> {
    /// What of it may be kept.
    fn kept(&self, privacy: Privacy) -> Self {
        let keep = privacy.of(self.opted_out);
        let ip = self.ip.filter(|_| keep.ip.keeps());
        Self {
            ip,
            // It is read off the address, so it goes with it.
            network: self.network.filter(|_| ip.is_some()),
            user_agent: self.user_agent.filter(|_| keep.user_agent),
            referer: self.referer.filter(|_| keep.referer),
            ..*self
        }
    }

    /// Whether there is anything to say of it.
    fn is_known(&self) -> bool {
        self.ip.is_some() || self.user_agent.is_some() || self.referer.is_some() || self.proxy.is_some()
    }
}

/// What sinks need to know of an event that has been written.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Head<'j> {
    /// Its type.
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'j, str>,
    /// Its time, in RFC 3339.
    #[serde(borrow)]
    pub(super) time: Cow<'j, str>,
}

/// Reads it from an event's JSON. `None`: this is no event.
pub(super) fn head(json: &[u8]) -> Option<Head<'_>> {
    // As this version writes it, without looking at the rest; else as any JSON.
    quick_head(json).or_else(|| serde_json::from_slice(json).ok())
}

fn quick_head(json: &[u8]) -> Option<Head<'_>> {
    /// Length of a UUID in text.
    const UUID: usize = 36;
    let rest = json
        .strip_prefix(br#"{"id":""#)?
        .get(UUID..)?
        .strip_prefix(br#"","seq":"#)?;
    let rest = rest.get(rest.iter().position(|b| !b.is_ascii_digit())?..)?;
    let rest = rest
        .strip_prefix(br#","boot":""#)?
        .get(UUID..)?
        .strip_prefix(br#"","type":""#)?;
    let (kind, rest) = rest.split_at_checked(rest.iter().position(|b| *b == b'"')?)?;
    let rest = rest.strip_prefix(br#"","time":""#)?;
    let time = rest.get(..rest.iter().position(|b| *b == b'"')?)?;
    let text = |b| {
        std::str::from_utf8(b)
            .ok()
            .filter(|t| !t.contains('\\'))
            .map(Cow::Borrowed)
    };
    Some(Head {
        kind: text(kind)?,
        time: text(time)?,
    })
}

/// The `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A pixel was fetched.
    Open,
    /// A signed link was followed.
    Click,
    /// A stored redirect was followed.
    Redirect,
    /// Someone unsubscribed.
    Unsubscribe,
    /// A request went to a back end.
    Upstream,
    /// Later evidence changed an event's verdict.
    VerdictCorrected,
    /// A domain that held no certificate got one.
    SslIssued,
    /// A domain's certificate was replaced in time.
    SslRenewed,
    /// A certificate cannot be had: an order failed, or DNS forbids the renewal.
    SslFailed,
    /// A certificate nears its end without a successor.
    SslExpiring,
    /// A certificate ran out without a successor.
    SslExpired,
    /// A domain's DNS no longer points here.
    SslMoved,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Click,
        Self::Redirect,
        Self::Unsubscribe,
        Self::Upstream,
        Self::VerdictCorrected,
        Self::SslIssued,
        Self::SslRenewed,
        Self::SslFailed,
        Self::SslExpiring,
        Self::SslExpired,
        Self::SslMoved,
    ];

    /// As events, settings and metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Click => "click",
            Self::Redirect => "redirect",
            Self::Unsubscribe => "unsubscribe",
            Self::Upstream => "upstream",
            Self::VerdictCorrected => "verdict.corrected",
            Self::SslIssued => "domain.ssl.issued",
            Self::SslRenewed => "domain.ssl.renewed",
            Self::SslFailed => "domain.ssl.failed",
            Self::SslExpiring => "domain.ssl.expiring",
            Self::SslExpired => "domain.ssl.expired",
            Self::SslMoved => "domain.ssl.moved",
        }
    }

    /// Whether a request is behind it, so that it has a verdict.
    pub(super) fn is_requested(self) -> bool {
        match self {
            Self::Open | Self::Click | Self::Redirect | Self::Unsubscribe | Self::Upstream | Self::VerdictCorrected => {
                true
            }
            Self::SslIssued
            | Self::SslRenewed
            | Self::SslFailed
            | Self::SslExpiring
            | Self::SslExpired
            | Self::SslMoved => false,
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is no type of event; there are {all}")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::IpPrivacy;
    use super::*;

    fn written(event: &Event<'_>, privacy: impl Into<Privacy>) -> Value {
        let mut out = Vec::new();
        Event::encode_head(&mut out, Uuid::nil(), 17, Uuid::max());
        event.encode_rest(&mut out, "edge-1", privacy.into());
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_full_event_is_as_the_contract_shows_it() {
        let mut event = Event::new(
            EventType::Open,
            Timestamp::parse_rfc3339("2026-11-22T09:30:00.123Z").unwrap(),
            "links.customer.example",
            "customer",
        );
        event.message_id = Some("0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506".parse().unwrap());
        event.link = Some(3);
        event.url = Some("https://shop.example/?q=\"x\"");
        event.issued_at = Timestamp::parse_rfc3339("2026-11-22T09:29:17Z");
        event.client = Some(Client {
            ip: Some("203.0.113.9".parse().unwrap()),
            user_agent: Some(b"curl/8\xff"),
            referer: None,
            proxy: Some("gmail"),
            network: Some("office"),
            opted_out: true,
        });
        event.request = Some(Request {
            method: "GET",
            version: "HTTP/2",
            tls: Some("1.3"),
        });
        event.verdict = Some(Verdict::unremarkable());
        assert_eq!(
            written(&event, IpPrivacy::Truncated),
            json!({
                "id": "00000000-0000-0000-0000-000000000000", "seq": 17,
                "boot": "ffffffff-ffff-ffff-ffff-ffffffffffff",
                "type": "open", "time": "2026-11-22T09:30:00.123Z", "node": "edge-1",
                "domain": "links.customer.example", "tenant": "customer",
                "message_id": "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506", "link": 3,
                "url": "https://shop.example/?q=\"x\"",
                "issued_at": "2026-11-22T09:29:17Z", "since_issue_ms": 43123,
                "client": {"ip": "203.0.113.0/24", "network": "office", "user_agent": "curl/8\u{fffd}", "proxy": "gmail"},
                "request": {"method": "GET", "version": "HTTP/2", "tls": "1.3"},
                "verdict": {"class": "human", "reasons": [], "rules": super::super::verdict::RULES},
            })
        );
        assert_eq!(written(&event, IpPrivacy::None)["client"].get("ip"), None);
    }

    #[test]
    fn of_a_client_no_more_is_kept_than_is_configured_and_the_verdict_always() {
        let mut event = Event::new(EventType::Open, Timestamp::from_secs(0), "a.example", "a");
        event.verdict = Some(Verdict::unremarkable());
        let kept = |opted_out, privacy: Privacy| {
            let mut event = event.clone();
            event.client = Some(Client {
                ip: Some("203.0.113.9".parse().unwrap()),
                user_agent: Some(b"ua"),
                referer: Some(b"https://mail.example/inbox/17"),
                proxy: Some("gmail"),
                network: Some("office"),
                opted_out,
            });
            let written = written(&event, privacy);
            assert_eq!(written["verdict"]["class"], "human");
            let keys = written["client"].as_object().unwrap().keys().cloned();
            keys.collect::<Vec<_>>().join(" ")
        };
        let all = Privacy::default();
        assert_eq!(kept(true, all), "ip network user_agent referer proxy");
        let no_agent = Privacy {
            user_agent: false,
            ..all
        };
        assert_eq!(kept(true, no_agent), "ip network referer proxy");
        assert_eq!(
            kept(true, Privacy { referer: false, ..all }),
            "ip network user_agent proxy"
        );
        assert_eq!(kept(true, IpPrivacy::None.into()), "user_agent referer proxy");
        let honoured = Privacy {
            honour_opt_out: true,
            ..all
        };
        assert_eq!(kept(true, honoured), "proxy");
        assert_eq!(kept(false, honoured), "ip network user_agent referer proxy");
    }

    #[test]
    fn absent_values_have_no_key_and_long_headers_are_cut() {
        let mut event = Event::new(EventType::SslIssued, Timestamp::from_secs(0), "a.example", "a.example");
        let ssl = json!({"state": "issued"});
        event.ssl = Some(&ssl);
        let value = written(&event, IpPrivacy::Full);
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["id", "seq", "boot", "type", "time", "node", "domain", "tenant", "ssl"]
        );

        let long = vec![b'x'; MAX_HEADER + 10];
        event.client = Some(Client {
            ip: None,
            user_agent: Some(&long),
            referer: None,
            proxy: None,
            network: None,
            opted_out: false,
        });
        let value = written(&event, IpPrivacy::Full);
        assert_eq!(value["client"]["user_agent"].as_str().unwrap().len(), MAX_HEADER);
    }

    #[test]
    fn heads_are_read_from_any_order_of_members() {
        let mut out = Vec::new();
        Event::encode_head(&mut out, Uuid::nil(), 17, Uuid::max());
        Event::new(EventType::Click, Timestamp::from_secs(60), "a.example", "a").encode_rest(
            &mut out,
            "edge-1",
            IpPrivacy::Full.into(),
        );
        let expected = Head {
            kind: "click".into(),
            time: "1970-01-01T00:01:00Z".into(),
        };
        assert_eq!(
            quick_head(&out),
            Some(Head {
                kind: "click".into(),
                time: "1970-01-01T00:01:00Z".into()
            })
        );
        assert_eq!(head(&out), Some(expected));
        let other = head(br#"{"time":"t","x":{"type":1},"type":"cl\u0069ck"}"#);
        assert_eq!(
            other,
            Some(Head {
                kind: "click".into(),
                time: "t".into()
            })
        );
        assert_eq!(head(b"{}"), None);
    }

    #[test]
    fn types_read_back() {
        for kind in EventType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("opened".parse::<EventType>().unwrap_err().contains("open, click"));
    }
}
