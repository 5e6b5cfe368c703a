//! No text of others becomes markup.

use super::browser::{Browser, csrf, is_page};
use super::*;

/// Everything about the domain except its name is this text.
const EVIL: &str = "\"'><img src=x onerror=alert(1)><script>alert(2)<\u{2f}script>";

fn is_escaped(reply: &Reply) {
    let text = reply.text();
    for raw in ["<img src=x", "<script>alert", "onerror=alert(1)>"] {
        assert!(!text.contains(raw), "{raw} in {text}");
    }
}

#[tokio::test]
async fn foreign_text_is_escaped() {
    let edge = Harness::start(vec![]).await;
    let (name, tenant) = ("right.customer.example", EVIL.replace('/', " "));
    let records = serde_json::json!([{"type": "TXT", "host": EVIL, "value": EVIL}]);
    let new = serde_json::json!({"name": name, "tenant": tenant, "records": records});
    assert_eq!(edge.post("/v1/domains", new).await.status, 201);
    // The CA's error and an entry of the timeline.
    let mut record = edge.store.domain(&super::name(name)).await.unwrap().unwrap();
    let error = serde_json::json!({"type": EVIL, "detail": EVIL, "at": edge.clock.now(), "subproblems": []});
    record.ssl.last_error = serde_json::from_value(error).unwrap();
    let line = serde_json::json!({"id": 0, "at": edge.clock.now(), "event": EVIL, "reason": "ok", "detail": EVIL});
    let mut change = linkseal_store::Transition::of(record);
    change.timeline = vec![serde_json::from_value(line).unwrap()];
    edge.store.transition(change).await.unwrap();

    let mut settings = settings_with(vec![]);
    settings.pages.name = "<b>\"Mail\" & Söhne</b>".parse().unwrap();
    edge.admin.set_settings(settings);

    let mut browser = Browser::new(&edge);
    let query: String = form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    let own = format!("/domains/{name}");
    for path in ["", "/dns", "/history", "/share"] {
        let page = browser.get(&format!("{own}{path}")).await;
        is_page(&page, 200);
        is_escaped(&page);
        assert!(
            page.text().contains("&lt;b&gt;&quot;Mail&quot; &amp; Söhne"),
            "{page:?}"
        );
    }
    // It is shown, not left out.
    assert!(browser.get(&own).await.text().contains("&lt;img src=x onerror"));
    for path in [
        format!("/?q={query}"),
        format!("/?tenant={query}"),
        format!("/?state={query}"),
        format!("/?cursor={query}"),
        format!("/?{query}={query}"),
        format!("/domains/{query}"),
        format!("{own}?done={query}"),
        format!("{own}/dns?at={query}"),
        format!("{own}/history?cursor={query}"),
        format!("/sign-in?next={query}"),
        format!("/?lang={query}"),
        format!("/{query}"),
        format!("/share/{query}"),
        "/".to_owned(),
    ] {
        is_escaped(&browser.get(&path).await);
    }
    let token = csrf(&browser.get("/register").await);
    for (path, field) in [
        ("/register", "name"),
        ("/register", "tenant"),
        ("/register", "sending_domain"),
        ("/import", "lines"),
        ("/sign-in", "token"),
    ] {
        let reply = browser.post(path, &[("csrf", &token), (field, EVIL)]).await;
        assert_ne!(reply.status, 303, "{path} {field}");
        is_escaped(&reply);
    }
}
