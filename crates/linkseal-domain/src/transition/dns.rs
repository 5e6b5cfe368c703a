//! What a DNS check changes.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use crate::dns::DnsVerdict;
use crate::ssl::{Facts, FailureKind, Reason, SslStatus};

/// First wait after DNS was found wrong; doubles up to [`LOOK_MAX`].
pub(super) const LOOK_FIRST: Duration = Duration::from_secs(60);
/// Longest wait between two looks at wrong DNS: a customer who fixes it need not come back.
pub(super) const LOOK_MAX: Duration = Duration::from_secs(6 * 3600);

impl SslStatus {
    /// A proxy through which the challenge arrives is a warning, no obstacle.
    pub(super) fn dns_checked(&mut self, verdict: DnsVerdict, now: Timestamp) {
        match verdict {
            DnsVerdict::Right => self.dns_right(now),
            DnsVerdict::Proxied { provider } if self.facts.arrives_through() == Some(provider.as_str()) => {
                self.dns_right(now);
            }
            wrong => self.dns_wrong(wrong, now),
        }
    }

    /// A check by hand restarts the schedule, but never postpones a check that was planned.
    pub(super) fn dns_checked_by_hand(&mut self, verdict: DnsVerdict, planned: Option<Timestamp>, now: Timestamp) {
        self.wrong_checks = 0;
        self.dns_checked(verdict, now);
        let planned = planned.filter(|at| *at > now);
        if self.wrong_checks > 0 && planned.is_some() {
            self.next_attempt = self.next_attempt.min(planned);
        }
    }

    fn dns_right(&mut self, now: Timestamp) {
        self.wrong_checks = 0;
        self.misdirected_since = None;
        self.facts = Facts {
            ca: self.facts.ca.take(),
            cause: self.facts.cause,
            preflight: self.facts.preflight.take(),
            ..Facts::default()
        };
        if self.holds(now) {
            // What DNS alone had brought it to, DNS clears; what an order met, the next order does.
            let dns_alone = self.reason == Reason::RenewalFailing && (self.last_error.is_none() || self.doubted);
            if self.reason == Reason::Moved || dns_alone {
                self.facts.cause = None;
                self.reason = Reason::Ok;
                self.next_attempt = self.rests_until(now);
            }
            self.wants_nothing(now);
        } else if self.reason.is_dns() {
            self.reason = self.idle_reason();
            self.next_attempt = self.rests_until(now);
        }
    }

    /// Clears the plan of a live certificate whose name points here and whose renewal is not due: the
    /// attempt that was planned has become pointless.
    pub(super) fn wants_nothing(&mut self, now: Timestamp) {
        if !self.reason.is_in_progress() && !self.renewal_is_due(now) {
            self.facts.cause = None;
            self.reason = Reason::Ok;
            self.next_attempt = None;
            self.retry_at = None;
            self.eta = None;
        }
    }

    fn dns_wrong(&mut self, verdict: DnsVerdict, now: Timestamp) {
        self.wrong_checks = self.wrong_checks.saturating_add(1);
        let wait = LOOK_FIRST
            .saturating_mul(1 << (self.wrong_checks - 1).min(10))
            .min(LOOK_MAX);
        self.next_attempt = Some(now + wait);
        self.eta = None;
        let facts = &mut self.facts;
        let proxied = matches!(verdict, DnsVerdict::Proxied { .. });
        *facts = Facts {
            ca: facts.ca.take(),
            preflight: facts.preflight.take().filter(|_| proxied),
            ..Facts::default()
        };
        // A zone that does not answer leads nowhere either, for all that can be seen.
        let silent = matches!(verdict, DnsVerdict::Error { .. });
        let (unheld, left) = match verdict {
            DnsVerdict::Right => return,
            DnsVerdict::Missing => (Reason::DnsMissing, true),
            DnsVerdict::Elsewhere { found } => {
                facts.found = Some(found);
                (Reason::DnsElsewhere, true)
            }
            DnsVerdict::Proxied { provider } => {
                facts.found = Some(provider.clone());
                facts.provider = Some(provider);
                (Reason::Proxied, true)
            }
            DnsVerdict::StrayAaaa { found, host } => {
                facts.found = Some(found.to_string());
                facts.host = Some(host);
                facts.cause = Some(FailureKind::Connection);
                (Reason::StrayAaaa, false)
            }
            DnsVerdict::CaaForbids { host } => {
                facts.host = Some(host);
                facts.cause = Some(FailureKind::Caa);
                (Reason::CaaForbids, false)
            }
            DnsVerdict::Error { zone, error } => {
                facts.zone = Some(zone);
                facts.error = Some(error);
                facts.cause = Some(FailureKind::CaDns);
                (Reason::DnsError, false)
            }
        };
        if left || silent {
            self.misdirected_since.get_or_insert(now);
        } else {
            self.misdirected_since = None;
        }
        self.reason = match (self.holds(now), left) {
            (false, _) => unheld,
            (true, true) => Reason::Moved,
            (true, false) if self.needs_renewal(now) => Reason::RenewalFailing,
            // Nothing of it is to be renewed: what DNS lacks is in the report on it.
            (true, false) => Reason::Ok,
        };
    }
}
