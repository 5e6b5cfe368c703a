//! `/openapi.json`.

use serde_json::json;

use super::*;
use crate::api;

#[tokio::test]
async fn the_description_covers_every_endpoint() {
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
            // Every described path exists: 404 only for the unknown domain.
            let at = path.replace("{name}", "a.customer.example");
            let reply = edge.call(&method.to_uppercase(), &at).json(json!({})).send().await;
            assert_ne!(reply.status.as_u16(), 405, "{place}");
            if reply.status == 404 {
                let detail = reply.json()["detail"].as_str().unwrap().to_owned();
                assert!(
                    detail.contains("registered") || detail.contains("no sink is named"),
                    "{place}: {detail}"
                );
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
        assert!(document.pointer(reference).is_some(), "{reference} is dangling");
    }
    for rust in ["`None`", "[`"] {
        let found = text
            .find(rust)
            .map(|at| text[at.saturating_sub(80)..].chars().take(160).collect::<String>());
        assert_eq!(found, None, "callers read no Rust");
    }
}

#[tokio::test]
async fn the_description_suits_generated_clients() {
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
            let is_error = !status.starts_with('2') && endpoint.path != "/readyz";
            if is_error {
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
async fn schemas_have_the_keys_that_are_sent() {
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
        ("/v1/mass-failure", "/v1/mass-failure"),
        ("/v1/suspicion", "/v1/suspicion"),
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

#[tokio::test]
async fn the_former_path_of_the_mass_failure_guard_is_deprecated() {
    let edge = Harness::start(vec![]).await;
    let document = edge.get("/openapi.json").await.json();
    let (now, former) = (
        &document["paths"]["/v1/mass-failure"],
        &document["paths"]["/v1/suspicion"],
    );
    assert_eq!(now["delete"]["operationId"], "endMassFailureHold");
    assert_eq!(former["delete"]["operationId"], "endSuspicion");
    for method in ["get", "delete"] {
        assert_eq!(former[method]["deprecated"], true);
        assert_eq!(now[method].get("deprecated"), None);
    }
    let states = [edge.get("/v1/mass-failure").await, edge.get("/v1/suspicion").await];
    let unset = |active: &str, checks: &str, failed: &str, suppressed: &str| json!({active: false, "since": null, checks: 0, failed: 0, "allowed": 10, suppressed: 0, "trusted_until": null});
    assert_eq!(states[0].json(), unset("active", "checks", "failed", "suppressed"));
    assert_eq!(states[1].json(), unset("suspects_itself", "looks", "turned", "doubted"));
}
