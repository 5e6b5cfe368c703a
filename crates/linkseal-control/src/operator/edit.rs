//! Changing, pausing and retiring a domain.

use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord};

use super::input::{MAX_LIST, Patch};
use super::{Operator, OperatorError};
use crate::core::{Actor, Edit};

/// The timeline event of a domain that was moved to another tenant. Older entries are shown only to
/// callers who see all tenants.
pub const MOVED: &str = "tenant_changed";

impl Operator {
    /// Changes what the platform decides about a domain.
    pub async fn patch(&self, name: &DomainName, patch: Patch, actor: &Actor) -> Result<DomainRecord, OperatorError> {
        patch.check()?;
        let patch = patch.trimmed();
        let mut was = None;
        let changed = self.core.change_by(actor, name, |draft| {
            let before = draft.record.clone();
            was = Some(before.ssl.clone());
            let now = draft.now();
            let record = &mut draft.record;
            let mut moved = false;
            if let Some(tenant) = patch.tenant.clone().filter(|t| *t != record.tenant) {
                record.move_to(tenant, now);
                moved = true;
            }
            if patch.former_tenants.is_none() && record.former_tenants.len() > MAX_LIST {
                return Edit::Refuse(OperatorError::FormerTenants);
            }
            set(&mut record.former_tenants, &patch.former_tenants);
            set(&mut record.sending_domain, &patch.sending_domain);
            set(&mut record.fallback_url, &patch.fallback_url);
            set(&mut record.app_links, &patch.app_links);
            set(&mut record.records, &patch.records);
            set(&mut record.http_while_pending, &patch.http_while_pending);
            set(&mut record.hsts, &patch.hsts);
            let (was_paused, by) = (record.paused, format!("by {}", actor.who));
            if moved {
                self.core.handshake_failures.forget(name);
                draft.log(MOVED, Some(by.clone()));
            }
            match (patch.paused, was_paused) {
                (Some(true), None) => {
                    draft.record.paused = Some(now);
                    draft.apply(SslEvent::SetAside).log("paused", Some(by));
                }
                (Some(false), Some(_)) => {
                    draft.record.paused = None;
                    self.resume(draft);
                    draft.log("resumed", Some(by));
                }
                _ => {}
            }
            self.audited(draft, &before, "update", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        if let Some(was) = was.filter(|_| !record.is_wanted()) {
            self.schedule.fairness.try_return_turn_of(name, &was).await;
        }
        Ok(record)
    }

    /// Retires a domain: no more orders; it is served until its certificate expires.
    pub async fn retire(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let mut was = None;
        let changed = self.core.change_by(actor, name, |draft| {
            if self.core.settings().names.contains(draft.record.name.as_str()) {
                return Edit::Refuse(OperatorError::OwnName);
            }
            let before = draft.record.clone();
            was = Some(before.ssl.clone());
            let now = draft.now();
            draft.record.retired.get_or_insert(now);
            draft.apply(SslEvent::SetAside);
            if before.retired.is_none() {
                draft.log("retired", Some(format!("by {}", actor.who)));
            }
            self.audited(draft, &before, "retire", actor)
        });
        changed.await?.ok_or(OperatorError::NotFound)?;
        if let Some(was) = was {
            self.schedule.fairness.try_return_turn_of(name, &was).await;
        }
        Ok(())
    }
}

/// Sets a value that the patch gives.
fn set<T: Clone>(value: &mut T, new: &Option<T>) {
    if let Some(new) = new {
        value.clone_from(new);
    }
}
