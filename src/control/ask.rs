//! The platform's `ask` endpoint: whether a name that is not registered may have a certificate.
//!
//! Answers are cached both ways, in bounds; many handshakes for one name make one question;
//! questions are bounded in number and time. "No" and "no answer" are different things: a
//! certificate that is held is never taken away by either.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use moka::future::Cache;
use prometheus::IntCounterVec;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::domain::DomainName;
use crate::domain::record::{MAX_TENANT, is_tenant};

/// Answers kept at most; beyond, the least used go.
const CACHED_ANSWERS: u64 = 100_000;
/// A missing answer is kept that long, so that a dead endpoint is not hammered.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// Questions at once; more wait, bounded by their own timeout.
const CONCURRENT: usize = 32;
/// The largest answer read: a tenant's name.
const MAX_ANSWER: usize = 4_096;

/// How to ask.
#[derive(Clone, Debug)]
pub struct AskSettings {
    /// The endpoint; `domain=NAME` is added to its query.
    pub url: http::Uri,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long an answer holds.
    pub cache: Duration,
}

/// What the platform said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name may have a certificate.
    Yes {
        /// Its tenant. `None`: the name itself.
        tenant: Option<String>,
    },
    /// It may not.
    No,
    /// There was no usable answer.
    Unreachable,
}

/// Asks, and remembers.
pub struct Asker {
    settings: AskSettings,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    answers: Cache<DomainName, Answer>,
    permits: Semaphore,
    total: IntCounterVec,
}

impl Asker {
    /// Asks at `settings.url`.
    pub fn new(settings: AskSettings, total: IntCounterVec) -> Arc<Self> {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(4)
            .build(connector);
        let expiry = Expiry { answer: settings.cache };
        let answers = Cache::builder()
            .max_capacity(CACHED_ANSWERS)
            .expire_after(expiry)
            .build();
        Arc::new(Self {
            settings,
            client,
            answers,
            permits: Semaphore::new(CONCURRENT),
            total,
        })
    }

    /// The answer for a name, from memory or from the platform.
    pub(super) async fn ask(&self, name: &DomainName) -> Answer {
        self.answers
            .get_with_by_ref(name, Box::pin(self.ask_platform(name)))
            .await
    }

    async fn ask_platform(&self, name: &DomainName) -> Answer {
        let answer = tokio::time::timeout(self.settings.timeout, async {
            let _permit = self.permits.acquire().await.ok()?;
            self.request(name).await
        })
        .await
        .ok()
        .flatten()
        .unwrap_or(Answer::Unreachable);
        let result = match answer {
            Answer::Yes { .. } => "yes",
            Answer::No => "no",
            Answer::Unreachable => "unreachable",
        };
        self.total.with_label_values(&[result]).inc();
        answer
    }

    /// `None`: no usable answer.
    async fn request(&self, name: &DomainName) -> Option<Answer> {
        let request = http::Request::get(self.uri(name)?)
            .header(http::header::ACCEPT, "application/json")
            .header(
                http::header::USER_AGENT,
                concat!("linkseal/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
            .ok()?;
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(domain = %name, %error, "the ask endpoint cannot be reached");
                return None;
            }
        };
        match response.status().as_u16() {
            200..=299 => {
                let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
                let Ok(body) = body else {
                    tracing::warn!(domain = %name, "the ask endpoint's answer broke off, or is longer than {MAX_ANSWER} bytes; it is not used");
                    return None;
                };
                match tenant_in(&body.to_bytes()) {
                    Ok(tenant) => Some(Answer::Yes { tenant }),
                    Err(wrong) => {
                        tracing::warn!(domain = %name, wrong, "the ask endpoint's answer is not used: a yes is a body without JSON, or {{\"tenant\": …}} with 1 to {MAX_TENANT} bytes, no control characters and no slash");
                        None
                    }
                }
            }
            403 | 404 => Some(Answer::No),
            status => {
                tracing::warn!(domain = %name, status, "the ask endpoint answers neither yes nor no (2xx, 403, 404)");
                None
            }
        }
    }

    fn uri(&self, name: &DomainName) -> Option<http::Uri> {
        let mut parts = self.settings.url.clone().into_parts();
        let old = parts.path_and_query.as_ref().map_or("/", |p| p.as_str());
        let separator = if old.contains('?') { '&' } else { '?' };
        // A domain name needs no escaping in a query.
        parts.path_and_query = Some(format!("{old}{separator}domain={name}").parse().ok()?);
        http::Uri::from_parts(parts).ok()
    }
}

/// The tenant that a yes names. `Ok(None)`: it names none, which many endpoints' bodies do not.
fn tenant_in(body: &[u8]) -> Result<Option<String>, &'static str> {
    let looks_like_json = body.trim_ascii_start().starts_with(b"{");
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut object)) => match object.remove("tenant") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(tenant)) if is_tenant(&tenant) => Ok(Some(tenant)),
            Some(Value::String(_)) => Err("the tenant cannot be one"),
            Some(_) => Err("the tenant is no string"),
        },
        Err(_) if looks_like_json => Err("the JSON cannot be read"),
        Ok(_) | Err(_) => Ok(None),
    }
}

struct Expiry {
    answer: Duration,
}

impl moka::Expiry<DomainName, Answer> for Expiry {
    fn expire_after_create(&self, _: &DomainName, answer: &Answer, _: std::time::Instant) -> Option<Duration> {
        Some(if *answer == Answer::Unreachable {
            UNREACHABLE_FOR
        } else {
            self.answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_names_a_tenant_that_can_be_one_or_none() {
        let of = |body: &str| tenant_in(body.as_bytes());
        for body in [
            "",
            "ok",
            "{}",
            r#"{"tenant":null}"#,
            r#"{"allowed":true}"#,
            "[]",
            "true",
        ] {
            assert_eq!(of(body), Ok(None), "{body}");
        }
        assert_eq!(of(r#" {"tenant":"acme"} "#), Ok(Some("acme".to_owned())));
        let long = format!(r#"{{"tenant":"{}"}}"#, "x".repeat(MAX_TENANT + 1));
        for body in [
            r#"{"tenant":""}"#,
            r#"{"tenant":"a/b"}"#,
            r#"{"tenant":"a\nb"}"#,
            r#"{"tenant":"a\u0000"}"#,
            r#"{"tenant":7}"#,
            r#"{"tenant":["acme"]}"#,
            r#"{"tenant":"acme""#,
            &long,
        ] {
            assert!(of(body).is_err(), "{body}");
        }
    }
}
