//! Share links: who makes them, what they open, and what they do not.

use serde_json::json;

use super::*;
use crate::clock::Timestamp;

const NAME: &str = "right.customer.example";

async fn with_domain() -> Harness {
    let edge = Harness::start(three_tokens()).await;
    let new = json!({"name": NAME, "tenant": "customer"});
    let reply = edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
    assert_eq!(reply.status, 201, "{reply:?}");
    edge
}

fn share(edge: &Harness, token: &str) -> Call {
    edge.call("POST", &format!("/v1/domains/{NAME}/share")).token(token)
}

#[tokio::test]
async fn a_link_is_made_by_support_and_written_down() {
    let edge = with_domain().await;
    share(&edge, VIEWER).send().await.is_problem(403, "forbidden");
    // Whoever asks does not choose where the customer is led.
    let made = share(&edge, SUPPORT).header("host", "evil.example").send().await;
    assert_eq!(made.status, 201, "{made:?}");
    let link = made.json();
    let path = link["url"].as_str().unwrap();
    assert!(path.starts_with("/share/") && !path.contains('?'), "{link}");
    let expires = Timestamp::parse_rfc3339(link["expires"].as_str().unwrap()).unwrap();
    let days = expires.saturating_since(edge.clock.now()).as_secs_f64() / 86_400.0;
    assert!((6.99..=7.0).contains(&days), "{link}");

    let mut settings = settings_with(three_tokens());
    settings.pages.url = Some("https://ssl.platform.example".parse().unwrap());
    edge.admin.set_settings(settings);
    let wish = json!({"expires_in": "24h", "lang": "de"});
    let link = share(&edge, SUPPORT).json(wish).send().await.json();
    let url = link["url"].as_str().unwrap();
    assert!(
        url.starts_with("https://ssl.platform.example/share/") && url.ends_with("?lang=de"),
        "{link}"
    );

    let audit = edge.call("GET", "/v1/audit").token(VIEWER).send().await.json();
    let line = &audit["entries"][0];
    assert_eq!(
        (&line["action"], &line["subject"], &line["who"]),
        (&json!("share"), &json!(NAME), &json!("support"))
    );
    assert_eq!(line["after"]["expires"], link["expires"]);
    assert!(
        !line.to_string().contains("/share/"),
        "the link itself is a secret: {line}"
    );
    for bad in [
        json!({"expires_in": "91d"}),
        json!({"expires_in": "0s"}),
        json!({"lang": "fr"}),
        json!({"days": 7}),
    ] {
        share(&edge, ADMIN)
            .json(bad)
            .send()
            .await
            .is_problem(400, "invalid_request");
    }
    let unknown = edge.call("POST", "/v1/domains/nobody.example/share").token(ADMIN);
    unknown.send().await.is_problem(404, "not_found");
    let end = edge.call("DELETE", &format!("/v1/domains/{NAME}/share")).token(VIEWER);
    end.send().await.is_problem(403, "forbidden");
}
