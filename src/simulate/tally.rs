//! The counts of a replay, and its outcome.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{CertificateInfo, FailureKind};
use serde::{Serialize, Serializer};

use super::{DAY, Scenario};

/// Possible steps of the plot, in hours: the shortest that gives at most [`STEPS`] steps is used.
const STEP_HOURS: [u32; 7] = [1, 2, 3, 6, 12, 24, 168];
const STEPS: u128 = 400;

/// The outcome of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// Domains at the end.
    pub(crate) domains: u64,
    /// Finished orders, successful or not.
    pub(crate) orders: u64,
    /// First certificates.
    pub(crate) first: u64,
    /// Certificates that replaced another, expired or not.
    pub(crate) renewals: u64,
    /// Maximum of finished orders per day.
    pub(crate) busiest_day: u64,
    /// Orders that failed because the CA could not validate the name.
    pub(crate) failed_validations: u64,
    /// Orders that failed because the CA did not answer.
    pub(crate) failed_unreachable: u64,
    /// Orders refused because the CA's limit for the account was exhausted.
    pub(crate) refused_account: u64,
    /// Orders refused because the CA's limit for the name or its registered domain was exhausted.
    pub(crate) refused_name: u64,
    /// How often an order was postponed because a limit was exhausted.
    pub(crate) held_back: u64,
    /// Requests for renewal information.
    pub(crate) renewal_info_requests: u64,
    /// Certificates replaced after the CA had moved their windows to the past.
    pub(crate) replaced_after_move: u64,
    /// The longest time from such a move to the replacement.
    #[serde(rename = "longest_after_move_seconds", serialize_with = "seconds")]
    pub(crate) longest_after_move: Duration,
    /// Expired certificates of customers whose DNS pointed here and whom the CA could reach.
    pub(crate) expired: u64,
    /// The longest time that one of those domains was without a certificate.
    #[serde(rename = "longest_expired_seconds", serialize_with = "seconds")]
    pub(crate) longest_expired: Duration,
    /// Expired certificates of customers who had left or can never be reached.
    pub(crate) expired_departed: u64,
    /// Maximum of orders waiting for an order slot.
    pub(crate) longest_queue: u64,
    /// Maximum of domains held back by a limit.
    pub(crate) most_held_back: u64,
    /// The longest wait for a first certificate, ended or not, except for domains that can never be validated.
    #[serde(rename = "longest_wait_seconds", serialize_with = "seconds")]
    pub(crate) longest_wait: Duration,
    /// Domains that the CA can validate and that still wait for their first certificate.
    pub(crate) still_waiting: u64,
    /// Domains without a certificate because the CA can never reach them or the customer left before.
    pub(crate) never_issued: u64,
    /// The shortest remaining lifetime at a renewal in time.
    #[serde(rename = "least_left_seconds", serialize_with = "optional_seconds")]
    pub(crate) least_left: Option<Duration>,
    /// The same as a share of the certificate's lifetime.
    pub(crate) least_left_share: Option<f64>,
    /// Orders taken from the account's limit.
    pub(crate) account_taken: u64,
    /// Orders that the account's limit allowed in that time.
    pub(crate) account_allowed: u64,
    /// Counts over time.
    #[serde(skip)]
    pub(crate) series: Series,
}

/// Counts per step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    /// The length of a step.
    pub(crate) step: Duration,
    /// Maximum of orders waiting for a slot.
    pub(crate) queue: Vec<u64>,
    /// Maximum of domains held back by a limit.
    pub(crate) held_back: Vec<u64>,
    pub(crate) first: Vec<u64>,
    pub(crate) renewals: Vec<u64>,
    pub(crate) failures: Vec<u64>,
    /// Domains whose certificate had expired, except for customers who had left.
    pub(crate) expired: Vec<u64>,
}

/// Counts while a replay runs.
pub(super) struct Tally {
    start: Timestamp,
    outcome: Outcome,
    per_day: Vec<u64>,
    queue: u64,
    held_back: u64,
    /// Change, from one step to the next, of the number of domains whose certificate has expired.
    expired_change: Vec<i64>,
}

impl Tally {
    pub(super) fn new(scenario: &Scenario, start: Timestamp) -> Self {
        let step = STEP_HOURS
            .map(|hours| Duration::from_secs(3600) * hours)
            .into_iter()
            .find(|step| scenario.span.as_millis() / step.as_millis() <= STEPS)
            .unwrap_or(DAY * 7);
        let steps = place(scenario.span, step) + 1;
        let limit = scenario.limits.orders_per_account;
        let refilled = scenario.span.div_duration_f64(limit.per) * f64::from(limit.count);
        let none = || vec![0; steps];
        Self {
            start,
            outcome: Outcome {
                domains: 0,
                orders: 0,
                first: 0,
                renewals: 0,
                busiest_day: 0,
                failed_validations: 0,
                failed_unreachable: 0,
                refused_account: 0,
                refused_name: 0,
                held_back: 0,
                renewal_info_requests: 0,
                replaced_after_move: 0,
                longest_after_move: Duration::ZERO,
                expired: 0,
                longest_expired: Duration::ZERO,
                expired_departed: 0,
                longest_queue: 0,
                most_held_back: 0,
                longest_wait: Duration::ZERO,
                still_waiting: 0,
                never_issued: 0,
                least_left: None,
                least_left_share: None,
                account_taken: 0,
                account_allowed: u64::from(limit.count) + refilled as u64,
                series: Series {
                    step,
                    queue: none(),
                    held_back: none(),
                    first: none(),
                    renewals: none(),
                    failures: none(),
                    expired: none(),
                },
            },
            per_day: vec![0; place(scenario.span, DAY) + 1],
            queue: 0,
            held_back: 0,
            expired_change: vec![0; steps + 1],
        }
    }

    fn step(&self, at: Timestamp) -> usize {
        place(at.saturating_since(self.start), self.outcome.series.step)
    }

    pub(super) fn queued(&mut self, now: Timestamp) {
        self.queue += 1;
        self.outcome.longest_queue = self.outcome.longest_queue.max(self.queue);
        let step = self.step(now);
        raise(&mut self.outcome.series.queue, step, self.queue);
    }

    pub(super) fn left_queue(&mut self, now: Timestamp) {
        let step = self.step(now);
        raise(&mut self.outcome.series.queue, step, self.queue);
        self.queue -= 1;
    }

    /// Counts a postponed order. `before`: whether the domain was held back already.
    pub(super) fn held_back(&mut self, before: bool, now: Timestamp) {
        self.outcome.held_back += 1;
        self.held_back += u64::from(!before);
        self.outcome.most_held_back = self.outcome.most_held_back.max(self.held_back);
        let step = self.step(now);
        raise(&mut self.outcome.series.held_back, step, self.held_back);
    }

    pub(super) fn let_through(&mut self, now: Timestamp) {
        // Domains held back since an earlier step count in this one too.
        let step = self.step(now);
        raise(&mut self.outcome.series.held_back, step, self.held_back);
        self.held_back -= 1;
    }

    pub(super) fn asked_renewal_info(&mut self, times: u64) {
        self.outcome.renewal_info_requests += times;
    }

    pub(super) fn taken_from_account(&mut self) {
        self.outcome.account_taken += 1;
    }

    fn order(&mut self, now: Timestamp) {
        self.outcome.orders += 1;
        let day = place(now.saturating_since(self.start), DAY);
        add(&mut self.per_day, day);
    }

    pub(super) fn failed(&mut self, kind: FailureKind, now: Timestamp) {
        self.order(now);
        match kind {
            FailureKind::Unreachable => self.outcome.failed_unreachable += 1,
            FailureKind::AccountLimit => self.outcome.refused_account += 1,
            FailureKind::NameLimit => self.outcome.refused_name += 1,
            _ => self.outcome.failed_validations += 1,
        }
        let step = self.step(now);
        add(&mut self.outcome.series.failures, step);
    }

    /// Counts a first certificate, `waited` after the registration.
    pub(super) fn first(&mut self, waited: Duration, now: Timestamp) {
        self.order(now);
        self.outcome.first += 1;
        self.outcome.longest_wait = self.outcome.longest_wait.max(waited);
        let step = self.step(now);
        add(&mut self.outcome.series.first, step);
    }

    /// Counts a certificate that replaces `old`.
    pub(super) fn renewed(&mut self, old: &CertificateInfo, now: Timestamp) {
        self.order(now);
        self.outcome.renewals += 1;
        let step = self.step(now);
        add(&mut self.outcome.series.renewals, step);
        let Some(left) = old.not_after.since(now) else {
            return self.was_expired(old.not_after, now);
        };
        if self.outcome.least_left.is_none_or(|least| left < least) {
            let life = old.not_after.saturating_since(old.not_before);
            self.outcome.least_left = Some(left);
            self.outcome.least_left_share = Some(left.div_duration_f64(life));
        }
    }

    /// Counts a certificate that was replaced this long after the CA had moved its window to the past.
    pub(super) fn replaced_after_move(&mut self, after: Duration) {
        self.outcome.replaced_after_move += 1;
        self.outcome.longest_after_move = self.outcome.longest_after_move.max(after);
    }

    /// Counts a domain that was without a certificate from `from` until `to`, although its customer is here.
    pub(super) fn was_expired(&mut self, from: Timestamp, to: Timestamp) {
        self.outcome.expired += 1;
        self.outcome.longest_expired = self.outcome.longest_expired.max(to.saturating_since(from));
        let (first, after) = (self.step(from), self.step(to) + 1);
        for (place, change) in [(first, 1), (after, -1)] {
            if let Some(n) = self.expired_change.get_mut(place) {
                *n += change;
            }
        }
    }

    pub(super) fn expired_departed(&mut self) {
        self.outcome.expired_departed += 1;
    }

    /// Counts a domain that has no certificate at the end, `waited` after its registration.
    pub(super) fn still_waits(&mut self, waited: Duration) {
        self.outcome.still_waiting += 1;
        self.outcome.longest_wait = self.outcome.longest_wait.max(waited);
    }

    pub(super) fn never_issued(&mut self) {
        self.outcome.never_issued += 1;
    }

    pub(super) fn outcome(mut self, domains: usize) -> Outcome {
        let mut without = 0i64;
        for (place, change) in self.outcome.series.expired.iter_mut().zip(&self.expired_change) {
            without += change;
            *place = u64::try_from(without).unwrap_or(0);
        }
        self.outcome.domains = domains as u64;
        self.outcome.busiest_day = self.per_day.into_iter().max().unwrap_or(0);
        self.outcome
    }
}

/// The index of the period of this length that contains `elapsed`.
fn place(elapsed: Duration, length: Duration) -> usize {
    usize::try_from(elapsed.as_millis() / length.as_millis().max(1)).unwrap_or(usize::MAX)
}

fn add(counts: &mut [u64], place: usize) {
    if let Some(count) = counts.get_mut(place) {
        *count += 1;
    }
}

fn raise(counts: &mut [u64], place: usize, to: u64) {
    if let Some(count) = counts.get_mut(place) {
        *count = (*count).max(to);
    }
}

fn seconds<S: Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(span.as_secs())
}

fn optional_seconds<S: Serializer>(span: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs()).serialize(s)
}
