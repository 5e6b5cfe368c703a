//! A domain's SSL state as the admin API and the events show it (docs/specification.md §6 and §7).

use linkseal_base::clock::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::messages;
use super::ssl::{LastError, Reason, State};
use super::{DomainRecord, Text};

/// The SSL state of a domain.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Ssl")]
pub struct SslView<'a> {
    /// The state.
    pub state: State,
    /// The reason for the state.
    pub reason: Reason,
    /// The reason as a sentence for people, with what to change.
    pub message: Text,
    /// Since when the reason applies.
    pub since: Timestamp,
    /// The beginning of the certificate's validity; null if there never was a certificate.
    pub not_before: Option<Timestamp>,
    /// The end of the certificate's validity; null if there never was a certificate.
    pub not_after: Option<Timestamp>,
    /// The certificate's issuer; null if there never was a certificate.
    pub issuer: Option<&'a str>,
    /// The certificate's serial number in hexadecimal; null if there never was a certificate.
    pub serial: Option<&'a str>,
    /// The names that the certificate is for.
    pub sans: &'a [String],
    /// When the certificate will be renewed; null if there is none.
    pub renew_at: Option<Timestamp>,
    /// Consecutive failed attempts.
    pub attempts: u32,
    /// The time of the next order or DNS check; null if none is scheduled.
    pub next_attempt: Option<Timestamp>,
    /// When a queued order is expected to complete; null if none is queued, or the time is not known.
    pub eta: Option<Timestamp>,
    /// The error of the CA in the last attempt; null if that succeeded.
    pub last_error: Option<&'a LastError>,
}

impl<'a> SslView<'a> {
    /// Of a domain's record.
    pub fn of(record: &'a DomainRecord, context: messages::Context<'_>) -> Self {
        let ssl = &record.ssl;
        let certificate = ssl.certificate.as_ref();
        Self {
            state: ssl.state(),
            reason: ssl.reason,
            message: messages::message(record, context),
            since: ssl.since,
            not_before: certificate.map(|c| c.not_before),
            not_after: certificate.map(|c| c.not_after),
            issuer: certificate.map(|c| c.issuer.as_str()),
            serial: certificate.map(|c| c.serial.as_str()),
            sans: certificate.map_or(&[], |c| &c.sans),
            renew_at: certificate.map(|c| c.renew_at),
            attempts: ssl.attempts,
            next_attempt: ssl.next_attempt,
            eta: ssl.eta,
            last_error: ssl.last_error.as_ref(),
        }
    }
}
