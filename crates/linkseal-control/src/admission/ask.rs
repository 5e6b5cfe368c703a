//! The client of the platform's `ask` endpoint: may a name that is not registered have a
//! certificate?
//!
//! Answers are cached, positive and negative ones, in bounds. Concurrent handshakes for one name share
//! one request; requests are bounded in number and time, and each client network has a share of
//! them. "No" and "no answer" are different: neither of them takes a stored certificate away.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use linkseal_domain::DomainName;
use linkseal_domain::admission::ClientNetwork;
use linkseal_domain::record::{MAX_TENANT, is_tenant};
use linkseal_net::http_client::{HttpClient, Pool, http1_connector, read_body};
use linkseal_net::shares::Turns;
use linkseal_net::tls_client::{self, Trust};
use moka::future::Cache;
use prometheus::IntCounterVec;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::core::log_limit::LogLimit;

/// Cached answers at most.
const CACHED_ANSWERS: u64 = 100_000;
/// How long "no answer" is cached, so that a dead endpoint is not flooded.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// Concurrent requests; any more wait within their timeout.
pub(crate) const CONCURRENT: usize = 32;
/// Concurrent requests for the names of one client network.
const OF_NETWORK: usize = CONCURRENT / 4;
/// Interval between two log lines with the same cause: any client can send names without end.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The largest body that is read; it has room for a tenant only.
const MAX_ANSWER: usize = 4_096;

/// Connections kept open for the next request.
const POOL: Pool = Pool {
    max_idle: 4,
    idle_timeout: Duration::from_secs(90),
};

/// How the endpoint is asked.
#[derive(Clone, Debug)]
pub struct AskSettings {
    /// The endpoint; `domain=NAME` is added to its query.
    pub url: http::Uri,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long an answer is cached.
    pub cache: Duration,
}

/// The answer of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name may have a certificate.
    Yes {
        /// Its tenant, if the answer names one.
        tenant: Option<String>,
    },
    /// It may not.
    No,
    /// There was no usable answer.
    Unreachable,
}

/// Asks the endpoint and caches its answers.
pub struct Asker {
    settings: AskSettings,
    client: HttpClient,
    answers: Cache<DomainName, Answer>,
    permits: Semaphore,
    turns: Turns,
    log_limit: LogLimit,
    started: Instant,
    total: IntCounterVec,
}

impl Asker {
    /// A client of the endpoint at `settings.url`; `total` counts its requests by result.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: AskSettings, total: IntCounterVec) -> Result<Arc<Self>, rustls::Error> {
        let tls = tls_client::config(Trust::PublicAnd(&[]), &[])?;
        let client = HttpClient::new(http1_connector(tls), settings.timeout, POOL);
        let expiry = Expiry { answer: settings.cache };
        let answers = Cache::builder()
            .max_capacity(CACHED_ANSWERS)
            .expire_after(expiry)
            .build();
        Ok(Arc::new(Self {
            settings,
            client,
            answers,
            permits: Semaphore::new(CONCURRENT),
            turns: Turns::new(OF_NETWORK),
            log_limit: LogLimit::every(LOG_INTERVAL),
            started: Instant::now(),
            total,
        }))
    }

    /// The answer for a name that a client sent. The names of one client network wait for each other
    /// only.
    pub(crate) async fn ask_for(&self, name: &DomainName, asking: ClientNetwork) -> Answer {
        if let Some(answer) = self.answers.get(name).await {
            return answer;
        }
        let turn = self.turns.take(asking.network());
        match tokio::time::timeout(self.settings.timeout, turn).await {
            Ok(Some(_turn)) => self.ask(name).await,
            // Not cached: another network may get its turn sooner.
            _ => Answer::Unreachable,
        }
    }

    /// The answer for a name, from the cache or from the platform.
    pub(crate) async fn ask(&self, name: &DomainName) -> Answer {
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

    async fn request(&self, name: &DomainName) -> Option<Answer> {
        let request = http::Request::get(self.uri(name)?)
            .header(http::header::ACCEPT, "application/json")
            .body(Full::default())
            .ok()?;
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => {
                self.warn(
                    name,
                    "ask endpoint unreachable; the name is not admitted for now",
                    "",
                    &error,
                );
                return None;
            }
        };
        match response.status().as_u16() {
            200..=299 => {
                let Ok(body) = read_body(response.into_body(), MAX_ANSWER).await else {
                    let most = format_args!("at most {MAX_ANSWER} bytes are read");
                    self.warn(name, "ask endpoint answer ignored: truncated or too long", "", &most);
                    return None;
                };
                match tenant_in(&body) {
                    Ok(tenant) => Some(Answer::Yes { tenant }),
                    Err(wrong) => {
                        let why = format_args!(
                            "{wrong}: expected a body without JSON, or {{\"tenant\": …}} with 1 to {MAX_TENANT} bytes, no control characters and no slash"
                        );
                        self.warn(name, "ask endpoint answer ignored", wrong, &why);
                        None
                    }
                }
            }
            403 | 404 => Some(Answer::No),
            status => {
                self.warn(
                    name,
                    "ask endpoint answered with an unexpected status (expected 2xx, 403 or 404)",
                    "",
                    &status,
                );
                None
            }
        }
    }

    /// Logs the first name with this cause; the others are counted for a while.
    fn warn(&self, name: &DomainName, message: &str, cause: &'static str, error: &dyn Display) {
        if let Some(suppressed) = self.log_limit.due(message, cause, self.started.elapsed()) {
            tracing::warn!(domain = %name, %error, suppressed, "{message}");
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

/// The tenant in the body of a positive answer; many endpoints send none.
fn tenant_in(body: &[u8]) -> Result<Option<String>, &'static str> {
    let looks_like_json = body.trim_ascii_start().starts_with(b"{");
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut object)) => match object.remove("tenant") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(tenant)) if is_tenant(&tenant) => Ok(Some(tenant)),
            Some(Value::String(_)) => Err("the tenant is not valid"),
            Some(_) => Err("the tenant is not a string"),
        },
        Err(_) if looks_like_json => Err("the JSON is not valid"),
        Ok(_) | Err(_) => Ok(None),
    }
}

struct Expiry {
    answer: Duration,
}

impl moka::Expiry<DomainName, Answer> for Expiry {
    fn expire_after_create(&self, _: &DomainName, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(if *answer == Answer::Unreachable {
            UNREACHABLE_FOR
        } else {
            self.answer
        })
    }
}

#[cfg(test)]
mod tests {

    use linkseal_base::testing::Written;
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tracing::level_filters::LevelFilter;

    use super::*;

    const PATIENT: Duration = Duration::from_secs(30);

    fn asker(port: u16) -> Arc<Asker> {
        let settings = AskSettings {
            url: format!("http://127.0.0.1:{port}/ask").parse().unwrap(),
            timeout: PATIENT * 2,
            cache: PATIENT,
        };
        let total = IntCounterVec::new(prometheus::Opts::new("asked", "asked"), &["result"]).unwrap();
        Asker::new(settings, total).unwrap()
    }

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[tokio::test]
    async fn endless_names_from_one_network_do_not_delay_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = asker(listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(0));
        let tasks = linkseal_base::shutdown::Tasks::new();
        let counted = Arc::clone(&asked);
        tasks.spawn(async move {
            // Answers for one name, and never for the others.
            let mut slow = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                *counted.lock() += 1;
                if String::from_utf8_lossy(&head).contains("domain=links.bystander.example") {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    socket.write_all(answer).await.unwrap();
                }
                slow.push(socket);
            }
        });
        for n in 0..200 {
            let asker = Arc::clone(&asker);
            let from = ClientNetwork::of([198, 51, 100, 0].into());
            tasks.spawn(async move { asker.ask_for(&name(&format!("n{n}.attacker.example")), from).await });
        }
        let full = async {
            while *asked.lock() < OF_NETWORK {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENT, full)
            .await
            .expect("its share is in flight");
        let bystander = name("links.bystander.example");
        let answer = asker.ask_for(&bystander, ClientNetwork::of([192, 0, 2, 0].into()));
        let answer = tokio::time::timeout(PATIENT, answer).await;
        assert_eq!(answer.expect("at once"), Answer::Yes { tenant: None });
        assert_eq!(*asked.lock(), OF_NETWORK + 1);
        // Scheduled work does not wait for it either.
        let answer = tokio::time::timeout(PATIENT, asker.ask(&bystander)).await;
        assert_eq!(answer.expect("at once"), Answer::Yes { tenant: None });
    }

    #[tokio::test]
    async fn endless_names_cause_one_log_line() {
        // Nothing listens there once it is dropped.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = asker(listener.local_addr().unwrap().port());
        drop(listener);
        let written = Written::default();
        let _logs = written.capture(LevelFilter::INFO);
        for n in 0..20 {
            let (name, from) = (
                name(&format!("n{n}.example.com")),
                ClientNetwork::of([192, 0, 2, 0].into()),
            );
            assert_eq!(asker.ask_for(&name, from).await, Answer::Unreachable);
        }
        let text = written.text();
        assert_eq!(text.matches("ask endpoint unreachable").count(), 1, "{text}");
    }

    #[test]
    fn a_positive_answer_names_a_valid_tenant_or_none() {
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
