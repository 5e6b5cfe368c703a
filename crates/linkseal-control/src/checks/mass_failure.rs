//! The mass-failure guard: when many domains fail within minutes, the fault is more likely on this
//! side (a resolver that lies, a port that was closed) than on theirs. While the guard is active, new
//! failures are neither recorded nor reported, but checked again later. Improvements are recorded as
//! usual, renewals go on, and certificates are served as ever.
//!
//! Each node judges for itself, from its recent checks and orders in memory: a restart forgets them,
//! and finds them again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::Failure;
use parking_lot::Mutex;

use crate::core::Core;
use crate::rules;

/// How much of the past counts, in minutes.
const WINDOW: i64 = 10;
/// [`SETTLED`] in minutes.
const HOUR: i64 = 60;
/// The share of all domains that may fail within the window.
const SHARE: f64 = 0.02;
/// This many may always fail: in a small fleet, one customer who moves a handful is no sign of a
/// fault here.
const FEW: u32 = 10;
/// From this many on, it is also suspicious if more than half of all checks fail: in a large fleet,
/// the checks of ten minutes are fewer than two percent of the domains.
const MANY: u32 = 20;
/// When a suppressed failure is checked again, give or take a fifth. An order that is suppressed several
/// times in a row waits twice as long each time, up to 16 times as long.
const RECHECK: Duration = Duration::from_secs(15 * 60);
const SPREAD: f64 = 0.2;
const DOUBLINGS: u32 = 4;
/// By then, every suppressed failure has been checked again, most of them [`ROUNDS`] times: if only few
/// still fail, the fault is not here.
const SETTLED: Duration = Duration::from_secs(3600);
const ROUNDS: u32 = 4;
/// The longest that order failures are suppressed: a fault here that was not found in a day will not
/// be found by hiding what the CA says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long failures are recorded regardless after an operator confirmed them.
const TRUSTED: Duration = Duration::from_secs(3600);

/// The state of the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MassFailure {
    /// Since when it is active; `None` while it is not.
    pub since: Option<Timestamp>,
    /// Domains that failed within the last ten minutes.
    pub failed: u32,
    /// Checks and orders within the last ten minutes, of domains that were fine before.
    pub checks: u32,
    /// How many may fail before the guard becomes active.
    pub allowed: u32,
    /// How many failures were suppressed since it became active.
    pub suppressed: u64,
    /// Until when failures are recorded regardless, because an operator confirmed them.
    pub trusted_until: Option<Timestamp>,
}

/// The guards of this node. Checks and orders are judged separately: the one says nothing about the
/// other.
pub(crate) struct MassFailureGuards {
    core: Arc<Core>,
    checks: MassFailureGuard,
    orders: MassFailureGuard,
}

impl MassFailureGuards {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            checks: MassFailureGuard::new(By::Checks),
            orders: MassFailureGuard::new(By::Orders),
        }
    }

    /// Takes in the outcome of a DNS check; returns whether to suppress it. `right`: whether the name
    /// points here.
    pub(crate) fn suppresses_check(&self, record: &DomainRecord, right: bool) -> bool {
        if right || rules::was_well(record) {
            return self.weigh(&self.checks, !right);
        }
        // While the guard is active, nothing is concluded about a domain never checked before either.
        record.dns.checked.is_none() && self.state_of(&self.checks).since.is_some()
    }

    /// Takes in a failed order; returns whether to suppress the failure.
    pub(crate) fn suppresses_failure(&self, record: &DomainRecord, failure: &Failure) -> bool {
        failure.kind.blames_domain()
            && (record.ssl.last_error.is_none() || record.ssl.doubted)
            && self.weigh(&self.orders, true)
    }

    /// Takes in an order that succeeded.
    pub(crate) fn order_succeeded(&self) {
        self.weigh(&self.orders, false);
    }

    /// When to check again after a suppressed DNS check.
    pub(crate) fn recheck_at(&self) -> Timestamp {
        self.core.clock.now() + random::jitter(RECHECK, SPREAD)
    }

    /// When to retry an order whose failure is suppressed.
    pub(crate) fn retry_order_at(&self, record: &DomainRecord) -> Timestamp {
        self.core.clock.now() + random::jitter(order_wait(record.ssl.attempts), SPREAD)
    }

    /// The state of both guards together.
    pub(crate) fn state(&self) -> MassFailure {
        let (checks, orders) = (self.state_of(&self.checks), self.state_of(&self.orders));
        MassFailure {
            since: checks.since.into_iter().chain(orders.since).min(),
            failed: checks.failed.saturating_add(orders.failed),
            checks: checks.checks.saturating_add(orders.checks),
            suppressed: checks.suppressed.saturating_add(orders.suppressed),
            ..checks
        }
    }

    /// Records failures regardless for an hour.
    pub(crate) fn trust(&self, now: Timestamp) {
        self.checks.trust(now);
        self.orders.trust(now);
    }

    fn weigh(&self, guard: &MassFailureGuard, failed: bool) -> bool {
        guard.weigh(failed, self.core.registry.len(), self.core.clock.now())
    }

    fn state_of(&self, guard: &MassFailureGuard) -> MassFailure {
        guard.state(self.core.registry.len(), self.core.clock.now())
    }
}

/// What a guard counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// DNS checks: regular, so that their number in a fleet is known.
    Checks,
    /// Orders: many orders of an import may fail for good reasons, but not most of them.
    Orders,
}

impl By {
    fn as_str(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::Orders => "orders",
        }
    }

    /// Whether `failed` of `all` are too many.
    fn is_suspicious(self, failed: u32, all: u32, allowed: u32) -> bool {
        let most = failed * 2 > all;
        match self {
            Self::Checks => failed > allowed || (failed > MANY && most),
            Self::Orders => failed > FEW && most,
        }
    }

    /// Whether the mass failure is over.
    fn is_over(self, failed: u32, all: u32, allowed: u32) -> bool {
        failed * 2 <= all && (self == Self::Orders || failed * 2 <= allowed)
    }

    /// Whether only few have failed within [`SETTLED`], given how often each of them is checked again
    /// in that time.
    fn are_few(self, failed: u32, allowed: u32) -> bool {
        let bound = if self == Self::Orders { FEW } else { allowed };
        failed.saturating_mul(2) <= bound.saturating_mul(ROUNDS)
    }
}

#[derive(Debug)]
struct MassFailureGuard {
    by: By,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The minutes in which there was an outcome, oldest first, within [`SETTLED`].
    minutes: VecDeque<Minute>,
    since: Option<Timestamp>,
    trusted_until: Option<Timestamp>,
    /// How many failures were suppressed since it became active.
    suppressed: u64,
}

#[derive(Debug)]
struct Minute {
    number: i64,
    /// Domains that failed.
    failed: u32,
    /// All outcomes, of domains that were fine before.
    all: u32,
}

impl MassFailureGuard {
    fn new(by: By) -> Self {
        Self {
            by,
            state: Mutex::default(),
        }
    }

    /// Takes in an outcome for a domain that was fine before; returns whether to suppress it.
    fn weigh(&self, failed: bool, domains: usize, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        state.note(failed, now);
        if state.is_trusted(now) {
            return false;
        }
        let (failures, all) = state.sums(WINDOW, now);
        let allowed = allowed(domains);
        let settled = self.has_settled(&state, allowed, now);
        if self.ends_at_last(&mut state, now) {
            return false;
        }
        match state.since {
            None if failed && self.by.is_suspicious(failures, all, allowed) => {
                state.since = Some(now);
                tracing::error!(
                    failures,
                    allowed,
                    domains,
                    by = self.by.as_str(),
                    "mass failure suspected; new failures are not recorded until checks succeed again (check the DNS \
                     resolvers, port 80 and the network of this node; if the failures are real: DELETE /v1/mass-failure)"
                );
            }
            Some(since) if settled || self.by.is_over(failures, all, allowed) => self.end(&mut state, since),
            _ => {}
        }
        let suppress = failed && state.since.is_some();
        state.suppressed += u64::from(suppress);
        suppress
    }

    fn end(&self, state: &mut State, since: Timestamp) {
        tracing::warn!(
            %since,
            suppressed = state.suppressed,
            by = self.by.as_str(),
            "mass failure over; failures are recorded again"
        );
        (state.since, state.suppressed) = (None, 0);
    }

    /// Whether it has been active for a while with only few failures in that time.
    fn has_settled(&self, state: &State, allowed: u32, now: Timestamp) -> bool {
        let lasted = state.since.is_some_and(|since| now.saturating_since(since) >= SETTLED);
        lasted && self.by.are_few(state.sums(HOUR, now).0, allowed)
    }

    /// Ends it for orders after [`LONGEST`], as if an operator had confirmed the failures.
    fn ends_at_last(&self, state: &mut State, now: Timestamp) -> bool {
        let since = state.since.filter(|_| self.by == By::Orders);
        let Some(since) = since.filter(|since| now.saturating_since(*since) >= LONGEST) else {
            return false;
        };
        tracing::error!(
            %since,
            suppressed = state.suppressed,
            "most orders have failed for a day; their failures are recorded from now on (check port 80 and the network of \
             this node)"
        );
        *state = State {
            trusted_until: Some(now + TRUSTED),
            ..State::default()
        };
        true
    }

    fn state(&self, domains: usize, now: Timestamp) -> MassFailure {
        let mut state = self.state.lock();
        state.forget_old(now);
        let (failed, checks) = state.sums(WINDOW, now);
        // Without outcomes there is nothing to suppress.
        if let Some(since) = state.since
            && self.has_settled(&state, allowed(domains), now)
        {
            self.end(&mut state, since);
        }
        MassFailure {
            since: state.since,
            failed,
            checks,
            allowed: allowed(domains),
            suppressed: state.suppressed,
            trusted_until: state.trusted_until.filter(|until| *until > now),
        }
    }

    fn trust(&self, now: Timestamp) {
        let mut state = self.state.lock();
        *state = State {
            trusted_until: Some(now + TRUSTED),
            ..State::default()
        };
    }
}

impl State {
    fn note(&mut self, failed: bool, now: Timestamp) {
        self.forget_old(now);
        let number = minute(now);
        if self.minutes.back().is_none_or(|m| m.number != number) {
            self.minutes.push_back(Minute {
                number,
                failed: 0,
                all: 0,
            });
        }
        if let Some(last) = self.minutes.back_mut() {
            last.failed = last.failed.saturating_add(failed.into());
            last.all = last.all.saturating_add(1);
        }
    }

    /// Drops minutes older than an hour, and those that a clock set back left in the future.
    fn forget_old(&mut self, now: Timestamp) {
        let this = minute(now);
        self.minutes.retain(|m| (this - HOUR + 1..=this).contains(&m.number));
    }

    /// Failures and all outcomes within the last `minutes`.
    fn sums(&self, minutes: i64, now: Timestamp) -> (u32, u32) {
        let add = |(failed, all): (u32, u32), m: &Minute| (failed.saturating_add(m.failed), all.saturating_add(m.all));
        let first = minute(now) - minutes + 1;
        self.minutes.iter().filter(|m| m.number >= first).fold((0, 0), add)
    }

    fn is_trusted(&self, now: Timestamp) -> bool {
        self.trusted_until.is_some_and(|until| until > now)
    }
}

/// How long a suppressed order waits, after that many failures before it.
fn order_wait(attempts: u32) -> Duration {
    RECHECK * (1 << attempts.min(DOUBLINGS))
}

fn minute(at: Timestamp) -> i64 {
    at.as_secs().div_euclid(60)
}

/// How many of all domains may fail within the window.
fn allowed(domains: usize) -> u32 {
    FEW.max((domains as f64 * SHARE) as u32)
}

#[cfg(test)]
mod tests;
