//! Links for customers to the page of one domain: who made them, and taking them back.

use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use serde_json::{Value, json};

use super::Control;
use super::input::{Actor, OperatorError};
use super::operator::audit_entry;

impl Control {
    /// Writes down that someone makes a link to a domain's page. Returns the domain.
    pub async fn share(
        &self,
        name: &DomainName,
        expires: Timestamp,
        actor: &Actor,
    ) -> Result<DomainRecord, OperatorError> {
        let store = &self.inner.store;
        let record = store.domain(name).await?.ok_or(OperatorError::NotFound)?;
        let (now, after) = (self.inner.clock.now(), json!({"expires": expires}));
        let line = audit_entry(actor, now, "share", name.to_string(), Value::Null, after);
        store.append_audit(line).await?;
        Ok(record)
    }

    /// Takes back all links to a domain's page that were made so far.
    pub async fn end_shares(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let changed = self.change_by(actor, name, |draft| {
            let before = draft.record.clone();
            draft.record.share_generation = before.share_generation.wrapping_add(1);
            self.audited(draft, &before, "end_shares", actor)
        });
        changed.await?.map(|_| ()).ok_or(OperatorError::NotFound)
    }
}
