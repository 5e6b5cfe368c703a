//! How many domains a tenant's own tokens register: a token that was stolen or runs in a loop does not
//! fill the store. Tokens that see all tenants are not bound.

use linkseal_domain::DomainName;

use super::Control;
use super::input::{Actor, OperatorError};
use super::lines::{Rank, Turn};

impl Control {
    /// Room for one more domain of the tenant that the actor is kept to. It is counted and taken by
    /// one registration of a tenant at a time: keep the turn until the domain is stored.
    pub(super) async fn takes_room(
        &self,
        name: &DomainName,
        actor: &Actor,
    ) -> Result<Option<Turn<'_, String>>, OperatorError> {
        let turn = match &actor.tenant {
            None => None,
            Some(tenant) => Some(self.inner.registering.enter(tenant.clone(), Rank::Tenant).await),
        };
        self.must_have_room(name, actor).await?;
        Ok(turn)
    }

    /// Whether there is room for it now. A domain that is there already may always be registered
    /// again.
    pub(super) async fn must_have_room(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let most = self.inner.settings.load().max_domains_per_tenant;
        let (Some(tenant), Some(most)) = (&actor.tenant, most) else {
            return Ok(());
        };
        let counts = self.inner.store.counts(Some(tenant)).await?;
        let held: u64 = counts.iter().map(|count| count.domains).sum();
        if held < most {
            return Ok(());
        }
        match self.inner.store.domain(name).await {
            Ok(None) => Err(OperatorError::TenantFull {
                tenant: tenant.clone(),
                most,
            }),
            // Whose it is, and whether it can be read, is told by what follows.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::super::tests::{Bench, actor};
    use super::super::{NewDomain, Ownership, Settings};
    use super::*;

    #[tokio::test]
    async fn a_token_of_one_tenant_registers_so_many_domains_and_others_any_number() {
        let bench = Bench::new().await;
        let control = &bench.control;
        let settings = Settings {
            ownership: Ownership::None,
            max_domains_per_tenant: Some(3),
            ..control.inner.settings.load().as_ref().clone()
        };
        control.inner.settings.store(settings.into());
        let of_tenant = Actor {
            tenant: Some("acme".into()),
            ..actor()
        };
        let register = |n: usize, actor: Actor| {
            let new = NewDomain {
                name: super::super::tests::name(&format!("links.c{n}.example")),
                tenant: Some("acme".into()),
                sending_domain: None,
                records: None,
            };
            async move { control.register(new, &actor).await }
        };
        let at_once = join_all((0..20).map(|n| register(n, of_tenant.clone()))).await;
        let refused = at_once.iter().filter_map(|done| done.as_ref().err());
        let told: Vec<_> = refused.map(ToString::to_string).collect();
        assert_eq!(told.len(), 17);
        assert!(told[0].contains("admission.max_domains_per_tenant"), "{}", told[0]);
        let held = (0..20).find(|n| at_once[*n].is_ok()).expect("three are");
        let again = register(held, of_tenant.clone()).await;
        assert!(!again.expect("it is there already").created);
        let by_operator = register(20, actor()).await;
        assert!(by_operator.expect("operators are not bound").created);
        let other = Actor {
            tenant: Some("other".into()),
            ..actor()
        };
        let new = NewDomain {
            name: super::super::tests::name("links.other.example"),
            tenant: None,
            sending_domain: None,
            records: None,
        };
        assert!(
            control.register(new, &other).await.is_ok(),
            "other tenants have their own"
        );
    }
}
