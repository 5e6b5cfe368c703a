//! The webhook sink: batches of events in signed HTTP requests (Standard Webhooks 1.0).
//!
//! An answer of 2xx means that the endpoint holds the events. After any other answer, or none, the
//! request is retried with the same `webhook-id` and body: after 1, 5, 15, 30 and then every 60 s, or
//! when the endpoint's `Retry-After` asks for it, within bounds. (The schedule that Standard Webhooks
//! suggests is for independent messages; here all later events wait.) A 4xx means that the request
//! would be rejected again, with the exceptions in [`retry_for`]: the batch is halved until the rejected
//! event is isolated, and that event becomes a dead letter. 410 stops the sink until its settings
//! change, the configuration is reloaded, or an operator retries it. Redirects are not followed:
//! events go only where the configuration says.

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
use crate::journal::lines::Lines;
use crate::settings::{WebhookSecret, WebhookSettings};

/// For one request, from connecting to the head of the answer: Standard Webhooks recommends 15 to
/// 30 s.
const TIMEOUT: Duration = Duration::from_secs(20);
/// For the body of an answer, which is only logged.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// How much of an answer's body is read, in bytes.
const BODY_MAX: usize = 16 << 10;
/// How much of it is logged, in characters.
const BODY_LOGGED: usize = 200;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);
/// Longest pause that an endpoint can ask for: later events wait meanwhile, and one small request in
/// this time does not harm it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Shortest pause that an endpoint can ask for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct WebhookSink {
    client: HttpClient<HttpsConnector<Connector>>,
    name: String,
    url: Uri,
    secrets: Vec<WebhookSecret>,
    batch: usize,
    clock: Clock,
    /// The last event of the last message that was accepted.
    accepted: Option<(Uuid, u64)>,
}

impl WebhookSink {
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
            accepted: None,
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
            .map_err(|e| SinkError::later(format!("the request cannot be built: {e}")))?;
        let answer = self.client.send(request).await.map_err(|e| match e {
            HttpError::Timeout(limit) => {
                SinkError::later(format!("{} gave no answer within {} s", self.host(), limit.as_secs()))
            }
            e => SinkError::later(format!("{}: {}", self.host(), with_causes(&e))),
        });
        let (head, body) = answer?.into_parts();
        let answered = tokio::time::timeout(BODY_TIMEOUT, read(body)).await.unwrap_or_default();
        if head.status.is_success() {
            return Ok(());
        }
        Err(self.failure(head.status, &head.headers, &answered))
    }

    fn failure(&self, status: StatusCode, headers: &HeaderMap, answered: &str) -> SinkError {
        let retry_after = headers.get(RETRY_AFTER).filter(|_| honours_retry_after(status));
        let retry = match retry_after.and_then(|v| requested_pause(v, self.clock.now())) {
            Some(pause) => Retry::After(pause),
            None => retry_for(status),
        };
        let advice = match status {
            s if s.is_redirection() => "; redirects are not followed: configure the final URL",
            StatusCode::PAYLOAD_TOO_LARGE => "; configure a smaller `batch`",
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "; it may not accept the signature: check `secret_files`, and proxies in front of it"
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "; check `url`",
            _ => "",
        };
        let answered = if answered.is_empty() {
            String::new()
        } else {
            format!(": {answered}")
        };
        SinkError {
            cause: format!("{} answered {status}{advice}{answered}", self.host()),
            retry,
        }
    }

    /// The endpoint's host for error texts: the path of a webhook may contain a token.
    fn host(&self) -> &str {
        self.url.host().unwrap_or_default()
    }
}

#[async_trait]
impl Sink for WebhookSink {
    async fn deliver(&mut self, batch: &Lines) -> Result<(), SinkError> {
        // Skip earlier messages of a retried batch that have been accepted.
        let accepted = self.accepted.filter(|(boot, _)| *boot == batch.boot());
        let is_accepted = |seq| accepted.is_some_and(|(_, last)| seq <= last);
        let (_, batch) = batch.split_at(batch.iter().take_while(|event| is_accepted(event.seq)).count());
        for message in message::messages(&self.name, batch, self.batch) {
            self.send(&message).await?;
            self.accepted = Some(message.last);
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
        self.accepted = None;
    }
}

/// What a status other than 2xx means for another attempt.
fn retry_for(status: StatusCode) -> Retry {
    match status {
        StatusCode::GONE => Retry::Never,
        // Transient: not about the content of the request.
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Retry::Later
        }
        // Possibly about every request of ours.
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

/// Whether `Retry-After` counts for this status.
fn honours_retry_after(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// The pause that `Retry-After` asks for, within bounds.
fn requested_pause(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let pause = RetryAfter::parse(value.to_str().ok()?)?.delay(now);
    Some(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

/// The beginning of an answer's body, escaped for the log. Reading it also lets the connection be
/// reused.
async fn read(body: Incoming) -> String {
    let Ok(body) = read_body(body, BODY_MAX).await else {
        return String::new();
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    text.trim().escape_debug().take(BODY_LOGGED).collect()
}
