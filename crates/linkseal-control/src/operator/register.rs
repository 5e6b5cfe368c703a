//! Registering a domain.

use std::sync::Arc;

use linkseal_domain::DomainRecord;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_store::{Creation, StoreError};
use serde_json::Value;

use super::input::{NewDomain, Registered};
use super::{Operator, OperatorError};
use crate::core::audit::audit_view;
use crate::core::change::{MAX_CONFLICTS, timeline_entry};
use crate::core::{Actor, Edit, Issue};

impl Operator {
    /// Registers a domain, brings a retired one back, or finds it unchanged. An actor limited to one
    /// tenant registers for that tenant, and only names whose owner wants that.
    pub async fn register(&self, mut new: NewDomain, actor: &Actor) -> Result<Registered, OperatorError> {
        new.limit_to(actor.tenant.as_deref())?;
        new.check()?;
        self.check_quota(&new.name, actor).await?;
        self.check_ownership(&new.name, actor).await?;
        let _turn = self.take_quota(&new.name, actor).await?;
        for _ in 0..MAX_CONFLICTS {
            match self.create_or_find(&new, actor).await {
                // It existed when it was to be created, and was purged before it was changed.
                Err(OperatorError::NotFound) => {}
                done => return done,
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn create_or_find(&self, new: &NewDomain, actor: &Actor) -> Result<Registered, OperatorError> {
        let now = self.core.clock.now();
        let mut record = DomainRecord::new(new.name.clone(), new.tenant.clone(), Origin::Registered, now);
        record.sending_domain.clone_from(&new.sending_domain);
        record.records = new.records.clone().unwrap_or_default();
        if self.core.settings().issue == Issue::OnRegister {
            record.apply(SslEvent::Wanted, now);
        }
        let audit = self.audit_entry(actor, "create", &new.name, Value::Null, audit_view(&record));
        let detail = format!("by {}", actor.who);
        let entry = timeline_entry(now, "registered", record.ssl.reason, Some(detail));
        let creation = Creation {
            record,
            timeline: vec![entry],
            audit: Some(audit),
        };
        let schedule = Arc::clone(&self.schedule);
        let created = self.core.run_to_completion(async move {
            let record = schedule.core.store.create(creation).await?;
            schedule.fairness.fast_lane.add(&record, now);
            schedule.core.publish(&record);
            Ok(record)
        });
        match created.await {
            Ok(record) => Ok(Registered { record, created: true }),
            Err(StoreError::Exists) => self.register_again(new, actor).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn register_again(&self, new: &NewDomain, actor: &Actor) -> Result<Registered, OperatorError> {
        let changed = self.core.change_by(actor, &new.name, |draft| {
            let before = draft.record.clone();
            if new.tenant.as_ref().is_some_and(|t| *t != before.tenant) {
                return Edit::Refuse(match actor.tenant {
                    Some(_) => OperatorError::NotForYou,
                    None => OperatorError::OtherTenant,
                });
            }
            if let Some(sending) = &new.sending_domain {
                draft.record.sending_domain = Some(sending.clone());
            }
            if let Some(records) = &new.records {
                draft.record.records.clone_from(records);
            }
            if matches!(before.origin, Origin::Asked | Origin::Cname) {
                draft.record.origin = Origin::Registered;
            }
            let back = draft.record.retired.take().is_some();
            if back || before.ssl.reason == Reason::Denied {
                self.resume(draft);
                draft.log("registered", Some(format!("again, by {}", actor.who)));
            }
            self.audited(draft, &before, "create", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        Ok(Registered { record, created: false })
    }
}
