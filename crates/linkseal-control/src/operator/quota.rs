//! How many domains the tokens of one tenant may register: a stolen token, or one in a loop, must not
//! fill the store. Tokens for all tenants are not limited.

use linkseal_domain::DomainName;

use super::{Operator, OperatorError};
use crate::core::Actor;
use crate::core::change_queue::{ChangeTurn, Rank};

impl Operator {
    /// Takes the tenant's turn to register, so that the count below stays true: keep it until the domain
    /// is stored.
    pub(super) async fn take_quota(
        &self,
        name: &DomainName,
        actor: &Actor,
    ) -> Result<Option<ChangeTurn<'_, String>>, OperatorError> {
        let turn = match &actor.tenant {
            None => None,
            Some(tenant) => Some(self.registrations.enter(tenant.clone(), Rank::Tenant).await),
        };
        self.check_quota(name, actor).await?;
        Ok(turn)
    }

    /// Refuses one more domain beyond the limit. A domain that exists may always be registered again.
    pub(super) async fn check_quota(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let most = self.core.settings().max_domains_per_tenant;
        let (Some(tenant), Some(most)) = (&actor.tenant, most) else {
            return Ok(());
        };
        let counts = self.core.store.counts(Some(tenant)).await?;
        let domains: u64 = counts.iter().map(|count| count.domains).sum();
        if domains < most {
            return Ok(());
        }
        match self.core.store.domain(name).await {
            Ok(None) => Err(OperatorError::TenantFull {
                tenant: tenant.clone(),
                most,
            }),
            // Whose it is, and whether it can be read, is reported by the next steps.
            _ => Ok(()),
        }
    }
}
