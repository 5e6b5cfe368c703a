//! The one function that changes an SSL state.
//!
//! Pure: the same status, event and time give the same status. The control plane stores the
//! result before anything of it can be seen.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

use super::reach;
use super::record::DnsVerdict;
use super::ssl::{
    CaRefusals, CertificateInfo, Facts, Failure, FailureKind, LastError, ORDER_ABANDONED_AFTER, Reason, SslEvent,
    SslStatus, State, Turn, Wish,
};

/// After that many failed attempts in a row without a certificate, linkseal stops by itself:
/// about a month at the longest back-off.
pub const GIVE_UP_AFTER: u32 = 30;
/// How far doubted attempts count: a fault of our own that lasts a day gives no domain up.
const DOUBTED_COUNT: u32 = GIVE_UP_AFTER / 2;
/// First wait after DNS was found wrong; doubles up to [`LOOK_MAX`].
const LOOK_FIRST: Duration = Duration::from_secs(60);
/// Longest wait between two looks at wrong DNS: a customer who fixes it need not come back.
const LOOK_MAX: Duration = Duration::from_secs(6 * 3600);
/// A CA that has refused a name so often in a row is passed over for it.
const REFUSALS: u32 = 2;
/// How long a refusal is remembered: policies change, and so do CAA records.
const REFUSAL_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How many failed authorizations are remembered: more than any CA allows in its window.
const FAILURES_KEPT: usize = 16;
/// A renewal's back-off never takes more than this share of the life that is left.
const RENEWAL_SHARE: u32 = 4;
/// Shortest back-off of a renewal, however little life is left.
const RENEWAL_MIN: Duration = Duration::from_secs(1);

impl SslStatus {
    /// The status after `event`, at `now`. `wish`: what the operators want of the domain; it goes
    /// over what an order or a look comes to meanwhile.
    #[must_use]
    pub fn apply(&self, event: SslEvent, wish: Wish, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.keep_within_reach(now);
        let in_line = matches!(event, SslEvent::HeldBack { in_line: true, .. });
        let stops = matches!(event, SslEvent::Frozen { .. } | SslEvent::SwitchedOff { .. });
        match event {
            SslEvent::DnsChecked(verdict) => next.dns_checked(verdict, now),
            SslEvent::DnsCheckedByHand(verdict) => {
                next.looks = 0;
                next.dns_checked(verdict, now);
                // Who looks by hand, however often, puts off no look that was planned.
                let planned = self.next_attempt.filter(|at| *at > now);
                if next.looks > 0 && planned.is_some() {
                    next.next_attempt = next.next_attempt.min(planned);
                }
            }
            SslEvent::LookFailed => next.facts.not_seen = true,
            SslEvent::Preflight(found) => next.facts.preflight = Some(found),
            SslEvent::StandIn { until } => next.facts.stand_in_until = Some(until).filter(|_| !next.holds(now)),
            SslEvent::Queued { eta } => next.queued(eta, now),
            SslEvent::OrderStarted { ca } => {
                next.facts.ca = Some(ca);
                next.next_attempt = None;
                next.turn = None;
                next.eta = None;
                if next.holds(now) {
                    next.reason = Reason::Renewing;
                } else {
                    next.reason = Reason::Ordering;
                    let until = next.facts.arrives_through().map(|_| now + ORDER_ABANDONED_AFTER);
                    next.facts.stand_in_until = until;
                }
            }
            SslEvent::Validating => {
                if !next.holds(now) {
                    next.reason = Reason::Validating;
                }
            }
            SslEvent::Issued(certificate) => next.issued(certificate, now),
            SslEvent::Failed { failure, backoff } => next.failed(failure, backoff, now),
            SslEvent::Doubted { failure, until } => next.doubted(failure, until, now),
            SslEvent::HeldBack { until, ca, .. } => next.held_back(until, in_line, ca, FailureKind::AccountLimit, now),
            SslEvent::InLine(turn) => {
                let at = turn.at.min(now + reach::LINE);
                next.turn = Some(Turn { at, ..turn });
            }
            SslEvent::CaOut { until, ca } => next.held_back(until, false, ca, FailureKind::Unreachable, now),
            SslEvent::OursToSolve { until, ca, kind } => next.held_back(until, false, ca, kind, now),
            SslEvent::Elsewhere => next.elsewhere(now),
            SslEvent::Released => next.released(now),
            SslEvent::Frozen { until } => next.frozen(until, now),
            SslEvent::Thawed => next.thawed(now),
            SslEvent::RefusedBy { ca } => next.refused_by(ca, now),
            SslEvent::RenewalInfo { renew_at, check_at } => next.renewal_info(renew_at, check_at, now),
            SslEvent::LookAt { at } => next.look_at = Some(at.min(now + reach::LOOK)),
            SslEvent::Postponed { until } | SslEvent::SwitchedOff { until } => next.postponed(until, now),
            SslEvent::Reissue => {
                if let Some(certificate) = &mut next.certificate {
                    next.replaced_by_hand.get_or_insert(certificate.renew_at);
                    certificate.renew_at = certificate.renew_at.min(now);
                }
                next.retry_at = None;
                next.next_attempt = Some(next.not_before(now));
            }
            SslEvent::Denied => next.denied(now),
            SslEvent::Resumed => next.resumed(now),
            SslEvent::Wanted => next.wanted(now),
            SslEvent::Lost { why } => next.lost(why, now),
            SslEvent::Tick => next.tick(now),
            SslEvent::SetAside => {}
        }
        next.settle(wish, now);
        if next.reason != self.reason {
            next.since = now;
        }
        next.plan(self, in_line, stops, now);
        next
    }

    /// Notes when and how the next attempt was planned; no rule plans beyond its reach.
    fn plan(&mut self, before: &Self, in_line: bool, stops: bool, now: Timestamp) {
        let planned = in_line || stops || self.next_attempt != before.next_attempt;
        if planned {
            self.in_line = in_line;
            self.stopped = stops && self.next_attempt.is_some();
        }
        // The reason may have come to one that reaches less far.
        let latest = now + self.reach();
        let far = self.next_attempt.is_some_and(|at| at > latest);
        if planned || far {
            self.planned = self.next_attempt.map(|_| now);
            self.next_attempt = self.next_attempt.map(|at| at.min(latest));
        }
    }

    /// A proxy through which the challenge arrives is a warning, no obstacle.
    fn dns_checked(&mut self, verdict: DnsVerdict, now: Timestamp) {
        match verdict {
            DnsVerdict::Right => self.dns_right(now),
            DnsVerdict::Proxied { provider } if self.facts.arrives_through() == Some(provider.as_str()) => {
                self.dns_right(now);
            }
            wrong => self.dns_wrong(wrong, now),
        }
    }

    /// The earliest that the CA takes an order for the name: what it has said of it, else now.
    fn not_before(&self, now: Timestamp) -> Timestamp {
        self.not_before.map_or(now, |at| at.max(now))
    }

    /// Until when an order has to wait although DNS is right: for the CA, and for the back-off of a
    /// renewal, which DNS that comes and goes must not end. `None`: it need not.
    pub fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        let back_off = self.retry_at.filter(|_| self.holds(now));
        self.not_before.max(back_off).filter(|at| *at > now)
    }

    /// Until when no more than `allowed` authorizations have failed within `per`, so that the
    /// next must wait. `None`: it need not.
    pub fn must_wait(&self, allowed: usize, per: Duration, now: Timestamp) -> Option<Timestamp> {
        let allowed = allowed.clamp(1, FAILURES_KEPT);
        let oldest = self.failures.len().checked_sub(allowed)?;
        let until = *self.failures.get(oldest)? + per;
        until.is_ahead(now, per).then_some(until)
    }

    /// Whether a CA, by its directory URL, keeps refusing the name: twice in a row, and of late.
    pub fn is_refused_by(&self, ca: &str, now: Timestamp) -> bool {
        let refuses =
            |r: &CaRefusals| r.ca == ca && r.times >= REFUSALS && (r.last + REFUSAL_KEPT).is_ahead(now, REFUSAL_KEPT);
        self.refusals.iter().any(refuses)
    }

    /// Whether an unexpired certificate is held.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.certificate.as_ref().is_some_and(|c| c.not_after > now)
    }

    fn dns_right(&mut self, now: Timestamp) {
        self.looks = 0;
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

    /// A certificate that is held, that points here and is not to be renewed yet, wants nothing: a time
    /// that was set for another look or attempt is past, and the next order plans anew.
    fn wants_nothing(&mut self, now: Timestamp) {
        if !self.reason.is_in_progress() && !self.renewal_is_due(now) {
            self.facts.cause = None;
            self.reason = Reason::Ok;
            self.next_attempt = None;
            self.retry_at = None;
            self.eta = None;
        }
    }

    fn renewal_is_due(&self, now: Timestamp) -> bool {
        self.certificate.as_ref().is_some_and(|c| c.renew_at <= now)
    }

    /// Whether the certificate held is due by itself, so that what stands in the way of its renewal
    /// puts it at risk. One that an operator wants replaced sooner is as good as before.
    fn needs_renewal(&self, now: Timestamp) -> bool {
        self.renewal_planned().is_some_and(|at| at <= now)
    }

    fn dns_wrong(&mut self, verdict: DnsVerdict, now: Timestamp) {
        self.looks = self.looks.saturating_add(1);
        let wait = LOOK_FIRST.saturating_mul(1 << (self.looks - 1).min(10)).min(LOOK_MAX);
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

    fn queued(&mut self, eta: Option<Timestamp>, now: Timestamp) {
        self.next_attempt = Some(now);
        self.eta = eta;
        if !self.holds(now) {
            self.reason = Reason::Queued;
        }
    }

    fn issued(&mut self, certificate: CertificateInfo, now: Timestamp) {
        let brought_forward = self.is_brought_forward(now);
        let through = self.facts.arrives_through().is_some();
        let facts = Facts {
            ca: self.facts.ca.take(),
            // What makes its DNS right from now on.
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

    /// Whether a certificate that comes now replaces one that the CA's renewal information alone has
    /// brought forward to its first third, or one in a row of such.
    fn is_brought_forward(&self, now: Timestamp) -> bool {
        let by_the_ca = self.holds(now) && self.replaced_by_hand.is_none();
        self.certificate.as_ref().filter(|_| by_the_ca).is_some_and(|c| {
            let told = c.renew_at < c.renewal_of_old_age();
            told && (now < c.young_until() || (self.brought_forward && now < c.renewal_of_old_age()))
        })
    }

    fn failed(&mut self, failure: Failure, backoff: Duration, now: Timestamp) {
        let blames_domain = failure.kind.blames_domain();
        if blames_domain {
            self.attempts = self.attempts.saturating_add(1);
        } else if !matches!(failure.kind, FailureKind::AccountLimit | FailureKind::Unreachable) {
            self.setbacks = self.setbacks.saturating_add(1);
        }
        self.count_failure(failure.kind, now);
        // A CA knows its own limits best: earlier attempts would only be refused. But it is held to
        // what limits and outages can last, and its word for an outage lets no certificate run out.
        let said = failure.retry_after.map(|at| at.min(now + failure.kind.longest_wait()));
        let mut next = said.map_or(now + backoff, |at| at.max(now + backoff));
        if let Some(certificate) = self.certificate.as_ref().filter(|c| c.not_after > now) {
            let is_limit = matches!(failure.kind, FailureKind::NameLimit | FailureKind::AccountLimit);
            let kept = is_limit && said.is_some() && next < certificate.not_after;
            if !kept {
                next = next.min(now + renewal_backoff(certificate, now));
            }
        }
        self.next_attempt = Some(next);
        self.retry_at = Some(next);
        // What holds the whole account back is noted with the CA.
        let of_name = failure.kind != FailureKind::AccountLimit;
        self.not_before = said.filter(|_| of_name).map(|at| at.min(next));
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
            // A replacement that only an operator wants leaves what is held as good as it was.
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

    /// Counts what the CA counts.
    fn count_failure(&mut self, kind: FailureKind, now: Timestamp) {
        if kind.is_failed_authorization() {
            self.failures.push(now);
            let old = self.failures.len().saturating_sub(FAILURES_KEPT);
            self.failures.drain(..old);
        }
    }

    fn doubted(&mut self, failure: Failure, until: Timestamp, now: Timestamp) {
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

    fn held_back(&mut self, until: Timestamp, in_line: bool, ca: String, cause: FailureKind, now: Timestamp) {
        self.facts.ca = Some(ca);
        let latest = now + if in_line { reach::LINE } else { cause.longest_wait() };
        self.next_attempt = Some(until.min(latest));
        if self.holds(now) {
            if self.reason == Reason::Renewing {
                self.reason = Reason::Ok;
            }
        } else {
            self.facts.cause = Some(cause);
            self.reason = cause.reason();
            // When a CA that is down can be used again, nobody knows.
            self.eta = self.next_attempt.filter(|_| cause == FailureKind::AccountLimit);
        }
    }

    fn elsewhere(&mut self, now: Timestamp) {
        self.not_before = None;
        self.retry_at = None;
        self.next_attempt = Some(now);
    }

    /// Whatever it waits for, it waits no longer; what DNS or an operator stands in the way of stays.
    fn released(&mut self, now: Timestamp) {
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

    /// No order is on its way, so none is promised.
    fn frozen(&mut self, until: Timestamp, now: Timestamp) {
        self.next_attempt = Some(until);
        self.eta = None;
        if !self.holds(now) {
            self.reason = Reason::Paused;
        } else if self.reason == Reason::Renewing {
            self.reason = Reason::Ok;
        }
    }

    /// Its order was due when it was stopped, so it is due now. Failures count on.
    fn thawed(&mut self, now: Timestamp) {
        if self.reason == Reason::Paused {
            self.reason = self.idle_reason();
        } else if !self.stopped {
            return;
        }
        self.next_attempt = Some(self.rests_until(now).unwrap_or(now));
    }

    /// A window that has jumped to the past means that the CA is about to revoke (RFC 9773 §4.2).
    fn renewal_info(&mut self, renew_at: Timestamp, check_at: Timestamp, now: Timestamp) {
        let Some(certificate) = &mut self.certificate else {
            return;
        };
        // A window brings a renewal forward freely, and postpones it to our own floor at most. Where
        // that has brought this certificate already, another one comes to nothing better so soon.
        let earliest = if self.brought_forward {
            renew_at.max(certificate.young_until())
        } else {
            renew_at
        };
        let renew_at = earliest.min(certificate.renewal_floor());
        let planned = self.replaced_by_hand.unwrap_or(certificate.renew_at);
        let jumped = renew_at <= now && planned > now;
        self.hurry = jumped || (self.hurry && renew_at <= now);
        // What an operator wants stays wanted.
        match &mut self.replaced_by_hand {
            Some(planned) => *planned = renew_at,
            None => certificate.renew_at = renew_at,
        }
        certificate.ari_check_at = Some(check_at.min(now + reach::RENEWAL_INFO));
    }

    fn refused_by(&mut self, ca: String, now: Timestamp) {
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

    fn denied(&mut self, now: Timestamp) {
        if !self.holds(now) {
            self.reason = Reason::Denied;
            self.next_attempt = None;
            self.eta = None;
        }
    }

    /// An order that was queued or begun is put off with it: no state says that it is on its way.
    fn postponed(&mut self, until: Timestamp, now: Timestamp) {
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

    /// For a domain that is not wanted nothing is ordered, so no state promises that anything is.
    /// What is held is served, and what an order still brings is held.
    fn settle(&mut self, wish: Wish, now: Timestamp) {
        if wish == Wish::Wanted {
            return;
        }
        self.next_attempt = None;
        self.turn = None;
        self.eta = None;
        if self.holds(now) {
            if matches!(self.reason, Reason::Renewing | Reason::RenewalFailing) {
                self.reason = Reason::Ok;
            }
            return;
        }
        self.reason = match wish {
            Wish::Retired if self.reason == Reason::Denied => Reason::Denied,
            Wish::Retired if self.certificate.is_some() => Reason::Expired,
            _ => Reason::Paused,
        };
    }

    /// Nothing is planned by it alone, except a look at a name that led elsewhere.
    fn resumed(&mut self, now: Timestamp) {
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

    fn wanted(&mut self, now: Timestamp) {
        match self.reason {
            // A renewal that DNS had come between waits for the end of its back-off.
            Reason::Ok if self.retry_at.is_some() && self.next_attempt == self.retry_at => {
                self.retry_at = None;
                self.next_attempt = Some(self.not_before(now));
            }
            // It works, or is being worked on, or the CA is waited for.
            Reason::Ok
            | Reason::Renewing
            | Reason::Queued
            | Reason::Ordering
            | Reason::Validating
            | Reason::RateLimited
            | Reason::CaUnreachable => {}
            // Our own back-off ends at a word; what the CA has said of the name is kept.
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
                self.looks = 0;
                self.retry_at = None;
                self.next_attempt = Some(self.not_before(now));
            }
        }
    }

    /// There is none any more, by a fault of ours; a new one is due at once.
    fn lost(&mut self, why: String, now: Timestamp) {
        self.certificate = None;
        self.told_expiring = false;
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

    /// Whether the state says that a certificate is held where none is, or the other way round. Time
    /// makes it so, and a clock that is set.
    pub fn is_out_of_step(&self, now: Timestamp) -> bool {
        (self.state() == State::Issued) != self.holds(now)
    }

    /// A certificate that runs out leaves the state that its renewal had come to. One that has not
    /// run out after all, since the clock was ahead, goes back there.
    fn tick(&mut self, now: Timestamp) {
        if self.state() != State::Issued {
            if self.holds(now) {
                self.lives_on(now);
            }
            return;
        }
        self.told_expiring |= self.certificate.as_ref().is_some_and(|c| c.expiring_at() <= now);
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
    fn lives_on(&mut self, now: Timestamp) {
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
    fn idle_reason(&self) -> Reason {
        if self.certificate.is_some() {
            Reason::Expired
        } else {
            Reason::NeverRequested
        }
    }
}

/// The longest back-off of the renewal of a certificate.
fn renewal_backoff(certificate: &CertificateInfo, now: Timestamp) -> Duration {
    (certificate.not_after.saturating_since(now) / RENEWAL_SHARE).max(RENEWAL_MIN)
}

impl Reason {
    /// Whether it is about what DNS says.
    pub fn is_dns(self) -> bool {
        matches!(
            self,
            Self::DnsMissing | Self::DnsElsewhere | Self::Proxied | Self::StrayAaaa | Self::CaaForbids | Self::DnsError
        )
    }

    /// Whether a handshake or a "verify" may start an order where none is planned.
    pub fn may_be_requested(self) -> bool {
        self.is_dns() || matches!(self, Self::NeverRequested | Self::Expired)
    }

    /// Whether an order is being worked on.
    pub fn is_in_progress(self) -> bool {
        matches!(self, Self::Ordering | Self::Validating | Self::Renewing)
    }
}

impl FailureKind {
    /// The reason it leads to where no certificate is held.
    pub fn reason(self) -> Reason {
        match self {
            Self::Connection | Self::WrongAnswer | Self::CaDns | Self::Rejected => Reason::ValidationFailed,
            Self::Caa => Reason::CaaForbids,
            Self::NameLimit | Self::AccountLimit => Reason::RateLimited,
            Self::Unreachable => Reason::CaUnreachable,
            Self::Stuck
            | Self::Refused
            | Self::Unusable
            | Self::Internal
            | Self::Clock
            | Self::Trust
            | Self::Account => Reason::RetryScheduled,
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl SslStatus {
    /// [`SslStatus::apply`] of a domain that is wanted.
    pub fn then(&self, event: SslEvent, now: Timestamp) -> Self {
        self.apply(event, Wish::Wanted, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ssl::{LastError, Preflight};
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn certificate(days: u64) -> CertificateInfo {
        CertificateInfo {
            not_before: T0,
            not_after: T0 + HOUR * 24 * u32::try_from(days).unwrap(),
            obtained: None,
            issuer: "Test CA".into(),
            serial: "01".into(),
            sans: vec!["a.example".into()],
            ca: "https://ca.example/dir".into(),
            ari_id: None,
            renew_at: T0 + HOUR * 16 * u32::try_from(days).unwrap(),
            ari_check_at: None,
        }
    }

    fn refusal(kind: FailureKind) -> Failure {
        let error = LastError {
            kind: "urn:x".into(),
            detail: "said so".into(),
            at: T0,
            subproblems: vec![],
        };
        Failure {
            kind,
            error,
            retry_after: None,
        }
    }

    fn failure(kind: FailureKind) -> SslEvent {
        SslEvent::Failed {
            failure: refusal(kind),
            backoff: Duration::from_secs(60),
        }
    }

    fn fresh() -> SslStatus {
        SslStatus::new(T0)
    }

    fn issued(days: u64) -> SslStatus {
        fresh().then(SslEvent::Issued(certificate(days)), T0)
    }

    fn ca() -> String {
        "ca.example".into()
    }

    #[test]
    fn the_straight_way_goes_from_unknown_over_pending_to_issued() {
        let mut status = fresh();
        let mut seen = vec![status.reason];
        for event in [
            SslEvent::Wanted,
            SslEvent::DnsChecked(DnsVerdict::Right),
            SslEvent::Queued { eta: Some(T0 + HOUR) },
            SslEvent::OrderStarted { ca: ca() },
            SslEvent::Validating,
            SslEvent::Issued(certificate(90)),
        ] {
            status = status.then(event, T0);
            seen.push(status.reason);
        }
        use Reason::*;
        assert_eq!(
            seen,
            [
                NeverRequested,
                NeverRequested,
                NeverRequested,
                Queued,
                Ordering,
                Validating,
                Ok
            ]
        );
        assert_eq!(status.next_due(true), Some(T0 + HOUR * 16 * 90));
        assert_eq!(
            status.next_due(false),
            Some(T0 + HOUR * 24 * 75),
            "an unwanted one still nears its end"
        );
        let near = status.then(SslEvent::Tick, T0 + HOUR * 24 * 75);
        assert_eq!(near.next_due(false), Some(T0 + HOUR * 24 * 90), "and expires");
    }

    #[test]
    fn an_issued_domain_is_looked_at_before_it_is_renewed() {
        let look_at = T0 + HOUR * 24;
        let status = issued(90).then(SslEvent::LookAt { at: look_at }, T0);
        assert_eq!(status.next_due(true), Some(look_at));
        assert_eq!(status.next_due(false), Some(T0 + HOUR * 24 * 75));
        let moved = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), look_at);
        assert_eq!(moved.next_due(true), Some(look_at + LOOK_FIRST));
        assert_eq!(moved.misdirected_since, Some(look_at));
        let still = moved.then(SslEvent::DnsChecked(DnsVerdict::Missing), look_at + HOUR);
        assert_eq!(still.misdirected_since, Some(look_at));
        let back = still.then(SslEvent::DnsChecked(DnsVerdict::Right), look_at + HOUR * 2);
        assert_eq!((back.reason, back.misdirected_since), (Reason::Ok, None));
    }

    #[test]
    fn what_dns_alone_has_broken_dns_mends_and_a_failed_order_only_an_order() {
        let stray = || SslEvent::DnsChecked(DnsVerdict::CaaForbids { host: "example".into() });
        let right = || SslEvent::DnsChecked(DnsVerdict::Right);
        let mended = issued(90).then(stray(), T0).then(right(), T0);
        assert_eq!(
            (mended.reason, mended.facts.cause, mended.next_attempt),
            (Reason::Ok, None, None)
        );
        let due = T0 + HOUR * 16 * 90;
        let failing = issued(90)
            .then(failure(FailureKind::Connection), due)
            .then(stray(), due);
        assert_eq!(failing.then(right(), due).reason, Reason::RenewalFailing);
    }

    #[test]
    fn a_failed_renewal_that_is_not_due_any_more_is_no_trouble_once_dns_is_right() {
        let (early, later) = (T0 + HOUR, T0 + HOUR + Duration::from_secs(30));
        let info = |renew_at| SslEvent::RenewalInfo {
            renew_at,
            check_at: T0 + HOUR * 6,
        };
        let brought_forward = issued(90).then(info(T0), early);
        let failing = brought_forward
            .then(SslEvent::OrderStarted { ca: ca() }, early)
            .then(failure(FailureKind::Connection), early);
        assert_eq!(failing.reason, Reason::RenewalFailing);
        let moved_back = failing.then(info(T0 + HOUR * 24 * 60), later);
        let right = moved_back.then(SslEvent::DnsChecked(DnsVerdict::Right), later);
        assert_eq!(
            (right.reason, right.facts.cause, right.next_attempt, right.retry_at),
            (Reason::Ok, None, None, None)
        );
        assert_eq!(right.attempts, 1, "the next failure waits longer");
        assert!(right.next_due(true).is_some_and(|at| at > later));
        // An operator's release has it looked at, and no more.
        let released = moved_back.then(SslEvent::Released, later);
        assert_eq!(released.next_due(true), Some(later));
        let right = released.then(SslEvent::DnsChecked(DnsVerdict::Right), later);
        assert!(right.next_due(true).is_some_and(|at| at > later));
        // As long as the renewal is due, only its order ends it.
        let still = failing.then(SslEvent::DnsChecked(DnsVerdict::Right), later);
        assert_eq!(still.reason, Reason::RenewalFailing);
    }

    #[test]
    fn a_certificate_that_only_a_wrong_clock_had_ended_is_held_again() {
        let (ahead, right) = (T0 + HOUR * 24 * 100, SslEvent::DnsChecked(DnsVerdict::Right));
        let expired = issued(90).then(SslEvent::Tick, ahead);
        let ordering = expired.then(SslEvent::OrderStarted { ca: ca() }, ahead);
        let cases = [
            (expired.clone(), Reason::Ok),
            (expired.then(SslEvent::Queued { eta: None }, ahead), Reason::Ok),
            (ordering.clone(), Reason::Renewing),
            (ordering.then(SslEvent::Validating, ahead), Reason::Renewing),
            (ordering.then(failure(FailureKind::Clock), ahead), Reason::Ok),
            (ordering.then(failure(FailureKind::Unreachable), ahead), Reason::Ok),
            (
                expired.then(SslEvent::DnsChecked(DnsVerdict::Missing), ahead),
                Reason::Moved,
            ),
            (
                expired.then(SslEvent::DnsChecked(DnsVerdict::CaaForbids { host: "x".into() }), ahead),
                Reason::Ok,
            ),
            (expired.then(SslEvent::Denied, ahead), Reason::Ok),
            (
                expired.then(SslEvent::Frozen { until: ahead + HOUR }, ahead),
                Reason::Ok,
            ),
        ];
        for (status, reason) in cases {
            assert!(
                status.is_beyond_reach(T0),
                "it is found once the clock is right: {status:?}"
            );
            let back = status.then(SslEvent::Tick, T0);
            assert_eq!((back.state(), back.reason), (State::Issued, reason), "{status:?}");
            let looked_at = back.then(right.clone(), T0);
            if !looked_at.reason.is_in_progress() {
                assert_eq!(
                    (looked_at.reason, looked_at.next_attempt),
                    (Reason::Ok, None),
                    "{status:?}"
                );
                assert!(looked_at.next_due(true).is_some_and(|at| at > T0));
            }
        }
        // Where its renewal is due anyway, what its order met stays.
        let due = T0 + HOUR * 16 * 90;
        let back = ordering
            .then(failure(FailureKind::Unreachable), ahead)
            .then(SslEvent::Tick, due);
        assert_eq!((back.reason, back.next_due(true)), (Reason::RenewalFailing, Some(due)));
        // A pause keeps what is held, and nothing is ordered for it.
        let paused = expired.apply(SslEvent::SetAside, Wish::Paused, ahead);
        let back = paused.apply(SslEvent::Tick, Wish::Paused, T0);
        assert_eq!((back.reason, back.next_attempt), (Reason::Ok, None));
    }

    #[test]
    fn after_a_thaw_failures_count_on_and_what_the_ca_said_is_kept() {
        let failed = (0..3).fold(fresh(), |s, _| s.then(failure(FailureKind::Connection), T0));
        let setback = failed.then(failure(FailureKind::Stuck), T0);
        let frozen = setback.then(SslEvent::Frozen { until: T0 + HOUR }, T0 + HOUR);
        assert_eq!(frozen.reason, Reason::Paused);
        let thawed = frozen.then(SslEvent::Thawed, T0 + HOUR);
        assert_eq!(
            (thawed.reason, thawed.attempts, thawed.setbacks, thawed.next_attempt),
            (Reason::NeverRequested, 3, 1, Some(T0 + HOUR))
        );
        let mut limited = frozen;
        limited.not_before = Some(T0 + HOUR * 3);
        let thawed = limited.then(SslEvent::Thawed, T0 + HOUR);
        assert_eq!(thawed.next_attempt, Some(T0 + HOUR * 3));
        // What an operator has paused is not the freeze's to end.
        let paused = limited.apply(SslEvent::SetAside, Wish::Paused, T0);
        let after = paused.apply(SslEvent::Thawed, Wish::Paused, T0 + HOUR);
        assert_eq!((after.reason, after.next_attempt), (Reason::Paused, None));
        let held = issued(90);
        assert_eq!(held.then(SslEvent::Thawed, T0), held);
    }

    #[test]
    fn what_was_stopped_for_all_is_due_once_orders_go_on() {
        let (now, until) = (T0 + HOUR * 24 * 61, T0 + HOUR * (24 * 61 + 6));
        let expired = issued(1).then(SslEvent::Tick, now);
        let looked_for = fresh().then(SslEvent::DnsChecked(DnsVerdict::Missing), T0);
        for before in [issued(90), expired, looked_for, fresh().then(SslEvent::Wanted, T0)] {
            for event in [SslEvent::Frozen { until }, SslEvent::SwitchedOff { until }] {
                let stopped = before.then(event.clone(), now);
                assert_eq!(stopped.next_attempt, Some(until), "{event:?}");
                let thawed = stopped.then(SslEvent::Thawed, now + HOUR);
                assert_eq!(thawed.next_due(true), Some(now + HOUR), "{event:?}: {before:?}");
                assert!(!thawed.stopped);
            }
        }
        // A back-off that runs is kept, and what waits for something else too.
        let failing = issued(90).then(failure(FailureKind::Connection), now);
        let stopped = failing.then(SslEvent::Frozen { until }, now);
        assert_eq!(stopped.then(SslEvent::Thawed, now).next_attempt, failing.next_attempt);
        let put_off = issued(90).then(SslEvent::Postponed { until }, now);
        assert_eq!(put_off.then(SslEvent::Thawed, now), put_off);
        // Another plan is not theirs to end.
        let replanned = stopped.then(SslEvent::Postponed { until: until + HOUR }, now);
        assert_eq!(replanned.then(SslEvent::Thawed, now), replanned);
    }

    #[test]
    fn whatever_a_domain_without_a_certificate_waits_for_an_operator_ends() {
        let (now, until) = (T0 + HOUR * 48, T0 + HOUR * 54);
        for before in [issued(1).then(SslEvent::Tick, now), fresh()] {
            let waits = before.then(SslEvent::Postponed { until }, now);
            assert_eq!(waits.next_due(true), Some(until));
            assert_eq!(
                waits.then(SslEvent::Released, now).next_due(true),
                Some(now),
                "{before:?}"
            );
        }
    }

    #[test]
    fn each_verdict_has_its_reason_with_and_without_a_certificate() {
        let found = || "cname.other.example".to_owned();
        for (verdict, unheld, held) in [
            (DnsVerdict::Missing, Reason::DnsMissing, Reason::Moved),
            (
                DnsVerdict::Elsewhere { found: found() },
                Reason::DnsElsewhere,
                Reason::Moved,
            ),
            (
                DnsVerdict::Proxied {
                    provider: "Cloudflare".into(),
                },
                Reason::Proxied,
                Reason::Moved,
            ),
            (
                DnsVerdict::StrayAaaa {
                    found: "2001:db8::1".parse().unwrap(),
                    host: "links.example".into(),
                },
                Reason::StrayAaaa,
                Reason::RenewalFailing,
            ),
            (
                DnsVerdict::CaaForbids { host: "example".into() },
                Reason::CaaForbids,
                Reason::RenewalFailing,
            ),
            (
                DnsVerdict::Error {
                    zone: "example".into(),
                    error: "SERVFAIL".into(),
                },
                Reason::DnsError,
                Reason::RenewalFailing,
            ),
        ] {
            let event = SslEvent::DnsChecked(verdict);
            // When the renewal is due; before that, only a move is of any concern.
            let due = T0 + HOUR * 16 * 90;
            let (a, b) = (fresh().then(event.clone(), T0), issued(90).then(event, due));
            assert_eq!((a.reason, b.reason), (unheld, held));
            assert!(a.next_due(true).is_some() && b.next_due(true).is_some());
            // And the fix clears it.
            let fixed = a.then(SslEvent::DnsChecked(DnsVerdict::Right), T0);
            assert_eq!(fixed.reason, Reason::NeverRequested);
            // Once it has run out, it says the same as one that never was.
            assert_eq!(b.then(SslEvent::Tick, T0 + HOUR * 24 * 90).reason, unheld);
        }
    }

    #[test]
    fn looking_at_wrong_dns_slows_down_and_a_request_starts_afresh() {
        let mut status = fresh();
        let mut waits = vec![];
        for _ in 0..12 {
            status = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), T0);
            waits.push(status.next_attempt.unwrap().saturating_since(T0));
        }
        assert_eq!(waits[..3], [LOOK_FIRST, LOOK_FIRST * 2, LOOK_FIRST * 4]);
        assert_eq!(waits[11], LOOK_MAX);
        assert_eq!(status.then(SslEvent::Wanted, T0).next_attempt, Some(T0));
    }

    #[test]
    fn each_failure_has_its_reason_and_keeps_the_cas_words() {
        use FailureKind::*;
        for (kind, reason) in [
            (Connection, Reason::ValidationFailed),
            (WrongAnswer, Reason::ValidationFailed),
            (CaDns, Reason::ValidationFailed),
            (Rejected, Reason::ValidationFailed),
            (Caa, Reason::CaaForbids),
            (NameLimit, Reason::RateLimited),
            (AccountLimit, Reason::RateLimited),
            (Unreachable, Reason::CaUnreachable),
            (Stuck, Reason::RetryScheduled),
            (Refused, Reason::RetryScheduled),
            (Internal, Reason::RetryScheduled),
        ] {
            let after = fresh().then(failure(kind), T0);
            assert_eq!(after.reason, reason);
            assert_eq!(after.last_error.as_ref().unwrap().detail, "said so");
            assert!(after.next_attempt.unwrap() > T0);
            let held = issued(90).then(failure(kind), T0 + HOUR * 16 * 90);
            assert_eq!(held.reason, Reason::RenewalFailing);
            assert_eq!(held.then(SslEvent::Tick, T0 + HOUR * 24 * 90).reason, reason);
            assert_eq!(held.then(SslEvent::Issued(certificate(91)), T0).last_error, None);
        }
    }

    #[test]
    fn the_cas_retry_after_goes_over_our_own_wait_and_over_a_request() {
        let at = T0 + HOUR * 5;
        let SslEvent::Failed { mut failure, backoff } = failure(FailureKind::NameLimit) else {
            unreachable!()
        };
        failure.retry_after = Some(at);
        let after = fresh().then(SslEvent::Failed { failure, backoff }, T0);
        assert_eq!(after.next_attempt, Some(at));
        assert_eq!(after.then(SslEvent::Wanted, T0).next_attempt, Some(at));
    }

    #[test]
    fn a_domain_is_given_up_for_its_own_failures_only() {
        let run = |kind| (0..GIVE_UP_AFTER).fold(fresh(), |s, _| s.then(failure(kind), T0));
        let given_up = run(FailureKind::Connection);
        assert_eq!((given_up.reason, given_up.next_due(true)), (Reason::GivenUp, None));
        assert_eq!(run(FailureKind::Unreachable).reason, Reason::CaUnreachable);
        assert_eq!(run(FailureKind::AccountLimit).attempts, 0);
        let again = given_up.then(SslEvent::Wanted, T0);
        assert_eq!(
            (again.reason, again.attempts, again.next_due(true)),
            (Reason::NeverRequested, 0, Some(T0))
        );
    }

    #[test]
    fn a_renewal_is_tried_again_well_before_the_end() {
        let minute = CertificateInfo {
            not_after: T0 + Duration::from_secs(60),
            ..certificate(1)
        };
        let status = fresh().then(SslEvent::Issued(minute), T0);
        let failed = status.then(failure(FailureKind::Unreachable), T0 + Duration::from_secs(40));
        assert_eq!(failed.next_attempt, Some(T0 + Duration::from_secs(45)));
    }

    #[test]
    fn a_held_certificate_is_never_taken_away_by_admission_or_pause() {
        for (event, wish) in [
            (SslEvent::Denied, Wish::Wanted),
            (SslEvent::SetAside, Wish::Paused),
            (SslEvent::SetAside, Wish::Retired),
        ] {
            assert_eq!(issued(90).apply(event.clone(), wish, T0).state(), State::Issued);
            assert_eq!(fresh().apply(event, wish, T0).state(), State::Unknown);
        }
    }

    #[test]
    fn what_an_order_comes_to_does_not_leave_a_pause() {
        let ordering = fresh().then(SslEvent::OrderStarted { ca: ca() }, T0);
        let paused = ordering.apply(SslEvent::SetAside, Wish::Paused, T0);
        assert_eq!((paused.reason, paused.next_due(false)), (Reason::Paused, None));
        for event in [
            SslEvent::Validating,
            failure(FailureKind::Connection),
            SslEvent::DnsChecked(DnsVerdict::Missing),
            SslEvent::Queued { eta: None },
        ] {
            let after = paused.apply(event, Wish::Paused, T0);
            assert_eq!((after.reason, after.next_attempt), (Reason::Paused, None));
        }
        // A certificate that still comes is held, and not renewed.
        let held = paused.apply(SslEvent::Issued(certificate(90)), Wish::Paused, T0);
        assert_eq!(held.reason, Reason::Ok);
        let ran_out = held.apply(SslEvent::Tick, Wish::Paused, T0 + HOUR * 24 * 90);
        assert_eq!((ran_out.reason, ran_out.next_attempt), (Reason::Paused, None));
        let back = ran_out.then(SslEvent::Resumed, T0 + HOUR * 24 * 90);
        assert_eq!((back.reason, back.next_attempt), (Reason::Expired, None));
    }

    #[test]
    fn what_is_retired_promises_nothing() {
        let failing = fresh().then(failure(FailureKind::Connection), T0);
        let retired = failing.apply(SslEvent::SetAside, Wish::Retired, T0);
        assert_eq!(
            (retired.reason, retired.next_attempt, retired.next_due(false)),
            (Reason::Paused, None, None)
        );
        let held = issued(90).then(failure(FailureKind::Unreachable), T0 + HOUR * 16 * 90);
        assert_eq!(held.reason, Reason::RenewalFailing);
        let retired = held.apply(SslEvent::SetAside, Wish::Retired, T0);
        assert_eq!((retired.reason, retired.next_attempt), (Reason::Ok, None));
        let ran_out = retired.apply(SslEvent::Tick, Wish::Retired, T0 + HOUR * 24 * 90);
        assert_eq!((ran_out.reason, ran_out.next_due(false)), (Reason::Expired, None));
        let denied = fresh().then(SslEvent::Denied, T0);
        assert_eq!(
            denied.apply(SslEvent::SetAside, Wish::Retired, T0).reason,
            Reason::Denied
        );
    }

    #[test]
    fn an_interrupted_order_that_is_put_off_is_due_when_it_says() {
        let until = T0 + HOUR * 6;
        for event in [
            SslEvent::OrderStarted { ca: ca() },
            SslEvent::Validating,
            SslEvent::Queued { eta: Some(T0) },
        ] {
            let put_off = fresh().then(event, T0).then(SslEvent::Postponed { until }, T0 + HOUR);
            assert_eq!(
                (put_off.reason, put_off.next_due(true), put_off.eta),
                (Reason::RetryScheduled, Some(until), None)
            );
        }
        let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
        let put_off = renewing.then(SslEvent::Postponed { until }, T0 + HOUR);
        assert_eq!((put_off.reason, put_off.next_due(true)), (Reason::Ok, Some(until)));
    }

    #[test]
    fn a_proxy_is_no_obstacle_while_the_challenge_arrives_through_it() {
        let cdn = || DnsVerdict::Proxied { provider: "CDN".into() };
        let tried = |miss: Option<&str>| {
            SslEvent::Preflight(Preflight {
                at: T0,
                through: Some("CDN".into()),
                miss: miss.map(str::to_owned),
            })
        };
        let stand_in = SslEvent::StandIn { until: T0 + HOUR };
        let proxied = fresh().then(SslEvent::DnsChecked(cdn()), T0).then(stand_in.clone(), T0);
        assert_eq!(
            (proxied.reason, proxied.facts.stand_in_until),
            (Reason::Proxied, Some(T0 + HOUR))
        );
        let missed = proxied
            .then(tried(Some("refused")), T0)
            .then(SslEvent::DnsChecked(cdn()), T0);
        assert_eq!((missed.reason, missed.facts.stand_in_until), (Reason::Proxied, None));
        assert!(missed.facts.preflight.is_some());
        let arrived = missed.then(tried(None), T0).then(SslEvent::DnsChecked(cdn()), T0);
        assert_eq!(arrived.reason, Reason::NeverRequested);
        let ordered = arrived.then(SslEvent::OrderStarted { ca: ca() }, T0);
        assert_eq!(ordered.facts.stand_in_until, Some(T0 + ORDER_ABANDONED_AFTER));
        assert_eq!(
            ordered.then(failure(FailureKind::Connection), T0).facts.stand_in_until,
            None
        );
        // Once issued it stays right, until the challenge does not arrive any more.
        let held = ordered.then(SslEvent::Issued(certificate(90)), T0);
        assert_eq!(held.facts.stand_in_until, None);
        assert_eq!(held.then(SslEvent::DnsChecked(cdn()), T0).reason, Reason::Ok);
        assert_eq!(held.then(stand_in, T0).facts.stand_in_until, None);
        let lost = held
            .then(tried(Some("refused")), T0)
            .then(SslEvent::DnsChecked(cdn()), T0);
        assert_eq!(lost.reason, Reason::Moved);
        // Not proxied: no stand-in.
        let plain = fresh().then(SslEvent::OrderStarted { ca: ca() }, T0);
        assert_eq!(plain.facts.stand_in_until, None);
    }

    #[test]
    fn a_held_back_queue_is_no_fault_of_the_domain() {
        let event = SslEvent::HeldBack {
            until: T0 + HOUR,
            ca: ca(),
            in_line: false,
        };
        let after = fresh().then(event.clone(), T0);
        assert_eq!(
            (after.reason, after.attempts, after.next_attempt),
            (Reason::RateLimited, 0, Some(T0 + HOUR))
        );
        let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
        assert_eq!(renewing.reason, Reason::Renewing);
        let held = renewing.then(event, T0);
        assert_eq!((held.reason, held.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
    }

    #[test]
    fn what_is_doubted_changes_no_state_and_counts_as_the_ca_counts() {
        let refused = refusal(FailureKind::Connection);
        let event = || SslEvent::Doubted {
            failure: refused.clone(),
            until: T0 + HOUR,
        };
        let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
        let held = renewing.then(event(), T0);
        assert_eq!(
            (held.reason, held.attempts, held.next_attempt),
            (Reason::Ok, 1, Some(T0 + HOUR))
        );
        assert_eq!(
            (&held.last_error, held.failures.len(), held.doubted),
            (&Some(refused.error.clone()), 1, true)
        );
        let believed = held.then(failure(FailureKind::Connection), T0 + HOUR);
        assert_eq!((believed.attempts, believed.doubted), (2, false));
        let long = (0..2 * GIVE_UP_AFTER).fold(held, |s, _| s.then(event(), T0));
        let told = long.then(failure(FailureKind::Connection), T0);
        assert!(told.attempts < GIVE_UP_AFTER, "doubt gives no domain up");
        let ordering = fresh().then(SslEvent::OrderStarted { ca: ca() }, T0);
        let pending = ordering.then(event(), T0);
        assert_eq!((ordering.state(), pending.state()), (State::Pending, State::Pending));
        assert_eq!(
            (pending.reason, pending.facts.cause),
            (Reason::RetryScheduled, Some(FailureKind::Internal))
        );
    }

    #[test]
    fn a_freeze_promises_nothing_and_is_no_operators_pause() {
        let event = SslEvent::Frozen { until: T0 + HOUR };
        let queued = fresh().then(SslEvent::Queued { eta: Some(T0 + HOUR) }, T0);
        let frozen = queued.then(event.clone(), T0);
        assert_eq!(
            (frozen.reason, frozen.state(), frozen.eta),
            (Reason::Paused, State::Unknown, None)
        );
        assert_eq!(frozen.next_due(true), Some(T0 + HOUR), "DNS is still looked at");
        assert_eq!(frozen.then(SslEvent::Wanted, T0).next_due(true), Some(T0));
        assert_eq!(fresh().apply(SslEvent::SetAside, Wish::Paused, T0).next_due(true), None);
        let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
        let held = renewing.then(event, T0);
        assert_eq!((held.reason, held.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
    }

    #[test]
    fn a_ca_that_is_out_of_use_promises_no_certificate() {
        let event = SslEvent::CaOut {
            until: T0 + HOUR,
            ca: ca(),
        };
        let after = fresh().then(event.clone(), T0);
        assert_eq!(
            (after.reason, after.attempts, after.eta),
            (Reason::CaUnreachable, 0, None)
        );
        assert_eq!(after.next_attempt, Some(T0 + HOUR));
        let held = issued(90).then(event, T0);
        assert_eq!((held.reason, held.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
    }

    #[test]
    fn a_ca_that_keeps_refusing_a_name_is_passed_over_for_a_while() {
        let refused = |status: &SslStatus, ca: &str, at| status.then(SslEvent::RefusedBy { ca: ca.into() }, at);
        let once = refused(&fresh(), "a", T0);
        assert!(!once.is_refused_by("a", T0), "once may be a mistake");
        let twice = refused(&refused(&once, "b", T0), "a", T0 + HOUR);
        assert!(twice.is_refused_by("a", T0 + HOUR) && !twice.is_refused_by("b", T0 + HOUR));
        assert!(!twice.is_refused_by("a", T0 + HOUR + REFUSAL_KEPT));
        // Another CA's certificate forgets nothing, its own does.
        let ca = certificate(90).ca;
        let refused = refused(&refused(&twice, &ca, T0), &ca, T0);
        let issued = refused.then(SslEvent::Issued(certificate(90)), T0);
        assert!(issued.is_refused_by("a", T0 + HOUR) && !issued.is_refused_by(&ca, T0 + HOUR));
    }

    #[test]
    fn an_expired_one_is_due_at_once() {
        let end = T0 + HOUR * 24 * 90;
        let status = issued(90).then(SslEvent::Tick, end);
        assert_eq!((status.reason, status.next_due(true)), (Reason::Expired, Some(end)));
        assert_eq!(issued(90).then(SslEvent::Tick, T0).reason, Reason::Ok);
    }

    #[test]
    fn failed_authorizations_are_counted_in_a_sliding_window() {
        let minute = Duration::from_secs(60);
        let mut status = fresh();
        for i in 0..4 {
            assert_eq!(status.must_wait(4, HOUR, T0 + minute * i), None);
            status = status.then(failure(FailureKind::Connection), T0 + minute * i);
        }
        assert_eq!(status.must_wait(4, HOUR, T0 + minute * 4), Some(T0 + HOUR));
        assert_eq!(status.must_wait(4, HOUR, T0 + HOUR), None);
        status = status.then(failure(FailureKind::Unreachable), T0 + HOUR);
        assert_eq!(status.must_wait(4, HOUR, T0 + HOUR), None, "the CA did not look");
        status = status.then(failure(FailureKind::CaDns), T0 + HOUR);
        assert_eq!(status.must_wait(4, HOUR, T0 + HOUR), Some(T0 + minute + HOUR));
    }

    #[test]
    fn a_reissue_is_due_now_and_a_postponement_later() {
        let status = issued(90).then(SslEvent::Reissue, T0);
        assert_eq!((status.reason, status.next_due(true)), (Reason::Ok, Some(T0)));
        let status = status.then(SslEvent::Postponed { until: T0 + HOUR }, T0);
        assert_eq!((status.reason, status.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
    }

    fn servfail() -> DnsVerdict {
        DnsVerdict::Error {
            zone: "z".into(),
            error: "SERVFAIL".into(),
        }
    }

    #[test]
    fn a_look_by_hand_puts_off_no_look_and_starts_their_schedule_afresh() {
        let mut status = fresh();
        let mut now = T0;
        for _ in 0..12 {
            status = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), now);
            now = status.next_attempt.unwrap();
        }
        let seldom = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), now);
        assert_eq!(seldom.next_attempt, Some(now + LOOK_MAX));
        let mut polled = seldom.then(SslEvent::DnsCheckedByHand(DnsVerdict::Missing), now);
        assert_eq!(polled.next_attempt, Some(now + LOOK_FIRST));
        for seconds in 1..LOOK_FIRST.as_secs() {
            let at = now + Duration::from_secs(seconds);
            polled = polled.then(SslEvent::DnsCheckedByHand(DnsVerdict::Missing), at);
            assert_eq!(polled.next_attempt, Some(now + LOOK_FIRST), "whoever looks how often");
        }
        let right = polled.then(SslEvent::DnsCheckedByHand(DnsVerdict::Right), now);
        assert_eq!((right.reason, right.next_attempt), (Reason::NeverRequested, None));
    }

    #[test]
    fn dns_that_fails_long_before_the_renewal_is_no_failing_renewal() {
        let caa = DnsVerdict::CaaForbids {
            host: "a.example".into(),
        };
        for verdict in [servfail(), caa] {
            for event in [
                SslEvent::DnsChecked(verdict.clone()),
                SslEvent::DnsCheckedByHand(verdict.clone()),
            ] {
                let early = issued(90).then(event.clone(), T0 + HOUR);
                assert_eq!((early.reason, early.last_error.as_ref()), (Reason::Ok, None));
                assert_eq!(
                    early.next_due(true),
                    Some(T0 + HOUR + LOOK_FIRST),
                    "it is looked at again"
                );
                assert_eq!(early.then(SslEvent::Tick, T0 + HOUR).reason, Reason::Ok);
                let due = T0 + HOUR * 24 * 60;
                assert_eq!(issued(90).then(event, due).reason, Reason::RenewalFailing);
            }
        }
        let elsewhere = SslEvent::DnsChecked(DnsVerdict::Elsewhere { found: "x".into() });
        assert_eq!(issued(90).then(elsewhere, T0 + HOUR).reason, Reason::Moved);
    }

    #[test]
    fn a_replacement_by_hand_that_fails_leaves_what_is_held_as_good_as_it_was() {
        let wanted = issued(90).then(SslEvent::Reissue, T0 + HOUR);
        let until = T0 + HOUR * 24 * 7;
        let limit = SslEvent::Failed {
            failure: Failure {
                retry_after: Some(until),
                ..refusal(FailureKind::NameLimit)
            },
            backoff: Duration::from_secs(60),
        };
        let started = wanted.then(SslEvent::OrderStarted { ca: ca() }, T0 + HOUR);
        let after = started.then(limit, T0 + HOUR);
        assert_eq!((after.reason, after.next_attempt), (Reason::Ok, Some(until)));
        assert!(after.last_error.is_some() && after.facts.cause == Some(FailureKind::NameLimit));
        let free = after.then(SslEvent::Released, T0 + HOUR * 2);
        assert_eq!(free.next_attempt, Some(T0 + HOUR * 2));
        // The CA's renewal information neither ends what an operator wants, nor calls it overdue.
        let later = T0 + HOUR * 24 * 60;
        let info = SslEvent::RenewalInfo {
            renew_at: later,
            check_at: later,
        };
        let told = after.then(info, T0 + HOUR * 2);
        assert_eq!(told.renewal_planned(), Some(later));
        assert!(told.renewal_is_due(T0 + HOUR * 2) && !told.hurry);
        // Once the renewal is due by itself, it fails like any other.
        let due = after.then(failure(FailureKind::Connection), later);
        assert_eq!(due.reason, Reason::RenewalFailing);
        let replaced = after.then(SslEvent::Issued(certificate(90)), later);
        assert_eq!((replaced.reason, replaced.replaced_by_hand), (Reason::Ok, None));
    }

    #[test]
    fn a_young_certificate_is_brought_forward_once_and_its_successors_at_a_third_of_their_lives() {
        let day = HOUR * 24;
        let of = |from: Timestamp| CertificateInfo {
            not_before: from,
            not_after: from + day * 90,
            renew_at: from + day * 60,
            ..certificate(90)
        };
        let past = |now: Timestamp| SslEvent::RenewalInfo {
            renew_at: now.minus(HOUR),
            check_at: now + HOUR * 6,
        };
        let mut status = fresh().then(SslEvent::Issued(of(T0)), T0);
        let mut now = T0 + HOUR * 4;
        status = status.then(past(now), now);
        assert!(status.renewal_is_due(now) && status.hurry, "as RFC 9773 wants it");
        let mut orders = 0;
        while now < T0 + day * 90 {
            if status.renewal_is_due(now) {
                orders += 1;
                status = status.then(SslEvent::Issued(of(now)), now);
                assert!(status.brought_forward);
            }
            now = now + HOUR * 6;
            status = status.then(past(now), now);
        }
        assert_eq!(orders, 3, "one at once, and then one in 30 days");
        // A renewal in due time forgets it.
        let late = now + day * 89;
        let old = status.then(SslEvent::Issued(of(late)), late);
        assert!(!old.brought_forward);
        // One by hand brings nothing forward.
        let by_hand = fresh()
            .then(SslEvent::Issued(of(T0)), T0)
            .then(SslEvent::Reissue, T0 + HOUR)
            .then(SslEvent::Issued(of(T0 + HOUR)), T0 + HOUR);
        assert!(!by_hand.brought_forward);
    }

    fn events() -> impl Strategy<Value = SslEvent> {
        prop_oneof![
            Just(SslEvent::DnsChecked(DnsVerdict::Right)),
            Just(SslEvent::DnsChecked(DnsVerdict::Missing)),
            Just(SslEvent::DnsChecked(DnsVerdict::Elsewhere { found: "x".into() })),
            Just(SslEvent::DnsChecked(DnsVerdict::Error {
                zone: "z".into(),
                error: "SERVFAIL".into()
            })),
            Just(SslEvent::DnsCheckedByHand(DnsVerdict::Missing)),
            Just(SslEvent::Queued { eta: None }),
            Just(SslEvent::OrderStarted { ca: ca() }),
            Just(SslEvent::Validating),
            (1u64..90).prop_map(|d| SslEvent::Issued(certificate(d))),
            Just(failure(FailureKind::Connection)),
            Just(failure(FailureKind::Unreachable)),
            Just(failure(FailureKind::NameLimit)),
            Just(SslEvent::Doubted {
                failure: refusal(FailureKind::Connection),
                until: T0 + HOUR
            }),
            Just(SslEvent::HeldBack {
                until: T0 + HOUR,
                ca: ca(),
                in_line: false
            }),
            Just(SslEvent::CaOut {
                until: T0 + HOUR,
                ca: ca()
            }),
            Just(SslEvent::Frozen { until: T0 + HOUR }),
            Just(SslEvent::Thawed),
            Just(SslEvent::RefusedBy { ca: ca() }),
            Just(SslEvent::Denied),
            Just(SslEvent::SetAside),
            Just(SslEvent::Resumed),
            Just(SslEvent::Reissue),
            Just(SslEvent::Postponed { until: T0 + HOUR }),
            Just(SslEvent::SwitchedOff { until: T0 + HOUR }),
            Just(SslEvent::LookAt { at: T0 + HOUR }),
            Just(SslEvent::Wanted),
            Just(SslEvent::Tick),
        ]
    }

    fn wishes() -> impl Strategy<Value = Option<Wish>> {
        prop_oneof![
            6 => Just(None),
            1 => Just(Some(Wish::Wanted)),
            1 => Just(Some(Wish::Paused)),
            1 => Just(Some(Wish::Retired)),
        ]
    }

    proptest! {
        /// Whatever a domain has come to, and however the clock was set meanwhile: a held certificate
        /// that points here and is not to be renewed yet is well, and is not due.
        #[test]
        fn a_held_certificate_that_leads_here_is_well_until_its_renewal_is_due(
            steps in prop::collection::vec((events(), -3000i64..3000), 1..30),
            at in 0u32..(16 * 89),
        ) {
            let (mut status, mut now) = (issued(90), T0);
            for (event, hours) in steps {
                now = Timestamp::from_secs((now.as_secs() + hours * 3600).max(T0.as_secs()));
                status = status.then(SslEvent::Tick, now).then(event, now);
            }
            // At a time when it is held, by a clock that is right again.
            status.certificate = Some(certificate(90));
            let now = T0 + HOUR * at;
            let ticked = status.then(SslEvent::Tick, now);
            prop_assert_eq!(ticked.state(), State::Issued);
            prop_assert_eq!(ticked.then(SslEvent::Tick, now), ticked.clone());
            let right = ticked.then(SslEvent::DnsChecked(DnsVerdict::Right), now);
            if right.reason.is_in_progress() {
                prop_assert!(right.next_due(true) <= Some(now + ORDER_ABANDONED_AFTER));
            } else {
                prop_assert_eq!((right.reason, right.next_attempt, right.facts.cause), (Reason::Ok, None, None));
                // A look that was planned is moved by the look itself.
                let unplanned = SslStatus { look_at: None, ..right };
                prop_assert!(unplanned.next_due(true).is_some_and(|at| at > now), "{:?}", unplanned);
            }
        }

        /// Operators change what they want between any two events of an order, a look and the clock.
        #[test]
        fn whatever_happens_state_and_certificate_agree(
            steps in prop::collection::vec((events(), wishes(), 0u64..2000), 1..40)
        ) {
            let (mut status, mut wish, mut now) = (fresh(), Wish::Wanted, T0);
            for (event, wished, hours) in steps {
                now = now + HOUR * u32::try_from(hours).unwrap();
                status = status.apply(SslEvent::Tick, wish, now);
                if let Some(wished) = wished.filter(|w| *w != wish) {
                    wish = wished;
                    let event = if wish == Wish::Wanted { SslEvent::Resumed } else { SslEvent::SetAside };
                    status = status.apply(event, wish, now);
                }
                let postponed = match &event {
                    SslEvent::Postponed { until } | SslEvent::SwitchedOff { until } => Some(*until),
                    _ => None,
                };
                status = status.apply(event, wish, now).apply(SslEvent::Tick, wish, now);
                let wanted = wish == Wish::Wanted;
                prop_assert_eq!(status.state() == State::Issued, status.holds(now), "{:?}", status);
                prop_assert!(status.since <= now);
                if wanted {
                    prop_assert!(
                        status.state() != State::Pending || status.next_due(true).is_some(),
                        "pending means something comes: {:?}", status
                    );
                    // What was put off is not due before, except for what the certificate itself asks for.
                    if let Some(until) = postponed.filter(|until| *until > now) {
                        let looks = status.holds(now);
                        prop_assert!(looks || status.next_due(true).is_none_or(|at| at >= until), "{:?}", status);
                    }
                } else {
                    prop_assert_eq!((status.next_attempt, status.eta), (None, None), "{:?}", status);
                    let settled = match status.reason {
                        Reason::Ok | Reason::Moved => status.holds(now),
                        Reason::Paused => true,
                        Reason::Expired | Reason::Denied => wish == Wish::Retired,
                        _ => false,
                    };
                    prop_assert!(settled, "{:?}: {:?}", wish, status);
                    prop_assert!(wish != Wish::Paused || status.holds(now) || status.reason == Reason::Paused);
                    prop_assert!(status.next_due(false).is_none_or(|at| status.holds(now) && at > now), "{:?}", status);
                }
            }
        }
    }
}
