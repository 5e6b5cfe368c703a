//! [`SslStatus::apply`], the one function that changes an SSL state.
//!
//! Pure: the same status, event and time give the same status. The control plane stores the
//! result before any of it becomes visible.

mod dns;
mod operator;
pub(crate) mod order;
mod time;

use linkseal_base::clock::Timestamp;

use crate::reach;
use crate::ssl::{FailureKind, Intent, SslEvent, SslStatus};

impl SslStatus {
    /// The status after `event`, at `now`. `intent` is what the operators want for the domain; it
    /// overrides the outcome of an order or a DNS check.
    #[must_use]
    pub fn apply(&self, event: SslEvent, intent: Intent, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.keep_within_reach(now);
        let in_queue = matches!(event, SslEvent::HeldBack { in_queue: true, .. });
        let stops = matches!(event, SslEvent::Frozen { .. } | SslEvent::SwitchedOff { .. });
        match event {
            SslEvent::DnsChecked(verdict) => next.dns_checked(verdict, now),
            SslEvent::DnsCheckedByHand(verdict) => next.dns_checked_by_hand(verdict, self.next_attempt, now),
            SslEvent::DnsCheckFailed => next.facts.unverified = true,
            SslEvent::Preflight(found) => next.facts.preflight = Some(found),
            SslEvent::StandIn { until } => next.facts.stand_in_until = Some(until).filter(|_| !next.holds(now)),
            SslEvent::Queued { eta } => next.queued(eta, now),
            SslEvent::OrderStarted { ca } => next.order_started(ca, now),
            SslEvent::Validating => next.validating(now),
            SslEvent::Issued(certificate) => next.issued(certificate, now),
            SslEvent::Failed { failure, backoff } => next.failed(failure, backoff, now),
            SslEvent::Doubted { failure, until } => next.doubted(failure, until, now),
            SslEvent::HeldBack { until, ca, .. } => next.held_back(until, in_queue, ca, FailureKind::AccountLimit, now),
            SslEvent::SlotReserved(slot) => next.slot_reserved(slot, now),
            SslEvent::CaUnavailable { until, ca } => next.held_back(until, false, ca, FailureKind::Unreachable, now),
            SslEvent::OursToFix { until, ca, kind } => next.held_back(until, false, ca, kind, now),
            SslEvent::OtherCa => next.other_ca(now),
            SslEvent::Released => next.released(now),
            SslEvent::Frozen { until } => next.frozen(until, now),
            SslEvent::Thawed => next.thawed(now),
            SslEvent::RefusedBy { ca } => next.refused_by(ca, now),
            SslEvent::RenewalInfo { renew_at, check_at } => next.renewal_info(renew_at, check_at, now),
            SslEvent::CheckScheduled { at } => next.next_check = Some(at.min(now + reach::DNS_CHECK)),
            SslEvent::Postponed { until } | SslEvent::SwitchedOff { until } => next.postponed(until, now),
            SslEvent::Reissue => next.reissue(now),
            SslEvent::Denied => next.denied(now),
            SslEvent::Resumed => next.resumed(now),
            SslEvent::Wanted => next.wanted(now),
            SslEvent::Lost { why } => next.lost(why, now),
            SslEvent::Tick => next.tick(now),
            SslEvent::SetAside => {}
        }
        next.settle(intent, now);
        if next.reason != self.reason {
            next.since = now;
        }
        next.plan(self, in_queue, stops, now);
        next
    }

    /// Records when and how the next attempt was planned, and keeps it within its rule's reach.
    fn plan(&mut self, before: &Self, in_queue: bool, stops: bool, now: Timestamp) {
        let planned = in_queue || stops || self.next_attempt != before.next_attempt;
        if planned {
            self.in_queue = in_queue;
            self.stopped = stops && self.next_attempt.is_some();
        }
        // The new reason may have a shorter reach than the one that planned the attempt.
        let latest = now + self.reach();
        let far = self.next_attempt.is_some_and(|at| at > latest);
        if planned || far {
            self.planned = self.next_attempt.map(|_| now);
            self.next_attempt = self.next_attempt.map(|at| at.min(latest));
        }
    }
}

#[cfg(any(test, feature = "testing"))]
impl SslStatus {
    /// [`SslStatus::apply`] for a domain that is wanted.
    pub fn then(&self, event: SslEvent, now: Timestamp) -> Self {
        self.apply(event, Intent::Wanted, now)
    }
}

#[cfg(test)]
mod tests;
