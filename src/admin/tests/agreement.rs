//! A domain's page says one thing: its state, its facts and the report on its DNS agree; and what
//! its buttons cost is said before they are pressed.

use super::pages::{Browser, csrf, is_page};
use super::*;

/// The part of a page with this id, up to the end of its section.
fn part<'p>(page: &'p Reply, id: &str) -> &'p str {
    is_page(page, 200);
    let (_, rest) = page
        .text()
        .split_once(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("{id}: {page:?}"));
    rest.split("</section>").next().unwrap()
}

/// The first time in a part of a page.
fn time(part: &str) -> &str {
    let (_, rest) = part.split_once("datetime=\"").unwrap_or_else(|| panic!("{part}"));
    rest.split('"').next().unwrap()
}

/// That the card, the facts and the report of a page with a report say the same.
fn agree(page: &Reply, is_right: bool, reason: &str) {
    let (state, facts, records) = (part(page, "state"), part(page, "facts"), part(page, "records"));
    let (_, steps) = state.split_once("<li class=\"").unwrap_or_else(|| panic!("{state}"));
    let first_step = steps.split('"').next().unwrap();
    let step = if is_right { "done" } else { "stuck" };
    assert_eq!(first_step, step, "{reason}: {state}");
    assert!(!state.contains('…'), "{state}");
    assert_eq!(records.contains("alert good"), is_right, "{reason}: {records}");
    if !is_right {
        assert!(
            !state.contains("No certificate has been requested yet"),
            "{reason}: {state}"
        );
    }
    let (_, looked_at) = facts.split_once("DNS looked at").unwrap();
    assert_eq!(time(looked_at), time(records), "{reason}");
}

const NAMES: [(&str, bool, &str); 4] = [
    ("right.customer.example", true, "never_requested"),
    ("missing.customer.example", false, "dns_missing"),
    ("elsewhere.customer.example", false, "dns_elsewhere"),
    ("unclear.customer.example", false, "dns_error"),
];

#[tokio::test]
async fn the_state_and_the_report_agree_after_a_look_whatever_was_found() {
    let edge = Harness::start(vec![]).await;
    let mut browser = Browser::new(&edge);
    for (name, is_right, reason) in NAMES {
        edge.add(name).await;
        let report = edge.get(&format!("/v1/domains/{name}/dns")).await.json();
        assert_eq!(
            (&report["https"], &report["ssl"]["reason"]),
            (&is_right.into(), &reason.into()),
            "{name}"
        );
        agree(&browser.get(&format!("/domains/{name}/dns")).await, is_right, reason);
        // A look changes nothing.
        let stored = edge.store.domain(&super::name(name)).await.unwrap().unwrap();
        assert_eq!(
            (stored.ssl.reason.as_str(), stored.dns.checked),
            ("never_requested", None),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_state_and_the_report_agree_after_verify_whatever_was_found() {
    let edge = Harness::start(vec![]).await;
    let mut browser = Browser::new(&edge);
    for (name, is_right, reason) in NAMES {
        edge.add(name).await;
        let token = csrf(&browser.get(&format!("/domains/{name}/dns")).await);
        let verified = browser
            .post(&format!("/domains/{name}/verify"), &[("csrf", &token)])
            .await;
        assert_eq!(verified.status, 303, "{verified:?}");
        agree(&browser.get(verified.header("location")).await, is_right, reason);
    }
}

#[tokio::test]
async fn what_is_costly_is_confirmed_in_a_second_step() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let patch = edge.call("PATCH", "/v1/domains/right.customer.example");
    patch.json(serde_json::json!({"http_while_pending": true})).send().await;
    let mut browser = Browser::new(&edge);
    let page = browser.get("/domains/right.customer.example").await;
    let settings = part(&page, "settings");
    for (id, action) in [
        ("confirm-pause", "/pause"),
        ("confirm-http", "/http"),
        ("confirm-reissue", "/reissue"),
    ] {
        let form = format!("action=\"/domains/right.customer.example{action}\"");
        assert_eq!(settings.matches(&form).count(), 1, "{settings}");
        let (_, details) = settings
            .split_once(&format!("id=\"{id}\""))
            .unwrap_or_else(|| panic!("{settings}"));
        // Closed until it is asked for, and the button is inside.
        assert!(details.starts_with("><summary>"), "{details}");
        assert!(details.split("</details>").next().unwrap().contains(&form), "{details}");
    }
    for limit in [
        "one order of the account",
        "registered domain",
        "one of 5 manual orders",
    ] {
        assert!(settings.contains(limit), "{limit}: {settings}");
    }
    let german = browser.get("/domains/right.customer.example?lang=de").await;
    assert!(
        part(&german, "settings").contains("eine von 5 manuellen Bestellungen"),
        "{german:?}"
    );
}

#[tokio::test]
async fn registering_a_known_name_says_so() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let mut browser = Browser::new(&edge);
    let token = csrf(&browser.get("/register").await);
    let fields = [
        ("csrf", token.as_str()),
        ("name", "right.customer.example"),
        ("tenant", ""),
        ("sending_domain", ""),
    ];
    let known = browser.post("/register", &fields).await;
    assert_eq!(known.status, 303, "{known:?}");
    let page = browser.get(known.header("location")).await;
    is_page(&page, 200);
    assert!(page.text().contains("The domain was registered already."), "{page:?}");
}

#[tokio::test]
async fn the_next_attempt_is_shown_after_an_error_too() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let (name, now) = (name("right.customer.example"), edge.clock.now());
    let mut record = edge.store.domain(&name).await.unwrap().unwrap();
    let at = now + Duration::from_secs(3_600);
    let error = serde_json::json!({"type": "x", "detail": "refused", "at": now, "subproblems": []});
    record.ssl.last_error = serde_json::from_value(error).unwrap();
    record.ssl.reason = crate::domain::ssl::Reason::GivenUp;
    record.ssl.next_attempt = Some(at);
    edge.store
        .transition(crate::store::Transition::of(record))
        .await
        .unwrap();
    let page = Browser::new(&edge).get("/domains/right.customer.example").await;
    let (_, after) = part(&page, "state")
        .split_once("We look again by ourselves at")
        .unwrap();
    assert_eq!(time(after), at.to_string());
}
