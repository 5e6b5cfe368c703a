//! `linkseal simulate`: a fleet's certificates over months of virtual time, with the control plane's own
//! decisions.
//!
//! | decision | code |
//! |---|---|
//! | which names are taken up, when | [`linkseal_control::scheduler::Rounds`] |
//! | what is due, how urgent, how limits hold back, what a failure leads to | [`linkseal_control::rules`] |
//! | which order is first, order slots, expected times | [`linkseal_control::queue::Queue`] |
//! | when a CA that fails is out of use | [`linkseal_control::rules::one_more`] |
//! | the next state of a domain, when it is due again | [`SslStatus::apply`], [`SslStatus::next_due`] |
//! | when to renew, when to request renewal information | [`linkseal_issuer::renewal`] |
//! | the CA's limits as token buckets | [`linkseal_store::bucket`] |
//!
//! Only the surroundings are simulated: the records (`fleet`), the CA (`world`) with limits that it counts and
//! enforces itself (`refusals`), the customers, and the order of events in virtual time (`replay`). DNS checks
//! and the store take no time; there is one node and one CA, and there are no handshakes or verifications.
//!
//! [`SslStatus::apply`]: linkseal_domain::ssl::SslStatus::apply
//! [`SslStatus::next_due`]: linkseal_domain::ssl::SslStatus::next_due

mod fleet;
mod plot;
mod refusals;
mod replay;
mod rng;
mod tally;
#[cfg(test)]
mod tests;
mod world;

use std::time::Duration;

pub(crate) use self::plot::{plot, span_words, thousands};
pub(crate) use self::replay::run;
pub(crate) use self::tally::Outcome;
use linkseal_base::clock::Timestamp;
use linkseal_control::Limits;
use linkseal_issuer::renewal;

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
/// A month of 30 days.
pub(crate) const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// The input of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// The number of domains at the end.
    pub(crate) domains: u32,
    /// The number of names that share a registered domain.
    pub(crate) names_per_registered_domain: u32,
    pub(crate) onboarding: Onboarding,
    /// The time to replay.
    pub(crate) span: Duration,
    /// From when on, counted from the start, and how long certificates live. Sorted; the first is from the start on.
    pub(crate) lifetimes: Vec<(Duration, Duration)>,
    /// The CA's limits as configured.
    pub(crate) limits: Limits,
    /// The CA's limits as it enforces them.
    pub(crate) ca_limits: Limits,
    /// The Retry-After of every refusal and during outages. `None`: the time until the limit has room again, and
    /// none during outages.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the CA offers renewal information (RFC 9773), and exempts renewals by it from its limits.
    pub(crate) ari: bool,
    pub(crate) max_concurrent_orders: usize,
    /// The average duration of an order.
    pub(crate) order_time: Duration,
    /// Share of the domains that the CA can never reach.
    pub(crate) failing: f64,
    /// Share of the orders that fail although DNS is correct.
    pub(crate) flaky: f64,
    /// Share of the customers that leave within a month.
    pub(crate) departing: f64,
    /// When the CA does not answer.
    pub(crate) outages: Vec<Window>,
    /// Sorted by time.
    pub(crate) moves: Vec<Move>,
    /// Of the random numbers.
    pub(crate) seed: u64,
}

/// The CA moves the renewal windows of a share of its certificates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Move {
    /// Counted from the start.
    pub(crate) at: Duration,
    pub(crate) share: f64,
    pub(crate) to: MoveTo,
}

/// Where a CA moves a renewal window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MoveTo {
    /// To the past, as before a mass revocation (RFC 9773 §4.2).
    Past,
    /// Beyond the certificate's expiry, by mistake.
    BeyondExpiry,
}

/// How domains arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onboarding {
    /// All at the start: an import.
    Import,
    /// A number per day.
    PerDay(u32),
    /// All registered long ago, each with a certificate of some age.
    Running,
}

impl Scenario {
    /// Orders per day within the account's limit.
    pub(crate) fn orders_per_day(&self) -> f64 {
        let limit = self.limits.orders_per_account;
        f64::from(limit.count) * DAY.div_duration_f64(limit.per)
    }

    /// The number of domains that the account's limit can keep renewed at the last of the lifetimes, if no
    /// renewal is exempt from it.
    pub(crate) fn carried(&self) -> u64 {
        let life = self.lifetimes.last().map_or(DAY, |(_, life)| *life);
        let issued = Timestamp::default();
        let used = renewal::plan(issued, issued + life, 0.5).saturating_since(issued);
        (self.orders_per_day() * used.div_duration_f64(DAY)) as u64
    }
}

/// A period, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Duration,
    pub(crate) length: Duration,
}

impl Window {
    fn holds(self, elapsed: Duration) -> bool {
        elapsed >= self.from && elapsed - self.from < self.length
    }
}
