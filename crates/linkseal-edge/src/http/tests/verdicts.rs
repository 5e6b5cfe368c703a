//! Verdicts over several requests.

use std::time::Instant;

use serde_json::Value;

use super::*;

const BROWSER: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

fn link(message: u128, number: u16) -> String {
    let issued = Clock::system().now().minus(Duration::from_secs(43)).as_secs();
    let message = Message {
        id: Uuid::from_u128(message),
        issued_at: u32::try_from(issued).unwrap(),
    };
    let url = format!("https://shop.example/{number}");
    let destination = Destination::new(&url).unwrap();
    format!("/c/{}", minter("acme").click(&message, number, &destination))
}

fn request(path: &str) -> http::request::Builder {
    Request::get(path).header(USER_AGENT, BROWSER)
}

fn events_of(edge: &Edge, kind: &str) -> Vec<Value> {
    let mut events = edge.events();
    events.retain(|e| e["type"] == kind);
    events.sort_by_key(|e| e["seq"].as_u64());
    events
}

/// An HTTP/2 connection, as used by a client with many requests.
async fn connected(edge: &Edge) -> http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(edge.connect(BOTH[1]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    edge.tasks.spawn(connection);
    sender
}

async fn location(sender: &mut http2::SendRequest<Full<Bytes>>, path: &str) -> String {
    let request = request(&format!("https://{CUSTOMER}{path}"))
        .body(Full::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::FOUND);
    response.headers()[LOCATION].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "local")]
async fn a_burst_over_all_links_is_a_scanners_and_every_redirect_is_served() {
    const LINKS: u16 = 8;
    // A busy machine may need more than a second; then it was no burst, and is repeated.
    let edge = loop {
        let edge = Edge::new();
        let mut sender = connected(&edge).await;
        let start = Instant::now();
        for number in 0..LINKS {
            let location = location(&mut sender, &link(1, number)).await;
            assert_eq!(location, format!("https://shop.example/{number}"));
        }
        if start.elapsed() < Duration::from_secs(1) {
            break edge;
        }
    };

    let clicks = events_of(&edge, "click");
    let corrections = events_of(&edge, "verdict.corrected");
    let last = |click: &Value| {
        let corrected = corrections.iter().rev().find(|c| c["corrects"] == click["id"]);
        corrected.unwrap_or(click)["verdict"].clone()
    };
    assert_eq!(clicks.len(), usize::from(LINKS));
    assert_eq!(clicks[0]["verdict"]["class"], "human", "nothing was known yet");
    for click in &clicks {
        let verdict = last(click);
        assert_eq!(verdict["class"], "scanner");
        let reasons = verdict["reasons"].as_array().unwrap();
        assert!(reasons.contains(&"burst_of_links".into()), "{reasons:?}");
        assert_eq!(verdict["rules"], linkseal_event::verdict::RULES);
    }
    // The first twice (two links at once, then a burst), the second once, the others never.
    assert_eq!(corrections.len(), 3, "{corrections:?}");
    for correction in &corrections {
        let click = clicks.iter().find(|c| c["id"] == correction["corrects"]).unwrap();
        for key in ["message_id", "link", "tenant", "domain"] {
            assert_eq!(correction[key], click[key], "{key}");
        }
        assert!(correction["seq"].as_u64() > click["seq"].as_u64());
    }
}

#[tokio::test(flavor = "local")]
async fn people_behind_one_address_stay_people() {
    let edge = Edge::new();
    let mut sender = connected(&edge).await;
    for message in 0..20 {
        location(&mut sender, &link(message, 3)).await;
    }
    let clicks = events_of(&edge, "click");
    assert_eq!(clicks.len(), 20);
    assert!(clicks.iter().all(|c| c["verdict"]["class"] == "human"));
    assert!(events_of(&edge, "verdict.corrected").is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_changed_token_just_before_the_right_one_is_a_gateways() {
    for via in BOTH {
        let edge = Edge::new();
        let right = link(1, 0);
        // One letter changed; and truncated, as another gateway does.
        let at = right.len() - 2;
        let letter = if right.as_bytes()[at] == b'A' { "B" } else { "A" };
        for wrong in [
            format!("{}{letter}{}", &right[..at], &right[at + 1..]),
            right[..60].to_owned(),
        ] {
            let got = edge.send(via, CUSTOMER, request(&wrong), "").await;
            assert_eq!(got.status, StatusCode::NOT_FOUND);
        }
        let got = edge.send(via, CUSTOMER, request(&right), "").await;
        assert_eq!(got.header(LOCATION), "https://shop.example/0");
        let clicks = events_of(&edge, "click");
        assert_eq!(clicks[0]["verdict"]["class"], "scanner");
        assert_eq!(
            clicks[0]["verdict"]["reasons"],
            serde_json::json!(["changed_token_before"])
        );
    }
}

#[tokio::test(flavor = "local")]
async fn known_networks_are_named_and_clients_that_opted_out_leave_no_trace() {
    let edge = Edge::new();
    let file = edge.dir.path().join("networks.txt");
    std::fs::write(&file, "203.0.113.0/24 scanner gateway-7\n").unwrap();
    edge.context
        .recorder
        .classifier()
        .set_networks(linkseal_event::Networks::read(&file).unwrap());
    edge.send(BOTH[0], CUSTOMER, request(&link(1, 0)), "").await;
    edge.context.recorder.journal().set_privacy(linkseal_event::Privacy {
        honour_opt_out: true,
        ..IpPrivacy::Full.into()
    });
    for header in ["dnt", "sec-gpc"] {
        let request = request(&link(2, 0))
            .header(header, "1")
            .header(REFERER, "https://mail.example/");
        edge.send(BOTH[1], CUSTOMER, request, "").await;
    }
    let clicks = events_of(&edge, "click");
    assert_eq!(clicks[0]["client"]["network"], "gateway-7");
    assert_eq!(clicks[0]["client"]["ip"], "203.0.113.9");
    for click in &clicks {
        assert_eq!(click["verdict"]["reasons"], serde_json::json!(["network_scanner"]));
    }
    assert_eq!(clicks.len(), 3);
    for click in &clicks[1..] {
        assert!(click.get("client").is_none(), "{click}");
    }
}
