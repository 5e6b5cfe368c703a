//! How far ahead each rule can set a time, and what happens to a stored time beyond that.
//!
//! Times are stored as times of day, and some come from a CA: its Retry-After, its renewal window. A
//! clock that was ahead when they were written, or an absurd answer of a CA, must not stop a domain until
//! they arrive. So a stored time that is farther ahead than its rule can reach counts as arrived.
//! [`SslStatus::apply`] begins with that, and the control plane checks all records after a start and when
//! the clock was set back.

use std::time::Duration;

use linkseal_base::clock::{Timestamp, WOBBLE};

use super::ssl::{FailureKind, ORDER_ENDS_WITHIN, Reason, SslStatus};

/// The longest back-off after a failed attempt: a day plus jitter.
pub(crate) const RETRY: Duration = Duration::from_secs(27 * 3600);
/// The longest time for which a CA can postpone one name: Let's Encrypt's longest limit.
pub const NAME_LIMIT: Duration = Duration::from_secs(7 * 86_400);
/// The longest time for which a CA can postpone all orders of the account. After it, orders are tried.
pub const ACCOUNT_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// The longest time for which a CA can be out of use, by its Retry-After or by its failures; jitter
/// included.
pub const OUTAGE: Duration = Duration::from_secs(7 * 3600);
/// The farthest slot in the wait queue for a CA's limit: 300 orders in three hours are some 870,000 in a
/// year.
pub const LINE: Duration = Duration::from_secs(366 * 86_400);
/// The longest wait for a DNS check: that of domains that have moved, spread included.
pub(crate) const DNS_CHECK: Duration = Duration::from_secs(9 * 86_400);
/// The longest wait for renewal information (RFC 9773 §4.3.2).
pub(crate) const RENEWAL_INFO: Duration = Duration::from_secs(24 * 3600);

impl FailureKind {
    /// The longest time for which a CA can postpone the next attempt after such a failure.
    pub(crate) fn longest_wait(self) -> Duration {
        match self {
            Self::NameLimit => NAME_LIMIT,
            Self::AccountLimit => ACCOUNT_LIMIT,
            _ => OUTAGE,
        }
    }
}

impl SslStatus {
    /// How far ahead `next_attempt` can have been set by the rule that led to the present state.
    pub(super) fn reach(&self) -> Duration {
        if self.reason.is_in_progress() {
            return ORDER_ENDS_WITHIN;
        }
        if self.in_queue {
            return LINE;
        }
        match self.reason {
            Reason::RateLimited => match self.facts.cause {
                Some(FailureKind::NameLimit) => NAME_LIMIT,
                _ => ACCOUNT_LIMIT,
            },
            Reason::CaUnreachable => OUTAGE,
            Reason::RenewalFailing | Reason::Ok if self.facts.cause == Some(FailureKind::NameLimit) => NAME_LIMIT,
            reason if reason.is_dns() => DNS_CHECK,
            Reason::Moved => DNS_CHECK,
            _ => RETRY,
        }
    }

    /// Whether `next_attempt` was set by a clock that was ahead of the present.
    fn was_planned_ahead(&self, now: Timestamp) -> bool {
        self.planned.is_some_and(|at| at > now + WOBBLE)
    }

    /// Resets every time that is farther ahead of `now` than its rule can have set it.
    pub(super) fn keep_within_reach(&mut self, now: Timestamp) {
        let ahead = self.was_planned_ahead(now);
        let far = |at: Timestamp, reach| at > now && !at.is_ahead(now, reach);
        if self
            .next_attempt
            .is_some_and(|at| at > now && (ahead || far(at, self.reach())))
        {
            self.next_attempt = Some(now);
            self.planned = Some(now);
            self.eta = None;
            self.in_queue = false;
        }
        if ahead {
            self.planned = self.next_attempt.map(|_| now);
        }
        if self.not_before.is_some_and(|at| ahead || !at.is_ahead(now, NAME_LIMIT)) {
            self.not_before = None;
        }
        // Our own back-off ends within a day; a longer wait comes from the CA and is in `not_before`.
        if self.retry_at.is_some_and(|at| at > now && (ahead || far(at, RETRY))) {
            self.retry_at = self.not_before;
        }
        if self.eta.is_some_and(|at| at > now && (ahead || far(at, LINE))) {
            self.eta = None;
        }
        if self
            .slot
            .as_ref()
            .is_some_and(|t| t.at > now && (ahead || far(t.at, LINE)))
        {
            self.slot = None;
        }
        if self.next_check.is_some_and(|at| far(at, DNS_CHECK)) {
            self.next_check = Some(now);
        }
        let noted_ahead = |at: Timestamp| at > now + WOBBLE;
        if noted_ahead(self.since) {
            self.since = now;
        }
        if self.misdirected_since.is_some_and(noted_ahead) {
            self.misdirected_since = Some(now);
        }
        self.failures.retain(|at| !noted_ahead(*at));
        for refusals in &mut self.refusals {
            if noted_ahead(refusals.last) {
                refusals.last = now;
            }
        }
        if self.facts.stand_in_until.is_some_and(|at| far(at, ORDER_ENDS_WITHIN)) {
            self.facts.stand_in_until = None;
        }
        if let Some(certificate) = &mut self.certificate {
            // When it was obtained is unknown then; its own dates suffice.
            certificate.obtained = certificate.obtained.filter(|at| !noted_ahead(*at));
            let floor = certificate.renewal_floor();
            certificate.renew_at = certificate.renew_at.min(floor);
            self.replaced_by_hand = self.replaced_by_hand.map(|at| at.min(floor));
            if certificate.ari_check_at.is_some_and(|at| far(at, RENEWAL_INFO)) {
                certificate.ari_check_at = Some(now);
            }
        }
    }

    /// Whether a stored time is farther ahead of `now` than its rule can have set it.
    pub fn is_beyond_reach(&self, now: Timestamp) -> bool {
        // Only a clock that was ahead can have ended it.
        if self.holds(now) && self.is_out_of_step(now) {
            return true;
        }
        let mut within = self.clone();
        within.keep_within_reach(now);
        within.not_before = self.not_before;
        within != *self
    }
}

#[cfg(test)]
mod tests;
