//! What the record says about its certificate, and the times that follow from its life.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// A certificate with less than 1/6 of its life left counts as expiring: its renewal goes before
/// everything else, and without one the platform is notified.
pub const EXPIRING_SHARE: u32 = 6;

/// The share of its life a certificate must have left at its renewal, whatever the CA asks for. It
/// is more than [`EXPIRING_SHARE`], so that a renewal on schedule never counts as expiring.
const RENEWAL_FLOOR: u32 = 5;

/// What is known about a stored certificate without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateInfo {
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// When it was obtained: CAs backdate `not_before`. Earlier versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obtained: Option<Timestamp>,
    /// The issuer's common name, else its whole distinguished name.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal.
    pub serial: String,
    /// The DNS names it is for.
    pub sans: Vec<String>,
    /// The directory URL of the CA that issued it.
    pub ca: String,
    /// The ARI identifier (RFC 9773 §4.1); `None` if the certificate lacks the extensions for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari_id: Option<String>,
    /// When its renewal is due.
    pub renew_at: Timestamp,
    /// When to ask the CA for renewal information again; `None` if it offers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ari_check_at: Option<Timestamp>,
}

impl CertificateInfo {
    /// When to ask the CA for renewal information, if it offers any and the certificate has an
    /// identifier to ask with.
    pub(crate) fn asked_about_at(&self) -> Option<Timestamp> {
        self.ari_check_at.filter(|_| self.ari_id.is_some())
    }

    /// The end of the first third of its life.
    pub(crate) fn young_until(&self) -> Timestamp {
        self.not_after.minus(self.life() * 2 / 3)
    }

    /// When its renewal is due by age alone: a third of its life is left.
    pub(crate) fn renewal_of_old_age(&self) -> Timestamp {
        self.not_after.minus(self.life() / 3)
    }

    /// When it counts as expiring. This follows from its life alone, so that a renewal planned too
    /// late shows up.
    pub(crate) fn expiring_at(&self) -> Timestamp {
        self.not_after.minus(self.life() / EXPIRING_SHARE)
    }

    /// Its lifetime from when it was obtained: CAs backdate `not_before`.
    pub fn life(&self) -> Duration {
        let from = self.obtained.map_or(self.not_before, |at| at.max(self.not_before));
        self.not_after.saturating_since(from)
    }

    /// The latest time of its renewal, whatever the CA asks for.
    pub(crate) fn renewal_floor(&self) -> Timestamp {
        self.not_after.minus(self.life() / RENEWAL_FLOOR)
    }
}
