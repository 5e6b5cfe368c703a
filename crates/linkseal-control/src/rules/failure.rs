//! What a failed order means for its domain, and for all orders at its CA.

use linkseal_base::clock::Timestamp;
use linkseal_domain::reach;
use linkseal_domain::ssl::{Failure, FailureKind, SslEvent, SslStatus};

use super::backoff;

/// The event of a failed attempt. `unit`, in `0.0..1.0`, is the back-off's jitter.
pub fn failed(ssl: &SslStatus, failure: Failure, unit: f64) -> SslEvent {
    let backoff = backoff::after(ssl, failure.kind, failure.retry_after.is_some(), unit);
    SslEvent::Failed { failure, backoff }
}

/// The event of a failed attempt while the mass-failure guard is active: it counts, as it counts at
/// the CA, and is retried at `until`, or when the CA says if that is later.
pub(crate) fn doubted(failure: &Failure, until: Timestamp) -> SslEvent {
    SslEvent::Doubted {
        failure: failure.clone(),
        until: failure.retry_after.map_or(until, |at| until.max(at)),
    }
}

/// Until when a failure holds back all orders at its CA; `None` if it concerns this order only.
pub fn holds_back_all(failure: &Failure, now: Timestamp) -> Option<Timestamp> {
    let retry_after = failure.retry_after.map(|at| at.min(now + reach::ACCOUNT_LIMIT));
    (failure.kind == FailureKind::AccountLimit).then(|| retry_after.unwrap_or(now + backoff::UNNAMED_LIMIT))
}
