//! Port 80.

use super::*;

#[tokio::test(flavor = "local")]
async fn plain_http_redirects_to_https_where_that_works() {
    let edge = Edge::new();
    let got = edge
        .method(Via::Http, "Links.Customer.Example:80", Method::POST, "/u/a%2Fb?x=1&y")
        .await;
    assert_eq!(
        (got.status, got.header(LOCATION)),
        (
            StatusCode::PERMANENT_REDIRECT,
            "https://links.customer.example/u/a%2Fb?x=1&y"
        )
    );
    assert_eq!(got.header(CACHE_CONTROL), "no-store");
    for (method, status) in [
        (Method::GET, StatusCode::FOUND),
        (Method::HEAD, StatusCode::FOUND),
        (Method::PUT, StatusCode::PERMANENT_REDIRECT),
        (Method::DELETE, StatusCode::PERMANENT_REDIRECT),
        (Method::OPTIONS, StatusCode::PERMANENT_REDIRECT),
    ] {
        let got = edge
            .method(Via::Http, CUSTOMER, method.clone(), "/c/a{b}|c?x=^`%&y=%2F")
            .await;
        assert_eq!(
            (got.status, got.header(LOCATION), got.header(CACHE_CONTROL)),
            (
                status,
                "https://links.customer.example/c/a%7Bb%7D%7Cc?x=%5E%60%25&y=%2F",
                "no-store"
            ),
            "{method}"
        );
    }
    let edge = Edge::with(|s| s.public_https_port = 8443, |_| {});
    assert_eq!(
        edge.get(Via::Http, CUSTOMER, "/").await.header(LOCATION),
        "https://links.customer.example:8443/"
    );
    // The certificate expires: the links are served over HTTP.
    edge.context.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(
        edge.get(Via::Http, CUSTOMER, &click("acme", "https://example.com/"))
            .await
            .header(LOCATION),
        "https://example.com/"
    );
}

#[tokio::test(flavor = "local")]
async fn requests_that_a_cdn_took_over_https_are_served() {
    let edge = Edge::new();
    let path = click("acme", "https://example.com/");
    for (name, value) in [("X-Forwarded-Proto", "https"), ("CF-Visitor", "{\"scheme\":\"https\"}")] {
        let request = Request::get(&path).header(name, value);
        let got = edge.send(Via::Http, CUSTOMER, request, "").await;
        assert_eq!(
            (got.status, got.header(LOCATION)),
            (StatusCode::FOUND, "https://example.com/"),
            "{name}"
        );
        let path = format!("/u/{}", minter("acme").unsubscribe(&message(), 9));
        let request = Request::post(path).header(name, value);
        let got = edge
            .send(Via::Http, CUSTOMER, request, "List-Unsubscribe=One-Click")
            .await;
        assert_eq!(got.status, StatusCode::OK, "{name}");
    }
    let request = Request::get(&path).header("X-Forwarded-Proto", "http");
    let got = edge.send(Via::Http, CUSTOMER, request, "").await;
    assert!(got.header(LOCATION).starts_with("https://links.customer.example/c/"));
    let request = Request::get(&path).header("X-Forwarded-Proto", "https");
    let got = edge.send(Via::Http, "unknown.example", request, "").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    assert_eq!(edge.events().len(), 4);
}

#[tokio::test(flavor = "local")]
async fn plain_http_serves_links_while_a_certificate_is_pending() {
    let edge = Edge::new();
    let path = click("acme", "https://example.com/");
    assert_eq!(
        edge.get(Via::Http, PENDING, &path).await.header(LOCATION),
        "https://example.com/"
    );
    assert_eq!(
        edge.events()[0]["request"],
        serde_json::json!({"method": "GET", "version": "HTTP/1.1"})
    );
    let mut off = record(PENDING, Some("acme"), Reason::Queued);
    off.http_while_pending = false;
    edge.context.registry.put(&off);
    assert_eq!(edge.get(Via::Http, PENDING, &path).await.status, StatusCode::NOT_FOUND);
    edge.context
        .registry
        .put(&record(PENDING, Some("acme"), Reason::Denied));
    assert_eq!(edge.get(Via::Http, PENDING, &path).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        edge.get(Via::Http, "unknown.example", &path).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(edge.admission.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "local")]
async fn while_the_registry_loads_admission_is_asked() {
    let edge = Edge::with(|_| {}, |c| c.registry = Registry::new());
    let path = click("acme", "https://example.com/");
    assert_eq!(
        edge.get(Via::Http, PENDING, &path).await.header(LOCATION),
        "https://example.com/"
    );
    assert_eq!(
        edge.get(Via::Http, "unknown.example", &path).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(edge.admission.asked.load(Ordering::Relaxed), 2);
    assert!(edge.context.registry.is_empty());
}
