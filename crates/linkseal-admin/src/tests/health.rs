//! Health, readiness and metrics.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use linkseal_base::testing::Written;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::*;

#[tokio::test]
async fn readiness_names_what_is_missing() {
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
    // The store's answer is reused for a second.
    let wait = async {
        while missing().await != ["draining", "store"] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENT, wait).await.unwrap();
    assert_eq!(edge.get("/healthz").await.status, 200);
    // It serves from memory, so without the store it is still ready.
    edge.draining.store(false, Ordering::Release);
    for path in ["/readyz", "/readyz?strict=false", "/readyz?probe=7"] {
        let reply = edge.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(
            reply.json(),
            json!({"ready": true, "missing": [], "mass_failure_guard": false, "suspects_itself": false})
        );
    }
    assert_eq!(missing().await, ["store"]);
    edge.get("/readyz?strict=maybe")
        .await
        .is_problem(400, "invalid_request");
}

#[tokio::test]
async fn the_health_port_has_only_health_and_metrics() {
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
async fn a_failing_store_is_reported_and_metrics_remain() {
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
async fn a_failing_store_is_logged_once_however_often_it_is_asked() {
    for path in ["/v1/domains", "/"] {
        let written = Written::default();
        let _logged = written.capture(LevelFilter::INFO);
        let edge = Harness::start(vec![]).await;
        edge.break_store();
        for _ in 0..3 {
            assert_eq!(edge.get(path).await.status, 503, "{path}");
        }
        let text = written.text();
        assert_eq!(text.matches("the admin API answered 503").count(), 1, "{path}: {text}");
    }
}

#[tokio::test]
async fn metrics_are_valid_for_promtool() {
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
        // Checked by promtool where it is installed.
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
