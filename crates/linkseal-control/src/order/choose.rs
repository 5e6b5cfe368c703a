//! Which CA an order goes to.
//!
//! One order uses one CA: the first one that is in use, has not asked to wait, has tokens left, and
//! neither refuses the name nor is forbidden by CAA to issue for it.

use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_dns::Caa;
use linkseal_domain::DomainRecord;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::FailureKind;
use linkseal_store::{BudgetAnswer, BudgetTake, Lease, StoreError};

use super::Orders;
use crate::core::{CaPool, ConfiguredCa};
use crate::rules::{self, Gate};

/// Where an order goes.
pub(super) enum Choice {
    /// To this CA; its rate limits have been charged.
    At(Chosen),
    /// Nowhere for now.
    Wait(Wait),
    /// Nowhere: CAA records at `host` forbid every configured CA.
    Forbidden { host: String },
}

/// The CA of one order.
pub(super) struct Chosen {
    pub(super) ca: Arc<ConfiguredCa>,
    /// Whether the order is open there already.
    pub(super) resumes: bool,
    /// The ARI id of the certificate it replaces, if the CA knows it.
    pub(super) replaces: Option<String>,
    /// The lease under which this order tries a CA that was out of use.
    pub(super) trial: Option<Lease>,
}

/// Why no order is made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) until: Timestamp,
    /// The host name of the CA that it waits for.
    pub(super) ca: String,
    pub(super) cause: Cause,
    /// The turn it was given at a rate limit that is used up.
    pub(super) turn: Option<BudgetTake>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A rate limit of the CA on this name.
    Name,
    /// A rate limit of the CA on all orders.
    Account,
    /// The CA is out of use.
    Outage,
    /// Something has to be fixed here.
    Ours(FailureKind),
}

impl Chosen {
    fn new(ca: &Arc<ConfiguredCa>, record: &DomainRecord, plain: bool) -> Self {
        let replaces = rules::replaces(&record.ssl, ca.directory()).filter(|_| !plain);
        Self {
            ca: Arc::clone(ca),
            resumes: false,
            replaces: replaces.map(str::to_owned),
            trial: None,
        }
    }
}

impl Orders {
    /// Chooses the CA of an order and charges its rate limits. `plain`: the order must not name the
    /// certificate it replaces.
    pub(super) async fn choose(&self, record: &DomainRecord, plain: bool) -> Result<Choice, StoreError> {
        let (name, now) = (&record.name, self.core.clock.now());
        let cas = self.core.cas();
        let open = self.core.store.order(name).await?.filter(|o| o.url.is_some());
        if let Some(ca) = open.as_ref().and_then(|o| cas.find(&o.ca)) {
            // Its CA has counted the order already: no rate limit delays it, only an outage does.
            if self.health.stands_still(ca, now).is_none()
                && let Ok(trial) = self.health.admit(ca, now).await?
            {
                let chosen = Chosen::new(ca, record, plain);
                return Ok(Choice::At(Chosen {
                    resumes: true,
                    trial,
                    ..chosen
                }));
            }
        }
        let mut wait: Option<Wait> = None;
        let mut forbidden = None;
        for ca in cas.willing(record, now) {
            if let Some(host) = self.forbidden_at(ca, &cas, record).await {
                forbidden.get_or_insert(host);
                continue;
            }
            match self.admit_at(ca, record, plain, now).await? {
                Ok(chosen) => {
                    self.return_turn(wait).await?;
                    return Ok(Choice::At(chosen));
                }
                Err(found) => {
                    let (sooner, later) = match wait {
                        Some(before) if before.until <= found.until => (before, Some(found)),
                        before => (found, before),
                    };
                    wait = Some(sooner);
                    self.return_turn(later).await?;
                }
            }
        }
        Ok(wait.map_or_else(
            || Choice::Forbidden {
                host: forbidden.unwrap_or_else(|| name.to_string()),
            },
            Choice::Wait,
        ))
    }

    /// Charges a CA's rate limits for an order, unless there is something to wait for.
    async fn admit_at(
        &self,
        ca: &Arc<ConfiguredCa>,
        record: &DomainRecord,
        plain: bool,
        now: Timestamp,
    ) -> Result<Result<Chosen, Wait>, StoreError> {
        let directory = ca.directory();
        let wait = |until, cause| {
            let ca = ca.issuer.host().to_owned();
            let turn = None;
            Ok(Err(Wait { until, ca, cause, turn }))
        };
        let chosen = Chosen::new(ca, record, plain);
        if let Some((until, kind)) = self.health.stands_still(ca, now) {
            return wait(until, Cause::Ours(kind));
        }
        if let Some(until) = self.core.held_back(directory, now).await? {
            return wait(until, Cause::Account);
        }
        let domain = (&record.name, &record.ssl);
        let takes = match rules::gate(domain, directory, &ca.limits, None, chosen.replaces.is_some(), now) {
            Gate::Wait(until) => return wait(until, Cause::Name),
            Gate::Take(takes) => self.schedule.fairness.mark_small(takes, record).await?,
        };
        let trial = match self.health.admit(ca, now).await? {
            Ok(trial) => trial,
            Err(until) => return wait(until, Cause::Outage),
        };
        match self.core.store.take_budgets(&takes).await? {
            BudgetAnswer::Taken => Ok(Ok(Chosen { trial, ..chosen })),
            BudgetAnswer::Exhausted { key, until } => {
                self.health.end_trial(trial).await?;
                let of_account = key == rules::account_budget(directory, &ca.limits).key;
                Ok(Err(Wait {
                    until,
                    ca: ca.issuer.host().to_owned(),
                    cause: if of_account { Cause::Account } else { Cause::Name },
                    turn: takes.iter().find(|take| take.key == key).map(BudgetTake::slot),
                }))
            }
        }
    }

    /// Keeps the turn that a domain has at a rate limit already: a later one at the same limit is
    /// returned, and so is one that it had at another limit.
    pub(super) async fn keep_turn(&self, record: &DomainRecord, wait: Wait) -> Result<Wait, StoreError> {
        let fairness = &self.schedule.fairness;
        let (Some(turn), Some(new)) = (fairness.turn_ahead(&record.ssl), &wait.turn) else {
            return Ok(wait);
        };
        if turn.queue != new.key {
            fairness.return_turn_of(&record.name, &record.ssl).await?;
            return Ok(wait);
        }
        self.return_turn(Some(wait.clone())).await?;
        let until = turn.at;
        Ok(Wait { until, ..wait })
    }

    /// Returns the turn of a wait that is not going to happen.
    pub(super) async fn return_turn(&self, wait: Option<Wait>) -> Result<(), StoreError> {
        let turn = wait.and_then(|wait| wait.turn);
        self.schedule.fairness.return_turn(turn).await
    }

    /// Where CAA records forbid this CA, if they do as far as is known. With a single CA, the DNS check
    /// before the order was queued has covered that.
    async fn forbidden_at(&self, ca: &ConfiguredCa, all: &CaPool, record: &DomainRecord) -> Option<String> {
        if all.has_one() || record.origin == Origin::Edge {
            return None;
        }
        match self.core.checker().caa(&record.name, &ca.identity()).await {
            Caa::Forbids { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Whether an order that this CA did not complete, for a reason of its own, may go to another CA at
    /// once. A CA that refuses the name as well does not count: that would go on in circles.
    pub(super) async fn may_go_elsewhere(&self, chosen: &Chosen, record: &DomainRecord) -> Result<bool, StoreError> {
        let here = chosen.ca.directory();
        if self.is_open(here, record).await? {
            return Ok(false);
        }
        for there in self.core.cas().iter().map(|ca| ca.directory()) {
            if there != here && self.is_open(there, record).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a CA accepts an order for this name now, apart from its rate limits.
    async fn is_open(&self, directory: &str, record: &DomainRecord) -> Result<bool, StoreError> {
        let now = self.core.clock.now();
        Ok(!record.ssl.is_refused_by(directory, now)
            && self.core.held_back(directory, now).await?.is_none()
            && self.core.out_until(directory, now).await?.is_none())
    }
}
