//! What a form must carry to be accepted.

use super::browser::{Browser, csrf, is_page};
use super::*;

#[tokio::test]
async fn a_foreign_form_changes_nothing() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    let token = csrf(&browser.get("/").await);
    let body = format!("csrf={token}");
    let own = format!("http://{}", edge.address);
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("x-nothing", "x"),
    ] {
        let refused = browser
            .form("/sign-out", body.clone())
            .header(header, value)
            .send()
            .await;
        is_page(&refused, 403);
    }
    // From this origin, but without the token, with another session's, or with a part of it.
    let mut other = Browser::new(&edge);
    let others = csrf(&other.get("/sign-in").await);
    for bad in ["", &others, &token[..token.len() - 1]] {
        is_page(&browser.post("/sign-out", &[("csrf", bad)]).await, 403);
    }
    let text = browser
        .call("POST", "/sign-out")
        .header("sec-fetch-site", "same-origin");
    is_page(
        &text
            .header("content-type", "text/plain")
            .body(body.clone())
            .send()
            .await,
        403,
    );
    is_page(&browser.get("/").await, 200);
    let right = browser.form("/sign-out", body).header("origin", &own).send().await;
    assert_eq!(right.status, 303);
    assert_eq!(browser.get("/").await.status, 303);
}

#[tokio::test]
async fn the_size_of_a_form_is_bounded() {
    let edge = Harness::start(vec![]).await;
    let browser = Browser::new(&edge);
    let large = "x".repeat((1 << 20) + 1);
    let call = browser.form("/sign-out", large).header("sec-fetch-site", "same-origin");
    is_page(&call.send().await, 413);
}
