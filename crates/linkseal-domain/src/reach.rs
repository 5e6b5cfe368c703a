//! How far ahead each rule can set a time, and what becomes of a stored time that is farther off.
//!
//! Times are stored as times of day, and some are another's word: a CA's Retry-After, its renewal
//! window. A clock that was ahead when they were written, or a word that no one meant, must not
//! stop a domain until they come. So no stored time is believed beyond the reach of the rule that
//! made it, seen from the present: it counts as come. [`SslStatus::apply`] begins with that, and
//! the control plane looks through all records after a start and when the clock was set back.

use std::time::Duration;

use linkseal_base::clock::{Timestamp, WOBBLE};

use super::ssl::{FailureKind, ORDER_ABANDONED_AFTER, Reason, SslStatus};

/// The longest back-off after a failed attempt: a day, and its jitter.
pub(crate) const RETRY: Duration = Duration::from_secs(27 * 3600);
/// The longest that a CA may put off one name: Let's Encrypt's longest limit.
pub const NAME_LIMIT: Duration = Duration::from_secs(7 * 86_400);
/// The longest that a CA may put off all orders of the account. Then orders find out whether it
/// still means it.
pub const ACCOUNT_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// The longest that a CA may be away by its own word, and be out of use; with the jitter.
pub const OUTAGE: Duration = Duration::from_secs(7 * 3600);
/// The longest that the turn in the line for a CA's limit may be away: 300 orders in three hours
/// let some 870,000 through in a year.
pub const LINE: Duration = Duration::from_secs(366 * 86_400);
/// The longest wait for a look at DNS: that of departed names, with its spread.
pub(crate) const LOOK: Duration = Duration::from_secs(9 * 86_400);
/// The longest wait for renewal information (RFC 9773 §4.3.2).
pub(crate) const RENEWAL_INFO: Duration = Duration::from_secs(24 * 3600);

impl FailureKind {
    /// The longest that a CA may put off the next attempt after such a failure.
    pub(crate) fn longest_wait(self) -> Duration {
        match self {
            Self::NameLimit => NAME_LIMIT,
            Self::AccountLimit => ACCOUNT_LIMIT,
            _ => OUTAGE,
        }
    }
}

impl SslStatus {
    /// How far ahead the rule can have set `next_attempt` that has led to the present state.
    pub(super) fn reach(&self) -> Duration {
        if self.reason.is_in_progress() {
            return ORDER_ABANDONED_AFTER;
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
            reason if reason.is_dns() => LOOK,
            Reason::Moved => LOOK,
            _ => RETRY,
        }
    }

    /// Whether `next_attempt` was set by a clock that was ahead of the present.
    fn was_planned_ahead(&self, now: Timestamp) -> bool {
        self.planned.is_some_and(|at| at > now + WOBBLE)
    }

    /// Takes back what no rule can have meant, seen from `now`.
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
        // Our own back-off ends within a day; what lasts longer is the CA's word, and stands there.
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
        if self.next_check.is_some_and(|at| far(at, LOOK)) {
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
        if self
            .facts
            .stand_in_until
            .is_some_and(|at| far(at, ORDER_ABANDONED_AFTER))
        {
            self.facts.stand_in_until = None;
        }
        if let Some(certificate) = &mut self.certificate {
            // How long it lives in our hands is not known then; its own dates say enough.
            certificate.obtained = certificate.obtained.filter(|at| !noted_ahead(*at));
            let floor = certificate.renewal_floor();
            certificate.renew_at = certificate.renew_at.min(floor);
            self.replaced_by_hand = self.replaced_by_hand.map(|at| at.min(floor));
            if certificate.ari_check_at.is_some_and(|at| far(at, RENEWAL_INFO)) {
                certificate.ari_check_at = Some(now);
            }
        }
    }

    /// Whether something stored is beyond what its rule can have meant, seen from `now`.
    pub fn is_beyond_reach(&self, now: Timestamp) -> bool {
        // What only a clock that was ahead can have ended.
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
