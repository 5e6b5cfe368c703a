//! How the pages and reports show a freeze of all orders.

use serde_json::json;

use super::browser::{Browser, csrf, is_page};
use super::*;

const NAME: &str = "right.customer.example";

/// The text of the banner of a page, without tags.
fn banner(page: &Reply) -> String {
    is_page(page, 200);
    let (_, rest) = page
        .text()
        .split_once("id=\"freeze\"")
        .unwrap_or_else(|| panic!("{page:?}"));
    let (_, rest) = rest.split_once('>').unwrap();
    let (inside, _) = rest.split_once("</div>").unwrap();
    let mut text = String::new();
    for part in inside.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    text
}

async fn frozen() -> Harness {
    let mut tokens = three_tokens();
    tokens.push(AdminToken {
        name: "acme".to_owned(),
        role: Role::Support,
        tenant: Some("acme".to_owned()),
        token: SecretString::from(ACME),
    });
    let edge = Harness::start(tokens).await;
    let new = json!({"name": NAME, "tenant": "acme"});
    edge.call("POST", "/v1/domains").token(ADMIN).json(new).send().await;
    let freeze = edge.call("PUT", "/v1/issuer/freeze").token(ADMIN);
    assert_eq!(freeze.json(json!({"note": "incident 7"})).send().await.status, 201);
    edge
}

const ACME: &str = "acme-token-0123456789";

#[tokio::test]
async fn pages_on_which_visitors_wait_show_the_freeze() {
    let edge = frozen().await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(SUPPORT).await;
    let paths = ["", "/dns", "/history", "/share"].map(|rest| format!("/domains/{NAME}{rest}"));
    let paths = || paths.iter().map(String::as_str).chain(["/", "/issuer"]);
    for path in paths() {
        let said = banner(&browser.get(path).await);
        assert!(said.starts_with("All orders have been frozen since "), "{path}: {said}");
        assert!(said.ends_with(" by admin: incident 7"), "{path}: {said}");
    }
    let said = banner(&browser.get("/issuer?lang=de").await);
    assert!(said.starts_with("Alle Bestellungen sind angehalten seit "), "{said}");
    assert!(said.ends_with(" von admin: incident 7"), "{said}");
    browser.get("/?lang=en").await;

    // The reason and the token are for the platform only.
    let mut tenant = Browser::new(&edge);
    tenant.sign_in(ACME).await;
    let shared = edge.call("POST", &format!("/v1/domains/{NAME}/share")).token(SUPPORT);
    let shared = shared.send().await.json()["url"].as_str().unwrap().to_owned();
    let mut guest = Browser::new(&edge);
    for page in [
        tenant.get("/").await,
        tenant.get(&format!("/domains/{NAME}")).await,
        guest.get(&shared).await,
        guest.get(&format!("{shared}/dns")).await,
    ] {
        let said = banner(&page);
        assert!(said.starts_with("All orders have been frozen since "), "{said}");
        assert!(
            !page.text().contains("incident 7") && !said.contains("admin"),
            "{page:?}"
        );
    }

    let thaw = edge.call("DELETE", "/v1/issuer/freeze").token(ADMIN).send().await;
    assert!(thaw.status.is_success(), "{thaw:?}");
    for path in paths() {
        assert_eq!(banner(&browser.get(path).await), "", "{path}");
    }
}

#[tokio::test]
async fn a_report_shows_the_freeze() {
    let edge = frozen().await;
    let verify = |token: &'static str| {
        edge.call("POST", &format!("/v1/domains/{NAME}/verify"))
            .token(token)
            .send()
    };
    let seen = verify(SUPPORT).await.json()["freeze"].clone();
    assert_eq!((&seen["note"], &seen["by"]), (&json!("incident 7"), &json!("admin")));
    let since = seen["since"].clone();
    assert_eq!(
        verify(ACME).await.json()["freeze"],
        json!({"since": since, "note": null, "by": null})
    );
    let dns = edge
        .call("GET", &format!("/v1/domains/{NAME}/dns"))
        .token(VIEWER)
        .send()
        .await;
    assert_eq!(dns.json()["freeze"]["by"], "admin");
    edge.call("DELETE", "/v1/issuer/freeze").token(ADMIN).send().await;
    assert_eq!(verify(SUPPORT).await.json()["freeze"], Value::Null);
}

#[tokio::test]
async fn reissue_during_a_freeze_is_refused_in_terms_of_the_pages() {
    let edge = frozen().await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    let path = format!("/domains/{NAME}");
    let token = csrf(&browser.get(&path).await);
    let refused = browser.post(&format!("{path}/reissue"), &[("csrf", &token)]).await;
    is_page(&refused, 409);
    assert!(!refused.text().contains("DELETE"), "{refused:?}");
    assert!(refused.text().contains("All orders are frozen"), "{refused:?}");
}
