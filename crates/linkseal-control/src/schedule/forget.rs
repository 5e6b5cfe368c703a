//! Removing a domain for good: its record, keys and certificate.

use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::StoreError;
use serde_json::{Value, json};

use super::Schedule;
use crate::core::Actor;
use crate::core::audit::{audit_entry, audit_view};

impl Schedule {
    /// Purges the domain at this version of its record, and returns its turn at a rate limit.
    pub(crate) async fn forget(&self, record: &DomainRecord, actor: &Actor) -> Result<(), StoreError> {
        let (name, now) = (&record.name, self.core.clock.now());
        let audit = audit_entry(actor, now, "purge", name.to_string(), audit_view(record), Value::Null);
        self.core.purge(name, Some(record.version), audit).await?;
        self.fairness.try_return_turn_of(name, &record.ssl).await;
        Ok(())
    }

    /// Purges a domain whose record cannot be read.
    pub(crate) async fn forget_unreadable(
        &self,
        name: &DomainName,
        why: &str,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let (now, before) = (self.core.clock.now(), json!({"unreadable": why}));
        let audit = audit_entry(actor, now, "purge", name.to_string(), before, Value::Null);
        self.core.purge(name, None, audit).await
    }

    /// Purges a domain that was admitted by its DNS, was never registered, and points here no longer.
    pub(super) async fn forget_unregistered(&self, record: &DomainRecord) -> Result<(), StoreError> {
        match self.forget(record, &Actor::own()).await {
            Ok(()) => {
                tracing::info!(domain = %record.name, reason = record.ssl.reason.as_str(), "name admitted by DNS removed; it does not point here any more");
                Ok(())
            }
            // Registered or changed since it was read: that takes precedence.
            Err(StoreError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
