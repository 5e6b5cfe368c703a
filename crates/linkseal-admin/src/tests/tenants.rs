//! Tokens limited to a tenant: what they can see and change, on every endpoint and page.

use serde_json::json;

use super::browser::{Browser, csrf, is_page};
use super::events::Stream;
use super::*;
use crate::scope::Reach;
use crate::{api, pages};

const OURS: &str = "right.ours.example";
const THEIRS: &str = "right.theirs.example";
const UNKNOWN: &str = "right.nobody.example";
/// Part of everything of the other tenant, and of nothing else.
const TRACE: &str = "theirs";
const TENANT_ADMIN: &str = "tenant-admin-token-0123";

/// Two tenants with a domain each; the tenant "ours" has a token with the role admin.
async fn two_tenants() -> Harness {
    let mut tokens = three_tokens();
    tokens.push(AdminToken {
        name: "our-admin".to_owned(),
        role: Role::Admin,
        tenant: Some("ours".to_owned()),
        token: TENANT_ADMIN.into(),
    });
    let edge = Harness::start(tokens).await;
    for (name, tenant) in [(OURS, "ours"), (THEIRS, "theirs \"quoted\"")] {
        let new = json!({"name": name, "tenant": tenant});
        let reply = edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    edge.publish_owner(TENANT_ADMIN, "ours.example").await;
    edge
}

fn ours(edge: &Harness, method: &str, path: &str) -> Call {
    edge.call(method, path).token(TENANT_ADMIN)
}

/// Covers every endpoint, including future ones.
#[tokio::test]
async fn no_endpoint_discloses_another_tenant() {
    let edge = two_tenants().await;
    for endpoint in api::endpoints() {
        let (method, rule) = (endpoint.method.as_str(), endpoint.rule);
        let ask = async |name: &str| {
            let call = ours(&edge, method, &endpoint.path.replace("{name}", name));
            call.json(json!({"paused": false})).send().await
        };
        let place = format!("{method} {}", endpoint.path);
        if rule.role.is_none() {
            continue;
        }
        if rule.reach == Reach::Fleet {
            let refused = ask(OURS).await;
            assert!(refused.text().contains("our-admin"), "{place}: {refused:?}");
            refused.is_problem(403, "forbidden");
        } else if endpoint.path.contains("{name}") {
            assert_eq!(rule.reach, Reach::Domain, "{place} names a domain");
            let (theirs, unknown) = (ask(THEIRS).await, ask(UNKNOWN).await);
            theirs.is_problem(404, "not_found");
            assert_eq!(theirs.text().replace(THEIRS, UNKNOWN), unknown.text(), "{place}");
        }
        let own = ask(OURS).await;
        assert!(!own.text().contains(TRACE), "{place}: {own:?}");
    }
    // And nothing was changed.
    let theirs = edge
        .call("GET", &format!("/v1/domains/{THEIRS}"))
        .token(ADMIN)
        .send()
        .await;
    assert_eq!(
        (&theirs.json()["retired"], theirs.json()["paused"] == false),
        (&Value::Null, true)
    );
}

#[tokio::test]
async fn no_page_discloses_another_tenant() {
    let edge = two_tenants().await;
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.sign_in(TENANT_ADMIN).await.status, 303);
    let token = csrf(&browser.get("/").await);
    for (method, path, rule) in pages::table() {
        if rule.role.is_none() || path.starts_with("/share/") {
            continue;
        }
        for name in [THEIRS, OURS] {
            let at = path.replace("{name}", name);
            let reply = match method.as_str() {
                "GET" => browser.get(&at).await,
                _ => browser.post(&at, &[("csrf", &token), ("on", "true")]).await,
            };
            let place = format!("{method} {at}");
            assert!(!reply.text().replace(THEIRS, "").contains(TRACE), "{place}: {reply:?}");
            match (rule.reach, path.contains("{name}") && name == THEIRS) {
                (Reach::Fleet, _) => is_page(&reply, 403),
                (_, true) => is_page(&reply, 404),
                (_, false) => assert!(![401, 403, 404].contains(&reply.status.as_u16()), "{place}: {reply:?}"),
            }
        }
    }
}

#[tokio::test]
async fn lists_and_counts_are_the_tenant_s() {
    let edge = two_tenants().await;
    let list = ours(&edge, "GET", "/v1/domains").send().await;
    assert_eq!(list.names(), [OURS]);
    assert_eq!(list.json()["counts"]["unknown"], 1);
    assert_eq!(
        ours(&edge, "GET", "/v1/domains?tenant=ours").send().await.names(),
        [OURS]
    );
    let other = ours(&edge, "GET", "/v1/domains?tenant=theirs").send().await;
    other.is_problem(403, "forbidden");
    let export = ours(&edge, "GET", "/v1/domains/export").send().await;
    assert_eq!(export.text().lines().count(), 1);
    assert!(export.text().contains(OURS));
}

#[tokio::test]
async fn what_is_registered_is_the_tenant_s() {
    let edge = two_tenants().await;
    let post = |new: Value| ours(&edge, "POST", "/v1/domains").json(new).send();
    let new = post(json!({"name": "new.ours.example"})).await;
    assert_eq!((new.status.as_u16(), &new.json()["tenant"]), (201, &json!("ours")));
    assert_eq!(
        post(json!({"name": "new.ours.example", "tenant": "ours"})).await.status,
        200
    );
    let foreign = post(json!({"name": "x.ours.example", "tenant": "theirs"})).await;
    foreign.is_problem(403, "forbidden");
    // A taken name is not changed, and the answer does not disclose that it is taken.
    let taken = post(json!({"name": THEIRS, "sending_domain": "ours.example"})).await;
    taken.is_problem(403, "forbidden");
    let theirs = edge
        .call("GET", &format!("/v1/domains/{THEIRS}"))
        .token(ADMIN)
        .send()
        .await;
    assert_eq!(theirs.json()["sending_domain"], Value::Null);
    for patch in [json!({"tenant": "theirs"}), json!({"former_tenants": ["theirs"]})] {
        let call = ours(&edge, "PATCH", &format!("/v1/domains/{OURS}")).json(patch);
        call.send().await.is_problem(403, "forbidden");
    }
    let lines = "{\"name\":\"a.ours.example\"}\n{\"name\":\"b.ours.example\",\"tenant\":\"theirs\"}\n";
    let import = ours(&edge, "POST", "/v1/domains/import").body(lines).send().await;
    let answers: Vec<Value> = import
        .text()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(
        (&answers[0]["result"], &answers[1]["result"]),
        (&json!("created"), &json!("error"))
    );
    let a = edge.call("GET", "/v1/domains/a.ours.example").token(ADMIN).send().await;
    assert_eq!(a.json()["tenant"], "ours");
    let b = edge.call("GET", "/v1/domains/b.ours.example").token(ADMIN).send().await;
    b.is_problem(404, "not_found");
}

#[tokio::test]
async fn a_tenant_can_have_only_its_own_names_resolved() {
    let edge = two_tenants().await;
    let record = |host: &str| json!([{"type": "A", "host": host, "value": "192.0.2.1"}]);
    let new =
        |name: &str, records: Value| json!({"name": name, "sending_domain": "mail.ours.co.uk", "records": records});
    for host in [
        "db.internal.corp",
        "theirs.example",
        "xours.example",
        "example",
        "co.uk",
    ] {
        let add = ours(&edge, "POST", "/v1/domains").json(new("x.ours.example", record(host)));
        add.send().await.is_problem(400, "invalid_request");
        let patch = ours(&edge, "PATCH", &format!("/v1/domains/{OURS}")).json(json!({"records": record(host)}));
        patch.send().await.is_problem(400, "invalid_request");
    }
    let line = new("x.ours.example", record("db.internal.corp")).to_string();
    let import = ours(&edge, "POST", "/v1/domains/import").body(line).send().await;
    assert!(import.text().contains("db.internal.corp is not"), "{import:?}");
    let patch = ours(&edge, "PATCH", &format!("/v1/domains/{OURS}")).json(json!({"sending_domain": "internal.corp"}));
    patch.send().await.is_problem(400, "invalid_request");
    for host in ["ours.example", "A.B.Ours.example.", "dkim.ours.co.uk"] {
        let add = ours(&edge, "POST", "/v1/domains").json(new("x.ours.example", record(host)));
        assert!(add.send().await.status.is_success(), "{host}");
    }
    // The platform's own tokens may have any name resolved.
    let patch = edge.call("PATCH", &format!("/v1/domains/{OURS}")).token(ADMIN);
    let patch = patch.json(json!({"records": record("db.internal.corp")})).send().await;
    assert_eq!(patch.status, 200, "{patch:?}");
}

#[tokio::test]
async fn private_addresses_are_for_the_platform() {
    let edge = two_tenants().await;
    // `inside.…` resolves to a private address.
    let name = "inside.ours.example";
    let add = ours(&edge, "POST", "/v1/domains")
        .json(json!({"name": name}))
        .send()
        .await;
    assert_eq!(add.status, 201, "{add:?}");
    let path = format!("/v1/domains/{name}/dns");
    let all = edge.call("GET", &path).token(ADMIN).send().await;
    assert!(all.text().contains("10.1.2.3"), "{all:?}");
    let own = ours(&edge, "GET", &path).send().await;
    assert!(own.text().contains("(a private address)"), "{own:?}");
    for row in own.json()["records"].as_array().unwrap() {
        assert!(!row.to_string().contains("10.1.2.3"), "{row}");
    }
}

#[tokio::test]
async fn a_domain_that_moved_to_another_tenant_is_not_found() {
    let edge = two_tenants().await;
    let path = format!("/v1/domains/{OURS}");
    assert_eq!(ours(&edge, "GET", &path).send().await.status, 200);
    let moved = edge.call("PATCH", &path).token(ADMIN).json(json!({"tenant": "theirs"}));
    assert_eq!(moved.send().await.status, 200);
    ours(&edge, "GET", &path).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn the_stream_of_events_is_the_tenant_s() {
    let edge = two_tenants().await;
    let mut stream = Stream::open_by(&edge, TENANT_ADMIN, "", None).await;
    for (domain, tenant, slug) in [
        (OURS, "ours", "ours-1"),
        (THEIRS, "theirs \"quoted\"", "theirs-1"),
        (OURS, "ours", "ours-2"),
    ] {
        let mut event = Event::new(EventType::Redirect, edge.clock.now(), domain, tenant);
        event.slug = Some(slug);
        edge.journal.append(&event).await.unwrap();
    }
    stream.until(|text| text.contains("ours-2")).await;
    let text = &stream.text;
    assert!(text.contains("ours-1") && !text.contains(TRACE), "{text}");
}
