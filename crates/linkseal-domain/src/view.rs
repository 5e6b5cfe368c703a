//! A domain's SSL state as the admin API and the events show it (contract, sections 6 and 7).

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
    /// Why it is in it.
    pub reason: Reason,
    /// The same for people, with what to change.
    pub message: Text,
    /// Since when the reason holds.
    pub since: Timestamp,
    /// Start of the certificate's validity. `None`: there never was one.
    pub not_before: Option<Timestamp>,
    /// End of the certificate's validity. `None`: there never was one.
    pub not_after: Option<Timestamp>,
    /// The certificate's issuer. `None`: there never was one.
    pub issuer: Option<&'a str>,
    /// The certificate's serial number in hexadecimal. `None`: there never was one.
    pub serial: Option<&'a str>,
    /// The names the certificate is for.
    pub sans: &'a [String],
    /// When it is to be renewed. `None`: there is no certificate.
    pub renew_at: Option<Timestamp>,
    /// Failed attempts in a row.
    pub attempts: u32,
    /// The next order or DNS check. `None`: none is planned.
    pub next_attempt: Option<Timestamp>,
    /// When a queued order is expected to be through. `None`: not queued, or not known.
    pub eta: Option<Timestamp>,
    /// The CA's own words about the last failure. `None`: the last attempt went well.
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
