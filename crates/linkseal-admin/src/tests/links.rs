//! Stored redirects, kill switches, and inspecting links.

use linkseal_link::{Destination, Message, Minter};
use serde_json::json;

use super::*;

#[tokio::test]
async fn redirects_are_stored_listed_and_deleted() {
    let edge = Harness::start(three_tokens()).await;
    let call = |method: &str, path: &str| edge.call(method, path).token(ADMIN);
    call("POST", "/v1/domains")
        .json(json!({"name": "a.customer.example"}))
        .send()
        .await;
    let own = "/v1/redirects/sale?domain=a.customer.example";
    let new = json!({"url": "https://shop.example/ä", "expires": "2030-01-01T00:00:00Z"});
    let put = call("PUT", own).json(new.clone()).send().await;
    assert_eq!(put.status, 201, "{put:?}");
    let stored = put.json();
    assert_eq!(
        (&stored["domain"], &stored["slug"], &stored["url"], &stored["expires"]),
        (
            &json!("a.customer.example"),
            &json!("sale"),
            &new["url"],
            &new["expires"]
        )
    );
    let again = call("PUT", own)
        .json(json!({"url": "https://shop.example/2"}))
        .send()
        .await;
    assert_eq!((again.status.as_u16(), &again.json()["expires"]), (200, &json!(null)));
    for slug in ["a", "b", "sale"] {
        let path = format!("/v1/redirects/{slug}");
        let put = call("PUT", &path)
            .json(json!({"url": "https://all.example/"}))
            .send()
            .await;
        assert_eq!(put.status, 201);
    }
    assert_eq!(call("GET", own).send().await.json()["url"], "https://shop.example/2");
    assert_eq!(
        call("GET", "/v1/redirects/sale").send().await.json()["domain"],
        json!(null)
    );
    let page = call("GET", "/v1/redirects?limit=2").send().await.json();
    let slugs = |page: &Value| {
        let all = page["redirects"].as_array().unwrap().clone();
        all.iter()
            .map(|r| (r["domain"].clone(), r["slug"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(slugs(&page), [(json!(null), json!("a")), (json!(null), json!("b"))]);
    let next = format!("/v1/redirects?cursor={}", page["next"].as_str().unwrap());
    let page = call("GET", &next).send().await.json();
    assert_eq!(
        slugs(&page),
        [
            (json!(null), json!("sale")),
            (json!("a.customer.example"), json!("sale"))
        ]
    );
    assert_eq!(page["next"], json!(null));
    let page = call("GET", "/v1/redirects?domain=a.customer.example")
        .send()
        .await
        .json();
    assert_eq!(slugs(&page).len(), 1);

    // Whitespace around a pasted URL is removed.
    let pasted = json!({"url": " https://shop.example/a b\t\n"});
    let put = call("PUT", own).json(pasted).send().await;
    assert_eq!(
        (put.status.as_u16(), &put.json()["url"]),
        (200, &json!("https://shop.example/a b"))
    );
    let pasted = json!({"fallback_url": "https://shop.example/gone "});
    let patched = call("PATCH", "/v1/domains/a.customer.example")
        .json(pasted)
        .send()
        .await;
    assert_eq!(patched.json()["fallback_url"], "https://shop.example/gone");
    call("PUT", own)
        .json(json!({"url": "https://shop.example/2"}))
        .send()
        .await;
    let bad = json!({"url": "javascript:alert(1)"});
    call("PUT", own)
        .json(bad)
        .send()
        .await
        .is_problem(400, "invalid_request");
    call("PUT", "/v1/redirects/a%20b")
        .json(new.clone())
        .send()
        .await
        .is_problem(400, "invalid_request");
    call("PUT", "/v1/redirects/x?domain=-")
        .json(new.clone())
        .send()
        .await
        .is_problem(400, "invalid_name");
    call("PUT", "/v1/redirects/x?domain=unknown.example")
        .json(new.clone())
        .send()
        .await
        .is_problem(404, "not_found");
    call("GET", "/v1/redirects/x").send().await.is_problem(404, "not_found");
    let viewer = edge.call("PUT", own).token(VIEWER).json(new).send().await;
    viewer.is_problem(403, "forbidden");

    assert_eq!(call("DELETE", own).send().await.status, 204);
    call("DELETE", own).send().await.is_problem(404, "not_found");
    let audit = call("GET", "/v1/audit?limit=1").send().await.json();
    let line = &audit["entries"][0];
    assert_eq!(
        (&line["action"], &line["subject"], &line["before"]["url"]),
        (
            &json!("redirect_delete"),
            &json!("a.customer.example/r/sale"),
            &json!("https://shop.example/2")
        )
    );
}

#[tokio::test]
async fn kill_switches_are_set_listed_and_deleted() {
    let edge = Harness::start(three_tokens()).await;
    let call = |method: &str, path: &str| edge.call(method, path).token(ADMIN);
    let host = "/v1/kills/host/Evil.example";
    let put = edge
        .call("PUT", host)
        .token(SUPPORT)
        .json(json!({"note": "phishing"}))
        .send()
        .await;
    assert_eq!(put.status, 201, "{put:?}");
    let stored = put.json();
    assert_eq!(
        (&stored["kind"], &stored["value"], &stored["note"], &stored["by"]),
        (
            &json!("host"),
            &json!("evil.example"),
            &json!("phishing"),
            &json!("support")
        )
    );
    let evil = Destination::new("https://login.evil.example/").unwrap();
    let switches = edge.control.operator().kills().switches();
    assert!(switches.hit("acme", None, &evil).is_some());
    assert_eq!(call("PUT", host).json(json!({})).send().await.status, 200);
    assert_eq!(
        call("PUT", "/v1/kills/tenant/k%C3%B6%20x")
            .json(json!({}))
            .send()
            .await
            .status,
        201
    );
    assert_eq!(
        call("GET", "/v1/kills/tenant/k%C3%B6%20x").send().await.json()["value"],
        "kö x"
    );
    let page = call("GET", "/v1/kills?limit=1").send().await.json();
    assert_eq!(page["kills"][0]["value"], "evil.example");
    let next = format!("/v1/kills?cursor={}", page["next"].as_str().unwrap());
    let page = call("GET", &next).send().await.json();
    assert_eq!(
        (&page["kills"][0]["value"], &page["next"]),
        (&json!("kö x"), &json!(null))
    );
    // A kill switch for an address works with any spelling.
    let put = call("PUT", "/v1/kills/host/0xcb007105").json(json!({})).send().await;
    assert_eq!(
        (put.status.as_u16(), &put.json()["value"]),
        (201, &json!("203.0.113.5"))
    );
    let evil_address = Destination::new("https://203.0.28933/").unwrap();
    assert!(switches.hit("acme", None, &evil_address).is_some());
    assert_eq!(call("DELETE", "/v1/kills/host/3405803781").send().await.status, 204);
    assert!(switches.hit("acme", None, &evil_address).is_none());
    for bad in ["/v1/kills/key/1", "/v1/kills/message/7", "/v1/kills/host/a%2Fb"] {
        call("PUT", bad)
            .json(json!({}))
            .send()
            .await
            .is_problem(400, "invalid_request");
    }
    edge.call("DELETE", host)
        .token(SUPPORT)
        .send()
        .await
        .is_problem(403, "forbidden");
    assert_eq!(call("DELETE", host).send().await.status, 204);
    assert!(switches.hit("acme", None, &evil).is_none());
    call("DELETE", host).send().await.is_problem(404, "not_found");
    call("GET", host).send().await.is_problem(404, "not_found");
}

#[tokio::test]
async fn inspecting_matches_the_edge() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    edge.registry.set_loaded();
    let put = async |path: &str, body: Value| edge.call("PUT", path).json(body).send().await.status.as_u16();
    let inspect = async |url: String| edge.post("/v1/links/inspect", json!({"url": url})).await.json();
    let issued = edge.clock.now().minus(Duration::from_secs(600));
    let message = Message {
        id: uuid::Uuid::from_u128(7),
        issued_at: u32::try_from(issued.as_secs()).unwrap(),
    };
    let key = LinkKey::from_hex(1, &"07".repeat(32)).unwrap();
    let minter = Minter::new(&key, "a.customer.example");
    let token = minter.click(&message, 3, &Destination::new("https://evil.example/x").unwrap());
    let link = format!("https://a.customer.example/c/{token}");
    assert_eq!(inspect(link.clone()).await["finding"], "valid");
    // The inspector ignores what the edge ignores, and unwraps links of mail gateways.
    let decorated = inspect(format!("{link}%22%3E")).await;
    assert_eq!(
        (&decorated["finding"], &decorated["valid"]),
        (&json!("valid"), &json!(true))
    );
    let encoded: String = form_urlencoded::byte_serialize(link.as_bytes()).collect();
    let wrapped = inspect(format!(
        "https://eur01.safelinks.protection.outlook.com/?url={encoded}&data=05"
    ))
    .await;
    assert_eq!(
        (&wrapped["finding"], &wrapped["host"]),
        (&json!("valid"), &json!("a.customer.example"))
    );
    let said = wrapped["explanation"].as_str().unwrap();
    assert!(said.contains("eur01.safelinks.protection.outlook.com"), "{said}");
    let word = inspect("x".into()).await;
    assert_ne!(word["finding"], "wrong_host");
    assert!(!word["explanation"].as_str().unwrap().starts_with(' '), "{word}");
    let elsewhere = inspect(format!("https://unknown.example/c/{token}")).await;
    assert_eq!(
        (&elsewhere["finding"], &elsewhere["valid"], &elsewhere["tenant"]),
        (&json!("wrong_host"), &json!(false), &json!("a.customer.example"))
    );
    assert_eq!(put("/v1/kills/host/evil.example", json!({})).await, 201);
    let killed = inspect(link.clone()).await;
    assert_eq!(
        (&killed["finding"], &killed["killed"]),
        (&json!("killed"), &json!("host"))
    );
    let old = Settings {
        max_age: Some(Duration::from_secs(300)),
        ..settings_with(vec![])
    };
    edge.admin.set_settings(old);
    assert_eq!(inspect(link).await["finding"], "too_old");

    let stored = "https://a.customer.example/r/sale".to_owned();
    assert_eq!(inspect(stored.clone()).await["finding"], "unknown_redirect");
    assert_eq!(
        put("/v1/redirects/sale", json!({"url": "https://shop.example/"})).await,
        201
    );
    let found = inspect(stored.clone()).await;
    assert_eq!(
        (&found["finding"], &found["destination"], &found["slug"]),
        (&json!("valid"), &json!("https://shop.example/"), &json!("sale"))
    );
    assert_eq!(inspect(format!("{stored}.,")).await["finding"], "valid");
    let past = json!({"url": "https://shop.example/", "expires": "2020-01-01T00:00:00Z"});
    assert_eq!(put("/v1/redirects/sale?domain=a.customer.example", past).await, 201);
    assert_eq!(inspect(stored).await["finding"], "expired_redirect");
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
    // Minted for the host, the default, while the domain belongs to another tenant.
    let moved = edge.call("PATCH", "/v1/domains/c.customer.example");
    edge.add("c.customer.example").await;
    assert_eq!(
        moved
            .json(json!({"tenant": "acme", "former_tenants": []}))
            .send()
            .await
            .status,
        200
    );
    let token = Minter::new(&key, "c.customer.example").click(&message, 3, &destination);
    let url = format!("https://c.customer.example/c/{token}");
    for body in [json!({"url": url}), json!({"url": url, "tenant": "acmee"})] {
        let found = edge.post("/v1/links/inspect", body).await.json();
        assert_eq!(
            (&found["finding"], &found["tenant"]),
            (&json!("other_tenant"), &json!("c.customer.example")),
            "{found}"
        );
    }
}

#[tokio::test]
async fn a_kill_switch_for_an_unknown_tenant_comes_with_a_hint() {
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
