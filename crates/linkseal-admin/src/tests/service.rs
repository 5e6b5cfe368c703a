//! Health, metrics, the issuer, links, and the description.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use linkseal_link::{Destination, Message, Minter};
use serde_json::json;

use super::*;
use crate::api;

#[tokio::test]
async fn ready_when_nothing_is_missing() {
    let edge = Harness::start(three_tokens()).await;
    let missing = async || {
        let reply = edge.get("/readyz?strict=true").await;
        let body = reply.json();
        assert_eq!(reply.status == 200, body["ready"] == true, "{reply:?}");
        let all = body["missing"].as_array().unwrap().clone();
        all.iter()
            .map(|m| m["what"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(missing().await, ["registry"]);
    edge.registry.set_loaded();
    assert!(missing().await.is_empty());
    edge.draining.store(true, Ordering::Release);
    assert_eq!(missing().await, ["draining"]);
    edge.break_store();
    // What the store said holds for a second.
    let look = async {
        while missing().await != ["draining", "store"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENT, look).await.unwrap();
    assert_eq!(edge.get("/healthz").await.status, 200);
    // What it serves it has in memory: without the store it can.
    edge.draining.store(false, Ordering::Release);
    for path in ["/readyz", "/readyz?strict=false", "/readyz?probe=7"] {
        let reply = edge.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(
            reply.json(),
            json!({"ready": true, "missing": [], "suspects_itself": false})
        );
    }
    assert_eq!(missing().await, ["store"]);
    edge.get("/readyz?strict=maybe")
        .await
        .is_problem(400, "invalid_request");
}

#[tokio::test]
async fn the_health_port_has_health_and_metrics_and_nothing_else() {
    let edge = Harness::start(three_tokens()).await;
    edge.registry.set_loaded();
    let at = |path: &str| {
        let uri = format!("http://{}{path}", edge.health);
        let request = Request::builder().method("GET").uri(uri).header("host", "any.example");
        let call = Call {
            request,
            body: Bytes::new(),
        };
        call.header("x-forwarded-for", "203.0.113.7")
            .header("accept", "text/html")
            .send()
    };
    assert_eq!(at("/healthz").await.json(), json!({"alive": true}));
    assert_eq!(at("/readyz").await.json()["ready"], true);
    assert_eq!(at("/readyz?strict=true").await.status, 200);
    let metrics = at("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("linkseal_build_info"));
    assert_eq!(metrics.header("cache-control"), "no-store");
    for path in [
        "/",
        "/v1/domains",
        "/metrics/domains",
        "/openapi.json",
        "/sign-in",
        "/assets/x",
        "/share/x",
    ] {
        at(path).await.is_problem(404, "not_found");
    }
    edge.draining.store(true, Ordering::Release);
    assert_eq!(at("/readyz").await.status, 503);
}

#[tokio::test]
async fn an_array_is_no_object() {
    let edge = Harness::start(vec![]).await;
    for (method, path, body) in [
        ("POST", "/v1/domains", json!(["arr.example", "arr", null, []])),
        ("POST", "/v1/domains", json!([])),
        (
            "POST",
            "/v1/domains",
            json!({"name": "a.example", "records": [["A", "a.example", "192.0.2.1"]]}),
        ),
        ("PUT", "/v1/issuer/freeze", json!([])),
        ("PUT", "/v1/kills/tenant/x", json!([])),
        ("PUT", "/v1/redirects/x", json!(["https://a.example/"])),
        ("POST", "/v1/links/inspect", json!(["x"])),
        ("POST", "/v1/domains/https_ready", json!([["a.example"]])),
        ("POST", "/v1/events/erase", json!(["acme", null])),
    ] {
        let reply = edge.call(method, path).json(body.clone()).send().await;
        let problem = reply.is_problem(400, "invalid_request");
        assert!(
            problem["detail"].as_str().unwrap().contains("object"),
            "{path} {body}: {problem}"
        );
    }
    let import = edge
        .call("POST", "/v1/domains/import")
        .body("[\"a.example\"]\n")
        .send()
        .await;
    assert!(import.text().contains("a line is a JSON object"), "{import:?}");
    assert!(edge.get("/v1/domains").await.names().is_empty());
}

#[tokio::test]
async fn a_kill_of_an_unknown_tenant_is_in_force_and_said() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    let kill = |tenant: &str| {
        edge.call("PUT", &format!("/v1/kills/tenant/{tenant}"))
            .json(json!({}))
            .send()
    };
    assert_eq!(kill("a.customer.example").await.json()["hint"], Value::Null);
    let unknown = kill("acmee").await;
    assert_eq!(unknown.status, 201, "{unknown:?}");
    assert!(
        unknown.json()["hint"].as_str().unwrap().contains("spelling"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_store_that_fails_is_said_and_hides_nothing_else() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    assert_eq!(edge.get("/metrics").await.status, 200);
    edge.break_store();
    edge.get("/v1/domains").await.is_problem(503, "store_unavailable");
    edge.post("/v1/domains", json!({"name": "b.customer.example"}))
        .await
        .is_problem(503, "store_unavailable");
    let metrics = edge.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("process_open_fds "));
    assert!(
        metrics
            .text()
            .contains("linkseal_domains{reason=\"never_requested\",state=\"unknown\"} 1")
    );
}

#[tokio::test]
async fn metrics_are_as_promtool_wants_them() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    for path in ["/metrics", "/metrics/domains"] {
        let reply = edge.get(path).await;
        assert!(
            reply.header("content-type").starts_with("text/plain; version=0.0.4"),
            "{reply:?}"
        );
        let text = reply.text();
        let mut seen = Vec::new();
        for line in text.lines().filter(|l| l.starts_with("# TYPE ")) {
            let family = line.split(' ').nth(2).unwrap();
            assert!(!seen.contains(&family), "{family} comes twice");
            assert!(text.contains(&format!("# HELP {family} ")), "{family} has no help");
            seen.push(family);
        }
        assert!(!seen.is_empty());
        assert_eq!(
            path == "/metrics/domains",
            text.contains("a.customer.example"),
            "{path}"
        );
        // Where promtool is at hand, it decides.
        let tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .spawn();
        if let Ok(mut tool) = tool {
            tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(tool.wait().unwrap().success(), "{text}");
        }
    }
}

#[tokio::test]
async fn the_issuer_tells_what_is_left() {
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
    edge.store.hold_back(directory, until).await.unwrap();
    let account = linkseal_store::CaAccount {
        directory: directory.to_owned(),
        kid: "https://127.0.0.1:9/account/7".to_owned(),
        created: until,
    };
    edge.store.put_ca_account(&account).await.unwrap();
    // No order runs here: what is verified waits.
    edge.add("right.customer.example").await;
    edge.post("/v1/domains/right.customer.example/verify", Value::Null)
        .await;
    let look = async {
        loop {
            let issuer = edge.get("/v1/issuer").await.json();
            if issuer["queue"]["verify"] == 1 {
                return issuer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let issuer = tokio::time::timeout(PATIENT, look).await.unwrap();
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
    edge.store.put_ca_trouble(&trouble).await.unwrap();
    let account = &edge.get("/v1/issuer").await.json()["accounts"][0];
    assert_eq!((&account["state"], &account["failures"]), (&json!("out"), &json!(3)));
    assert_eq!(account["until"], json!(trouble.out_until));
    assert_eq!(account["why"], "no answer within 30 s");
    let metrics = edge.get("/metrics").await;
    let usable = format!("linkseal_acme_ca_usable{{ca=\"{directory}\"}} 0");
    assert!(metrics.text().contains(&usable), "{}", metrics.text());
}

#[tokio::test]
async fn orders_are_frozen_and_go_on() {
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
    let look = async {
        loop {
            let domain = edge.call("GET", path).token(VIEWER).send().await.json();
            if domain["ssl"]["reason"] == "paused" {
                return domain;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let domain = tokio::time::timeout(PATIENT, look).await.unwrap();
    assert_eq!(
        (&domain["ssl"]["state"], &domain["ssl"]["eta"]),
        (&json!("unknown"), &Value::Null)
    );
    assert_eq!(domain["paused"], false, "this one is not paused");
    let sentence = domain["ssl"]["message"]["en"].as_str().unwrap();
    assert!(
        sentence.starts_with("All orders have been stopped since "),
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
    // It goes on by itself: planned again, though no one asks.
    let look = async {
        while edge.call("GET", path).token(VIEWER).send().await.json()["ssl"]["reason"] == "paused" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENT, look).await.unwrap();
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

#[tokio::test]
async fn links_are_inspected() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    edge.add("b.customer.example").await;
    let key = LinkKey::from_hex(1, &"07".repeat(32)).unwrap();
    let message = Message {
        id: uuid::Uuid::from_u128(7),
        issued_at: 1_795_305_600,
    };
    let destination = Destination::new("https://example.com/x").unwrap();
    let token = Minter::new(&key, "a.customer.example").click(&message, 3, &destination);
    let inspect = async |url: String| edge.post("/v1/links/inspect", json!({"url": url})).await.json();
    let right = inspect(format!("https://A.customer.example:8443/c/{token}")).await;
    assert_eq!(
        (&right["valid"], &right["destination"]),
        (&json!(true), &json!("https://example.com/x"))
    );
    let wrong = inspect(format!("https://b.customer.example/c/{token}")).await;
    assert_eq!(
        (&wrong["finding"], &wrong["tenant"]),
        (&json!("other_tenant"), &json!("a.customer.example"))
    );
    let shared = inspect(format!("https://{EDGE}/t/a.customer.example/c/{token}")).await;
    assert_eq!(shared["valid"], true, "{shared}");
    let named = json!({"url": format!("https://b.customer.example/c/{token}"), "tenant": "a.customer.example"});
    assert_eq!(
        edge.post("/v1/links/inspect", named).await.json()["finding"],
        "other_tenant"
    );
    let other = json!({"url": format!("https://b.customer.example/c/{token}"), "tenant": "c.customer.example"});
    let other = edge.post("/v1/links/inspect", other).await.json();
    assert_eq!(other["finding"], "forged");
    assert!(
        other["explanation"].as_str().unwrap().contains("give `tenant`"),
        "{other}"
    );
    edge.post("/v1/links/inspect", json!({}))
        .await
        .is_problem(400, "invalid_request");
}

#[tokio::test]
async fn the_description_is_whole_and_true() {
    let edge = Harness::start(vec![]).await;
    let document = edge.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let mut described = 0;
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            described += 1;
            let place = format!("{method} {path}");
            assert!(operation["summary"].as_str().unwrap().len() > 5, "{place}");
            assert!(operation["responses"].as_object().unwrap().len() > 1, "{place}");
            // Every described path exists: only what has no domain is not found.
            let at = path.replace("{name}", "a.customer.example");
            let reply = edge.call(&method.to_uppercase(), &at).json(json!({})).send().await;
            assert_ne!(reply.status.as_u16(), 405, "{place}");
            if reply.status == 404 {
                let detail = reply.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains("registered"), "{place}: {detail}");
            } else {
                let status = reply.status.as_u16().to_string();
                assert!(
                    operation["responses"].get(&status).is_some(),
                    "{place} answers {status}: {reply:?}"
                );
            }
        }
    }
    // Every endpoint is described.
    assert_eq!(described, api::endpoints().len());
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|r| r.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
    for rust in ["`None`", "[`"] {
        let found = text
            .find(rust)
            .map(|at| text[at.saturating_sub(80)..].chars().take(160).collect::<String>());
        assert_eq!(found, None, "callers read no Rust");
    }
}

#[tokio::test]
async fn the_description_is_fit_for_generated_clients() {
    let edge = Harness::start(vec![]).await;
    let document = edge.get("/openapi.json").await.json();
    let mut names = Vec::new();
    for endpoint in api::endpoints() {
        let method = endpoint.method.as_str().to_lowercase();
        let operation = &document["paths"][endpoint.path][&method];
        let place = format!("{method} {}", endpoint.path);
        let name = operation["operationId"].as_str().unwrap().to_owned();
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()), "{place}: {name}");
        assert!(!names.contains(&name), "{name} comes twice");
        names.push(name);
        let tag = operation["tags"][0].as_str().unwrap();
        let tags = document["tags"].as_array().unwrap();
        assert_eq!(tags.iter().filter(|t| t["name"] == tag).count(), 1, "{place}: {tag}");
        let responses = &operation["responses"];
        for status in ["401", "403", "429"] {
            assert_eq!(
                responses.get(status).is_some(),
                endpoint.rule.role.is_some(),
                "{place} {status}"
            );
        }
        for (status, response) in responses.as_object().unwrap() {
            let response = response["$ref"].as_str().map_or(response, |reference| {
                document.pointer(reference.trim_start_matches('#')).unwrap()
            });
            assert!(response["description"].as_str().unwrap().len() > 3, "{place} {status}");
            let is_refusal = !status.starts_with('2') && endpoint.path != "/readyz";
            if is_refusal {
                assert!(
                    response["content"].get("application/problem+json").is_some(),
                    "{place} {status}"
                );
            }
        }
        for parameter in operation["parameters"].as_array().unwrap() {
            let schema = &parameter["schema"];
            assert!(!schema.to_string().contains("null"), "{place}: {parameter}");
            if parameter["name"] == "limit" {
                let bounds = (&schema["type"], &schema["minimum"], &schema["maximum"]);
                assert_eq!(bounds, (&json!("integer"), &json!(1), &json!(1000)), "{place}");
            }
        }
        let body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str();
        if let Some(reference) = body {
            let schema = document.pointer(reference.trim_start_matches('#')).unwrap();
            assert!(schema["examples"][0].is_object(), "{place} has an example");
        }
    }
    let records = &document["components"]["schemas"]["RequestedRecord"]["properties"];
    assert_eq!(records["type"]["enum"], json!(["CNAME", "TXT", "A", "AAAA", "MX"]));
}

#[tokio::test]
async fn shapes_have_the_keys_that_are_sent() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    let document = edge.get("/openapi.json").await.json();
    for (path, described) in [
        ("/v1/domains/a.customer.example", "/v1/domains/{name}"),
        ("/v1/domains", "/v1/domains"),
        ("/v1/issuer", "/v1/issuer"),
        ("/v1/audit", "/v1/audit"),
        ("/v1/domains/a.customer.example/timeline", "/v1/domains/{name}/timeline"),
        ("/v1/domains/a.customer.example/dns", "/v1/domains/{name}/dns"),
        ("/readyz", "/readyz"),
    ] {
        let sent = edge.get(path).await.json();
        let place = &document["paths"][described]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let reference = place["$ref"].as_str().unwrap().trim_start_matches('#');
        let schema = document.pointer(reference).unwrap();
        let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&sent), keys(&schema["properties"]), "{path}");
    }
}
