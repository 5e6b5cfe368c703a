//! Signing in and out, and what a session is bound to.

use super::browser::{Browser, csrf, is_page, set_cookies};
use super::*;

#[tokio::test]
async fn signing_in_begins_a_new_session_and_signing_out_ends_it() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    let first = browser.get("/sign-in?next=/domains/a.example").await;
    assert!(first.text().contains("value=\"/domains/a.example\""), "{first:?}");
    let before = browser.cookies.clone();
    let csrf_before = csrf(&first);
    let fields = [
        ("csrf", csrf_before.as_str()),
        ("token", ADMIN),
        ("next", "/domains/a.example"),
    ];
    let signed_in = browser.post("/sign-in", &fields).await;
    assert_eq!(signed_in.status, 303, "{signed_in:?}");
    assert_eq!(signed_in.header("location"), "/domains/a.example");
    let [cookie] = set_cookies(&signed_in)[..] else {
        panic!("{signed_in:?}")
    };
    for flag in [
        "linkseal=",
        "; HttpOnly",
        "; SameSite=Lax",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    // Without TLS a cookie with Secure would be lost.
    assert!(!cookie.contains("Secure"), "{cookie}");
    let home = browser.get("/").await;
    assert!(home.text().contains("Sign out"), "{home:?}");
    assert_ne!(csrf(&home), csrf_before);
    // The cookie from before signing in is worth nothing.
    let mut planter = Browser::new(&edge);
    planter.cookies = before;
    assert_eq!(planter.get("/").await.status, 303);

    let copied = browser.cookies.clone();
    let out = browser.post("/sign-out", &[("csrf", &csrf(&home))]).await;
    assert_eq!((out.status.as_u16(), out.header("location")), (303, "/sign-in"));
    assert!(set_cookies(&out)[0].starts_with("linkseal=; "), "{out:?}");
    let mut copy = Browser::new(&edge);
    copy.cookies = copied;
    assert_eq!(copy.get("/").await.status, 303);
    let audit = edge.call("GET", "/v1/audit").token(VIEWER).send().await.json();
    assert_eq!(
        (&audit["entries"][0]["action"], &audit["entries"][0]["who"]),
        (&"sign_in".into(), &"admin".into())
    );
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_with_time() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    is_page(&browser.get("/").await, 200);
    edge.admin
        .set_settings(settings_with(three_tokens().into_iter().take(2).collect()));
    assert_eq!(browser.get("/").await.status, 303);
    browser.sign_in(SUPPORT).await;
    edge.clock.advance(Duration::from_secs(3_500));
    is_page(&browser.get("/").await, 200);
    edge.clock.advance(Duration::from_secs(3_500));
    is_page(&browser.get("/").await, 200);
    edge.clock.advance(Duration::from_secs(3_600));
    assert_eq!(browser.get("/").await.status, 303);
}

#[tokio::test]
async fn over_tls_the_session_cookie_has_the_host_prefix() {
    let edge = Harness::start(three_tokens()).await;
    let mut settings = settings_with(three_tokens());
    settings.pages.url = Some("https://ssl.platform.example".parse().unwrap());
    edge.admin.set_settings(settings);
    // Behind a proxy that terminates TLS and passes the Host on.
    let proxied = edge.call("GET", "/sign-in").header("host", "ssl.platform.example");
    let proxied = proxied.send().await;
    let [cookie] = set_cookies(&proxied)[..] else {
        panic!("{proxied:?}")
    };
    assert!(
        cookie.starts_with("__Host-linkseal=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    assert!(cookie.contains("; Path=/;") && !cookie.contains("Domain"), "{cookie}");
    // A cookie that was set without TLS is not accepted as a session there.
    let mut plain = Browser::new(&edge);
    assert_eq!(plain.sign_in(ADMIN).await.status, 303);
    is_page(&plain.get("/").await, 200);
    let planted = plain.call("GET", "/").header("host", "ssl.platform.example");
    assert_eq!(planted.send().await.status, 303);
}

#[tokio::test]
async fn a_session_does_not_authenticate_api_requests() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    is_page(&browser.get("/").await, 200);
    let api = browser.call("GET", "/v1/domains").send().await;
    api.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn an_expired_sign_in_form_is_shown_again() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    let token = csrf(&browser.get("/sign-in").await);
    edge.clock.advance(Duration::from_secs(3_600));
    let late = browser.post("/sign-in", &[("csrf", &token), ("token", ADMIN)]).await;
    assert_eq!((late.status.as_u16(), late.header("location")), (303, "/sign-in"));
    assert_eq!(browser.get("/").await.status, 303, "the session has ended");
}

#[tokio::test]
async fn wrong_tokens_are_throttled_on_the_pages_and_in_the_api() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    let known = Browser::new(&edge).sign_in(VIEWER).await;
    for _ in 0..10 {
        is_page(&browser.sign_in("wrong-token-0123456789").await, 403);
        let wrong = edge
            .call("GET", "/v1/domains")
            .token("wrong-token-0123456789")
            .send()
            .await;
        wrong.is_problem(401, "unauthorized");
    }
    let wrong = browser.sign_in("wrong-token-0123456789").await;
    is_page(&wrong, 429);
    assert!(wrong.header("retry-after").parse::<u32>().unwrap() <= 30, "{wrong:?}");
    let wrong = edge.call("GET", "/v1/domains").token("wrong-token-0123456789");
    wrong.send().await.is_problem(429, "rate_limited");
    // Valid tokens are admitted throughout.
    assert_eq!(edge.call("GET", "/v1/domains").token(ADMIN).send().await.status, 200);
    assert_eq!(Browser::new(&edge).sign_in(ADMIN).await.status, 303);
    // A session is not affected.
    let mut signed_in = Browser::new(&edge);
    signed_in.keep(&known);
    is_page(&signed_in.get("/").await, 200);
    edge.clock.advance(Duration::from_secs(31));
    is_page(&browser.sign_in("wrong-token-0123456789").await, 403);
}

#[tokio::test]
async fn scripts_get_401_after_the_session_has_ended() {
    let edge = Harness::start(three_tokens()).await;
    let fetched = edge.call("GET", "/").header("sec-fetch-mode", "cors").send().await;
    is_page(&fetched, 401);
}
