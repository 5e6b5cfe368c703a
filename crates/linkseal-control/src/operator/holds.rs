//! Ending what orders wait for: hold-backs that a CA has asked for, CAs out of use, and the times at
//! which single domains are retried.

use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use serde_json::{Value, json};

use super::{Operator, OperatorError};
use crate::core::{Actor, ConfiguredCa, Draft, Edit, Priority};
use crate::rules;

/// The audit log's subject for all CAs.
const ALL: &str = "orders";

/// Which waits to end: all of them if neither is given.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// Those at this CA, by its directory URL or host name. `None` means every CA, or no CA if a domain
    /// is given.
    pub ca: Option<String>,
    /// That of this domain. `None` means every domain that waits for the CA.
    pub domain: Option<DomainName>,
}

impl Operator {
    /// Ends waits. Domains that wait for a CA go on in the background, page by page.
    pub async fn release(self: &Arc<Self>, holds: &Holds, actor: &Actor) -> Result<(), OperatorError> {
        if let Some(name) = &holds.domain {
            self.release_domain(name, actor).await?;
        }
        if holds.domain.is_none() || holds.ca.is_some() {
            self.release_cas(holds.ca.as_deref(), actor).await?;
        }
        self.core.wake.notify_one();
        Ok(())
    }

    async fn release_domain(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let changed = self.core.change(name, None, |draft| {
            let before = draft.record.clone();
            draft.apply(SslEvent::Released);
            if draft.record.ssl != before.ssl {
                draft.log("released", Some(format!("by {}", actor.who)));
            }
            self.audited(draft, &before, "release", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        if record.ssl.next_attempt.is_some_and(|at| at <= self.core.clock.now()) {
            self.schedule.take_up(name.clone(), Priority::Verify);
        }
        Ok(())
    }

    async fn release_cas(self: &Arc<Self>, ca: Option<&str>, actor: &Actor) -> Result<(), OperatorError> {
        let (all, one) = (self.core.cas(), ca.is_some());
        let is_meant = |c: &ConfiguredCa| ca.is_none_or(|ca| ca == c.directory() || ca == c.issuer.host());
        let meant: Vec<_> = all.iter().filter(|c| is_meant(c)).cloned().collect();
        if meant.is_empty() {
            let known: Vec<_> = all.iter().map(|c| c.directory()).collect();
            let known = known.join(", ");
            return Err(OperatorError::Invalid(format!(
                "ca: no such CA is configured; there are: {known}"
            )));
        }
        let (health, now) = (&self.orders.health, self.core.clock.now());
        for ca in &meant {
            let before = self.waits_at(ca, now).await?;
            let subject = if one { ca.directory() } else { ALL };
            let audit = self.audit_entry(actor, "release", subject, before, Value::Null);
            health.release(ca, audit).await?;
            tracing::warn!(
                ca = ca.directory(),
                by = actor.who,
                "waits at the CA ended by an operator"
            );
        }
        let hosts = ca.map(|_| meant.iter().map(|c| c.issuer.host().to_owned()).collect::<Vec<_>>());
        let operator = Arc::clone(self);
        self.core.tasks.spawn_until_stop(async move {
            operator
                .release_waiting(|r, now| rules::waits_for_ca(r, hosts.as_deref(), now))
                .await;
        });
        Ok(())
    }

    /// What orders at a CA wait for, as its audit entry shows it.
    async fn waits_at(&self, ca: &ConfiguredCa, now: Timestamp) -> Result<Value, StoreError> {
        let directory = ca.directory();
        let trouble = self.core.store.ca_trouble(directory).await?;
        Ok(json!({
            "ca": directory,
            "held_back": self.core.store.held_back(directory).await?,
            "out_until": trouble.as_ref().and_then(|t| t.out_until),
            "why": trouble.map(|t| t.why),
            "ours": self.orders.health.stands_still(ca, now).map(|(until, _)| until),
        }))
    }

    /// Has all CAs and domains tried again that wait for something to be fixed here: it may have been.
    pub(crate) fn end_standstills(self: &Arc<Self>) {
        if !self.orders.health.end_standstills() {
            return;
        }
        let operator = Arc::clone(self);
        self.core
            .tasks
            .spawn_until_stop(async move { operator.release_waiting(rules::waits_for_us).await });
    }

    /// Releases the domains for which `waits` holds.
    async fn release_waiting(&self, waits: impl Fn(&DomainRecord, Timestamp) -> bool + Send + Sync) {
        for reason in [
            Reason::RateLimited,
            Reason::CaUnreachable,
            Reason::RetryScheduled,
            Reason::RenewalFailing,
            Reason::Ok,
        ] {
            let edit = |draft: &mut Draft| {
                if !waits(&draft.record, draft.now()) {
                    return Edit::Nothing;
                }
                draft.apply(SslEvent::Released);
                Edit::Store
            };
            self.core
                .change_all("release waiting domains", self.core.pages_with(reason), &waits, edit)
                .await;
        }
    }
}
