//! `/v1/issuer`: its state, and freezing orders.

use serde_json::json;

use super::*;

#[tokio::test]
async fn the_issuer_shows_accounts_limits_and_queue() {
    let edge = Harness::start(vec![]).await;
    let issuer = edge.get("/v1/issuer").await.json();
    let directory = "https://127.0.0.1:9/directory";
    let account = &issuer["accounts"][0];
    assert_eq!(account["directory"], directory);
    assert_eq!((&account["kid"], &account["created"]), (&Value::Null, &Value::Null));
    assert_eq!((&account["state"], &account["until"]), (&json!("in_use"), &Value::Null));
    assert_eq!(account["budgets"], issuer["budgets"]);
    assert_eq!(
        issuer["queue"],
        json!({"expiring": 0, "handshake": 0, "verify": 0, "bulk": 0})
    );
    assert_eq!(
        issuer["budgets"][0],
        json!({"limit": "orders_per_account", "count": 2, "per_seconds": 3600, "remaining": 2})
    );
    assert_eq!(issuer["budgets"][2]["remaining"], Value::Null);
    assert_eq!(issuer["held_back"], Value::Null);
    assert_eq!(issuer["freeze"], Value::Null);
    assert_eq!(issuer["certificates_at_risk"], 0);
    let nothing = json!({"today": 0, "seven_days": 0, "four_weeks": 0, "days": []});
    assert_eq!(
        issuer["forecast"],
        json!({"queued": 0, "done_by": null, "orders_per_day": 48.0, "renewals": nothing})
    );
    let until = edge.clock.now() + Duration::from_secs(600);
    edge.store.hold_back(directory, until, None).await.unwrap();
    let account = linkseal_store::CaAccount {
        directory: directory.to_owned(),
        kid: "https://127.0.0.1:9/account/7".to_owned(),
        created: until,
    };
    edge.store.put_ca_account(&account, None).await.unwrap();
    // No orders run in this harness, so the verified domain stays queued.
    edge.add("right.customer.example").await;
    edge.post("/v1/domains/right.customer.example/verify", Value::Null)
        .await;
    let wait = async {
        loop {
            let issuer = edge.get("/v1/issuer").await.json();
            if issuer["queue"]["verify"] == 1 {
                return issuer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let issuer = tokio::time::timeout(PATIENT, wait).await.unwrap();
    assert_eq!(issuer["accounts"][0]["kid"], "https://127.0.0.1:9/account/7");
    assert_eq!(issuer["held_back"], json!(until));
    assert_eq!(issuer["accounts"][0]["state"], "held_back");
    assert_eq!(issuer["forecast"]["queued"], 1);
    assert_eq!(issuer["forecast"]["done_by"], json!(until));
    let trouble = linkseal_store::CaTrouble {
        directory: directory.to_owned(),
        failures: 3,
        outages: 1,
        out_until: Some(until + Duration::from_secs(60)),
        since: edge.clock.now(),
        why: "no answer within 30 s".to_owned(),
    };
    edge.store
        .change_ca_trouble(directory, None, Some(&trouble))
        .await
        .unwrap();
    let account = &edge.get("/v1/issuer").await.json()["accounts"][0];
    assert_eq!((&account["state"], &account["failures"]), (&json!("out"), &json!(3)));
    assert_eq!(account["until"], json!(trouble.out_until));
    assert_eq!(account["why"], "no answer within 30 s");
    let metrics = edge.get("/metrics").await;
    let usable = format!("linkseal_acme_ca_usable{{ca=\"{directory}\"}} 0");
    assert!(metrics.text().contains(&usable), "{}", metrics.text());
}

#[tokio::test]
async fn orders_are_frozen_and_unfrozen() {
    let edge = Harness::start(three_tokens()).await;
    let freeze = |token: &'static str| edge.call("PUT", "/v1/issuer/freeze").token(token);
    freeze(SUPPORT)
        .json(json!({}))
        .send()
        .await
        .is_problem(403, "forbidden");
    let first = freeze(ADMIN).json(json!({"note": "incident 7"})).send().await;
    assert_eq!(first.status, 201, "{first:?}");
    let since = first.json()["since"].clone();
    let again = freeze(ADMIN).json(json!({})).send().await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.json(), json!({"note": null, "by": "admin", "since": since}));
    let long = json!({"note": "x".repeat(1_025)});
    freeze(ADMIN).json(long).send().await.is_problem(400, "invalid_request");

    let add = edge.call("POST", "/v1/domains").token(ADMIN);
    add.json(json!({"name": "right.customer.example"})).send().await;
    let path = "/v1/domains/right.customer.example";
    edge.call("POST", &format!("{path}/verify")).token(SUPPORT).send().await;
    let wait = async {
        loop {
            let domain = edge.call("GET", path).token(VIEWER).send().await.json();
            if domain["ssl"]["reason"] == "paused" {
                return domain;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let domain = tokio::time::timeout(PATIENT, wait).await.unwrap();
    assert_eq!(
        (&domain["ssl"]["state"], &domain["ssl"]["eta"]),
        (&json!("unknown"), &Value::Null)
    );
    assert_eq!(domain["paused"], false, "this one is not paused");
    let sentence = domain["ssl"]["message"]["en"].as_str().unwrap();
    assert!(
        sentence.starts_with("All orders have been on hold since "),
        "{sentence}"
    );
    let reissue = edge.call("POST", &format!("{path}/reissue")).token(ADMIN);
    reissue.send().await.is_problem(409, "conflict");
    let issuer = edge.call("GET", "/v1/issuer").token(VIEWER).send().await.json();
    assert_eq!(issuer["freeze"]["by"], "admin");
    let metrics = edge.call("GET", "/metrics").token(VIEWER).send().await;
    assert!(metrics.text().contains("linkseal_issuer_frozen 1"));

    let thaw = || edge.call("DELETE", "/v1/issuer/freeze").token(ADMIN);
    assert_eq!(thaw().send().await.status, 204);
    thaw().send().await.is_problem(404, "not_found");
    // It resumes by itself, without another request.
    let wait = async {
        while edge.call("GET", path).token(VIEWER).send().await.json()["ssl"]["reason"] == "paused" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENT, wait).await.unwrap();
    let audit = edge.call("GET", "/v1/audit").token(VIEWER).send().await.json();
    let actions: Vec<_> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["action"].clone())
        .collect();
    assert!(actions.starts_with(&[json!("thaw")]), "{actions:?}");
    assert_eq!(actions.iter().filter(|a| *a == "freeze").count(), 2);
}
