//! When many domains turn for the worse within minutes, the fault is likelier ours (a resolver that
//! lies, a port that was closed) than theirs: linkseal suspects itself. From then on nothing that
//! looks worse is written down or told; it is looked at again later. What looks better goes
//! through, renewals go on, and certificates are served as ever.
//!
//! Judged by this node for itself, from the last looks and orders, in memory: a restart
//! forgets it, and finds it again.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::Failure;
use serde_json::{Value, json};

use super::input::{Actor, OperatorError};
use super::operator::audit_entry;
use super::{Control, rules};

/// How much of the past counts, in minutes.
const WINDOW: i64 = 10;
/// [`SETTLED`] in minutes.
const HOUR: i64 = 60;
/// The share of all domains that may turn for the worse within the window.
const SHARE: f64 = 0.02;
/// So many may always: in a small fleet, a customer who takes a handful away is no sign of ours.
const FEW: u32 = 10;
/// From so many on it is also suspicious when more than half of all looks turn for the worse: in a
/// large fleet the looks of ten minutes are less than its two percent.
const MANY: u32 = 20;
/// When what is doubted is looked at again, give or take a fifth. An order that is doubted several
/// times in a row is tried again after twice as long each time, up to 16 times as long.
const AGAIN: Duration = Duration::from_secs(15 * 60);
const SPREAD: f64 = 0.2;
const DOUBLINGS: u32 = 4;
/// By then, all that was doubted has come again, most of it so many times: if it is only few that
/// still fail, it is not for a fault of ours.
const SETTLED: Duration = Duration::from_secs(3600);
const ROUNDS: u32 = 4;
/// The longest that orders are doubted: who has not found a fault of ours in a day hears what they say.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long everything is believed after an operator said that it is so.
const TRUSTED: Duration = Duration::from_secs(3600);

/// Whether linkseal suspects itself, by its looks or by its orders: the one says nothing of the other.
#[derive(Debug)]
pub(super) struct MassFailureGuard {
    by: By,
    state: Mutex<State>,
}

/// What a mass_failure goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Looks at DNS: regular, so that their number in a fleet is known.
    Looks,
    /// Orders: of an import many may fail for good reasons, but not most of them.
    Orders,
}

impl By {
    /// Whether so many of all are too many.
    fn is_suspicious(self, turned: u32, all: u32, allowed: u32) -> bool {
        let most = turned * 2 > all;
        match self {
            Self::Looks => turned > allowed || (turned > MANY && most),
            Self::Orders => turned > FEW && most,
        }
    }

    /// Whether it is over.
    fn is_over(self, turned: u32, all: u32, allowed: u32) -> bool {
        turned * 2 <= all && (self == Self::Orders || turned * 2 <= allowed)
    }

    /// Whether only few have turned for the worse within [`SETTLED`], counting how often what is doubted
    /// comes again meanwhile.
    fn are_few(self, turned: u32, allowed: u32) -> bool {
        let bound = if self == Self::Orders { FEW } else { allowed };
        turned.saturating_mul(2) <= bound.saturating_mul(ROUNDS)
    }
}

#[derive(Debug, Default)]
struct State {
    /// The minutes in which anything came out, oldest first: those of [`SETTLED`] at most.
    minutes: VecDeque<Minute>,
    since: Option<Timestamp>,
    trusted_until: Option<Timestamp>,
    /// How often something was doubted since it began.
    doubted: u64,
}

#[derive(Debug)]
struct Minute {
    number: i64,
    /// Domains that turned for the worse.
    turned: u32,
    /// All looks and orders, of domains that were well.
    all: u32,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassFailure {
    /// Since when linkseal suspects itself. `None`: it does not.
    pub since: Option<Timestamp>,
    /// Domains that turned for the worse within the last ten minutes.
    pub turned: u32,
    /// Looks and orders within the last ten minutes, of domains that were well.
    pub looks: u32,
    /// How many may turn before it is suspicious.
    pub allowed: u32,
    /// How often something was doubted since it began.
    pub doubted: u64,
    /// Until when everything is believed, by an operator's word. `None`: no one said so.
    pub trusted_until: Option<Timestamp>,
}

impl MassFailureGuard {
    pub(super) fn new(by: By) -> Self {
        Self {
            by,
            state: Mutex::default(),
        }
    }

    /// Takes in what a look or an order came to, for a domain that was well before. Returns
    /// whether it is to be doubted.
    fn weigh(&self, worse: bool, domains: usize, now: Timestamp) -> bool {
        let mut state = self.lock();
        state.note(worse, now);
        if state.is_trusted(now) {
            return false;
        }
        let (turned, all) = state.sums(WINDOW, now);
        let allowed = allowed(domains);
        let settled = self.has_settled(&state, allowed, now);
        if self.ends_at_last(&mut state, now) {
            return false;
        }
        match state.since {
            None if worse && self.by.is_suspicious(turned, all, allowed) => {
                state.since = Some(now);
                tracing::error!(
                    turned,
                    allowed,
                    domains,
                    by = ?self.by,
                    "linkseal suspects itself: too many domains turned for the worse within ten minutes. Nothing that \
                     looks worse is written down or told until looks come out right again; check DNS resolvers, port 80 and \
                     the network of this node. If it is true, DELETE /v1/mass_failure"
                );
            }
            Some(since) if settled || self.by.is_over(turned, all, allowed) => {
                state.since = None;
                tracing::warn!(%since, doubted = state.doubted, "linkseal suspects itself no longer: looks and orders come out right again, or few fail");
                state.doubted = 0;
            }
            _ => {}
        }
        let doubts = worse && state.since.is_some();
        state.doubted += u64::from(doubts);
        doubts
    }

    /// Whether it has lasted a while, and only few have turned for the worse in that time.
    fn has_settled(&self, state: &State, allowed: u32, now: Timestamp) -> bool {
        let lasted = state.since.is_some_and(|since| now.saturating_since(since) >= SETTLED);
        lasted && self.by.are_few(state.sums(HOUR, now).0, allowed)
    }

    /// Ends it when it has lasted as long as it may: orders are believed then, as by an operator's word.
    fn ends_at_last(&self, state: &mut State, now: Timestamp) -> bool {
        let since = state.since.filter(|_| self.by == By::Orders);
        let Some(since) = since.filter(|since| now.saturating_since(*since) >= LONGEST) else {
            return false;
        };
        tracing::error!(
            %since,
            doubted = state.doubted,
            "most orders have failed for a day: what the CA says of them is believed from now on. Check port 80 and the \
             network of this node"
        );
        *state = State {
            trusted_until: Some(now + TRUSTED),
            ..State::default()
        };
        true
    }

    fn now(&self, domains: usize, now: Timestamp) -> MassFailure {
        let mut state = self.lock();
        state.forget_old(now);
        let (turned, looks) = state.sums(WINDOW, now);
        // Where nothing comes any more, there is nothing to doubt.
        if self.has_settled(&state, allowed(domains), now) {
            (state.since, state.doubted) = (None, 0);
        }
        MassFailure {
            since: state.since,
            turned,
            looks,
            allowed: allowed(domains),
            doubted: state.doubted,
            trusted_until: state.trusted_until.filter(|until| *until > now),
        }
    }

    fn trust(&self, now: Timestamp) {
        let mut state = self.lock();
        *state = State {
            trusted_until: Some(now + TRUSTED),
            ..State::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters stay valid after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, worse: bool, now: Timestamp) {
        self.forget_old(now);
        let number = minute(now);
        if self.minutes.back().is_none_or(|m| m.number != number) {
            self.minutes.push_back(Minute {
                number,
                turned: 0,
                all: 0,
            });
        }
        if let Some(last) = self.minutes.back_mut() {
            last.turned = last.turned.saturating_add(worse.into());
            last.all = last.all.saturating_add(1);
        }
    }

    /// Lets go of what is older than the window, and of what a clock that was set back left ahead.
    fn forget_old(&mut self, now: Timestamp) {
        let this = minute(now);
        self.minutes.retain(|m| (this - HOUR + 1..=this).contains(&m.number));
    }

    /// What turned for the worse, and all, within the last so many minutes.
    fn sums(&self, minutes: i64, now: Timestamp) -> (u32, u32) {
        let add = |(turned, all): (u32, u32), m: &Minute| (turned.saturating_add(m.turned), all.saturating_add(m.all));
        let first = minute(now) - minutes + 1;
        self.minutes.iter().filter(|m| m.number >= first).fold((0, 0), add)
    }

    fn is_trusted(&self, now: Timestamp) -> bool {
        self.trusted_until.is_some_and(|until| until > now)
    }
}

/// How long a doubted order waits, after so many failures before it.
fn doubted_wait(attempts: u32) -> Duration {
    AGAIN * (1 << attempts.min(DOUBLINGS))
}

fn minute(at: Timestamp) -> i64 {
    at.as_secs().div_euclid(60)
}

/// How many of so many domains may turn for the worse within the window.
fn allowed(domains: usize) -> u32 {
    FEW.max((domains as f64 * SHARE) as u32)
}

impl Control {
    /// Whether what DNS says of a domain is to be doubted. `right`: whether it points here.
    pub(super) fn doubts_look(&self, record: &DomainRecord, right: bool) -> bool {
        if right || rules::was_well(record) {
            return self.doubts(&self.inner.mass_failure, !right);
        }
        // Of one that was never looked at, nothing is concluded meanwhile either.
        record.dns.checked.is_none() && self.suspects_looks()
    }

    fn suspects_looks(&self) -> bool {
        let (domains, now) = (self.inner.registry.len(), self.inner.clock.now());
        self.inner.mass_failure.now(domains, now).since.is_some()
    }

    /// Whether a failed order says something of us rather than of its domain.
    pub(super) fn doubts_failure(&self, record: &DomainRecord, failure: &Failure) -> bool {
        failure.kind.blames_domain()
            && (record.ssl.last_error.is_none() || record.ssl.doubted)
            && self.doubts(&self.inner.order_mass_failure, true)
    }

    /// An order went well.
    pub(super) fn went_well(&self) {
        self.doubts(&self.inner.order_mass_failure, false);
    }

    fn doubts(&self, mass_failure: &MassFailureGuard, worse: bool) -> bool {
        let domains = self.inner.registry.len();
        mass_failure.weigh(worse, domains, self.inner.clock.now())
    }

    /// When to come back to what is doubted.
    pub(super) fn doubts_until(&self) -> Timestamp {
        self.inner.clock.now() + linkseal_base::random::jitter(AGAIN, SPREAD)
    }

    /// When to try an order again that is doubted.
    pub(super) fn doubts_order_until(&self, record: &DomainRecord) -> Timestamp {
        self.inner.clock.now() + linkseal_base::random::jitter(doubted_wait(record.ssl.attempts), SPREAD)
    }

    /// Whether this node suspects itself, and why.
    pub fn suspected(&self) -> MassFailure {
        let domains = self.inner.registry.len();
        let now = self.inner.clock.now();
        let looks = self.inner.mass_failure.now(domains, now);
        let orders = self.inner.order_mass_failure.now(domains, now);
        MassFailure {
            since: looks.since.into_iter().chain(orders.since).min(),
            turned: looks.turned.saturating_add(orders.turned),
            looks: looks.looks.saturating_add(orders.looks),
            doubted: looks.doubted.saturating_add(orders.doubted),
            ..looks
        }
    }

    /// An operator says that it is so: everything is believed for an hour.
    pub async fn trust(&self, actor: &Actor) -> Result<(), OperatorError> {
        let (now, before) = (self.inner.clock.now(), self.suspected());
        let before = json!({"since": before.since, "turned": before.turned, "doubted": before.doubted});
        let audit = audit_entry(actor, now, "trust", "mass_failure".to_owned(), before, Value::Null);
        self.inner.store.append_audit(audit).await?;
        self.inner.mass_failure.trust(now);
        self.inner.order_mass_failure.trust(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
    const MINUTE: Duration = Duration::from_secs(60);

    /// How many of so many looks in a row are doubted.
    fn doubted(mass_failure: &MassFailureGuard, looks: u32, worse: bool, domains: usize, now: Timestamp) -> usize {
        (0..looks).filter(|_| mass_failure.weigh(worse, domains, now)).count()
    }

    #[test]
    fn a_handful_is_believed_and_no_more_than_two_percent() {
        for (domains, believed) in [(8, 10), (200, 10), (5_000, 100)] {
            let mass_failure = MassFailureGuard::new(By::Looks);
            // Most looks come out right, so that the share of all domains is what decides.
            doubted(&mass_failure, 1_000, false, domains, T0);
            assert_eq!(
                doubted(&mass_failure, 150, true, domains, T0),
                150 - believed,
                "{domains}"
            );
            assert_eq!(
                doubted(&mass_failure, 5, false, domains, T0),
                0,
                "what looks right is believed"
            );
        }
    }

    #[test]
    fn orders_are_weighed_against_orders() {
        let orders = MassFailureGuard::new(By::Orders);
        doubted(&orders, 30, false, 181, T0);
        let import = (0..150)
            .map(|n| orders.weigh(n % 5 == 0, 181, T0))
            .filter(|d| *d)
            .count();
        assert_eq!(import, 0, "thirty of an import of 180 are broken");
        let orders = MassFailureGuard::new(By::Orders);
        assert_eq!(doubted(&orders, 50, true, 181, T0), 40, "a port that is closed");
        assert_eq!(doubted(&orders, 50, false, 181, T0), 0);
        assert_eq!(orders.now(181, T0).since, None, "half of them come out right");
    }

    #[test]
    fn what_is_spread_over_time_is_believed() {
        let mass_failure = MassFailureGuard::new(By::Looks);
        for minute in 0..1_000 {
            let now = T0 + MINUTE * minute;
            assert_eq!(doubted(&mass_failure, 1, false, 200, now), 0);
            assert_eq!(doubted(&mass_failure, 1, true, 200, now), 0);
        }
    }

    #[test]
    fn in_a_large_fleet_it_is_enough_that_most_looks_turn() {
        let mass_failure = MassFailureGuard::new(By::Looks);
        doubted(&mass_failure, 10, false, 1_000_000, T0);
        assert_eq!(doubted(&mass_failure, 100, true, 1_000_000, T0 + MINUTE), 80);
    }

    #[test]
    fn it_ends_when_looks_come_out_right_and_not_before() {
        let mass_failure = MassFailureGuard::new(By::Looks);
        assert_eq!(doubted(&mass_failure, 30, true, 200, T0), 20);
        for round in 1..20 {
            let now = T0 + AGAIN * round;
            assert_eq!(doubted(&mass_failure, 20, true, 200, now), 20, "it still looks wrong");
        }
        let later = T0 + AGAIN * 20;
        assert_eq!(doubted(&mass_failure, 20, false, 200, later), 0);
        assert_eq!(mass_failure.now(200, later).since, None);
        assert_eq!(
            doubted(&mass_failure, 1, true, 200, later),
            0,
            "and a single one is believed again"
        );
    }

    #[test]
    fn an_operators_word_holds_for_an_hour() {
        let mass_failure = MassFailureGuard::new(By::Looks);
        doubted(&mass_failure, 30, true, 200, T0);
        mass_failure.trust(T0);
        assert_eq!(doubted(&mass_failure, 190, true, 200, T0 + MINUTE), 0);
        let until = T0 + TRUSTED;
        assert_eq!(mass_failure.now(200, T0).trusted_until, Some(until));
        assert_eq!(doubted(&mass_failure, 11, true, 200, until), 1);
    }

    #[test]
    fn a_few_that_go_on_failing_on_a_quiet_fleet_are_believed_and_wait_longer_each_time() {
        for by in [By::Orders, By::Looks] {
            let mass_failure = MassFailureGuard::new(by);
            assert_eq!(doubted(&mass_failure, 11, true, 40, T0), 1, "{by:?}");
            let day = (1..=96).map(|n| T0 + AGAIN * n);
            let believed = day.clone().find(|at| !mass_failure.weigh(true, 40, *at));
            assert!(believed.is_some_and(|at| at <= T0 + SETTLED), "{by:?}: {believed:?}");
            assert_eq!(mass_failure.now(40, T0 + SETTLED).since, None);
            let more = day
                .filter(|at| *at > T0 + SETTLED && mass_failure.weigh(true, 40, *at))
                .count();
            assert_eq!(more, 0, "{by:?}: and not doubted again");
        }
        let waits: Vec<_> = (0..8).map(doubted_wait).collect();
        assert_eq!(waits[..5], [AGAIN, AGAIN * 2, AGAIN * 4, AGAIN * 8, AGAIN * 16]);
        assert_eq!(waits[7], AGAIN * 16);
    }

    #[test]
    fn where_nothing_comes_any_more_nothing_is_suspected() {
        let mass_failure = MassFailureGuard::new(By::Orders);
        doubted(&mass_failure, 20, true, 40, T0);
        assert_eq!(
            mass_failure.now(40, T0 + AGAIN).since,
            Some(T0),
            "what is doubted comes again first"
        );
        assert_eq!(mass_failure.now(40, T0 + SETTLED).since, None);
    }

    #[test]
    fn orders_that_fail_for_a_day_are_believed() {
        let orders = MassFailureGuard::new(By::Orders);
        let rounds = 4 * 24;
        doubted(&orders, 20, true, 1_000, T0);
        for round in 1..rounds {
            assert_eq!(doubted(&orders, 20, true, 1_000, T0 + AGAIN * round), 20, "{round}");
        }
        let at_last = T0 + LONGEST;
        for later in [at_last, at_last + AGAIN, at_last + AGAIN * 3] {
            assert_eq!(doubted(&orders, 20, true, 1_000, later), 0);
        }
        assert_eq!(orders.now(1_000, at_last).since, None);
    }
}
