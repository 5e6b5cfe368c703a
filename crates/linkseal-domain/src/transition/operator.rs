//! Changes by people: operators, the platform's admission, and requests for a certificate.

use linkseal_base::clock::Timestamp;

use crate::ssl::{Intent, Reason, SslStatus};

impl SslStatus {
    /// Ends every wait. An obstacle in DNS and an operator's pause stay.
    pub(super) fn released(&mut self, now: Timestamp) {
        self.not_before = None;
        self.retry_at = None;
        let waits = matches!(
            self.reason,
            Reason::RateLimited
                | Reason::CaUnreachable
                | Reason::RetryScheduled
                | Reason::ValidationFailed
                | Reason::NeverRequested
                | Reason::Expired
        );
        let renewal_waits = matches!(self.reason, Reason::Ok | Reason::RenewalFailing);
        if (waits || renewal_waits) && self.next_attempt.is_some_and(|at| at > now) {
            self.next_attempt = Some(now);
            self.eta = None;
        }
    }

    /// No order is started, so none is promised.
    pub(super) fn frozen(&mut self, until: Timestamp, now: Timestamp) {
        self.next_attempt = Some(until);
        self.eta = None;
        if !self.holds(now) {
            self.reason = Reason::Paused;
        } else if self.reason == Reason::Renewing {
            self.reason = Reason::Ok;
        }
    }

    /// Its order was due when it was stopped, so it is due now. The counts of failures stay.
    pub(super) fn thawed(&mut self, now: Timestamp) {
        if self.reason == Reason::Paused {
            self.reason = self.idle_reason();
        } else if !self.stopped {
            return;
        }
        self.next_attempt = Some(self.rests_until(now).unwrap_or(now));
    }

    pub(super) fn reissue(&mut self, now: Timestamp) {
        if let Some(certificate) = &mut self.certificate {
            self.replaced_by_hand.get_or_insert(certificate.renew_at);
            certificate.renew_at = certificate.renew_at.min(now);
        }
        self.retry_at = None;
        self.next_attempt = Some(self.not_before(now));
    }

    pub(super) fn denied(&mut self, now: Timestamp) {
        if !self.holds(now) {
            self.reason = Reason::Denied;
            self.next_attempt = None;
            self.eta = None;
        }
    }

    /// Also postpones an order that was queued or begun, so that no state says it is in progress.
    pub(super) fn postponed(&mut self, until: Timestamp, now: Timestamp) {
        self.next_attempt = Some(until);
        if !self.reason.is_in_progress() && self.reason != Reason::Queued {
            return;
        }
        self.eta = None;
        if self.holds(now) {
            self.reason = Reason::Ok;
        } else {
            self.facts.cause = None;
            self.reason = Reason::RetryScheduled;
        }
    }

    /// Nothing is ordered for a domain that is not wanted, so no state promises an order. Its certificate
    /// is served, even one that an order in progress still brings.
    pub(super) fn settle(&mut self, intent: Intent, now: Timestamp) {
        if intent == Intent::Wanted {
            return;
        }
        self.next_attempt = None;
        self.slot = None;
        self.eta = None;
        if self.holds(now) {
            if matches!(self.reason, Reason::Renewing | Reason::RenewalFailing) {
                self.reason = Reason::Ok;
            }
            return;
        }
        self.reason = match intent {
            Intent::Retired if self.reason == Reason::Denied => Reason::Denied,
            Intent::Retired if self.certificate.is_some() => Reason::Expired,
            _ => Reason::Paused,
        };
    }

    /// Plans nothing by itself, except a DNS check of a domain that had moved.
    pub(super) fn resumed(&mut self, now: Timestamp) {
        match self.reason {
            Reason::Paused => {
                self.attempts = 0;
                self.reason = self.idle_reason();
                self.next_attempt = None;
            }
            Reason::Moved => self.next_attempt = Some(now),
            _ => {}
        }
    }

    pub(super) fn wanted(&mut self, now: Timestamp) {
        match self.reason {
            // Only the back-off of a renewal that a DNS finding interrupted is left.
            Reason::Ok if self.retry_at.is_some() && self.next_attempt == self.retry_at => {
                self.retry_at = None;
                self.next_attempt = Some(self.not_before(now));
            }
            // It works, is in progress, or waits for the CA.
            Reason::Ok
            | Reason::Renewing
            | Reason::Queued
            | Reason::Ordering
            | Reason::Validating
            | Reason::RateLimited
            | Reason::CaUnreachable => {}
            // A request ends our own back-off, but not the time that the CA set for the name.
            Reason::Moved | Reason::RenewalFailing | Reason::RetryScheduled | Reason::ValidationFailed => {
                self.retry_at = None;
                self.next_attempt = Some(self.not_before(now));
            }
            Reason::GivenUp | Reason::Denied | Reason::Paused => {
                self.attempts = 0;
                self.retry_at = None;
                self.reason = self.idle_reason();
                self.next_attempt = Some(self.not_before(now));
            }
            _ => {
                self.wrong_checks = 0;
                self.retry_at = None;
                self.next_attempt = Some(self.not_before(now));
            }
        }
    }
}
