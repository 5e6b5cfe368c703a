//! The webhook sink: batches of events in signed HTTP requests (Standard Webhooks 1.0).
//!
//! A request that an endpoint answers with 2xx is held. Other answers, and none, are a reason to come
//! again with the same `webhook-id` and the same body: after 1, 5, 15, 30 and then every 60 s, as the
//! head of a queue is retried, or when the endpoint's `Retry-After` says so, within bounds. (The
//! schedule that Standard Webhooks suggests is for one message among others: here all wait behind
//! it.) A 4xx says that the request would be refused again, with the exceptions in `meaning`: its
//! events are then tried in halves, down to the one that is refused, which is set aside. 410 stops
//! the sink until its settings change, the configuration is reloaded, or an operator retries it.
//! Redirects are not followed: where events go is what the configuration says.

mod connect;
mod message;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::fault::with_causes;
use linkseal_net::http_client::{HttpClient, HttpError, Pool, read_body};
use linkseal_net::retry_after::RetryAfter;
use rustls::ClientConfig;
use uuid::Uuid;

use self::connect::Connector;
use self::message::Message;
use super::{Retry, Sink, SinkError};
use crate::journal::Record;
use crate::settings::{WebhookSecret, WebhookSettings};

/// For one request, from connecting to the answer's head: Standard Webhooks wants 15 to 30 s.
const TIMEOUT: Duration = Duration::from_secs(20);
/// For what comes after the head of an answer: it is only for the log.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Most bytes of an answer's body that are read.
const BODY_MAX: usize = 16 << 10;
/// Most characters of it that are logged.
const BODY_LOGGED: usize = 200;
/// How long a connection stays for the next request.
const IDLE: Duration = Duration::from_secs(60);
/// Longest pause that an endpoint can ask for: events wait behind it, and one small request in
/// this time harms no endpoint.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Shortest pause that an endpoint can ask for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// The sink.
pub(super) struct WebhookSink {
    client: HttpClient<HttpsConnector<Connector>>,
    name: String,
    url: Uri,
    secrets: Vec<WebhookSecret>,
    batch: usize,
    clock: Clock,
    /// The last event of the last message that was taken. `None`: none was.
    taken: Option<(Uuid, u64)>,
}

impl WebhookSink {
    /// A sink that has connected to nothing yet.
    pub(super) fn new(name: &str, settings: &WebhookSettings, tls: ClientConfig, clock: &Clock) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(Connector::new(settings.allow_private));
        let pool = Pool {
            max_idle: 1,
            idle_timeout: IDLE,
        };
        Self {
            client: HttpClient::new(connector, TIMEOUT, pool),
            name: name.to_owned(),
            url: settings.url.clone(),
            secrets: settings.secrets.clone(),
            batch: settings.batch,
            clock: clock.clone(),
            taken: None,
        }
    }

    async fn send(&self, message: &Message) -> Result<(), SinkError> {
        let now = self.clock.now();
        let mut request = Request::post(&self.url).header(CONTENT_TYPE, "application/json");
        for (name, value) in message.headers(&self.secrets, now) {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(message.body.clone()))
            .map_err(|e| SinkError::later(format!("the request cannot be made: {e}")))?;
        let answer = self.client.send(request).await.map_err(|e| match e {
            HttpError::Timeout(limit) => {
                SinkError::later(format!("{} gave no answer within {} s", self.host(), limit.as_secs()))
            }
            e => SinkError::later(format!("{}: {}", self.host(), with_causes(&e))),
        });
        let (head, body) = answer?.into_parts();
        let said = tokio::time::timeout(BODY_TIMEOUT, read(body)).await.unwrap_or_default();
        if head.status.is_success() {
            return Ok(());
        }
        Err(self.refusal(head.status, &head.headers, &said))
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, said: &str) -> SinkError {
        let asked = headers.get(RETRY_AFTER).filter(|_| may_ask(status));
        let retry = match asked.and_then(|v| pause_asked(v, self.clock.now())) {
            Some(pause) => Retry::After(pause),
            None => meaning(status),
        };
        let advice = match status {
            s if s.is_redirection() => "; redirects are not followed: configure the URL that it leads to",
            StatusCode::PAYLOAD_TOO_LARGE => "; configure a smaller `batch`",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "; it may not accept the signature: look at `secret_files`, and at what stands before it"
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; look at `url`",
            _ => "",
        };
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        SinkError {
            cause: format!("{} answered {status}{advice}{said}", self.host()),
            retry,
        }
    }

    /// The endpoint's host, for the log: paths of webhooks may hold tokens.
    fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

#[async_trait]
impl Sink for WebhookSink {
    async fn deliver(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        // Earlier messages of a batch whose later ones failed.
        let taken = |r: &&Record| self.taken.is_some_and(|(boot, seq)| boot == r.boot && seq >= r.seq);
        let batch = batch.get(batch.iter().take_while(taken).count()..).unwrap_or_default();
        for message in message::messages(&self.name, batch, self.batch) {
            self.send(&message).await?;
            self.taken = Some(message.last);
        }
        Ok(())
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn needs_stable_batches(&self) -> bool {
        true
    }

    fn forget_accepted(&mut self) {
        self.taken = None;
    }
}

/// What a status other than 2xx says of another attempt.
fn meaning(status: StatusCode) -> Retry {
    match status {
        StatusCode::GONE => Retry::Never,
        // They are about the moment, not about what was sent.
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Retry::Later
        }
        // They may be about any request of ours.
        StatusCode::UNAUTHORIZED
        | StatusCode::PAYMENT_REQUIRED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::UPGRADE_REQUIRED => Retry::AllRejected,
        s if s.is_client_error() => Retry::Rejected,
        _ => Retry::Later,
    }
}

/// Whether an answer with this status may say when to come again.
fn may_ask(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// What `Retry-After` asks for, within bounds.
fn pause_asked(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let pause = RetryAfter::parse(value.to_str().ok()?)?.delay(now);
    Some(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// The beginning of an answer's body, fit for a log. Reading it to its end also lets the
/// connection be used again.
async fn read(body: Incoming) -> String {
    let Ok(body) = read_body(body, BODY_MAX).await else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    text.trim().escape_debug().take(BODY_LOGGED).collect()
}
