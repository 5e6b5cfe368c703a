//! Whether an order is due, and how urgent it is.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{EXPIRING_SHARE, Reason, SslStatus};

use crate::core::{Issue, Priority};

/// When a domain is taken up again while `acme.issue` is "off".
pub(crate) const IDLE_RECHECK: Duration = Duration::from_secs(6 * 3600);
/// The shortest time between two DNS checks that handshakes trigger for a name that does not point
/// here: old clients and scanners cost one check in ten minutes at most.
pub(super) const HANDSHAKE_CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// The first step for a domain that the scheduler has taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// None: no certificates are ordered for it.
    Leave,
    /// Nothing may be ordered now: take it up again at this time.
    Postpone(Timestamp),
    /// One of its orders was interrupted: the order room resumes it.
    Resume,
    /// See whether an order is due: renewal information, time, admission, DNS.
    Check,
}

/// The first step for a domain. `wanted`: whether certificates are ordered for it at all;
/// `open_order`: whether the store holds an order of it.
pub fn first(ssl: &SslStatus, wanted: bool, issue: Issue, open_order: bool, now: Timestamp) -> First {
    if !wanted {
        First::Leave
    } else if issue == Issue::Off {
        match ssl.next_due(wanted) {
            Some(due) if due <= now => First::Postpone(now + IDLE_RECHECK),
            _ => First::Leave,
        }
    } else if ssl.reason.is_in_progress() || (open_order && ssl.next_attempt.is_none_or(|at| at <= now)) {
        // An open order waits for its time even if the domain was taken up for something else.
        First::Resume
    } else {
        First::Check
    }
}

/// Whether something may be ordered now. A handshake or a "verify" starts a certificate that was
/// never requested; it never starts one that waits for its time.
pub fn is_due(ssl: &SslStatus, priority: Priority, now: Timestamp) -> bool {
    match (ssl.next_attempt, &ssl.certificate) {
        (Some(at), _) => at <= now,
        (None, Some(certificate)) if ssl.holds(now) => certificate.renew_at <= now,
        (None, _) => priority > Priority::Bulk && ssl.reason.may_be_requested(),
    }
}

/// Whether DNS is checked although nothing may be ordered: the regular check of an issued domain is
/// due, or a handshake came for a name that did not point here at its last check.
pub(crate) fn check_only(record: &DomainRecord, priority: Priority, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    let regular = ssl.reason == Reason::Ok && ssl.next_check.is_some_and(|at| at <= now);
    let misdirected = ssl.reason == Reason::Moved || ssl.reason.is_dns();
    let rested = |checked: Timestamp| !checked.is_within(HANDSHAKE_CHECK_INTERVAL, now);
    regular || (priority == Priority::Handshake && misdirected && record.dns.checked.is_none_or(rested))
}

/// Whether an order is needed once DNS is right: no valid certificate is stored, or its renewal is due.
pub(crate) fn needs_order(ssl: &SslStatus, now: Timestamp) -> bool {
    let valid = ssl.certificate.as_ref().filter(|c| c.not_after > now);
    valid.is_none_or(|c| c.renew_at <= now)
}

/// Whether the domain was fine at its last check, so that it can get worse.
pub(crate) fn was_well(record: &DomainRecord) -> bool {
    let issued = matches!(record.ssl.reason, Reason::Ok | Reason::Renewing);
    issued || (record.dns.https && !record.ssl.reason.is_dns() && record.ssl.reason != Reason::Moved)
}

/// The urgency of the order: a certificate that is about to expire, or that the CA wants replaced at
/// once, goes before everything else.
pub fn urgency(ssl: &SslStatus, asked: Priority, now: Timestamp) -> Priority {
    let Some(certificate) = ssl.certificate.as_ref().filter(|c| c.not_after > now) else {
        return asked;
    };
    let left = certificate.not_after.saturating_since(now);
    if ssl.hurry || left < certificate.life() / EXPIRING_SHARE {
        Priority::Expiring
    } else {
        asked
    }
}
