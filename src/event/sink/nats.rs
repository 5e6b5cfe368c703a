//! The NATS sink: each event a message of a JetStream stream, held when the stream acknowledges it.
//!
//! `Nats-Msg-Id` is the event's id: a message whose acknowledgement got lost is sent again, and the
//! stream drops it within its duplicate window (two minutes unless configured on the stream; make
//! it as long as the broker may be away, or have consumers look at `id`). A stream that is missing,
//! full or unreachable refuses; events wait in the journal and come again, in order.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::{ConnectOptions, HeaderMap, header};
use async_trait::async_trait;
use rustls::ClientConfig;
use secrecy::ExposeSecret;

use super::{Sink, SinkError, chain, event_id};
use crate::event::reader::Record;
use crate::event::{NatsLogin, NatsSettings};

/// Most events read from the journal at once.
const BATCH: usize = 1_000;
/// Most messages on their way without an acknowledgement.
const IN_FLIGHT: usize = 256;
/// For an acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// For connecting and logging in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause after failures: well within a stream's usual duplicate window.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The sink.
pub(super) struct NatsSink {
    settings: NatsSettings,
    tls: ClientConfig,
    /// `None`: not connected yet. Afterwards the client itself connects again.
    stream: Option<Context>,
}

impl NatsSink {
    /// A sink that has connected to nothing yet.
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
        let mut options = ConnectOptions::new()
            .name("linkseal")
            .connection_timeout(CONNECT_TIMEOUT)
            .client_capacity(IN_FLIGHT)
            .tls_client_config(self.tls.clone());
        options = match &self.settings.login {
            NatsLogin::None => options,
            NatsLogin::Token(token) => options.token(token.expose_secret().to_owned()),
            NatsLogin::User { name, password } => {
                options.user_and_password(name.clone(), password.expose_secret().to_owned())
            }
        };
        let client = tokio::time::timeout(CONNECT_TIMEOUT * 2, options.connect(&self.settings.url))
            .await
            .map_err(|_| SinkError::later(format!("{}: no connection in time", self.settings.url)))?
            .map_err(|e| SinkError::later(format!("{}: {}", self.settings.url, chain(&e))))?;
        let stream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .ack_timeout(ACK_TIMEOUT)
            .max_ack_inflight(IN_FLIGHT)
            .build(client);
        Ok(self.stream.insert(stream).clone())
    }

    fn refused(&self, error: &PublishError) -> SinkError {
        let subject = &self.settings.subject;
        SinkError::later(match error.kind() {
            PublishErrorKind::StreamNotFound => format!(
                "{}: no stream takes the subject {subject}; make one, such as by: nats stream add --subjects {subject}",
                self.settings.url
            ),
            PublishErrorKind::TimedOut => format!(
                "{}: no acknowledgement within {} s",
                self.settings.url,
                ACK_TIMEOUT.as_secs()
            ),
            _ => format!("{}: {}", self.settings.url, chain(error)),
        })
    }
}

#[async_trait]
impl Sink for NatsSink {
    async fn deliver(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        let stream = self.stream().await?;
        let mut waiting: VecDeque<PublishAckFuture> = VecDeque::with_capacity(IN_FLIGHT);
        for record in batch {
            if waiting.len() >= IN_FLIGHT
                && let Some(oldest) = waiting.pop_front()
            {
                oldest.await.map_err(|e| self.refused(&e))?;
            }
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_MESSAGE_ID, event_id(record).as_str());
            let sent = stream.publish_with_headers(self.settings.subject.clone(), headers, record.json.clone());
            waiting.push_back(sent.await.map_err(|e| self.refused(&e))?);
        }
        for acknowledgement in waiting {
            acknowledgement.await.map_err(|e| self.refused(&e))?;
        }
        Ok(())
    }

    fn batch(&self) -> usize {
        BATCH
    }

    fn pause(&self, failures: u32) -> Duration {
        Duration::from_secs(1 << failures.saturating_sub(1).min(30)).min(PAUSE_MAX)
    }
}
