//! Share links, with which customers see the page of one domain: making them, and taking them back.

use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use serde_json::{Value, json};

use super::{Operator, OperatorError};
use crate::core::Actor;

impl Operator {
    /// Audits that the actor makes a link to a domain's page; returns the domain.
    pub async fn share(
        &self,
        name: &DomainName,
        expires: Timestamp,
        actor: &Actor,
    ) -> Result<DomainRecord, OperatorError> {
        let store = &self.core.store;
        let record = store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        let audit = self.audit_entry(actor, "share", name, Value::Null, json!({"expires": expires}));
        store.append_audit(audit).await?;
        Ok(record)
    }

    /// Invalidates all links to a domain's page made so far.
    pub async fn end_shares(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let changed = self.core.change_by(actor, name, |draft| {
            let before = draft.record.clone();
            draft.record.end_shares();
            self.audited(draft, &before, "end_shares", actor)
        });
        changed.await?.map(|_| ()).ok_or(OperatorError::NotFound)
    }
}
