//! `linkseal simulate`: a fleet's certificates over months of virtual time, decided by the control
//! plane's own code.
//!
//! | what | whose |
//! |---|---|
//! | which names are taken up, when | [`linkseal_control::scheduler::Rounds`] |
//! | what is due, how urgent, how limits hold back, what a failure leads to | [`linkseal_control::rules`] |
//! | whose order goes first, order slots, expected times | [`linkseal_control::queue::Queue`] |
//! | when a CA that fails is out of use | [`linkseal_control::rules::one_more`] |
//! | what becomes of a state, when it is due again | [`SslStatus::apply`], [`SslStatus::next_due`] |
//! | when to renew, when to ask for renewal information | [`linkseal_issuer::renewal`] |
//! | the CA's limits as token buckets | [`linkseal_store::bucket`] |
//!
//! Its own are only what stands around that in production: the records (`fleet`), the CA
//! (`world`) with limits that it counts and enforces itself (`refusals`), the customers, and the
//! order of events in virtual time (`replay`). DNS checks and
//! the store take no time here; there is one node and one CA, and no handshakes or verifications.
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

/// A day.
pub(crate) const DAY: Duration = Duration::from_secs(86_400);
/// What a month counts here.
pub(crate) const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// What is replayed.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// How many domains there are in the end.
    pub(crate) domains: u32,
    /// How many of them share a registered domain.
    pub(crate) names_per_registered_domain: u32,
    /// How they come.
    pub(crate) onboarding: Onboarding,
    /// How much time is replayed.
    pub(crate) span: Duration,
    /// How long certificates live that are issued from a time on, counted from the start; sorted,
    /// the first from the start on.
    pub(crate) lifetimes: Vec<(Duration, Duration)>,
    /// The CA's limits, as configured.
    pub(crate) limits: Limits,
    /// The CA's limits, as it enforces them.
    pub(crate) ca_limits: Limits,
    /// What the CA asks for when it refuses or is away, whatever would do. `None`: what it takes
    /// until there is room again, and nothing while it is away.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the CA has renewal information (RFC 9773), and its renewals are exempt from its limits.
    pub(crate) ari: bool,
    /// Orders on their way at once.
    pub(crate) max_concurrent_orders: usize,
    /// How long an order takes, on average.
    pub(crate) order_time: Duration,
    /// Share of the domains that the CA can never reach.
    pub(crate) failing: f64,
    /// Share of the orders that fail although the domain is right.
    pub(crate) flaky: f64,
    /// Share of the customers that leave within a month.
    pub(crate) departing: f64,
    /// When the CA does not answer.
    pub(crate) outages: Vec<Window>,
    /// When the CA moves the renewal windows of certificates; sorted.
    pub(crate) moves: Vec<Move>,
    /// The same seed gives the same outcome.
    pub(crate) seed: u64,
}

/// The CA moves the renewal windows of a share of the certificates there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Move {
    /// When, counted from the start.
    pub(crate) at: Duration,
    /// Of how many.
    pub(crate) share: f64,
    /// Where to.
    pub(crate) to: MoveTo,
}

/// Where a CA moves a renewal window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MoveTo {
    /// To the past, as before a mass revocation (RFC 9773 §4.2).
    Past,
    /// Beyond the certificate's end, by mistake.
    BeyondExpiry,
}

/// How domains come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onboarding {
    /// All at the start: an import.
    Import,
    /// A number per day.
    PerDay(u32),
    /// They have been here for long, each with a certificate of some age.
    Running,
}

impl Scenario {
    /// Orders that the account's limit lets through in a day.
    pub(crate) fn orders_per_day(&self) -> f64 {
        let limit = self.limits.orders_per_account;
        f64::from(limit.count) * DAY.div_duration_f64(limit.per)
    }

    /// How many domains the account's limit can keep renewed at the last of the lifetimes, when no
    /// renewal is exempt from it.
    pub(crate) fn carried(&self) -> u64 {
        let life = self.lifetimes.last().map_or(DAY, |(_, life)| *life);
        let issued = Timestamp::default();
        let used = renewal::plan(issued, issued + life, 0.5).saturating_since(issued);
        (self.orders_per_day() * used.div_duration_f64(DAY)) as u64
    }
}

/// A stretch of time, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// When it begins.
    pub(crate) from: Duration,
    /// How long it is.
    pub(crate) length: Duration,
}

impl Window {
    fn holds(self, elapsed: Duration) -> bool {
        elapsed >= self.from && elapsed - self.from < self.length
    }
}
