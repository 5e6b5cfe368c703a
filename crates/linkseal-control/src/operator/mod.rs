//! What people and the platform's back end do, through the admin port. Every change leaves an audit
//! entry: who, from where, what, before and after.
//!
//! | file | part |
//! |---|---|
//! | `input`, `strict`, `error` | what callers give, and why it is refused |
//! | `register`, `ownership`, `quota`, `import` | adding domains |
//! | `edit` | changing, pausing and retiring a domain |
//! | `remove` | purging a domain, with or without revocation |
//! | `verify`, `reissue` | checks and orders by hand |
//! | `freeze`, `holds`, `mass_failure` | stopping all orders, and ending waits |
//! | `own_names` | the edge's own names |
//! | `redirects`, `kills`, `share` | links: stored redirects, kill switches, share links |

mod edit;
mod error;
mod freeze;
mod holds;
mod import;
mod input;
mod kills;
mod mass_failure;
pub(crate) mod own_names;
mod ownership;
mod quota;
pub(crate) mod redirects;
mod register;
mod reissue;
mod remove;
mod share;
mod strict;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;

use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, SslEvent};
use serde_json::Value;

pub use edit::MOVED;
pub use error::OperatorError;
pub use freeze::NewFreeze;
pub(crate) use freeze::is_stopped;
pub use holds::Holds;
pub use import::Import;
pub use input::{NewDomain, Patch, Registered};
pub use kills::{KillSwitchStore, NewKill};
pub use ownership::OwnerRecord;
pub use redirects::{NewRedirect, Redirects};
pub use reissue::{REISSUES, Reissue};

use self::own_names::OwnNames;
use self::ownership::OwnerRecords;
use crate::core::audit::{audit_entry, audit_view, difference};
use crate::core::change_queue::ChangeQueues;
use crate::core::{Actor, Core, Draft, Edit, Issue};
use crate::order::Orders;
use crate::schedule::Schedule;

/// The operations of people and of the platform's back end.
pub struct Operator {
    core: Arc<Core>,
    schedule: Arc<Schedule>,
    orders: Arc<Orders>,
    owner_records: OwnerRecords,
    own_names: Arc<OwnNames>,
    /// Registrations by tenants, one at a time for each tenant, because they are counted.
    registrations: ChangeQueues<String>,
    redirects: Redirects,
    kills: KillSwitchStore,
}

impl Operator {
    pub(crate) fn new(
        schedule: Arc<Schedule>,
        orders: Arc<Orders>,
        own_names: Arc<OwnNames>,
        redirects: Redirects,
        kills: KillSwitchStore,
    ) -> Arc<Self> {
        let core = Arc::clone(&schedule.core);
        Arc::new(Self {
            owner_records: OwnerRecords::new(&core.sealer),
            core,
            schedule,
            orders,
            own_names,
            registrations: ChangeQueues::default(),
            redirects,
            kills,
        })
    }

    /// The stored redirects.
    pub fn redirects(&self) -> &Redirects {
        &self.redirects
    }

    /// The kill switches.
    pub fn kills(&self) -> &KillSwitchStore {
        &self.kills
    }

    /// Adds the audit entry of a change to its draft; stores the draft unless nothing has changed.
    fn audited(&self, draft: &mut Draft, before: &DomainRecord, action: &str, actor: &Actor) -> Edit<OperatorError> {
        if let Err(error) = must_be_theirs(before, actor) {
            return Edit::Refuse(error);
        }
        if draft.record == *before && action == "create" {
            return Edit::Nothing;
        }
        let (before_view, after_view) = difference(audit_view(before), audit_view(&draft.record));
        let entry = audit_entry(
            actor,
            self.core.clock.now(),
            action,
            before.name.to_string(),
            before_view,
            after_view,
        );
        draft.audit(entry);
        Edit::Store
    }

    /// The audit entry of an action on a domain.
    fn audit_entry(
        &self,
        actor: &Actor,
        action: &str,
        subject: impl ToString,
        before: Value,
        after: Value,
    ) -> linkseal_store::AuditEntry {
        let now = self.core.clock.now();
        audit_entry(actor, now, action, subject.to_string(), before, after)
    }

    /// Resumes a domain that was set aside or denied. An order is planned where certificates are ordered
    /// on registration, or if a pause had stopped one.
    fn resume(&self, draft: &mut Draft) {
        let was_stopped = draft.record.ssl.reason == Reason::Paused;
        draft.apply(SslEvent::Resumed);
        match self.core.settings().issue {
            Issue::OnRegister => drop(draft.apply(SslEvent::Wanted)),
            Issue::OnDemand if was_stopped => drop(draft.apply(SslEvent::Wanted)),
            Issue::OnDemand | Issue::Off => {}
        }
    }
}

/// A domain that was moved to another tenant since it was read is as unknown to the actor as any other
/// domain of that tenant.
fn must_be_theirs(record: &DomainRecord, actor: &Actor) -> Result<(), OperatorError> {
    match &actor.tenant {
        Some(tenant) if *tenant != record.tenant => Err(OperatorError::NotFound),
        _ => Ok(()),
    }
}
