//! Ordering a new certificate by hand.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{Intent, SslEvent};
use linkseal_domain::{DomainName, DomainRecord, reach};
use linkseal_store::{BudgetAnswer, BudgetTake, StoreError};

use super::{Operator, OperatorError};
use crate::core::{Actor, ConfiguredCa, Edit, Issue, Limit, Priority};
use crate::rules::{self, Gate};

/// How often a new certificate may be ordered by hand for one name: what CAs allow for one exact set
/// of names (Let's Encrypt: 5 in 7 days), even where an order that names its predecessor is exempt.
pub const REISSUES: Limit = Limit {
    count: 5,
    per: Duration::from_secs(7 * 86_400),
};
/// The first of two within this time is still in progress.
const REISSUE_PAUSE: Limit = Limit {
    count: 1,
    per: Duration::from_secs(60),
};

/// The outcome of a request for a new certificate.
#[derive(Clone, Debug)]
pub enum Reissue {
    /// The order is planned.
    Accepted(Box<DomainRecord>),
    /// The rate limits allow it only then.
    NotBefore(Timestamp),
}

impl Operator {
    /// Orders a new certificate whatever is in use, as far as the CA's rate limits allow.
    pub async fn reissue(&self, name: &DomainName, actor: &Actor) -> Result<Reissue, OperatorError> {
        if self.core.settings().issue == Issue::Off {
            return Err(OperatorError::IssueOff);
        }
        if self.core.frozen().await?.is_some() {
            return Err(OperatorError::Frozen);
        }
        let record = self.core.store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        refuse_set_aside(&record)?;
        if let Some(until) = self.reissue_not_before(&record).await? {
            return Ok(Reissue::NotBefore(until));
        }
        if let Some(until) = self.charge_reissue(name).await? {
            return Ok(Reissue::NotBefore(until));
        }
        let changed = self.core.change_by(actor, name, |draft| {
            if let Err(error) = refuse_set_aside(&draft.record) {
                return Edit::Refuse(error);
            }
            let before = draft.record.clone();
            draft
                .apply(SslEvent::Reissue)
                .log("reissue", Some(format!("by {}", actor.who)));
            self.audited(draft, &before, "reissue", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        self.schedule.take_up(name.clone(), Priority::Verify);
        Ok(Reissue::Accepted(Box::new(record)))
    }

    /// Charges one of the reissues that a name may have; returns when the next one may be if there is
    /// none left.
    async fn charge_reissue(&self, name: &DomainName) -> Result<Option<Timestamp>, StoreError> {
        let take = |key: &str, limit: Limit| BudgetTake {
            key: format!("{key}/{name}"),
            size: limit.count,
            per: limit.per,
            amount: 1,
            small_tenant: false,
        };
        let takes = [take("reissue", REISSUES), take("reissue_pause", REISSUE_PAUSE)];
        self.try_budgets(takes.to_vec(), true).await
    }

    /// Takes from budgets, to `keep` the tokens or not; returns when they will be available if they are
    /// not. No turn is kept: the caller asks again, or does not.
    async fn try_budgets(&self, takes: Vec<BudgetTake>, keep: bool) -> Result<Option<Timestamp>, StoreError> {
        let core = Arc::clone(&self.core);
        // The caller may be cancelled between the two calls.
        self.core
            .run_to_completion(async move {
                let store = &core.store;
                let (back, until) = match store.take_budgets(&takes).await? {
                    BudgetAnswer::Exhausted { key, until } => {
                        let turn = takes.iter().filter(|take| take.key == key).map(BudgetTake::slot);
                        (turn.collect(), Some(until))
                    }
                    BudgetAnswer::Taken if keep => (Vec::new(), None),
                    BudgetAnswer::Taken => (takes, None),
                };
                if !back.is_empty() {
                    store.return_budgets(&back).await?;
                }
                Ok(until)
            })
            .await
    }

    /// When the first of the CAs allows a new order for the domain; `None` if one does now.
    async fn reissue_not_before(&self, record: &DomainRecord) -> Result<Option<Timestamp>, StoreError> {
        let mut earliest: Option<Timestamp> = None;
        for ca in self.core.cas().iter() {
            let Some(until) = self.not_before(ca, record).await? else {
                return Ok(None);
            };
            earliest = Some(earliest.map_or(until, |e| e.min(until)));
        }
        Ok(earliest)
    }

    /// When a CA allows a new order for the domain; `None` if it does now.
    async fn not_before(&self, ca: &ConfiguredCa, record: &DomainRecord) -> Result<Option<Timestamp>, StoreError> {
        let now = self.core.clock.now();
        let directory = ca.directory();
        let held = self.core.held_back(directory, now).await?;
        let held = held.max(self.core.out_until(directory, now).await?);
        let held = held.max(self.orders.health.stands_still(ca, now).map(|(until, _)| until));
        let held = held.max(record.ssl.not_before.filter(|at| at.is_ahead(now, reach::NAME_LIMIT)));
        let domain = (&record.name, &record.ssl);
        let takes = match rules::gate(domain, directory, &ca.limits, held, false, now) {
            Gate::Wait(until) => return Ok(Some(until)),
            Gate::Take(takes) => self.schedule.fairness.mark_small(takes, record).await?,
        };
        // The order itself takes the tokens when it is made.
        self.try_budgets(takes, false).await
    }
}

/// Nothing is ordered for a domain that is paused or retired.
fn refuse_set_aside(record: &DomainRecord) -> Result<(), OperatorError> {
    match record.intent() {
        Intent::Wanted => Ok(()),
        Intent::Paused => Err(OperatorError::SetAside(
            "paused",
            "resume it first: PATCH {\"paused\": false}",
        )),
        Intent::Retired => Err(OperatorError::SetAside(
            "retired",
            "bring it back first: POST /v1/domains registers it",
        )),
    }
}
