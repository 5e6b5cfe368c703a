//! What the control plane tells about its orders: the CAs and our accounts there, the queue, what
//! is left of the CAs' limits, what forbids orders, and when it will be through. Read only, and as
//! cheap with 100,000 domains as with ten.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{FailureKind, Reason};
use linkseal_store::{CaAccount, CaTrouble, DAY, Freeze, RenewalDay, StoreError};

use super::caa_watch::TargetCaa;
use super::{ConfiguredCa, Control, Limit, Priority, rules};

/// How far ahead renewals are told, in days.
const AHEAD: u32 = 28;

/// How the orders stand.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The CAs, in their order.
    pub authorities: Vec<AuthorityState>,
    /// Orders that wait for a slot here, by priority, the highest first.
    pub queue: [(Priority, usize); 4],
    /// The freeze of all orders. `None`: they go on.
    pub frozen: Option<Freeze>,
    /// Certificates that are held and at risk.
    pub at_risk: u64,
    /// What CAA records at the edge's own names say.
    pub target_caa: Arc<Vec<TargetCaa>>,
    /// How many wait, and until when; how many renewals are to come.
    pub forecast: Forecast,
}

/// How it stands with one CA.
#[derive(Clone, Debug)]
pub struct AuthorityState {
    /// Its directory URL.
    pub directory: String,
    /// Its host name, for people.
    pub host: String,
    /// The account there. `None`: nothing has been ordered yet.
    pub account: Option<CaAccount>,
    /// How CAA records name it. Empty: its directory does not say, or was not read yet.
    pub caa_identities: Vec<String>,
    /// Whether orders go there.
    pub standing: Standing,
    /// What has to be put right here before it can be ordered from. `None`: nothing is known.
    pub ours: Option<String>,
    /// The orders that failed by its fault of late. `None`: none has since the last that went well.
    pub trouble: Option<CaTrouble>,
    /// Its limits as mirrored here.
    pub budgets: [Budget; 3],
}

/// Whether orders go to a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the first of those that take orders.
    InUse,
    /// It takes orders, and one before it does.
    StandsBy,
    /// It has said to wait until then.
    HeldBack(Timestamp),
    /// It keeps failing: no order goes there until then, and then one to try it.
    Out(Timestamp),
    /// Something that is ours to put right stands in the way; it is tried again then.
    Ours(Timestamp, FailureKind),
}

/// One limit of a CA.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Its name, as configured under `acme.limits`.
    pub limit: &'static str,
    /// How many.
    pub count: u32,
    /// In what time.
    pub per: Duration,
    /// How many of them are left. `None`: it counts for each name apart.
    pub remaining: Option<f64>,
}

/// What is to come.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// How many orders wait: for a slot, or for a limit.
    pub waiting: u64,
    /// When the last of them is expected to be through, should nothing else come. `None`: none
    /// waits, or orders are frozen.
    pub done_by: Option<Timestamp>,
    /// Midnight (UTC) of today.
    pub today: Timestamp,
    /// How many renewals are due, or overdue, today.
    pub due_today: u64,
    /// How many are due on each of the next days; days without any are left out.
    pub days: Vec<RenewalDay>,
    /// How many orders a day the account's limit at the CA in use lets through. Renewals that name
    /// what they replace (RFC 9773 §5) do not count against it.
    pub orders_per_day: f64,
}

impl Control {
    /// How the orders stand.
    pub async fn overview(&self) -> Result<Overview, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let tools = self.tools();
        let mut authorities = Vec::new();
        let mut in_use: Option<(&ConfiguredCa, f64)> = None;
        let mut first: Option<(&ConfiguredCa, f64)> = None;
        for authority in tools.authorities.iter() {
            let left = store.budget_left(&authority.account_budget(), now).await?;
            let state = self.authority_state(authority, left, in_use.is_some(), now).await?;
            first.get_or_insert((authority, left));
            if state.standing == Standing::InUse {
                in_use = Some((authority, left));
            }
            authorities.push(state);
        }
        let frozen = self.frozen().await?;
        let queue = self.queue_depth();
        let counts = store.counts(None).await?;
        let limited = counts.iter().filter(|c| c.reason == Reason::RateLimited);
        let queued: usize = queue.iter().map(|(_, waiting)| waiting).sum();
        let waiting = limited.map(|c| c.domains).sum::<u64>() + u64::try_from(queued).unwrap_or(u64::MAX);
        let (authority, left) = in_use.or(first).unwrap_or((tools.authorities.first(), 0.0));
        let limit = authority.limits.orders_per_account;
        let opens = if in_use.is_some() { None } else { opens(&authorities) };
        let done_by = self
            .inner
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
            at_risk: self.at_risk(),
            target_caa: self.inner.target_caa.load_full(),
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

    async fn authority_state(
        &self,
        authority: &ConfiguredCa,
        left: f64,
        another_is_in_use: bool,
        now: Timestamp,
    ) -> Result<AuthorityState, StoreError> {
        let (store, directory) = (&self.inner.store, authority.directory());
        let trouble = store.ca_trouble(directory).await?;
        let out = rules::out_until(trouble.as_ref(), now);
        let standing = match (
            self.stands_still(authority, now),
            out,
            self.held_back(directory, now).await?,
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
        let limits = authority.limits;
        Ok(AuthorityState {
            directory: directory.to_owned(),
            host: authority.issuer.host().to_owned(),
            account: store.ca_account(directory).await?,
            caa_identities: authority.identity().identities.clone(),
            standing,
            ours: self.inner.standstills.why(directory),
            trouble,
            budgets: [
                budget("orders_per_account", limits.orders_per_account, Some(left)),
                budget("per_registered_domain", limits.per_registered_domain, None),
                budget("failed_per_name", limits.failed_per_name, None),
            ],
        })
    }

    /// When an order that is queued now is expected to be through: as the slots become free, and as
    /// the account's limits let it through. `exempt`: whether it does not count against them.
    pub(super) async fn expected(&self, exempt: bool, now: Timestamp) -> Result<Timestamp, StoreError> {
        let slots = self.inner.queue.eta(now);
        if exempt {
            return Ok(slots);
        }
        let ahead: usize = self.queue_depth().iter().map(|(_, waiting)| waiting).sum();
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        let mut first: Option<Timestamp> = None;
        for authority in self.tools().authorities.iter() {
            let directory = authority.directory();
            let held = self.held_back(directory, now).await?;
            let opens = held.max(self.out_until(directory, now).await?).unwrap_or(now);
            let left = self.inner.store.budget_left(&authority.account_budget(), now).await?;
            let through = opens + rules::refill(ahead + 1, left, authority.limits.orders_per_account);
            first = Some(first.map_or(through, |f| f.min(through)));
        }
        Ok(first.map_or(slots, |f| slots.max(f)))
    }
}

/// When the first CA takes orders again, where none does.
fn opens(authorities: &[AuthorityState]) -> Option<Timestamp> {
    let waits = authorities.iter().filter_map(|a| match a.standing {
        Standing::HeldBack(until) | Standing::Out(until) | Standing::Ours(until, _) => Some(until),
        Standing::InUse | Standing::StandsBy => None,
    });
    waits.min()
}

/// The midnight a time's day begins with.
fn day_of(at: Timestamp) -> Timestamp {
    let day = i64::try_from(DAY.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_secs(at.as_secs().div_euclid(day) * day)
}
