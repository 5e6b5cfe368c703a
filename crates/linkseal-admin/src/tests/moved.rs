//! A domain that moved to another tenant: what the new tenant and its guests see of the time before.

use linkseal_domain::ssl::LastError;
use linkseal_store::{TimelineEntry, Transition};
use serde_json::json;

use super::browser::Browser;
use super::events::Stream;
use super::*;

const NAME: &str = "right.customer.example";
const NEW: &str = "new-admin-token-0123456789";
/// Part of everything of the former tenant, and of nothing else.
const TRACE: &str = "bygone";

/// The domain belonged to the tenant "bygone", with everything that can remain of it; now to "new".
async fn moved() -> Harness {
    let mut tokens = three_tokens();
    tokens.push(AdminToken {
        name: "new-admin".to_owned(),
        role: Role::Admin,
        tenant: Some("new".to_owned()),
        token: NEW.into(),
    });
    let edge = Harness::start(tokens).await;
    let new = json!({"name": NAME, "tenant": "bygone"});
    let added = edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
    assert_eq!(added.status, 201, "{added:?}");
    for paused in [true, false] {
        let call = edge.call("PATCH", &format!("/v1/domains/{NAME}")).token(SUPPORT);
        assert_eq!(call.json(json!({"paused": paused})).send().await.status, 200);
    }
    let mut record = edge.store.domain(&name(NAME)).await.unwrap().unwrap();
    record.ssl.last_error = Some(LastError {
        kind: "bygone:error".to_owned(),
        detail: "what the CA said to the bygone".to_owned(),
        at: edge.clock.now(),
        subproblems: Vec::new(),
    });
    let line = TimelineEntry {
        id: 0,
        at: edge.clock.now(),
        event: "failed".to_owned(),
        reason: record.ssl.reason,
        detail: Some("bygone".to_owned()),
    };
    let mut change = Transition::of(record);
    change.timeline.push(line);
    edge.store.transition(change).await.unwrap();
    edge.append_event(NAME, "bygone").await;
    let call = edge.call("PATCH", &format!("/v1/domains/{NAME}")).token(ADMIN);
    let reply = call.json(json!({"tenant": "new"})).send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    edge
}

async fn events(edge: &Harness, path: &str, token: &str) -> Vec<String> {
    let reply = edge.call("GET", path).token(token).send().await;
    let entries = reply.json()["entries"].as_array().unwrap().clone();
    entries
        .iter()
        .map(|e| e["event"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_new_tenant_sees_its_own_time_and_the_platform_everything() {
    let edge = moved().await;
    let path = format!("/v1/domains/{NAME}");
    let timeline = format!("{path}/timeline");
    assert!(events(&edge, &timeline, NEW).await.is_empty());
    let all = ["tenant_changed", "failed", "resumed", "paused", "registered"];
    assert_eq!(events(&edge, &timeline, ADMIN).await, all);
    // Its own actions are shown.
    let call = edge.call("PATCH", &path).token(NEW).json(json!({"paused": true}));
    assert_eq!(call.send().await.status, 200);
    assert_eq!(events(&edge, &timeline, NEW).await, ["paused"]);
    // Neither a small page nor a forged cursor reaches further back.
    for query in ["?limit=1", "?cursor=NQ", "?cursor=Mg"] {
        let seen = events(&edge, &format!("{timeline}{query}"), NEW).await;
        assert!(seen.iter().all(|event| event == "paused"), "{query}: {seen:?}");
    }
    let one = edge.call("GET", &format!("{timeline}?limit=1")).token(NEW).send().await;
    assert_eq!(one.json()["next"], Value::Null);
    let dns = format!("{path}/dns");
    for (method, at) in [
        ("GET", path.as_str()),
        ("GET", "/v1/domains"),
        ("GET", "/v1/domains/export"),
        ("GET", dns.as_str()),
        ("POST", &format!("{path}/verify")),
        ("PATCH", path.as_str()),
    ] {
        let call = || edge.call(method, at).json(json!({"http_while_pending": true}));
        let own = call().token(NEW).send().await;
        assert!(own.status.is_success(), "{method} {at}: {own:?}");
        assert!(!own.text().contains(TRACE), "{method} {at}: {own:?}");
    }
    let all = edge.call("GET", &path).token(ADMIN).send().await.json();
    assert_eq!(all["former_tenants"], json!(["bygone"]));
    assert_eq!(all["ssl"]["last_error"]["detail"], "what the CA said to the bygone");
}

#[tokio::test]
async fn pages_and_share_links_begin_with_the_tenant() {
    let edge = moved().await;
    // The event of the former tenant has been read, too.
    let seen = async |token: &str| {
        let mut browser = Browser::new(&edge);
        assert_eq!(browser.sign_in(token).await.status, 303);
        browser.get(&format!("/domains/{NAME}")).await.text().to_owned()
    };
    tokio::time::timeout(PATIENT, async {
        while !seen(ADMIN).await.contains("id=\"last-events\"") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the platform sees all of them");
    let share = edge.call("POST", &format!("/v1/domains/{NAME}/share")).token(NEW);
    let link = share.send().await.json()["url"].as_str().unwrap().to_owned();
    let own = [seen(NEW).await, edge.get(&link).await.text().to_owned()];
    for page in &own {
        assert!(page.contains("No opens or clicks yet"), "{page}");
        assert!(!page.contains(TRACE) && !page.contains("Registered<"), "{page}");
    }
    assert!(seen(ADMIN).await.contains("Moved to another tenant"));
    let mut browser = Browser::new(&edge);
    browser.sign_in(NEW).await;
    let history = browser.get(&format!("/domains/{NAME}/history")).await;
    assert!(!history.text().contains("by support"), "{history:?}");
    // Its own links are counted.
    edge.append_event(NAME, "new").await;
    tokio::time::timeout(PATIENT, async {
        while !seen(NEW).await.contains("id=\"last-events\"") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("its own event is shown");
}

#[tokio::test]
async fn a_stream_that_is_resumed_begins_with_the_tenant() {
    let edge = moved().await;
    let mut all = Stream::open_by(&edge, ADMIN, "", None).await;
    edge.append_event(NAME, "bygone").await;
    all.until(|text| text.contains("id: ")).await;
    let text = all.text.clone();
    let id = text.split("id: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let (boot, _) = id.split_once(':').unwrap();
    let mut own = Stream::open_by(&edge, NEW, "", Some(&format!("{boot}:0"))).await;
    edge.append_event(NAME, "new").await;
    own.until(|text| text.contains("\"tenant\":\"new\"")).await;
    assert!(!own.text.contains(TRACE), "{}", own.text);
}

#[tokio::test]
async fn guests_see_no_names_of_tokens() {
    let edge = moved().await;
    let path = format!("/v1/domains/{NAME}");
    let release = edge
        .call("DELETE", &format!("/v1/issuer/holds?domain={NAME}"))
        .token(ADMIN);
    assert!(release.send().await.status.is_success());
    let again = edge.call("POST", "/v1/domains").token(ADMIN);
    let delete = edge.call("DELETE", &path).token(ADMIN).send().await;
    assert_eq!(delete.status, 204);
    assert_eq!(again.json(json!({ "name": NAME })).send().await.status, 200);
    let record = edge.store.domain(&name(NAME)).await.unwrap().unwrap();
    let mut change = Transition::of(record.clone());
    change.timeline.push(TimelineEntry {
        id: 0,
        at: edge.clock.now(),
        event: "released".to_owned(),
        reason: record.ssl.reason,
        detail: Some("by admin".to_owned()),
    });
    edge.store.transition(change).await.unwrap();
    let share = edge.call("POST", &format!("{path}/share")).token(SUPPORT).send().await;
    let link = share.json()["url"].as_str().unwrap().to_owned();
    let page = edge.get(&link).await;
    assert!(page.text().contains("Wait ended manually"), "{page:?}");
    assert!(!page.text().contains("by admin"), "{page:?}");
}
