//! The pages' frame: signing in and out, what forms carry, what every answer says to the browser.

use super::*;

/// A browser: keeps cookies, says where it comes from.
pub(super) struct Browser<'h> {
    edge: &'h Harness,
    cookies: Vec<(String, String)>,
}

impl<'h> Browser<'h> {
    pub(super) fn new(edge: &'h Harness) -> Self {
        Self {
            edge,
            cookies: Vec::new(),
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        let reply = self.call("GET", path).send().await;
        self.keep(&reply);
        reply
    }

    /// Sends a form as a page of this server would.
    pub(super) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let reply = self.form(path, body).header("sec-fetch-site", "same-origin");
        let reply = reply.send().await;
        self.keep(&reply);
        reply
    }

    pub(super) async fn sign_in(&mut self, token: &str) -> Reply {
        let csrf = csrf(&self.get("/sign-in").await);
        self.post("/sign-in", &[("csrf", &csrf), ("token", token)]).await
    }

    fn form(&self, path: &str, body: String) -> Call {
        self.call("POST", path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    fn call(&self, method: &str, path: &str) -> Call {
        let call = self.edge.call(method, path).header("accept", "text/html");
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        match cookies.is_empty() {
            true => call,
            false => call.header("cookie", &cookies.join("; ")),
        }
    }

    fn keep(&mut self, reply: &Reply) {
        for cookie in set_cookies(reply) {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(key, _)| key != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

fn set_cookies(reply: &Reply) -> Vec<&str> {
    let all = reply.headers.get_all("set-cookie").iter();
    all.map(|c| c.to_str().unwrap()).collect()
}

/// The form token of a page.
pub(super) fn csrf(reply: &Reply) -> String {
    let text = reply.text();
    let (_, rest) = text
        .split_once("name=\"csrf\" value=\"")
        .unwrap_or_else(|| panic!("{text}"));
    rest.split('"').next().unwrap().to_owned()
}

/// That it is a page, with all that pages say to browsers.
pub(super) fn is_page(reply: &Reply, status: u16) {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8", "{reply:?}");
    assert!(reply.text().starts_with("<!DOCTYPE html>"), "{reply:?}");
    has_headers(reply);
}

fn has_headers(reply: &Reply) {
    let policy = reply.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    for (key, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(reply.header(key), value, "{reply:?}");
    }
    assert!(reply.header("permissions-policy").contains("camera=()"));
}

#[tokio::test]
async fn every_page_has_the_headers_whatever_comes_of_it() {
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
    // The API's errors stay what they are.
    edge.call("GET", "/v1/domains")
        .header("accept", "text/html")
        .send()
        .await
        .is_problem(401, "unauthorized");
    edge.get("/nothing-here").await.is_problem(401, "unauthorized");
}

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
    // Anyone who knew the cookie from before has nothing.
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
async fn a_form_from_elsewhere_changes_nothing() {
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
    // From here, but without the token, with another session's, or with part of it.
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
async fn guessing_is_bounded_on_the_pages_and_in_the_api_alike() {
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
    // Right ones are let in all the time.
    assert_eq!(edge.call("GET", "/v1/domains").token(ADMIN).send().await.status, 200);
    assert_eq!(Browser::new(&edge).sign_in(ADMIN).await.status, 303);
    // Who is signed in guesses nothing.
    let mut signed_in = Browser::new(&edge);
    signed_in.keep(&known);
    is_page(&signed_in.get("/").await, 200);
    edge.clock.advance(Duration::from_secs(31));
    is_page(&browser.sign_in("wrong-token-0123456789").await, 403);
}

#[tokio::test]
async fn without_tokens_pages_work_on_this_machine_under_its_own_names() {
    let edge = Harness::start(vec![]).await;
    let mut browser = Browser::new(&edge);
    let home = browser.get("/").await;
    is_page(&home, 200);
    assert!(!home.text().contains("Sign out"), "{home:?}");
    assert_eq!(browser.get("/sign-in").await.header("location"), "/");
    let rebound = browser.call("GET", "/").header("host", "evil.example").send().await;
    is_page(&rebound, 403);
    // Forms are guarded there too.
    is_page(&browser.post("/sign-out", &[]).await, 403);
    let local = edge.call("GET", "/").header("host", "localhost").send().await;
    is_page(&local, 200);
}

#[tokio::test]
async fn the_language_is_asked_for_then_remembered_then_negotiated() {
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
async fn files_may_be_kept_for_ever() {
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
async fn scripts_are_told_that_the_session_has_ended() {
    let edge = Harness::start(three_tokens()).await;
    let fetched = edge.call("GET", "/").header("sec-fetch-mode", "cors").send().await;
    is_page(&fetched, 401);
}

#[tokio::test]
async fn a_browser_s_form_is_bounded() {
    let edge = Harness::start(vec![]).await;
    let browser = Browser::new(&edge);
    let large = "x".repeat((1 << 20) + 1);
    let call = browser.form("/sign-out", large).header("sec-fetch-site", "same-origin");
    is_page(&call.send().await, 413);
}

/// A domain of which everything that is not a name says this.
const EVIL: &str = "\"'><img src=x onerror=alert(1)><script>alert(2)<\u{2f}script>";

fn is_escaped(reply: &Reply) {
    let text = reply.text();
    for raw in ["<img src=x", "<script>alert", "onerror=alert(1)>"] {
        assert!(!text.contains(raw), "{raw} in {text}");
    }
}

#[tokio::test]
async fn what_others_say_stays_text() {
    let edge = Harness::start(vec![]).await;
    let (name, tenant) = ("right.customer.example", EVIL.replace('/', " "));
    let records = serde_json::json!([{"type": "TXT", "host": EVIL, "value": EVIL}]);
    let new = serde_json::json!({"name": name, "tenant": tenant, "records": records});
    assert_eq!(edge.post("/v1/domains", new).await.status, 201);
    // The CA's words, and the timeline's.
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
    // It is shown, and not left out.
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

#[tokio::test]
async fn the_platform_s_looks_are_files_too() {
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
    // Opened by itself, it runs nothing either.
    assert!(logo.header("content-security-policy").contains("sandbox"), "{logo:?}");
}

#[tokio::test]
async fn under_tls_the_session_is_bound_to_the_host_and_to_tls() {
    let edge = Harness::start(three_tokens()).await;
    let mut settings = settings_with(three_tokens());
    settings.pages.url = Some("https://ssl.platform.example".parse().unwrap());
    edge.admin.set_settings(settings);
    // A proxy in front does the TLS, and passes its name on.
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
    // What was set without TLS, by a neighbour perhaps, is no session there.
    let mut plain = Browser::new(&edge);
    assert_eq!(plain.sign_in(ADMIN).await.status, 303);
    is_page(&plain.get("/").await, 200);
    let planted = plain.call("GET", "/").header("host", "ssl.platform.example");
    assert_eq!(planted.send().await.status, 303);
}

#[tokio::test]
async fn a_session_is_no_token_of_the_api() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    browser.sign_in(ADMIN).await;
    is_page(&browser.get("/").await, 200);
    let api = browser.call("GET", "/v1/domains").send().await;
    api.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_sign_in_left_open_for_too_long_is_shown_anew() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    let token = csrf(&browser.get("/sign-in").await);
    edge.clock.advance(Duration::from_secs(3_600));
    let late = browser.post("/sign-in", &[("csrf", &token), ("token", ADMIN)]).await;
    assert_eq!((late.status.as_u16(), late.header("location")), (303, "/sign-in"));
    assert_eq!(browser.get("/").await.status, 303, "the session has ended");
}
