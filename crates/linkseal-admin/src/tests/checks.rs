//! Verify and reissue.

use serde_json::json;

use super::*;

#[tokio::test]
async fn verify_reports_and_queues_when_right() {
    let edge = Harness::start(vec![]).await;
    edge.add("wrong.customer.example").await;
    let reply = edge
        .post("/v1/domains/wrong.customer.example/verify", Value::Null)
        .await;
    assert_eq!(reply.status, 202);
    let report = reply.json();
    assert_eq!((&report["https"], &report["verified"]), (&json!(false), &json!(false)));
    let keys: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "https",
            "verified",
            "checked",
            "records",
            "provider",
            "preflight",
            "freeze",
            "ssl"
        ]
    );
    let record = &report["records"][0];
    assert_eq!(
        (&record["type"], &record["verdict"]),
        (&json!("CNAME"), &json!("missing"))
    );
    assert_eq!(record["expected"], json!([EDGE]));
    assert!(record["hint"]["de"].is_string());
    assert_eq!(report["ssl"]["reason"], "dns_missing");

    edge.add("right.customer.example").await;
    let report = edge
        .post("/v1/domains/right.customer.example/verify", Value::Null)
        .await
        .json();
    assert_eq!(report["https"], true);
    assert!(report["ssl"]["next_attempt"].is_string(), "{report}");
    let dns = edge.get("/v1/domains/right.customer.example/dns").await;
    assert_eq!((dns.status.as_u16(), &dns.json()["https"]), (200, &json!(true)));
    let timeline = edge
        .get("/v1/domains/wrong.customer.example/timeline?limit=1")
        .await
        .json();
    assert_eq!(timeline["entries"][0]["event"], "verify");
    let next = timeline["next"].as_str().unwrap();
    let older = edge
        .get(&format!("/v1/domains/wrong.customer.example/timeline?cursor={next}"))
        .await
        .json();
    let events: Vec<_> = older["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!(events.last(), Some(&"registered"));
    assert!(!events.contains(&"verify"));
    for path in ["dns", "timeline"] {
        edge.get(&format!("/v1/domains/none.example.com/{path}"))
            .await
            .is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn reissue_within_the_limits_of_the_ca() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let path = "/v1/domains/right.customer.example/reissue";
    let until = edge.clock.now() + Duration::from_secs(1_000);
    edge.store
        .hold_back("https://127.0.0.1:9/directory", until, None)
        .await
        .unwrap();
    let limited = edge.post(path, Value::Null).await;
    let problem = limited.is_problem(429, "rate_limited");
    assert_eq!(problem["retry_at"], json!(until));
    let seconds: u64 = limited.header("retry-after").parse().unwrap();
    assert!((900..=1_000).contains(&seconds), "{seconds}");
    edge.clock.advance(Duration::from_secs(1_000));
    let accepted = edge.post(path, Value::Null).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert!(accepted.json()["ssl"]["next_attempt"].is_string());

    let off = Harness::start_at("127.0.0.1:0", vec![], Issue::Off).await;
    off.add("right.customer.example").await;
    off.post(path, Value::Null).await.is_problem(409, "conflict");
}
