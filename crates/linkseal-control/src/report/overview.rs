//! The overview of all orders: the CAs and our accounts there, the queue, what is left of the rate limits,
//! what prevents orders, and when the queue will be empty. Read only, and as cheap with ten million domains
//! as with ten.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{FailureKind, Reason};
use linkseal_store::{CaAccount, CaTrouble, DAY, Freeze, RenewalDay, StoreError};

use super::Report;
use crate::core::ca::out_until;
use crate::core::{ConfiguredCa, Limit, Priority};
use crate::rules;
use crate::watch::target_caa::TargetCaa;

/// How far ahead renewals are forecast, in days.
const AHEAD: u32 = 28;

/// The state of all orders.
#[derive(Clone, Debug)]
pub struct Overview {
    /// In the order of the configuration.
    pub authorities: Vec<AuthorityState>,
    /// Orders that wait for a slot here, by priority, the highest first.
    pub queue: [(Priority, usize); 4],
    /// The freeze in force; `None` while orders go on.
    pub frozen: Option<Freeze>,
    /// Certificates in use whose renewal is at risk. Of more than 10,000 domains the last count, which is less
    /// than two minutes old.
    pub at_risk: u64,
    /// CAA at the edge's own names.
    pub target_caa: Arc<Vec<TargetCaa>>,
    pub forecast: Forecast,
}

/// The state of one CA.
#[derive(Clone, Debug)]
pub struct AuthorityState {
    pub directory: String,
    /// Its host name, for display.
    pub host: String,
    /// Our account there; `None` before the first order.
    pub account: Option<CaAccount>,
    /// How CAA records name it; empty if its directory does not say, or was not read yet.
    pub caa_identities: Vec<String>,
    pub standing: Standing,
    /// What has to be fixed here before it can be used, if anything is known.
    pub ours: Option<String>,
    /// Its error text, while it is held back; `None` also if that was before a restart.
    pub limit_reason: Option<String>,
    /// The orders that failed because of it since the last one that succeeded.
    pub trouble: Option<CaTrouble>,
    /// Its rate limits as mirrored here.
    pub budgets: [Budget; 3],
}

/// Whether orders go to a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the first one that accepts orders.
    InUse,
    /// It accepts orders, and so does one before it.
    StandsBy,
    /// It has asked to wait until then.
    HeldBack(Timestamp),
    /// It keeps failing: it is out of use until then, and then a single order tries it.
    Out(Timestamp),
    /// Something has to be fixed here; it is tried again then.
    Ours(Timestamp, FailureKind),
}

/// One rate limit of a CA.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Its name under `acme.limits`.
    pub limit: &'static str,
    pub count: u32,
    pub per: Duration,
    /// How many are left; `None` for a limit that counts for each name separately.
    pub remaining: Option<f64>,
}

/// Orders to come.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// Orders that wait for a slot or for a rate limit.
    pub waiting: u64,
    /// When the last of them is expected to end if no others come; `None` if none waits or orders are
    /// frozen.
    pub done_by: Option<Timestamp>,
    /// Midnight (UTC) of today.
    pub today: Timestamp,
    /// Renewals due or overdue today.
    pub due_today: u64,
    /// Renewals due on each of the next days; days without any are left out.
    pub days: Vec<RenewalDay>,
    /// Orders a day that the account's rate limit at the CA in use allows. Renewals that name their
    /// predecessor (RFC 9773 §5) do not count against it.
    pub orders_per_day: f64,
}

impl Report {
    /// The state of all orders.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        let (store, now) = (&self.core.store, self.core.clock.now());
        let cas = self.core.cas();
        let mut authorities = Vec::new();
        let mut in_use: Option<(&ConfiguredCa, f64)> = None;
        let mut first: Option<(&ConfiguredCa, f64)> = None;
        for ca in cas.iter() {
            let budget = rules::account_budget(ca.directory(), &ca.limits);
            let left = store.budget_left(&budget).await?;
            let state = self.ca_state(ca, left, in_use.is_some(), now).await?;
            first.get_or_insert((ca, left));
            if state.standing == Standing::InUse {
                in_use = Some((ca, left));
            }
            authorities.push(state);
        }
        let frozen = self.core.frozen().await?;
        let queue = self.schedule.queue_depth();
        let counts = store.counts(None).await?;
        let limited = counts.iter().filter(|c| c.reason == Reason::RateLimited);
        let queued: usize = queue.iter().map(|(_, waiting)| waiting).sum();
        let waiting = limited.map(|c| c.domains).sum::<u64>() + u64::try_from(queued).unwrap_or(u64::MAX);
        let (ca, left) = in_use.or(first).unwrap_or((cas.first(), 0.0));
        let limit = ca.limits.orders_per_account;
        let opens = if in_use.is_some() { None } else { opens(&authorities) };
        let done_by = self
            .schedule
            .queue
            .eta(now)
            .max(opens.unwrap_or(now) + rules::refill(waiting, left, limit));
        let today = day_of(now);
        let (due, days): (Vec<_>, Vec<_>) = store
            .renewals(now + DAY * AHEAD)
            .await?
            .into_iter()
            .partition(|d| d.day <= today);
        Ok(Overview {
            authorities,
            queue,
            at_risk: self.census().at_risk,
            target_caa: self.target_caa.seen(),
            forecast: Forecast {
                waiting,
                done_by: (waiting > 0 && frozen.is_none()).then_some(done_by),
                today,
                due_today: due.iter().map(|d| d.renewals).sum(),
                days,
                orders_per_day: f64::from(limit.count) * DAY.as_secs_f64() / limit.per.as_secs_f64(),
            },
            frozen,
        })
    }

    async fn ca_state(
        &self,
        ca: &ConfiguredCa,
        left: f64,
        another_is_in_use: bool,
        now: Timestamp,
    ) -> Result<AuthorityState, StoreError> {
        let (store, directory) = (&self.core.store, ca.directory());
        let trouble = store.ca_trouble(directory).await?;
        let standing = match (
            self.orders.health.stands_still(ca, now),
            out_until(trouble.as_ref(), now),
            self.core.held_back(directory, now).await?,
        ) {
            (Some((until, kind)), _, _) => Standing::Ours(until, kind),
            (None, Some(until), _) => Standing::Out(until),
            (None, None, Some(until)) => Standing::HeldBack(until),
            (None, None, None) if another_is_in_use => Standing::StandsBy,
            (None, None, None) => Standing::InUse,
        };
        let budget = |limit, of: Limit, remaining| Budget {
            limit,
            count: of.count,
            per: of.per,
            remaining,
        };
        let limits = ca.limits;
        Ok(AuthorityState {
            directory: directory.to_owned(),
            host: ca.issuer.host().to_owned(),
            account: store.ca_account(directory).await?,
            caa_identities: ca.identity().identities.clone(),
            standing,
            ours: self.orders.health.standstill_reason(ca),
            limit_reason: self
                .orders
                .health
                .throttle_reason(ca)
                .filter(|_| matches!(standing, Standing::HeldBack(_))),
            trouble,
            budgets: [
                budget("orders_per_account", limits.orders_per_account, Some(left)),
                budget("per_registered_domain", limits.per_registered_domain, None),
                budget("failed_per_name", limits.failed_per_name, None),
            ],
        })
    }
}

/// When the first CA accepts orders again, if none does now.
fn opens(authorities: &[AuthorityState]) -> Option<Timestamp> {
    let waits = authorities.iter().filter_map(|a| match a.standing {
        Standing::HeldBack(until) | Standing::Out(until) | Standing::Ours(until, _) => Some(until),
        Standing::InUse | Standing::StandsBy => None,
    });
    waits.min()
}

/// The midnight (UTC) at which the day of `at` begins.
fn day_of(at: Timestamp) -> Timestamp {
    let day = i64::try_from(DAY.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_secs(at.as_secs().div_euclid(day) * day)
}
