//! Who is admitted, and to which endpoints.

use linkseal_base::testing::Written;
use serde_json::json;
use tracing::level_filters::LevelFilter;

use super::*;
use crate::api;

/// A path whose request is harmless.
fn path(path: &str) -> String {
    path.replace("{name}", "right.customer.example")
}

#[tokio::test]
async fn every_endpoint_enforces_its_role() {
    let edge = Harness::start(three_tokens()).await;
    let roles = [None, Some(Role::Viewer), Some(Role::Support), Some(Role::Admin)];
    for endpoint in api::endpoints() {
        let method = endpoint.method.as_str();
        for (role, token) in roles.iter().zip([None, Some(VIEWER), Some(SUPPORT), Some(ADMIN)]) {
            let mut call = edge.call(method, &path(endpoint.path));
            if let Some(token) = token {
                call = call.token(token);
            }
            let reply = call.json(json!({"paused": false})).send().await;
            let allowed = endpoint.rule.role.is_none_or(|needed| *role >= Some(needed));
            let place = format!("{method} {} by {role:?}: {reply:?}", endpoint.path);
            match role {
                _ if allowed => assert!(![401, 403].contains(&reply.status.as_u16()), "{place}"),
                None => {
                    reply.is_problem(401, "unauthorized");
                    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"linkseal\"", "{place}");
                }
                Some(_) => drop(reply.is_problem(403, "forbidden")),
            }
            assert_eq!(reply.header("cache-control"), "no-store", "{place}");
            assert_eq!(reply.header("x-content-type-options"), "nosniff", "{place}");
        }
    }
}

#[test]
fn viewers_cannot_change_anything() {
    for endpoint in api::endpoints() {
        let asks = ["/v1/links/inspect", "/v1/domains/https_ready"].contains(&endpoint.path);
        let harmless = endpoint.method == Method::GET || asks;
        let public = ["/healthz", "/readyz"].contains(&endpoint.path);
        match endpoint.rule.role {
            None => assert!(public, "{}", endpoint.path),
            Some(Role::Viewer) => assert!(harmless && !public, "{}", endpoint.path),
            Some(_) => assert!(!harmless, "{}", endpoint.path),
        }
    }
}

#[tokio::test]
async fn support_may_only_pause_and_resume() {
    let edge = Harness::start(three_tokens()).await;
    let new = json!({"name": "a.customer.example"});
    edge.call("POST", "/v1/domains")
        .token(SUPPORT)
        .json(new.clone())
        .send()
        .await
        .is_problem(403, "forbidden");
    let added = edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
    assert_eq!(added.status, 201);
    let patch = |body: Value| {
        edge.call("PATCH", "/v1/domains/a.customer.example")
            .token(SUPPORT)
            .json(body)
            .send()
    };
    let paused = patch(json!({"paused": true})).await.json();
    assert_eq!(
        (&paused["paused"], &paused["ssl"]["reason"]),
        (&json!(true), &json!("paused"))
    );
    patch(json!({"paused": false, "tenant": "mine"}))
        .await
        .is_problem(403, "forbidden");
    let audit = edge.call("GET", "/v1/audit").token(VIEWER).send().await.json();
    let entries = audit["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{audit}");
    assert_eq!(entries[0]["who"], "support");
    assert_eq!(entries[0]["from"], "127.0.0.1");
    assert_eq!(
        (&entries[0]["before"]["paused"], &entries[1]["action"]),
        (&Value::Null, &json!("create"))
    );
}

#[tokio::test]
async fn tokens_are_compared_in_full_and_follow_a_reload() {
    let edge = Harness::start(three_tokens()).await;
    let longer = format!("{ADMIN}x");
    for token in [&longer, "", &ADMIN[1..], "Admin-token-0123456789"] {
        edge.call("GET", "/v1/domains")
            .token(token)
            .send()
            .await
            .is_problem(401, "unauthorized");
    }
    let basic = edge
        .call("GET", "/v1/domains")
        .header("authorization", "Basic eA==")
        .send()
        .await;
    basic.is_problem(401, "unauthorized");
    assert_eq!(edge.call("GET", "/v1/domains").token(ADMIN).send().await.status, 200);
    edge.admin
        .set_settings(settings_with(three_tokens().into_iter().take(2).collect()));
    edge.call("GET", "/v1/domains")
        .token(ADMIN)
        .send()
        .await
        .is_problem(401, "unauthorized");
    // With tokens any Host is accepted.
    let named = edge
        .call("GET", "/v1/domains")
        .token(VIEWER)
        .header("host", "admin.example")
        .send()
        .await;
    assert_eq!(named.status, 200);
}

#[tokio::test]
async fn without_tokens_loopback_has_every_right_under_its_names() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    let from = |host: &str| edge.call("GET", "/v1/domains").header("host", host).send();
    for host in ["localhost:9180", "127.0.0.1", "[::1]:8443", "127.0.0.2:1"] {
        assert_eq!(from(host).await.status, 200, "{host}");
    }
    for host in [
        "rebound.example",
        "10.0.0.1",
        "localhost.evil.example",
        "[::1].evil.example",
        "evil.example:@localhost",
        "user@localhost",
    ] {
        from(host).await.is_problem(403, "forbidden");
    }
    for path in ["/v1/domains", "/"] {
        let twice = edge.call("GET", path).header("host", "localhost");
        let twice = twice.header("host", "evil.example").send().await;
        assert_eq!(twice.status, 400, "{path}: {twice:?}");
    }
    let audit = edge.get("/v1/audit").await.json();
    assert_eq!(audit["entries"][0]["who"], "local");
}

#[tokio::test]
async fn foreign_origins_cannot_change_anything() {
    let edge = Harness::start(vec![]).await;
    let body = json!({"name": "a.customer.example"});
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let call = edge
            .call("POST", "/v1/domains")
            .header("origin", origin)
            .json(body.clone());
        call.send().await.is_problem(403, "forbidden");
    }
    let own = format!("http://{}", edge.address);
    let reply = edge
        .call("POST", "/v1/domains")
        .header("origin", &own)
        .json(body)
        .send()
        .await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn endpoints_without_a_query_refuse_parameters() {
    let edge = Harness::start(three_tokens()).await;
    for endpoint in api::endpoints() {
        let method = endpoint.method.as_str();
        let send = |query: &str| {
            let path = format!("{}?{query}", path(endpoint.path));
            edge.call(method, &path).token(ADMIN).json(json!({"note": "a"})).send()
        };
        for query in ["dry_run=true", "dry_run="] {
            let reply = send(query).await;
            match endpoint.path.starts_with("/v1/") {
                true => {
                    let problem = reply.is_problem(400, "invalid_request");
                    assert!(problem["detail"].as_str().unwrap().contains("dry_run"), "{problem}");
                }
                false => assert_ne!(reply.status, 400, "{method} {}: {reply:?}", endpoint.path),
            }
        }
    }
    // An empty query is none; without a token it is refused first.
    let listed = edge.call("GET", "/v1/domains/export?").token(ADMIN).send().await;
    assert_eq!(listed.status, 200, "{listed:?}");
    edge.call("PUT", "/v1/issuer/freeze?nope=1")
        .send()
        .await
        .is_problem(401, "unauthorized");
    let state = edge.call("GET", "/v1/issuer").token(ADMIN).send().await;
    assert_eq!(state.json()["freeze"], Value::Null, "nothing was frozen");
}

#[tokio::test]
async fn an_empty_parameter_does_not_widen_a_change() {
    let edge = Harness::start(vec![]).await;
    let put = edge
        .call("PUT", "/v1/redirects/sale")
        .json(json!({"url": "https://shop.example/"}));
    assert_eq!(put.send().await.status, 201);
    for path in ["/v1/redirects/sale?domain=", "/v1/issuer/holds?ca=&domain="] {
        edge.call("DELETE", path)
            .send()
            .await
            .is_problem(400, "invalid_request");
    }
    assert_eq!(edge.get("/v1/redirects/sale?domain=").await.status, 200);
}

#[tokio::test]
async fn the_log_holds_no_whole_share_token() {
    let written = Written::default();
    let _logs = written.capture(LevelFilter::DEBUG);
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let made = edge
        .post("/v1/domains/right.customer.example/share", json!({}))
        .await
        .json();
    let link = made["url"].as_str().unwrap();
    for rest in ["", "/", "/history", "/a/b"] {
        edge.get(&format!("{link}{rest}")).await;
    }
    let text = written.text();
    let token = link.strip_prefix("/share/").unwrap();
    assert!(
        text.contains(&token[..8]) && text.contains("/v1/domains/right.customer.example/share"),
        "{text}"
    );
    assert!(!text.contains(token) && !text.contains(&token[..20]), "{text}");
}
