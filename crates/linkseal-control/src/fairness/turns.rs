//! Turns at a CA's rate limits: the time at which a token will belong to a domain that found the
//! bucket empty. A turn that is not going to be used is returned, so that the others move up.

use linkseal_domain::DomainName;
use linkseal_domain::reach;
use linkseal_domain::ssl::{Slot, SslStatus};
use linkseal_store::{BudgetTake, StoreError};

use super::Fairness;
use crate::rules;

impl Fairness {
    /// The turn of a domain that lies ahead.
    pub(crate) fn turn_ahead<'a>(&self, ssl: &'a SslStatus) -> Option<&'a Slot> {
        let now = self.core.clock.now();
        ssl.slot.as_ref().filter(|turn| turn.at.is_ahead(now, reach::LINE))
    }

    /// Returns the turn of a domain that does not need it any more.
    pub(crate) async fn return_turn_of(&self, name: &DomainName, ssl: &SslStatus) -> Result<(), StoreError> {
        let Some(turn) = self.turn_ahead(ssl) else {
            return Ok(());
        };
        let cas = self.core.cas();
        let takes = cas
            .iter()
            .flat_map(|ca| rules::budgets((name, ssl), ca.directory(), &ca.limits));
        let slots = takes.flat_map(|take| {
            [false, true].map(|small_tenant| {
                let take = take.clone();
                BudgetTake { small_tenant, ..take }.slot()
            })
        });
        // A CA that is no longer configured keeps none.
        let turn = slots.into_iter().find(|t| t.key == turn.queue);
        self.return_turn(turn).await
    }

    /// [`Fairness::return_turn_of`] where the change that made it superfluous is stored already: if it
    /// fails, others wait a little longer.
    pub(crate) async fn try_return_turn_of(&self, name: &DomainName, ssl: &SslStatus) {
        if let Err(error) = self.return_turn_of(name, ssl).await {
            tracing::debug!(domain = %name, %error, "returning a turn at a rate limit failed; ignored");
        }
    }

    /// Returns a turn: the order goes to another CA, or has an earlier turn.
    pub(crate) async fn return_turn(&self, turn: Option<BudgetTake>) -> Result<(), StoreError> {
        match turn {
            Some(turn) => self.core.store.return_budgets(&[turn]).await,
            None => Ok(()),
        }
    }
}
