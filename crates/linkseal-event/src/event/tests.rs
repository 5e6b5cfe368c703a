use serde_json::{Value, json};

use super::*;
use crate::privacy::IpPrivacy;

fn written(event: &Event<'_>, privacy: impl Into<Privacy>) -> Value {
    let mut out = Vec::new();
    Event::encode_head(&mut out, Uuid::nil(), 17, Uuid::max());
    event.encode_rest(&mut out, "edge-1", privacy.into());
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn a_full_event_matches_the_specification() {
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
            "verdict": {"class": "human", "reasons": [], "rules": crate::verdict::RULES},
        })
    );
    assert_eq!(written(&event, IpPrivacy::None)["client"].get("ip"), None);
}

#[test]
fn privacy_limits_what_is_kept_of_a_client_but_never_the_verdict() {
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
        quick_head(&out).map(|(head, _)| head),
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
fn ids_are_read_from_any_order_of_members() {
    let id = Uuid::from_u128(7);
    // What this version writes is not parsed beyond the id.
    assert_eq!(id_of(format!(r#"{{"id":"{id}","seq":"#).as_bytes()), Some(id));
    assert_eq!(id_of(format!(r#"{{"seq":1,"id":"{id}"}}"#).as_bytes()), Some(id));
    for other in ["{}", r#"{"id":"7"}"#, r#"{"id":"00000000-0000-0000-0000-00000000000"#] {
        assert_eq!(id_of(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn types_read_back() {
    for kind in EventType::ALL {
        assert_eq!(kind.as_str().parse(), Ok(kind));
    }
    assert!("opened".parse::<EventType>().unwrap_err().contains("open, click"));
}
