//! Import, export, and readiness of many names.

use serde_json::json;

use super::*;

fn lines(reply: &Reply) -> Vec<Value> {
    reply.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[tokio::test]
async fn an_export_can_be_imported() {
    let one = Harness::start(vec![]).await;
    let mut body = String::new();
    for i in 0..1_200 {
        body.push_str(&format!(
            "{{\"name\":\"d{i:04}.customer.example\",\"tenant\":\"acme\"}}\n"
        ));
    }
    body.push_str("{\"name\":\"z.customer.example\",\"sending_domain\":\"customer.example\",\"records\":[{\"type\":\"TXT\",\"host\":\"x.example\",\"value\":\"y\"}]}");
    let imported = one.call("POST", "/v1/domains/import").body(body).send().await;
    assert_eq!(imported.status, 200);
    assert_eq!(imported.header("content-type"), "application/x-ndjson");
    let answers = lines(&imported);
    assert_eq!(answers.len(), 1_201);
    for (i, answer) in answers.iter().enumerate() {
        assert_eq!(
            (&answer["line"], &answer["result"]),
            (&Value::from(i + 1), &Value::from("created"))
        );
    }

    let exported = one.get("/v1/domains/export").await;
    assert_eq!(lines(&exported).len(), 1_201);
    let two = Harness::start(vec![]).await;
    let again = two
        .call("POST", "/v1/domains/import")
        .body(exported.body.clone())
        .send()
        .await;
    assert!(
        lines(&again).iter().all(|a| a["result"] == "created"),
        "{}",
        again.text()
    );
    assert_eq!(two.get("/v1/domains/export").await.body, exported.body);
    let unchanged = two.call("POST", "/v1/domains/import").body(exported.body).send().await;
    assert!(lines(&unchanged).iter().all(|a| a["result"] == "unchanged"));

    // The series of many domains are grouped by family, across pages.
    let metrics = two.get("/metrics/domains").await;
    let lines: Vec<_> = metrics.text().lines().collect();
    assert_eq!(lines.len(), 1_201 + 6);
    assert_eq!(lines.iter().filter(|l| l.starts_with('#')).count(), 6);
    assert!(lines[1_202].starts_with("linkseal_domain_ssl_state{domain=\"z."));
}

#[tokio::test]
async fn bad_lines_are_answered_and_do_not_affect_others() {
    let edge = Harness::start(vec![]).await;
    let body = "{\"name\":\"a.customer.example\"}\n\nnonsense\n{\"name\":\"*.example.com\"}\n\
                {\"name\":\"b.customer.example\",\"other\":1}\n{\"name\":\"c.customer.example\"}\n";
    let reply = edge.call("POST", "/v1/domains/import").body(body).send().await;
    let answers = lines(&reply);
    let results: Vec<_> = answers
        .iter()
        .map(|a| (a["line"].as_u64().unwrap(), a["result"].as_str().unwrap()))
        .collect();
    assert_eq!(
        results,
        [(1, "created"), (3, "error"), (4, "error"), (5, "error"), (6, "created")]
    );
    assert!(answers[2]["error"].as_str().unwrap().contains("wildcard"));
    assert_eq!(answers[0]["state"], "unknown");
    assert_eq!(
        edge.get("/v1/domains").await.names(),
        ["a.customer.example", "c.customer.example"]
    );
}

#[tokio::test]
async fn a_mailer_asks_for_many_names_at_once() {
    use linkseal_domain::ssl::{CertificateInfo, SslEvent};
    use linkseal_store::Transition;
    let edge = Harness::start(vec![]).await;
    edge.add("ready.customer.example").await;
    edge.add("pending.customer.example").await;
    let store = edge.control.store();
    let mut record = store.domain(&name("ready.customer.example")).await.unwrap().unwrap();
    let now = edge.control.clock().now();
    record.ssl = record.ssl.then(
        SslEvent::Issued(CertificateInfo {
            not_before: now,
            not_after: now + Duration::from_secs(86_400),
            obtained: None,
            issuer: "Test CA".into(),
            serial: "01".into(),
            sans: vec![],
            ca: "https://ca.example/dir".into(),
            ari_id: None,
            renew_at: now + Duration::from_secs(3_600),
            ari_check_at: None,
        }),
        now,
    );
    record.dns.https = true;
    let record = store.transition(Transition::of(record)).await.unwrap();
    edge.registry.put(&record);
    let names = [
        "ready.customer.example",
        "Ready.Customer.Example.",
        "pending.customer.example",
        "nobody.example",
        "*",
    ];
    let reply = edge.post("/v1/domains/https_ready", json!({ "names": names })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let expected = json!({"ready": {
        "ready.customer.example": true, "Ready.Customer.Example.": true, "pending.customer.example": false,
        "nobody.example": null, "*": null,
    }});
    assert_eq!(reply.json(), expected);
    edge.control.clock().advance(Duration::from_secs(86_400));
    let reply = edge
        .post("/v1/domains/https_ready", json!({ "names": [names[0]] }))
        .await;
    assert_eq!(reply.json()["ready"][names[0]], false, "it has run out");
    let many: Vec<_> = (0..1_001).map(|i| format!("a{i}.example")).collect();
    edge.post("/v1/domains/https_ready", json!({ "names": many }))
        .await
        .is_problem(400, "invalid_request");
}
