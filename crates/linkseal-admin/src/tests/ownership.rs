//! Registering with a token limited to a tenant: only with the owner's confirmation, on every path, and
//! without disclosing who else has the name.

use linkseal_domain::DomainRecord;
use linkseal_domain::record::Origin;
use linkseal_store::Creation;
use serde_json::json;

use super::browser::{Browser, csrf};
use super::*;

const OURS: &str = "our-admin-token-0123456789";
const FREE: &str = "links.free.example";
const HELD: &str = "links.held.example";
const RETIRED: &str = "links.retired.example";
/// Admitted at a handshake, because its DNS points here.
const ADMITTED: &str = "links.admitted.example";

/// The tenant "ours" has a token; "theirs" has a name, and formerly had another.
async fn edge() -> Harness {
    let mut tokens = three_tokens();
    tokens.push(AdminToken {
        name: "our-admin".to_owned(),
        role: Role::Admin,
        tenant: Some("ours".to_owned()),
        token: OURS.into(),
    });
    let edge = Harness::start(tokens).await;
    for held in [HELD, RETIRED] {
        let new = json!({"name": held, "tenant": "theirs"});
        let added = edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
        assert_eq!(added.status, 201, "{added:?}");
    }
    let path = format!("/v1/domains/{RETIRED}");
    assert_eq!(edge.call("DELETE", &path).token(ADMIN).send().await.status, 204);
    let record = DomainRecord::new(name(ADMITTED), None, Origin::Cname, edge.clock.now());
    let creation = Creation {
        record,
        timeline: Vec::new(),
        audit: None,
    };
    edge.store.create(creation).await.unwrap();
    edge
}

async fn post(edge: &Harness, new: Value) -> Reply {
    edge.call("POST", "/v1/domains").token(OURS).json(new).send().await
}

async fn import(edge: &Harness, name: &str) -> Value {
    let line = json!({ "name": name }).to_string();
    let call = edge.call("POST", "/v1/domains/import").token(OURS).body(line);
    call.send().await.json()
}

async fn signed_in(edge: &Harness) -> (Browser<'_>, String) {
    let mut browser = Browser::new(edge);
    assert_eq!(browser.sign_in(OURS).await.status, 303);
    let token = csrf(&browser.get("/").await);
    (browser, token)
}

/// The text of an answer without what depends on the name: the name and the value of its record.
fn without(text: &str, name: &str) -> String {
    let registered = name.strip_prefix("links.").unwrap();
    let text = text.replace(name, "NAME").replace(registered, "REGISTERED");
    let mut parts = text.split("linkseal-owner=");
    let mut said = parts.next().unwrap().to_owned();
    for part in parts {
        said.push_str("VALUE");
        said.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    }
    said
}

#[tokio::test]
async fn no_path_of_registering_discloses_who_has_a_name() {
    let edge = edge().await;
    let (mut browser, form) = signed_in(&edge).await;
    let mut said: Vec<Vec<String>> = Vec::new();
    for name in [FREE, HELD, RETIRED, ADMITTED] {
        let mut answers = Vec::new();
        for body in [
            json!({ "name": name }),
            json!({"name": name, "tenant": "ours", "sending_domain": "mail.example"}),
        ] {
            let refused = post(&edge, body).await;
            let problem = refused.is_problem(403, "forbidden");
            let (detail, record) = (problem["detail"].as_str().unwrap(), &problem["record"]);
            for key in ["type", "host", "value"] {
                assert!(detail.contains(record[key].as_str().unwrap()), "{detail}");
            }
            answers.push(without(refused.text(), name));
        }
        let line = import(&edge, name).await;
        assert_eq!(line["result"], "error");
        assert!(line["error"].as_str().unwrap().contains("linkseal-owner="), "{line}");
        answers.push(without(&line.to_string(), name));
        for (path, field) in [("/register", "name"), ("/import", "lines")] {
            let page = browser.post(path, &[("csrf", &form), (field, name)]).await;
            assert!(page.text().contains("linkseal-owner="), "{path}: {page:?}");
            // A refused form contains what was typed, and the form token.
            answers.push(format!("{} {}", page.status, without(page.text(), name)));
        }
        said.push(answers);
    }
    for other in &said[1..] {
        assert_eq!(*other, said[0]);
    }
    // No domain has changed its tenant.
    for (name, tenant) in [(HELD, "theirs"), (RETIRED, "theirs"), (ADMITTED, ADMITTED)] {
        let record = edge.store.domain(&super::name(name)).await.unwrap().unwrap();
        assert_eq!(record.tenant, tenant);
        assert_eq!(record.retired.is_some(), name == RETIRED);
    }
    assert_eq!(edge.store.domain(&name(FREE)).await.unwrap(), None);
}

#[tokio::test]
async fn with_the_owners_confirmation_a_free_name_is_registered_and_a_taken_one_refused() {
    let edge = edge().await;
    for (name, status) in [(FREE, 201), (HELD, 409), (RETIRED, 409), (ADMITTED, 409)] {
        edge.publish_owner(OURS, name).await;
        let answer = post(&edge, json!({ "name": name })).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
    }
    // One record covers all names below; it is not needed after the registration.
    assert_eq!(post(&edge, json!({"name": "other.free.example"})).await.status, 201);
    assert_eq!(import(&edge, "third.free.example").await["result"], "created");
    let (mut browser, form) = signed_in(&edge).await;
    let added = browser
        .post("/register", &[("csrf", &form), ("name", "fourth.free.example")])
        .await;
    assert_eq!(added.status, 303, "{added:?}");
    edge.dns.texts.lock().clear();
    assert_eq!(post(&edge, json!({ "name": FREE })).await.status, 200);
    assert_eq!(import(&edge, FREE).await["result"], "unchanged");
    let path = format!("/v1/domains/{FREE}");
    assert_eq!(edge.call("DELETE", &path).token(OURS).send().await.status, 204);
    assert_eq!(
        post(&edge, json!({ "name": FREE })).await.status,
        200,
        "its own, brought back"
    );
    // A purged name is free again, and needs the owner's confirmation.
    let purge = edge.call("DELETE", &format!("{path}?purge=true")).token(OURS);
    assert_eq!(purge.send().await.status, 204);
    post(&edge, json!({ "name": FREE })).await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn the_record_may_be_at_the_name_itself_and_is_bound_to_tenant_and_domain() {
    let edge = edge().await;
    let refused = post(&edge, json!({ "name": FREE })).await.json();
    let value = refused["record"]["value"].as_str().unwrap().to_owned();
    assert_eq!(refused["record"]["host"], "_linkseal.free.example");
    let publish = |host: &str, value: &str| {
        let mut texts = edge.dns.texts.lock();
        texts.clear();
        texts.insert(host.to_owned(), value.to_owned());
    };
    for (host, text) in [
        ("_linkseal.free.example", "linkseal-owner=".to_owned()),
        ("_linkseal.free.example", value.to_uppercase()),
        ("_linkseal.free.example", format!("{value}0")),
        ("free.example", value.clone()),
        ("_linkseal.other.free.example", value.clone()),
    ] {
        publish(host, &text);
        post(&edge, json!({ "name": FREE })).await.is_problem(403, "forbidden");
    }
    // It does not confirm another domain.
    publish("_linkseal.foreign.example", &value);
    let foreign = post(&edge, json!({"name": "links.foreign.example"})).await;
    foreign.is_problem(403, "forbidden");
    publish(&format!("_linkseal.{FREE}"), &value);
    assert_eq!(post(&edge, json!({ "name": FREE })).await.status, 201);
}

#[tokio::test]
async fn failing_dns_servers_are_reported_and_nothing_is_registered() {
    let edge = edge().await;
    let held = json!({"name": "held.dead.example", "tenant": "theirs"});
    let added = edge.call("POST", "/v1/domains").token(ADMIN).json(held).send().await;
    assert_eq!(
        added.status, 201,
        "the platform's own tokens register what they like: {added:?}"
    );
    let mut said = Vec::new();
    for name in ["free.dead.example", "held.dead.example"] {
        let failed = post(&edge, json!({ "name": name })).await;
        let problem = failed.is_problem(503, "dns_unavailable");
        assert!(failed.header("retry-after").parse::<u64>().unwrap() > 0);
        assert!(problem["detail"].as_str().unwrap().contains("SERVFAIL"), "{problem}");
        said.push(failed.text().replace(name, "NAME"));
        assert_eq!(import(&edge, name).await["result"], "error");
    }
    assert_eq!(said[0], said[1]);
    assert_eq!(edge.store.domain(&name("free.dead.example")).await.unwrap(), None);
}
