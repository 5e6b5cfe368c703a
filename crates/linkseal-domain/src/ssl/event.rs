//! What can happen to a domain's SSL state.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use super::certificate::CertificateInfo;
use super::failure::{Failure, FailureKind};
use super::status::{Preflight, Slot};
use crate::dns::DnsVerdict;

/// What can happen to a domain.
#[derive(Clone, Debug, PartialEq)]
pub enum SslEvent {
    /// A scheduled DNS check.
    DnsChecked(DnsVerdict),
    /// A DNS check that a person or the platform asked for, which makes a change likely.
    DnsCheckedByHand(DnsVerdict),
    /// A DNS check failed on our side, or the mass-failure guard suppressed its result: it says
    /// nothing about the domain.
    DnsCheckFailed,
    /// The challenge's URL was fetched from this edge.
    Preflight(Preflight),
    /// The challenge's URL is about to be fetched through a proxy that may connect to port 443.
    StandIn {
        /// Until when the stand-in certificate may be presented.
        until: Timestamp,
    },
    /// An order entered the queue.
    Queued {
        /// When it is expected to be done.
        eta: Option<Timestamp>,
    },
    /// An order was started.
    OrderStarted {
        /// The CA, by host name.
        ca: String,
    },
    /// The CA was asked to validate.
    Validating,
    /// A certificate was obtained and stored.
    Issued(CertificateInfo),
    /// An attempt failed.
    Failed {
        failure: Failure,
        /// The back-off after this attempt, jitter included.
        backoff: Duration,
    },
    /// An attempt failed while the mass-failure guard was active: it counts and its error is kept,
    /// but the state stays.
    Doubted {
        failure: Failure,
        /// When to try again.
        until: Timestamp,
    },
    /// An account-wide limit of the CA holds the queue back; not the domain's fault.
    HeldBack {
        until: Timestamp,
        /// The CA, by host name.
        ca: String,
        /// Whether `until` is the domain's slot in the wait queue for a limit.
        in_queue: bool,
    },
    /// A slot in the wait queue for a limit of the CA was reserved.
    SlotReserved(Slot),
    /// The CA is out of use and no other can take the order; not the domain's fault.
    CaUnavailable {
        /// When the CA is tried again.
        until: Timestamp,
        /// The CA, by host name.
        ca: String,
    },
    /// Nothing can be ordered from the CA for a reason on our side.
    OursToFix {
        /// When the CA is tried again.
        until: Timestamp,
        /// The CA, by host name.
        ca: String,
        kind: FailureKind,
    },
    /// Another CA takes the order at once.
    OtherCa,
    /// An operator ended whatever the domain was waiting for.
    Released,
    /// All orders are frozen; not the domain's fault.
    Frozen {
        /// When the domain is taken up again unless the freeze ends first.
        until: Timestamp,
    },
    /// The configuration orders nothing (`acme.issue`).
    SwitchedOff {
        /// When the domain is taken up again unless the configuration changes first.
        until: Timestamp,
    },
    /// Orders resume after a freeze or after `acme.issue` was switched on again.
    Thawed,
    /// A CA will not issue for the name, by policy or by CAA. [`SslEvent::Failed`] reports the
    /// attempt separately.
    RefusedBy {
        /// The CA's directory URL.
        ca: String,
    },
    /// The CA's renewal information was read (RFC 9773).
    RenewalInfo {
        /// The time chosen within its window.
        renew_at: Timestamp,
        /// When to ask again.
        check_at: Timestamp,
    },
    /// A DNS check was scheduled although nothing is to be ordered.
    CheckScheduled { at: Timestamp },
    /// Nothing can be done for the domain now, for reasons that are neither its own nor the CA's.
    Postponed {
        /// When to take it up again.
        until: Timestamp,
    },
    /// An operator wants a new certificate, whatever the age of the present one.
    Reissue,
    /// Admission does not allow the name, or no longer.
    Denied,
    /// An operator paused or retired the domain; its [`Intent`] says which.
    SetAside,
    /// An operator resumed or restored the domain.
    Resumed,
    /// The certificate is missing from the store or cannot be read.
    Lost { why: String },
    /// A certificate is wanted: the domain was registered, resumed, admitted, or verified by hand.
    Wanted,
    /// Time passed.
    Tick,
}

/// What the operators want for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Certificates are ordered and renewed.
    Wanted,
    /// Nothing is ordered until an operator resumes the domain.
    Paused,
    /// Nothing is ordered any more, and the certificate may expire.
    Retired,
}
