//! The frame of the pages: headers, languages, files, the brand.

use super::browser::{Browser, csrf, has_headers, is_page};
use super::*;

#[tokio::test]
async fn every_answer_of_a_page_has_the_security_headers() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    let stranger = browser.get("/").await;
    assert_eq!(
        (stranger.status.as_u16(), stranger.header("location")),
        (303, "/sign-in?next=%2F")
    );
    has_headers(&stranger);
    is_page(&browser.get("/sign-in").await, 200);
    is_page(&browser.sign_in("wrong-token-0123456789").await, 403);
    has_headers(&browser.sign_in(VIEWER).await);
    is_page(&browser.get("/").await, 200);
    is_page(&browser.get("/nothing-here").await, 404);
    is_page(&browser.get("/?nonsense=%ff&%zz").await, 400);
    is_page(&browser.post("/", &[]).await, 403);
    let csrf = csrf(&browser.get("/").await);
    is_page(&browser.post("/", &[("csrf", &csrf)]).await, 405);
    // Errors of the API stay JSON.
    edge.call("GET", "/v1/domains")
        .header("accept", "text/html")
        .send()
        .await
        .is_problem(401, "unauthorized");
    edge.get("/nothing-here").await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn without_tokens_the_pages_work_on_loopback_under_its_names() {
    let edge = Harness::start(vec![]).await;
    let mut browser = Browser::new(&edge);
    let home = browser.get("/").await;
    is_page(&home, 200);
    assert!(!home.text().contains("Sign out"), "{home:?}");
    assert_eq!(browser.get("/sign-in").await.header("location"), "/");
    let rebound = browser.call("GET", "/").header("host", "evil.example").send().await;
    is_page(&rebound, 403);
    // Forms need a token there, too.
    is_page(&browser.post("/sign-out", &[]).await, 403);
    let local = edge.call("GET", "/").header("host", "localhost").send().await;
    is_page(&local, 200);
}

#[tokio::test]
async fn the_language_comes_from_query_cookie_or_header() {
    let edge = Harness::start(vec![]).await;
    let mut browser = Browser::new(&edge);
    let lang = |reply: &Reply| {
        let (_, rest) = reply.text().split_once("<html lang=\"").unwrap();
        rest[..2].to_owned()
    };
    let accepts = |accepted: &str| edge.call("GET", "/").header("accept-language", accepted).send();
    assert_eq!(lang(&accepts("de-AT, en;q=0.5").await), "de");
    assert_eq!(lang(&accepts("fr").await), "en");
    assert_eq!(lang(&browser.get("/?lang=de").await), "de");
    assert_eq!(lang(&browser.get("/").await), "de");
    assert_eq!(lang(&browser.get("/?lang=en").await), "en");
}

#[tokio::test]
async fn files_may_be_cached_indefinitely() {
    let edge = Harness::start(three_tokens()).await;
    let page = edge.call("GET", "/sign-in").send().await;
    let paths: Vec<_> = page.text().split('"').filter(|p| p.starts_with("/assets/")).collect();
    assert!(paths.len() >= 3, "{page:?}");
    for path in paths {
        let file = edge.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        let known = edge
            .call("GET", path)
            .header("if-none-match", file.header("etag"))
            .send()
            .await;
        assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    }
    assert_eq!(edge.get("/assets/pages-0000000000000000.css").await.status, 404);
}

#[tokio::test]
async fn the_brand_is_served_as_files() {
    let edge = Harness::start(vec![]).await;
    let mut settings = settings_with(vec![]);
    settings.pages.accent = "#ffee00".parse().unwrap();
    settings.pages.support = Some("mailto:help@platform.example".parse().unwrap());
    settings.logo = Some(linkseal_config::pages::Logo {
        extension: "svg",
        bytes: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>".to_vec(),
    });
    edge.admin.set_settings(settings);
    let page = Browser::new(&edge).get("/").await;
    assert!(
        page.text().contains("href=\"mailto:help@platform.example\""),
        "{page:?}"
    );
    let find = |what: &str| {
        let mut all = page
            .text()
            .split('"')
            .filter(|p| p.starts_with(&format!("/assets/{what}-")));
        all.next().unwrap_or_else(|| panic!("{what}: {page:?}")).to_owned()
    };
    let colours = edge.get(&find("brand")).await;
    assert!(
        colours.text().contains("--accent:#ffee00;--on-accent:#000000;"),
        "{colours:?}"
    );
    let logo = edge.get(&find("logo")).await;
    assert_eq!(logo.header("content-type"), "image/svg+xml");
    // Opened as a document, it does not run scripts.
    assert!(logo.header("content-security-policy").contains("sandbox"), "{logo:?}");
}
