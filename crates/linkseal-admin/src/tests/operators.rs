//! What operators do through the API and the pages, and what is audited of it.

use linkseal_base::clock::Timestamp;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainRecord, EdgeNames};
use linkseal_store::{AuditEntry, Transition};
use serde_json::json;

use super::browser::{Browser, csrf, is_page};
use super::*;

const NAME: &str = "right.customer.example";
const PATH: &str = "/v1/domains/right.customer.example";
const DIRECTORY: &str = "https://127.0.0.1:9/directory";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

async fn edge() -> Harness {
    let edge = Harness::start(three_tokens()).await;
    let new = json!({"name": NAME, "tenant": "t0"});
    let added = edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
    assert_eq!(added.status, 201, "{added:?}");
    edge
}

async fn patch(edge: &Harness, body: Value) -> Reply {
    edge.call("PATCH", PATH).token(ADMIN).json(body).send().await
}

async fn audit(edge: &Harness) -> Vec<Value> {
    let lines = edge.call("GET", "/v1/audit?limit=1000").token(ADMIN).send().await;
    lines.json()["entries"].as_array().unwrap().clone()
}

async fn change(edge: &Harness, change: impl FnOnce(&mut DomainRecord)) {
    let mut record = edge.store.domain(&name(NAME)).await.unwrap().unwrap();
    change(&mut record);
    edge.store.transition(Transition::of(record)).await.unwrap();
}

#[tokio::test]
async fn former_tenants_are_bounded_on_every_path() {
    let edge = edge().await;
    for n in 1..=32 {
        assert_eq!(
            patch(&edge, json!({"tenant": format!("t{n}")})).await.status,
            200,
            "{n}"
        );
    }
    let full = patch(&edge, json!({"tenant": "t33"})).await;
    let problem = full.is_problem(409, "conflict");
    let said = problem["detail"].as_str().unwrap();
    assert!(
        said.contains("32 former tenants") && said.contains("PATCH former_tenants"),
        "{said}"
    );
    // Nothing was changed, and a list with the same members in another order is accepted.
    assert_eq!(patch(&edge, json!({})).await.json()["tenant"], "t32");
    let again = patch(&edge, json!({"tenant": "t31"})).await.json();
    assert_eq!(again["former_tenants"].as_array().unwrap().len(), 32);
    // Both at once: the given list counts, with the same bound.
    let many: Vec<String> = (0..33).map(|n| format!("f{n}")).collect();
    let both = patch(&edge, json!({"tenant": "t34", "former_tenants": many})).await;
    both.is_problem(400, "invalid_request");
    let both = patch(&edge, json!({"tenant": "t34", "former_tenants": many[..32]})).await;
    assert_eq!(both.json()["former_tenants"], json!(many[..32]));
    patch(&edge, json!({"tenant": "t35"})).await.is_problem(409, "conflict");
    assert_eq!(patch(&edge, json!({"former_tenants": []})).await.status, 200);
    assert_eq!(
        patch(&edge, json!({"tenant": "t35"})).await.json()["former_tenants"],
        json!(["t34"])
    );
    // A registration does not accept former tenants.
    let new = json!({"name": NAME, "tenant": "t35", "former_tenants": many});
    let added = edge
        .call("POST", "/v1/domains")
        .token(ADMIN)
        .json(new.clone())
        .send()
        .await;
    added.is_problem(400, "invalid_request");
    let line = edge
        .call("POST", "/v1/domains/import")
        .token(ADMIN)
        .body(new.to_string());
    assert_eq!(line.send().await.json()["result"], "error");
}

#[tokio::test]
async fn the_size_of_an_audit_entry_is_bounded() {
    let edge = edge().await;
    let file = json!({"applinks": "x".repeat(60_000)});
    let links = json!({"app_links": {"apple": file}});
    assert_eq!(patch(&edge, links).await.status, 200);
    assert_eq!(patch(&edge, json!({"http_while_pending": false})).await.status, 200);
    let verify = edge.call("POST", &format!("{PATH}/verify")).token(ADMIN).send().await;
    assert_eq!(verify.status, 202, "{verify:?}");
    let lines = audit(&edge).await;
    assert_eq!(lines[1]["before"], json!({"http_while_pending": true}));
    assert_eq!(lines[1]["after"], json!({"http_while_pending": false}));
    let after = &lines[2]["after"];
    assert_eq!(after.as_object().unwrap().keys().collect::<Vec<_>>(), ["app_links"]);
    assert!(
        after["app_links"]["left_out_bytes"].as_u64().unwrap() > 60_000,
        "{after}"
    );
    for line in &lines {
        assert!(line.to_string().len() < 3_000, "{line}");
    }
}

#[tokio::test]
async fn old_audit_entries_are_deleted() {
    let edge = edge().await;
    let at = edge.clock.now();
    edge.clock.advance(DAY * 401);
    assert_eq!(patch(&edge, json!({"paused": true})).await.status, 200);
    let lines = audit(&edge).await;
    assert_eq!(lines.len(), 2);
    edge.tasks.spawn_until_stop(edge.control.report().clone().prune_audit());
    let left = tokio::time::timeout(PATIENT, async {
        loop {
            let left = edge.store.audit(None, 10).await.unwrap();
            if left.len() < 2 {
                break left;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let left: Vec<AuditEntry> = left.await.unwrap();
    assert_eq!(left[0].action, "update");
    assert!(left.iter().all(|line| line.at > at + DAY * 400));
}

#[tokio::test]
async fn nothing_is_ordered_for_paused_and_retired_domains() {
    let edge = edge().await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    let form = csrf(&browser.get("/").await);
    let reissue = || edge.call("POST", &format!("{PATH}/reissue")).token(ADMIN).send();
    patch(&edge, json!({"paused": true})).await;
    let refused = reissue().await.is_problem(409, "conflict");
    assert!(
        refused["detail"].as_str().unwrap().contains("{\"paused\": false}"),
        "{refused}"
    );
    let page = browser
        .post(&format!("/domains/{NAME}/reissue"), &[("csrf", &form)])
        .await;
    is_page(&page, 409);
    patch(&edge, json!({"paused": false})).await;
    assert_eq!(edge.call("DELETE", PATH).token(ADMIN).send().await.status, 204);
    let refused = reissue().await.is_problem(409, "conflict");
    assert!(
        refused["detail"].as_str().unwrap().contains("POST /v1/domains"),
        "{refused}"
    );
    // Refused requests have used up nothing.
    let back = edge.call("POST", "/v1/domains").token(ADMIN);
    assert_eq!(back.json(json!({ "name": NAME })).send().await.status, 200);
    assert_eq!(reissue().await.status, 202);
}

#[tokio::test]
async fn a_name_is_reissued_once_a_minute_and_five_times_a_week() {
    let edge = edge().await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    let form = csrf(&browser.get("/").await);
    let reissue = || edge.call("POST", &format!("{PATH}/reissue")).token(ADMIN).send();
    for n in 0..5 {
        assert_eq!(reissue().await.status, 202, "{n}");
        let soon = reissue().await;
        let problem = soon.is_problem(429, "rate_limited");
        // The limit of one a minute is not the CA's.
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the next reissue of this domain is possible at "),
            "{detail}"
        );
        let until = Timestamp::parse_rfc3339(problem["retry_at"].as_str().unwrap()).unwrap();
        if n < 4 {
            assert!(until <= edge.clock.now() + MINUTE, "{problem}");
        }
        let seconds: u64 = soon.header("retry-after").parse().unwrap();
        assert!(seconds > 0);
        edge.clock.advance(MINUTE);
    }
    let full = reissue().await.is_problem(429, "rate_limited");
    let until = Timestamp::parse_rfc3339(full["retry_at"].as_str().unwrap()).unwrap();
    assert!(until > edge.clock.now() + DAY, "{full}");
    let path = format!("/domains/{NAME}/reissue");
    let page = browser.post(&path, &[("csrf", &form)]).await;
    is_page(&page, 429);
    assert!(
        page.text().contains("The next certificate can be ordered at"),
        "{page:?}"
    );
    // Another name has its own limit.
    let other = json!({"name": "right.other.example"});
    edge.call("POST", "/v1/domains").token(ADMIN).json(other).send().await;
    let other = edge
        .call("POST", "/v1/domains/right.other.example/reissue")
        .token(ADMIN);
    assert_eq!(other.send().await.status, 202);
    edge.clock.advance(until.saturating_since(edge.clock.now()));
    assert_eq!(reissue().await.status, 202);
}

#[tokio::test]
async fn reissue_honours_the_ca_s_retry_time_until_the_wait_is_ended() {
    let edge = edge().await;
    let later = edge.clock.now() + DAY;
    change(&edge, |record| record.ssl.not_before = Some(later)).await;
    let reissue = || edge.call("POST", &format!("{PATH}/reissue")).token(ADMIN).send();
    let refused = reissue().await.is_problem(429, "rate_limited");
    assert_eq!(refused["retry_at"], json!(later));
    let path = format!("/v1/issuer/holds?domain={NAME}");
    assert_eq!(edge.call("DELETE", &path).token(ADMIN).send().await.status, 204);
    assert_eq!(reissue().await.status, 202);
}

#[tokio::test]
async fn a_former_edge_name_is_an_ordinary_domain() {
    let edge = Harness::start(three_tokens()).await;
    let old = "old.platform.example";
    edge.control
        .operator()
        .register_own_names(&EdgeNames {
            name: name(EDGE),
            aliases: vec![name(old)],
        })
        .await;
    let origin = async |of: &str| edge.store.domain(&name(of)).await.unwrap().unwrap().origin;
    assert_eq!(origin(old).await, Origin::Edge);
    // After a reload the configuration no longer contains it.
    edge.registry.set_loaded();
    edge.control.operator().register_own_names(&name(EDGE).into()).await;
    assert_eq!(
        (origin(old).await, origin(EDGE).await),
        (Origin::Registered, Origin::Edge)
    );
    let delete = async |path: &str| edge.call("DELETE", path).token(ADMIN).send().await;
    assert_eq!(delete(&format!("/v1/domains/{old}")).await.status, 204);
    assert_eq!(delete(&format!("/v1/domains/{old}?purge=true")).await.status, 204);
    assert_eq!(edge.store.domain(&name(old)).await.unwrap(), None);
    for query in ["", "?purge=true", "?purge=true&revoke=true"] {
        let own = delete(&format!("/v1/domains/{EDGE}{query}")).await;
        own.is_problem(409, "conflict");
    }
}

#[tokio::test]
async fn waits_are_ended_by_hand_and_audited() {
    let edge = edge().await;
    let later = edge.clock.now() + DAY;
    edge.store.hold_back(DIRECTORY, later, None).await.unwrap();
    let held = async || edge.store.held_back(DIRECTORY).await.unwrap();
    let end = async |token: &str, query: &str| {
        let path = format!("/v1/issuer/holds{query}");
        edge.call("DELETE", &path).token(token).send().await
    };
    for token in [VIEWER, SUPPORT] {
        end(token, "").await.is_problem(403, "forbidden");
    }
    let unknown = end(ADMIN, "?ca=https://other.example/directory").await;
    let said = unknown.is_problem(400, "invalid_request");
    assert!(said["detail"].as_str().unwrap().contains(DIRECTORY), "{said}");
    let unknown = end(ADMIN, "?domain=nobody.example").await;
    unknown.is_problem(404, "not_found");
    end(ADMIN, "?domain=bad%20name")
        .await
        .is_problem(400, "invalid_request");
    end(ADMIN, "?domian=x").await.is_problem(400, "invalid_request");
    assert!(held().await.is_some(), "nothing of that has ended anything");
    for ca in [DIRECTORY, "127.0.0.1"] {
        let before = held().await;
        edge.store.hold_back(DIRECTORY, later, before).await.unwrap();
        assert_eq!(end(ADMIN, &format!("?ca={ca}")).await.status, 204, "{ca}");
        assert_eq!(held().await, None, "{ca}");
        let line = audit(&edge).await.remove(0);
        assert_eq!(
            (&line["action"], &line["who"], &line["subject"]),
            (&json!("release"), &json!("admin"), &json!(DIRECTORY))
        );
        assert_eq!(line["before"]["held_back"], json!(later));
    }
    // The wait of one domain only.
    edge.store.hold_back(DIRECTORY, later, None).await.unwrap();
    let wait = async || {
        change(&edge, |record| {
            record.ssl.reason = Reason::RetryScheduled;
            record.ssl.next_attempt = Some(later);
            record.ssl.planned = Some(edge.clock.now());
        })
        .await;
    };
    let next = async || {
        let record = edge.store.domain(&name(NAME)).await.unwrap().unwrap();
        record.ssl.next_attempt
    };
    wait().await;
    assert_eq!(end(ADMIN, &format!("?domain={NAME}")).await.status, 204);
    assert!(next().await.is_none_or(|at| at < later), "{:?}", next().await);
    assert!(held().await.is_some());
    let lines = audit(&edge).await;
    let line = lines.iter().find(|line| line["action"] == "release").unwrap();
    assert_eq!(line["subject"], NAME);
    assert_eq!(line["before"]["next_attempt"], json!(later));
    // All waits.
    assert_eq!(end(ADMIN, "").await.status, 204);
    assert_eq!(held().await, None);
}

#[tokio::test]
async fn waits_are_ended_on_the_pages() {
    let edge = edge().await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    let later = edge.clock.now() + DAY;
    edge.store.hold_back(DIRECTORY, later, None).await.unwrap();
    let page = browser.get("/issuer").await;
    assert!(page.text().contains("/issuer/release"), "{page:?}");
    let form = csrf(&page);
    let held = async || edge.store.held_back(DIRECTORY).await.unwrap();
    let forged = browser
        .post("/issuer/release", &[("csrf", "x"), ("ca", DIRECTORY)])
        .await;
    assert!(forged.status.is_client_error(), "{forged:?}");
    assert!(held().await.is_some());
    let done = browser
        .post("/issuer/release", &[("csrf", &form), ("ca", DIRECTORY)])
        .await;
    assert_eq!((done.status.as_u16(), held().await), (303, None), "{done:?}");
    assert_eq!(audit(&edge).await[0]["action"], "release");
    change(&edge, |record| {
        record.ssl.reason = Reason::RetryScheduled;
        record.ssl.next_attempt = Some(later);
    })
    .await;
    let path = format!("/domains/{NAME}");
    let page = browser.get(&path).await;
    assert!(page.text().contains("Try now"), "{page:?}");
    let done = browser
        .post(&format!("{path}/release"), &[("csrf", &csrf(&page))])
        .await;
    assert_eq!(done.status, 303, "{done:?}");
    let record = edge.store.domain(&name(NAME)).await.unwrap().unwrap();
    assert!(record.ssl.next_attempt.is_none_or(|at| at < later), "{record:?}");
    let mut viewer = Browser::new(&edge);
    viewer.sign_in(VIEWER).await;
    let form = csrf(&viewer.get("/").await);
    let refused = viewer.post(&format!("{path}/release"), &[("csrf", &form)]).await;
    is_page(&refused, 403);
}

#[tokio::test]
async fn an_unreadable_row_is_purged_by_its_stored_key() {
    let edge = edge().await;
    for extra in ["a.example", "b.example", "c.example", "d.example"] {
        let added = edge
            .call("POST", "/v1/domains")
            .token(ADMIN)
            .json(json!({ "name": extra }));
        assert_eq!(added.send().await.status, 201);
    }
    let db = rusqlite::Connection::open(edge.dir.path().join("store.db")).unwrap();
    for (at, sql) in [
        ("a.example", "name = 'bad name/é'"),
        ("b.example", "name = 'B.Example'"),
        ("c.example", "record = '{}'"),
    ] {
        let sql = format!("UPDATE domains SET {sql} WHERE name = ?1");
        assert_eq!(db.execute(&sql, [at]).unwrap(), 1);
    }
    let list = async || edge.call("GET", "/v1/domains").token(ADMIN).send().await.json();
    let unreadable = list().await["unreadable"].as_array().unwrap().clone();
    let names: Vec<_> = unreadable.iter().map(|u| u["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["B.Example", "bad name/é", "c.example"]);
    // It delays no other due domain.
    edge.clock.advance(DAY * 30);
    let owner = linkseal_store::Owner::unique();
    let all = edge.store.claim_due(owner, Duration::from_secs(1), 10).await.unwrap();
    assert!(all.iter().all(|claim| claim.name != name("b.example")), "{all:?}");
    let delete = async |path: &str| {
        edge.call("DELETE", &format!("/v1/domains/{path}"))
            .token(ADMIN)
            .send()
            .await
    };
    delete("bad%20name%2F%C3%A9").await.is_problem(400, "invalid_name");
    for stored in ["bad%20name%2F%C3%A9", "B.Example", "c.example"] {
        let gone = delete(&format!("{stored}?purge=true")).await;
        assert_eq!(gone.status, 204, "{stored}: {gone:?}");
        let again = delete(&format!("{stored}?purge=true")).await;
        assert!(again.status.is_client_error(), "{stored}: {again:?}");
        assert_eq!(audit(&edge).await[0]["action"], "purge");
    }
    delete("worse%20name?purge=true").await.is_problem(400, "invalid_name");
    let left = list().await;
    assert_eq!(left["unreadable"], json!([]));
    let left: Vec<_> = left["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["name"].clone())
        .collect();
    assert_eq!(left, ["d.example", NAME]);
    let counts: u64 = edge.store.counts(None).await.unwrap().iter().map(|c| c.domains).sum();
    assert_eq!(counts, 2, "the counts are of what is left");
}
