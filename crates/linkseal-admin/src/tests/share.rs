//! Share links: who creates them, and what they open.

use linkseal_base::clock::Timestamp;
use serde_json::json;

use super::browser::{csrf, is_page};
use super::*;

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
async fn support_creates_links_with_an_audit_entry() {
    let edge = with_domain().await;
    share(&edge, VIEWER).send().await.is_problem(403, "forbidden");
    // The caller does not choose the host of the link.
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

/// The path of a new link.
async fn link(edge: &Harness) -> String {
    let made = share(edge, SUPPORT).send().await;
    made.json()["url"].as_str().unwrap().to_owned()
}

async fn view(edge: &Harness, path: &str) -> Reply {
    let reply = edge.call("GET", path).header("accept", "text/html").send().await;
    assert_eq!(reply.header("set-cookie"), "", "{reply:?}");
    reply
}

/// Sends a form from a shared page.
async fn send(edge: &Harness, path: &str, csrf: &str) -> Reply {
    edge.call("POST", path)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(format!("csrf={csrf}"))
        .send()
        .await
}

#[tokio::test]
async fn a_link_opens_one_domain_and_verifying_only() {
    let edge = with_domain().await;
    let path = link(&edge).await;
    let page = view(&edge, &path).await;
    is_page(&page, 200);
    assert!(page.text().contains(NAME), "{page:?}");
    assert!(
        !page.text().contains("by admin"),
        "names of tokens are not for customers: {page:?}"
    );
    for not in [
        "href=\"/\"",
        "/issuer",
        "/register",
        "/pause",
        "/reissue",
        "Sign out",
        "sign-in",
    ] {
        assert!(!page.text().contains(not), "{not}: {page:?}");
    }
    let dns = view(&edge, &format!("{path}/dns")).await;
    is_page(&dns, 200);
    let token = csrf(&dns);
    let verified = send(&edge, &format!("{path}/verify"), &token).await;
    assert_eq!(verified.status, 303, "{verified:?}");
    let next = verified.header("location");
    assert!(
        next.starts_with(&format!("{path}/dns?")) && next.ends_with("lang=en"),
        "{next}"
    );
    is_page(&view(&edge, next).await, 200);
    // It is in the timeline only, because anyone with the link could fill the audit log.
    let audit = edge.call("GET", "/v1/audit").token(VIEWER).send().await.json();
    assert_eq!(audit["entries"][0]["action"], "share");
    let timeline = format!("/v1/domains/{NAME}/timeline");
    let timeline = edge.call("GET", &timeline).token(VIEWER).send().await.json();
    assert_eq!(
        (&timeline["entries"][0]["event"], &timeline["entries"][0]["detail"]),
        (&json!("verify"), &json!("by share link"))
    );
    // Pages that are not shared do not exist below the link.
    for rest in ["/pause", "/http", "/reissue", "/share", "/history"] {
        for method in ["GET", "POST"] {
            let call = edge
                .call(method, &format!("{path}{rest}"))
                .header("accept", "text/html");
            let reply = call.header("sec-fetch-site", "same-origin").send().await;
            assert_eq!((reply.status.as_u16(), reply.text()), (303, ""), "{method} {rest}");
            assert!(reply.header("location").starts_with("/sign-in"), "{reply:?}");
        }
    }
    // And the link is neither a token nor a session elsewhere.
    let secret = path.trim_start_matches("/share/");
    edge.call("GET", "/v1/domains")
        .token(secret)
        .send()
        .await
        .is_problem(401, "unauthorized");
    let call = edge.call("GET", "/").header("accept", "text/html");
    let stranger = call.header("cookie", &format!("linkseal={secret}")).send().await;
    assert_eq!(stranger.status, 303);
    let german = view(&edge, &format!("{path}?lang=de")).await;
    assert!(german.text().contains("<html lang=\"de\">"));
    assert!(german.text().contains(&format!("{path}/dns?lang=de")), "{german:?}");
}

#[tokio::test]
async fn forms_of_a_shared_page_must_come_from_it() {
    let edge = with_domain().await;
    let (one, other) = (link(&edge).await, {
        edge.clock.advance(Duration::from_secs(2));
        link(&edge).await
    });
    let (own, foreign) = (
        csrf(&view(&edge, &format!("{one}/dns")).await),
        csrf(&view(&edge, &format!("{other}/dns")).await),
    );
    assert_ne!(own, foreign);
    let verify = format!("{one}/verify");
    for bad in ["", &foreign] {
        is_page(&send(&edge, &verify, bad).await, 403);
    }
    let call = edge.call("POST", &verify).header("sec-fetch-site", "cross-site");
    let form = call.header("content-type", "application/x-www-form-urlencoded");
    is_page(&form.body(format!("csrf={own}")).send().await, 403);
    assert_eq!(send(&edge, &verify, &own).await.status, 303);
}

#[tokio::test]
async fn forged_expired_and_revoked_links_open_nothing() {
    let edge = with_domain().await;
    let path = link(&edge).await;
    is_page(&view(&edge, &path).await, 200);
    let (start, end) = path.split_at(path.len() - 3);
    let forged = format!("{start}{}", if end == "AAA" { "BBB" } else { "AAA" });
    for bad in [forged.as_str(), "/share/x", "/share/AAAA", &path[..path.len() - 1]] {
        is_page(&view(&edge, bad).await, 404);
    }
    let end = edge.call("DELETE", &format!("/v1/domains/{NAME}/share")).token(SUPPORT);
    assert_eq!(end.send().await.status, 204);
    let gone = view(&edge, &path).await;
    is_page(&gone, 404);
    assert!(!gone.text().contains(NAME), "{gone:?}");

    let path = link(&edge).await;
    is_page(&view(&edge, &path).await, 200);
    let call = edge.call("PATCH", &format!("/v1/domains/{NAME}")).token(ADMIN);
    assert_eq!(call.json(json!({"tenant": "another"})).send().await.status, 200);
    is_page(&view(&edge, &path).await, 404);

    let path = link(&edge).await;
    is_page(&view(&edge, &path).await, 200);
    edge.clock.advance(Duration::from_secs(7 * 24 * 3600));
    is_page(&view(&edge, &path).await, 404);
}

#[tokio::test]
async fn dns_checks_per_link_are_bounded() {
    let edge = with_domain().await;
    let (path, other) = (link(&edge).await, {
        edge.clock.advance(Duration::from_secs(2));
        link(&edge).await
    });
    let dns = format!("{path}/dns");
    for _ in 0..10 {
        is_page(&view(&edge, &dns).await, 200);
    }
    let late = view(&edge, &dns).await;
    is_page(&late, 429);
    assert!(late.header("retry-after").parse::<u32>().unwrap() <= 15, "{late:?}");
    // Viewing the page still works, and so do other links.
    is_page(&view(&edge, &path).await, 200);
    is_page(&view(&edge, &format!("{other}/dns")).await, 200);
}

#[tokio::test]
async fn only_shared_pages_may_be_framed_and_only_where_configured() {
    let edge = with_domain().await;
    let path = link(&edge).await;
    let mut settings = settings_with(three_tokens());
    settings.pages.embed = vec!["https://app.platform.example".parse().unwrap()];
    edge.admin.set_settings(settings);
    let framed = view(&edge, &path).await;
    let policy = framed.header("content-security-policy");
    assert!(
        policy.ends_with("frame-ancestors https://app.platform.example"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(framed.header("x-frame-options"), "");
    // All others have the headers that `is_page` asserts.
    is_page(&edge.call("GET", "/sign-in").send().await, 200);
}
