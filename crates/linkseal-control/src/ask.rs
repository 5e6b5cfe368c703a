//! The platform's `ask` endpoint: whether a name that is not registered may have a certificate.
//!
//! Answers are cached both ways, in bounds; many handshakes for one name make one question;
//! questions are bounded in number and time, and each client network has a share of them. "No" and
//! "no answer" are different things: a certificate that is held is never taken away by either.

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

use super::complaints::Complaints;

/// Answers kept at most; beyond, the least used go.
const CACHED_ANSWERS: u64 = 100_000;
/// A missing answer is kept that long, so that a dead endpoint is not hammered.
const UNREACHABLE_FOR: Duration = Duration::from_secs(5);
/// Questions at once; more wait, bounded by their own timeout.
pub(super) const CONCURRENT: usize = 32;
/// And for the names that come from one client network.
const OF_NETWORK: usize = CONCURRENT / 4;
/// Between two lines of the log about the same: anyone can send names without end.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
/// The largest answer read: a tenant's name.
const MAX_ANSWER: usize = 4_096;

/// Connections kept for the next question.
const POOL: Pool = Pool {
    max_idle: 4,
    idle_timeout: Duration::from_secs(90),
};

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
    client: HttpClient,
    answers: Cache<DomainName, Answer>,
    permits: Semaphore,
    turns: Turns,
    complaints: Complaints,
    began: Instant,
    total: IntCounterVec,
}

impl Asker {
    /// Asks at `settings.url`.
    ///
    /// # Errors
    /// TLS cannot be set up.
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
            complaints: Complaints::every(COMPLAIN_EVERY),
            began: Instant::now(),
            total,
        }))
    }

    /// The answer for a name that a client sent, from memory or from the platform. The names of one
    /// network wait for each other, and no other's wait with them.
    pub(super) async fn ask_for(&self, name: &DomainName, asking: ClientNetwork) -> Answer {
        if let Some(answer) = self.answers.get(name).await {
            return answer;
        }
        let turn = self.turns.take(asking.network());
        match tokio::time::timeout(self.settings.timeout, turn).await {
            Ok(Some(_turn)) => self.ask(name).await,
            // Not kept: another network's turn may come sooner.
            _ => Answer::Unreachable,
        }
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
            .body(Full::default())
            .ok()?;
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => {
                self.complain(name, "the ask endpoint cannot be reached", "", &error);
                return None;
            }
        };
        match response.status().as_u16() {
            200..=299 => {
                let Ok(body) = read_body(response.into_body(), MAX_ANSWER).await else {
                    let most = format_args!("{MAX_ANSWER} bytes are read");
                    self.complain(
                        name,
                        "the ask endpoint's answer broke off, or is too long; it is not used",
                        "",
                        &most,
                    );
                    return None;
                };
                match tenant_in(&body) {
                    Ok(tenant) => Some(Answer::Yes { tenant }),
                    Err(wrong) => {
                        let why = format_args!(
                            "{wrong}: a yes is a body without JSON, or {{\"tenant\": …}} with 1 to {MAX_TENANT} bytes, no control characters and no slash"
                        );
                        self.complain(name, "the ask endpoint's answer is not used", wrong, &why);
                        None
                    }
                }
            }
            403 | 404 => Some(Answer::No),
            status => {
                self.complain(
                    name,
                    "the ask endpoint answers neither yes nor no (2xx, 403, 404)",
                    "",
                    &status,
                );
                None
            }
        }
    }

    /// Tells it for the first name that has this cause, then counts for a while.
    fn complain(&self, name: &DomainName, what: &str, cause: &'static str, why: &dyn Display) {
        if let Some(left_out) = self.complaints.due(what, cause, self.began.elapsed()) {
            tracing::warn!(domain = %name, why = %why, left_out, "{what}");
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
    use std::sync::{Mutex, PoisonError};

    use linkseal_base::testing::Written;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

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
    async fn names_without_end_from_one_network_keep_no_other_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = asker(listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(0));
        let tasks = linkseal_base::shutdown::Tasks::new();
        let counted = Arc::clone(&asked);
        tasks.spawn(async move {
            // It answers for one name, and is slow about all others.
            let mut slow = Vec::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
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
            while *asked.lock().unwrap() < OF_NETWORK {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENT, full).await.expect("its share is asked");
        let bystander = name("links.bystander.example");
        let answer = asker.ask_for(&bystander, ClientNetwork::of([192, 0, 2, 0].into()));
        let answer = tokio::time::timeout(PATIENT, answer).await;
        assert_eq!(answer.expect("at once"), Answer::Yes { tenant: None });
        assert_eq!(*asked.lock().unwrap(), OF_NETWORK + 1);
        // Nor does work that is due wait for it.
        let answer = tokio::time::timeout(PATIENT, asker.ask(&bystander)).await;
        assert_eq!(answer.expect("at once"), Answer::Yes { tenant: None });
    }

    #[tokio::test]
    async fn names_without_end_make_one_line() {
        // Nothing listens there once it is dropped.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let asker = asker(listener.local_addr().unwrap().port());
        drop(listener);
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt().with_writer(written.clone()).finish();
        let _logs = tracing::subscriber::set_default(subscriber);
        for n in 0..20 {
            let (name, from) = (
                name(&format!("n{n}.example.com")),
                ClientNetwork::of([192, 0, 2, 0].into()),
            );
            assert_eq!(asker.ask_for(&name, from).await, Answer::Unreachable);
        }
        let text = written.text();
        assert_eq!(text.matches("the ask endpoint cannot be reached").count(), 1, "{text}");
    }

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
