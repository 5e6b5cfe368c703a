//! What the activity on a domain needs of an event, read from its JSON.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

use crate::event::{id_of, quick_head, quick_text};

/// The members of an event that are read.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ShownEvent<'j> {
    pub(super) id: Uuid,
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'j, str>,
    #[serde(borrow)]
    pub(super) time: Cow<'j, str>,
    #[serde(borrow)]
    pub(super) domain: Cow<'j, str>,
    #[serde(borrow, default)]
    pub(super) tenant: Cow<'j, str>,
    pub(super) link: Option<u16>,
    #[serde(borrow)]
    pub(super) verdict: Option<Verdict<'j>>,
    pub(super) corrects: Option<Uuid>,
    pub(super) repeated: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Verdict<'j> {
    #[serde(borrow)]
    pub(super) class: Cow<'j, str>,
}

impl<'j> ShownEvent<'j> {
    /// `None` when it is not an event.
    pub(super) fn read(json: &'j [u8]) -> Option<Self> {
        // The form of most events that this version writes needs no JSON parser.
        Self::quick(json).or_else(|| serde_json::from_slice(json).ok())
    }

    /// Reads an event of this version that a request caused and that neither corrects another one nor
    /// stands for several: its verdict is its last member.
    fn quick(json: &'j [u8]) -> Option<Self> {
        let verdict = json.iter().rposition(|b| *b == b'{')?;
        let (members, verdict) = json.split_at_checked(verdict)?;
        if !members.ends_with(br#","verdict":"#) {
            return None;
        }
        let (class, rest) = quick_text(verdict.strip_prefix(br#"{"class":""#)?)?;
        // The verdict ends with a string, and nothing follows it.
        if !rest.ends_with(br#""}}"#) {
            return None;
        }
        let (head, members) = quick_head(json)?;
        let (_node, members) = quick_text(members.strip_prefix(br#","node":""#)?)?;
        let (domain, members) = quick_text(members.strip_prefix(br#","domain":""#)?)?;
        let (tenant, _) = quick_text(members.strip_prefix(br#","tenant":""#)?)?;
        Some(Self {
            id: id_of(json)?,
            kind: head.kind,
            time: head.time,
            domain: domain.into(),
            tenant: tenant.into(),
            link: None,
            verdict: Some(Verdict { class: class.into() }),
            corrects: None,
            repeated: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Timestamp;

    use super::*;
    use crate::event::{Client, Event, Request};
    use crate::event_type::EventType;
    use crate::privacy::IpPrivacy;
    use crate::verdict;

    fn json(event: &Event<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Event::encode_head(&mut out, Uuid::from_u128(9), 17, Uuid::max());
        event.encode_rest(&mut out, "edge-1", IpPrivacy::Full.into());
        out
    }

    fn click<'e>(tenant: &'e str, agent: &'e [u8]) -> Event<'e> {
        let mut event = Event::new(EventType::Click, Timestamp::from_secs(60), "a.example", tenant);
        event.link = Some(3);
        event.client = Some(Client {
            ip: None,
            user_agent: Some(agent),
            referer: None,
            proxy: None,
            network: None,
            opted_out: false,
        });
        event.request = Some(Request {
            method: "GET",
            version: "HTTP/2",
            tls: Some("1.3"),
        });
        event.verdict = Some(verdict::Verdict::unremarkable());
        event
    }

    /// Reads it in both ways; returns whether the quick one can read it.
    fn is_quick(json: &[u8]) -> bool {
        let parsed: ShownEvent<'_> = serde_json::from_slice(json).unwrap();
        assert_eq!(
            ShownEvent::read(json).map(|e| (e.id, e.time)),
            Some((parsed.id, parsed.time.clone()))
        );
        let Some(quick) = ShownEvent::quick(json) else {
            return false;
        };
        // Only corrections need the link.
        assert_eq!(quick, ShownEvent { link: None, ..parsed });
        true
    }

    #[test]
    fn common_events_are_read_without_a_parser_and_all_others_with_it() {
        assert!(is_quick(&json(&click("customer", b"Mozilla/5.0"))));
        // What a client sends cannot pass for a member.
        let agent = br#"x,"verdict":{"class":"scanner","rules":""}}"#;
        assert!(is_quick(&json(&click("customer", agent))));
        let mut unjudged = click("customer", agent);
        unjudged.verdict = None;
        assert!(!is_quick(&json(&unjudged)));

        assert!(!is_quick(&json(&click("a\"b", b""))), "an escape");
        let mut correction = click("customer", b"");
        correction.corrects = Some(Uuid::from_u128(7));
        let correction = json(&correction);
        assert!(!is_quick(&correction));
        let read = ShownEvent::read(&correction).unwrap();
        assert_eq!((read.corrects, read.link), (Some(Uuid::from_u128(7)), Some(3)));
        let mut counted = json(&click("customer", b""));
        counted.pop();
        counted.extend_from_slice(br#","repeated":5}"#);
        assert!(!is_quick(&counted));
        let ssl = serde_json::json!({"state": "", "verdict": {"class": "", "rules": ""}});
        let mut issued = Event::new(EventType::SslIssued, Timestamp::from_secs(60), "a.example", "a");
        issued.ssl = Some(&ssl);
        assert!(!is_quick(&json(&issued)));
        assert!(ShownEvent::read(b"{}").is_none());
    }
}
