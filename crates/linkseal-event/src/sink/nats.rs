//! The NATS sink: publishes each event as a message to a JetStream stream, which acknowledges it.
//!
//! `Nats-Msg-Id` is the event's id: a message whose acknowledgement was lost is sent again, and the
//! stream drops it within its duplicate window (two minutes by default; make it as long as the broker
//! may be unavailable, or have consumers deduplicate by `id`). While the stream is missing, full or
//! unreachable, events wait in the journal and are retried in order.
//!
//! To keep the order, a connection is used only until its first failure: a client that reconnects by
//! itself would send what it had queued before the messages lost on the way.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Auth, AuthError, ConnectOptions, HeaderMap, header};
use async_trait::async_trait;
use linkseal_base::fault::with_causes;
use rustls::ClientConfig;
use secrecy::ExposeSecret;

use super::{Retry, Sink, SinkError, event_id};
use crate::journal::lines::Lines;
use crate::settings::{NatsLogin, NatsSettings};

/// Most events read from the journal at once.
const BATCH: usize = 1_000;
/// Most messages in flight without an acknowledgement.
const IN_FLIGHT: usize = 256;
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// For connecting, and for logging in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct NatsSink {
    settings: NatsSettings,
    tls: ClientConfig,
    /// `None` before the first connection and after a failure.
    stream: Option<Context>,
}

impl NatsSink {
    pub(super) fn new(settings: &NatsSettings, tls: ClientConfig) -> Self {
        Self {
            settings: settings.clone(),
            tls,
            stream: None,
        }
    }

    async fn stream(&mut self) -> Result<Context, SinkError> {
        if let Some(stream) = &self.stream {
            return Ok(stream.clone());
        }
        let (login, connected) = (self.login(), Arc::new(AtomicBool::new(false)));
        let before = Arc::clone(&connected);
        let options = ConnectOptions::with_auth_callback(move |_| {
            // Refusing the second login ends a client whose connection broke.
            let login = match before.load(Ordering::Acquire) {
                true => Err(AuthError::new(
                    "the connection broke; a new client is created for the next batch",
                )),
                false => Ok(login.clone()),
            };
            async move { login }
        })
        .name("linkseal")
        .connection_timeout(CONNECT_TIMEOUT)
        .client_capacity(IN_FLIGHT)
        .tls_client_config(self.tls.clone());
        let client = tokio::time::timeout(CONNECT_TIMEOUT * 2, options.connect(&self.settings.url))
            .await
            .map_err(|_| SinkError::later(format!("{}: connecting timed out", self.settings.url)))?
            .map_err(|e| SinkError::later(format!("{}: {}", self.settings.url, with_causes(&e))))?;
        connected.store(true, Ordering::Release);
        let stream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(IN_FLIGHT)
            .build(client);
        Ok(self.stream.insert(stream).clone())
    }

    async fn publish(&self, stream: &Context, batch: &Lines) -> Result<(), SinkError> {
        let mut waiting: VecDeque<PublishAckFuture> = VecDeque::with_capacity(IN_FLIGHT);
        for record in batch.records() {
            if waiting.len() >= IN_FLIGHT
                && let Some(oldest) = waiting.pop_front()
            {
                oldest.await.map_err(|e| self.failure(&e))?;
            }
            let mut headers = HeaderMap::new();
            headers.insert(
                header::NATS_MESSAGE_ID,
                event_id(record.boot, record.seq, &record.json).as_str(),
            );
            let sent = stream.publish_with_headers(self.settings.subject.clone(), headers, record.json);
            waiting.push_back(sent.await.map_err(|e| self.failure(&e))?);
        }
        for acknowledgement in waiting {
            acknowledgement.await.map_err(|e| self.failure(&e))?;
        }
        Ok(())
    }

    fn login(&self) -> Auth {
        let mut auth = Auth::new();
        match &self.settings.login {
            NatsLogin::None => {}
            NatsLogin::Token(token) => auth.token = Some(token.expose_secret().to_owned()),
            NatsLogin::User { name, password } => {
                auth.username = Some(name.clone());
                auth.password = Some(password.expose_secret().to_owned());
            }
        }
        auth
    }

    fn failure(&self, error: &PublishError) -> SinkError {
        let subject = &self.settings.subject;
        let retry = if is_too_large(error) {
            Retry::Rejected
        } else {
            Retry::Later
        };
        let cause = match error.kind() {
            PublishErrorKind::StreamNotFound => format!(
                "{}: no stream has the subject {subject}; create one, for example with: nats stream add --subjects {subject}",
                self.settings.url
            ),
            PublishErrorKind::TimedOut => format!(
                "{}: no acknowledgement within {} s",
                self.settings.url,
                ACK_TIMEOUT.as_secs()
            ),
            _ => format!("{}: {}", self.settings.url, with_causes(error)),
        };
        SinkError { cause, retry }
    }
}

/// Whether a message is larger than the server or the stream takes: it would be refused again.
fn is_too_large(error: &PublishError) -> bool {
    let by_stream = error
        .source()
        .and_then(|source| source.downcast_ref::<jetstream::Error>())
        .is_some_and(|e| e.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
    by_stream || error.kind() == PublishErrorKind::MaxPayloadExceeded
}

#[async_trait]
impl Sink for NatsSink {
    async fn deliver(&mut self, batch: &Lines) -> Result<(), SinkError> {
        let stream = self.stream().await?;
        let published = self.publish(&stream, batch).await;
        if published.is_err() {
            self.stream = None;
        }
        published
    }

    fn batch(&self) -> usize {
        BATCH
    }
}
