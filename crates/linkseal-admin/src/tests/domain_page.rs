//! The buttons and confirmations of a domain's page.

use linkseal_domain::ssl::Reason;

use super::agreement::{part, time};
use super::browser::{Browser, csrf, is_page};
use super::*;

#[tokio::test]
async fn costly_actions_are_confirmed_in_a_second_step() {
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
        // Closed at first, with the button inside.
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
async fn registering_a_registered_name_says_so() {
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
    assert!(page.text().contains("The domain was already registered."), "{page:?}");
}

#[tokio::test]
async fn the_next_attempt_is_shown_after_an_error() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let (name, now) = (name("right.customer.example"), edge.clock.now());
    let mut record = edge.store.domain(&name).await.unwrap().unwrap();
    let at = now + Duration::from_secs(3_600);
    let error = serde_json::json!({"type": "x", "detail": "refused", "at": now, "subproblems": []});
    record.ssl.last_error = serde_json::from_value(error).unwrap();
    record.ssl.reason = Reason::GivenUp;
    record.ssl.next_attempt = Some(at);
    edge.store
        .transition(linkseal_store::Transition::of(record))
        .await
        .unwrap();
    let page = Browser::new(&edge).get("/domains/right.customer.example").await;
    let (_, after) = part(&page, "state").split_once("Next automatic check:").unwrap();
    assert_eq!(time(after), at.to_string());
}
