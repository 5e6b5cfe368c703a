//! A browser for the tests of the pages.

use super::*;

/// Keeps cookies, and sends forms as a page of this server would.
pub(super) struct Browser<'h> {
    edge: &'h Harness,
    pub(super) cookies: Vec<(String, String)>,
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

    pub(super) fn form(&self, path: &str, body: String) -> Call {
        self.call("POST", path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
    }

    pub(super) fn call(&self, method: &str, path: &str) -> Call {
        let call = self.edge.call(method, path).header("accept", "text/html");
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        match cookies.is_empty() {
            true => call,
            false => call.header("cookie", &cookies.join("; ")),
        }
    }

    pub(super) fn keep(&mut self, reply: &Reply) {
        for cookie in set_cookies(reply) {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(key, _)| key != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

pub(super) fn set_cookies(reply: &Reply) -> Vec<&str> {
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

/// Asserts that it is a page, with all security headers.
pub(super) fn is_page(reply: &Reply, status: u16) {
    assert_eq!(reply.status.as_u16(), status, "{reply:?}");
    assert_eq!(reply.header("content-type"), "text/html; charset=utf-8", "{reply:?}");
    assert!(reply.text().starts_with("<!DOCTYPE html>"), "{reply:?}");
    has_headers(reply);
}

pub(super) fn has_headers(reply: &Reply) {
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
