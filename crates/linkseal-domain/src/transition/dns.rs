//! Changes by a DNS check.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use crate::dns::DnsVerdict;
use crate::ssl::{Facts, FailureKind, Reason, SslStatus};

/// First wait after DNS was found wrong; doubles up to [`RECHECK_MAX`].
pub(super) const RECHECK_FIRST: Duration = Duration::from_secs(60);
/// Longest wait between two checks of wrong DNS, so that a fix is noticed without a request.
pub(super) const RECHECK_MAX: Duration = Duration::from_secs(6 * 3600);

impl SslStatus {
    /// A proxy through which the challenge arrives is not an obstacle.
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
            // A DNS check clears what DNS alone caused; what an order met is cleared by the next order.
            let dns_alone = self.reason == Reason::RenewalFailing && (self.last_error.is_none() || self.doubted);
            if self.reason == Reason::Moved || dns_alone {
                self.facts.cause = None;
                self.reason = Reason::Ok;
                self.next_attempt = self.rests_until(now);
            }
            self.clear_idle_plan(now);
        } else if self.reason.is_dns() {
            self.reason = self.idle_reason();
            self.next_attempt = self.rests_until(now);
        }
    }

    /// Clears the planned attempt of a domain that points here, has a live certificate and is not due for
    /// renewal: the attempt has become pointless.
    pub(super) fn clear_idle_plan(&mut self, now: Timestamp) {
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
        let wait = RECHECK_FIRST
            .saturating_mul(1 << (self.wrong_checks - 1).min(10))
            .min(RECHECK_MAX);
        self.next_attempt = Some(now + wait);
        self.eta = None;
        let facts = &mut self.facts;
        let proxied = matches!(verdict, DnsVerdict::Proxied { .. });
        *facts = Facts {
            ca: facts.ca.take(),
            preflight: facts.preflight.take().filter(|_| proxied),
            ..Facts::default()
        };
        // A name whose zone does not answer does not point here either, as far as can be seen.
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
            // No renewal is due yet; the DNS report shows the finding.
            (true, false) => Reason::Ok,
        };
    }
}
