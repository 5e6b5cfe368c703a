//! Changes by an order: progress, certificate, failure, and other answers of the CA.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use crate::reach;
use crate::ssl::{
    CaRefusals, CertificateInfo, FAILURES_KEPT, Facts, Failure, FailureKind, ORDER_ENDS_WITHIN, REFUSAL_KEPT, Reason,
    Slot, SslStatus,
};

/// After this many failed attempts in a row without a certificate, linkseal gives up: about a month at
/// the longest back-off.
pub(crate) const GIVE_UP_AFTER: u32 = 30;
/// Doubted attempts count up to this: a fault of our own that lasts a day must not give a domain up.
const DOUBTED_COUNT: u32 = GIVE_UP_AFTER / 2;
/// A renewal's back-off is at most the certificate's remaining life divided by this.
const RENEWAL_SHARE: u32 = 4;
/// Shortest back-off of a renewal, however little life is left.
const RENEWAL_MIN: Duration = Duration::from_secs(1);

impl SslStatus {
    pub(super) fn order_started(&mut self, ca: String, now: Timestamp) {
        self.facts.ca = Some(ca);
        self.next_attempt = None;
        self.slot = None;
        self.eta = None;
        if self.holds(now) {
            self.reason = Reason::Renewing;
        } else {
            self.reason = Reason::Ordering;
            let until = self.facts.arrives_through().map(|_| now + ORDER_ENDS_WITHIN);
            self.facts.stand_in_until = until;
        }
    }

    pub(super) fn validating(&mut self, now: Timestamp) {
        if !self.holds(now) {
            self.reason = Reason::Validating;
        }
    }

    pub(super) fn slot_reserved(&mut self, slot: Slot, now: Timestamp) {
        let at = slot.at.min(now + reach::LINE);
        self.slot = Some(Slot { at, ..slot });
    }

    pub(super) fn queued(&mut self, eta: Option<Timestamp>, now: Timestamp) {
        self.next_attempt = Some(now);
        self.eta = eta;
        if !self.holds(now) {
            self.reason = Reason::Queued;
        }
    }

    pub(super) fn issued(&mut self, certificate: CertificateInfo, now: Timestamp) {
        let brought_forward = self.is_brought_forward(now);
        let through = self.facts.arrives_through().is_some();
        let facts = Facts {
            ca: self.facts.ca.take(),
            // A proxy through which the challenge arrives keeps DNS right.
            preflight: self.facts.preflight.take().filter(|_| through),
            ..Facts::default()
        };
        let failures = std::mem::take(&mut self.failures);
        let mut refusals = std::mem::take(&mut self.refusals);
        refusals.retain(|r| r.ca != certificate.ca);
        *self = Self {
            reason: Reason::Ok,
            certificate: Some(certificate),
            facts,
            failures,
            refusals,
            brought_forward,
            ..Self::new(self.since)
        };
    }

    /// Whether a certificate issued now replaces one whose renewal the CA's renewal information alone has
    /// brought forward into the first third of its life, or one that itself replaced such a certificate.
    fn is_brought_forward(&self, now: Timestamp) -> bool {
        let by_the_ca = self.holds(now) && self.replaced_by_hand.is_none();
        self.certificate.as_ref().filter(|_| by_the_ca).is_some_and(|c| {
            let early = c.renew_at < c.renewal_of_old_age();
            early && (now < c.young_until() || (self.brought_forward && now < c.renewal_of_old_age()))
        })
    }

    pub(super) fn failed(&mut self, failure: Failure, backoff: Duration, now: Timestamp) {
        let blames_domain = failure.kind.blames_domain();
        if blames_domain {
            self.attempts = self.attempts.saturating_add(1);
        } else if !matches!(failure.kind, FailureKind::AccountLimit | FailureKind::Unreachable) {
            self.setbacks = self.setbacks.saturating_add(1);
        }
        self.count_failure(failure.kind, now);
        // The CA knows its own limits: earlier attempts would only be refused. But its Retry-After is
        // capped by how long limits and outages can last, and after an outage it must not let a
        // certificate expire.
        let retry_after = failure.retry_after.map(|at| at.min(now + failure.kind.longest_wait()));
        let mut next = retry_after.map_or(now + backoff, |at| at.max(now + backoff));
        if let Some(certificate) = self.certificate.as_ref().filter(|c| c.not_after > now) {
            let is_limit = matches!(failure.kind, FailureKind::NameLimit | FailureKind::AccountLimit);
            let kept = is_limit && retry_after.is_some() && next < certificate.not_after;
            if !kept {
                next = next.min(now + renewal_backoff(certificate, now));
            }
        }
        self.next_attempt = Some(next);
        self.retry_at = Some(next);
        // A limit of the whole account is stored with the CA.
        let of_name = failure.kind != FailureKind::AccountLimit;
        self.not_before = retry_after.filter(|_| of_name).map(|at| at.min(next));
        self.eta = None;
        self.facts = Facts {
            ca: self.facts.ca.take(),
            cause: Some(failure.kind),
            preflight: self.facts.preflight.take(),
            ..Facts::default()
        };
        self.last_error = Some(failure.error);
        self.doubted = false;
        if self.holds(now) {
            // A failed replacement that only an operator asked for does not put the certificate at risk.
            self.reason = if self.needs_renewal(now) {
                Reason::RenewalFailing
            } else {
                Reason::Ok
            };
        } else if blames_domain && self.attempts >= GIVE_UP_AFTER {
            self.reason = Reason::GivenUp;
            self.next_attempt = None;
            self.retry_at = None;
        } else {
            self.reason = failure.kind.reason();
        }
    }

    /// Counts a failure if the CA counts it.
    fn count_failure(&mut self, kind: FailureKind, now: Timestamp) {
        if kind.is_failed_authorization() {
            self.failures.push(now);
            let old = self.failures.len().saturating_sub(FAILURES_KEPT);
            self.failures.drain(..old);
        }
    }

    pub(super) fn doubted(&mut self, failure: Failure, until: Timestamp, now: Timestamp) {
        if failure.kind.blames_domain() && self.attempts < DOUBTED_COUNT {
            self.attempts += 1;
        }
        self.count_failure(failure.kind, now);
        self.last_error = Some(failure.error);
        self.doubted = true;
        let held = self.certificate.as_ref().filter(|c| c.not_after > now);
        let latest = held.map(|c| now + renewal_backoff(c, now));
        self.next_attempt = Some(latest.map_or(until, |at| until.min(at)));
        self.eta = None;
        if self.holds(now) {
            if self.reason == Reason::Renewing {
                self.reason = Reason::Ok;
            }
        } else if self.reason.is_in_progress() || self.reason == Reason::Queued {
            self.facts.cause = Some(FailureKind::Internal);
            self.reason = Reason::RetryScheduled;
        }
    }

    pub(super) fn held_back(
        &mut self,
        until: Timestamp,
        in_queue: bool,
        ca: String,
        cause: FailureKind,
        now: Timestamp,
    ) {
        self.facts.ca = Some(ca);
        let latest = now + if in_queue { reach::LINE } else { cause.longest_wait() };
        self.next_attempt = Some(until.min(latest));
        if self.holds(now) {
            if self.reason == Reason::Renewing {
                self.reason = Reason::Ok;
            }
        } else {
            self.facts.cause = Some(cause);
            self.reason = cause.reason();
            // When a CA that is down will be usable again is unknown.
            self.eta = self.next_attempt.filter(|_| cause == FailureKind::AccountLimit);
        }
    }

    pub(super) fn other_ca(&mut self, now: Timestamp) {
        self.not_before = None;
        self.retry_at = None;
        self.next_attempt = Some(now);
    }

    /// A window that has jumped to the past means that the CA is about to revoke (RFC 9773 §4.2).
    pub(super) fn renewal_info(&mut self, renew_at: Timestamp, check_at: Timestamp, now: Timestamp) {
        let Some(certificate) = &mut self.certificate else {
            return;
        };
        // A window brings a renewal forward freely, and postpones it to our own floor at most. A
        // certificate that is itself such an early replacement is not replaced early again.
        let earliest = if self.brought_forward {
            renew_at.max(certificate.young_until())
        } else {
            renew_at
        };
        let renew_at = earliest.min(certificate.renewal_floor());
        let planned = self.replaced_by_hand.unwrap_or(certificate.renew_at);
        let jumped = renew_at <= now && planned > now;
        self.hurry = jumped || (self.hurry && renew_at <= now);
        // An operator's request for a replacement stays in force.
        match &mut self.replaced_by_hand {
            Some(planned) => *planned = renew_at,
            None => certificate.renew_at = renew_at,
        }
        certificate.ari_check_at = Some(check_at.min(now + reach::RENEWAL_INFO));
    }

    pub(super) fn refused_by(&mut self, ca: String, now: Timestamp) {
        self.refusals.retain(|r| r.last + REFUSAL_KEPT > now);
        match self.refusals.iter_mut().find(|r| r.ca == ca) {
            Some(refusals) => {
                refusals.times = refusals.times.saturating_add(1);
                refusals.last = now;
            }
            None => self.refusals.push(CaRefusals {
                ca,
                times: 1,
                last: now,
            }),
        }
    }
}

/// The longest back-off when a certificate's renewal fails.
fn renewal_backoff(certificate: &CertificateInfo, now: Timestamp) -> Duration {
    (certificate.not_after.saturating_since(now) / RENEWAL_SHARE).max(RENEWAL_MIN)
}
