//! What time alone changes: a certificate that expires, is lost, or was never expired after all.

use linkseal_base::clock::Timestamp;

use crate::ssl::{FailureKind, LastError, Reason, SslStatus, State};

impl SslStatus {
    /// There is none any more, by a fault of ours; a new one is due at once.
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

    /// A certificate that runs out leaves the state that its renewal had come to. One that has not
    /// run out after all, since the clock was ahead, goes back there.
    pub(super) fn tick(&mut self, now: Timestamp) {
        if self.state() != State::Issued {
            if self.holds(now) {
                self.lives_on(now);
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

    /// The state that a held certificate has in the stead of one that says that there is none.
    pub(super) fn lives_on(&mut self, now: Timestamp) {
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
            self.wants_nothing(now);
        }
    }

    /// Why nothing is held, when nothing else is known.
    pub(super) fn idle_reason(&self) -> Reason {
        if self.certificate.is_some() {
            Reason::Expired
        } else {
            Reason::NeverRequested
        }
    }
}
