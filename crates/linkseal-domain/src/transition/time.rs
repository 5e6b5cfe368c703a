//! Changes by time: a certificate expires, or has not expired after all; and the loss of a certificate.

use linkseal_base::clock::Timestamp;

use crate::ssl::{FailureKind, LastError, Reason, SslStatus, State};

impl SslStatus {
    /// The certificate was lost, by our own fault; a new one is due at once.
    pub(super) fn lost(&mut self, why: String, now: Timestamp) {
        self.certificate = None;
        self.expiring_reported = false;
        self.hurry = false;
        self.tick(now);
        if self.reason == Reason::Expired {
            self.reason = Reason::RetryScheduled;
            self.facts.cause = Some(FailureKind::Internal);
            self.next_attempt = Some(self.not_before(now));
            self.last_error = Some(LastError {
                kind: "about:blank".to_owned(),
                detail: format!("the certificate could not be read from the store: {why}"),
                at: now,
                subproblems: Vec::new(),
            });
        }
    }

    /// An expired certificate leaves the reason that its renewal had. If the certificate has not expired
    /// after all, because the clock was ahead, the domain goes back to a state with a certificate.
    pub(super) fn tick(&mut self, now: Timestamp) {
        if self.state() != State::Issued {
            if self.holds(now) {
                self.restore_issued(now);
            }
            return;
        }
        self.expiring_reported |= self.certificate.as_ref().is_some_and(|c| c.expiring_at() <= now);
        if self.holds(now) {
            return;
        }
        self.reason = match self.reason {
            Reason::Moved if self.facts.provider.is_some() => Reason::Proxied,
            Reason::Moved if self.facts.found.is_some() => Reason::DnsElsewhere,
            Reason::Moved => Reason::DnsMissing,
            Reason::RenewalFailing if self.facts.zone.is_some() => Reason::DnsError,
            Reason::RenewalFailing if self.facts.found.is_some() => Reason::StrayAaaa,
            Reason::RenewalFailing => self.facts.cause.map_or(Reason::RetryScheduled, FailureKind::reason),
            _ => {
                self.next_attempt = Some(now);
                Reason::Expired
            }
        };
    }

    /// Replaces a state without a certificate by the one that fits a live certificate.
    pub(super) fn restore_issued(&mut self, now: Timestamp) {
        self.reason = match self.reason {
            Reason::Ordering | Reason::Validating => Reason::Renewing,
            Reason::DnsMissing | Reason::DnsElsewhere | Reason::Proxied => Reason::Moved,
            Reason::StrayAaaa
            | Reason::CaaForbids
            | Reason::DnsError
            | Reason::ValidationFailed
            | Reason::RetryScheduled
            | Reason::RateLimited
            | Reason::CaUnreachable
                if self.needs_renewal(now) =>
            {
                Reason::RenewalFailing
            }
            _ => {
                self.facts.cause = None;
                Reason::Ok
            }
        };
        if self.reason == Reason::Ok {
            self.clear_idle_plan(now);
        }
    }

    /// The reason for having no live certificate if no other applies.
    pub(super) fn idle_reason(&self) -> Reason {
        if self.certificate.is_some() {
            Reason::Expired
        } else {
            Reason::NeverRequested
        }
    }
}
