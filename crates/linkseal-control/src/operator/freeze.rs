//! The freeze of all orders: an operator's stop for everything, in the store, so that every node obeys
//! and a restart changes nothing. Certificates are served, running orders end, and whatever would be
//! ordered goes on by itself after the thaw.

use std::sync::Arc;

use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_store::{Freeze, StoreError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operator, OperatorError};
use crate::core::{Actor, Draft, Edit, Issue};

/// The longest note, in bytes.
const MAX_NOTE: usize = 1_024;
/// The subject of the audit entries.
const SUBJECT: &str = "orders";

/// The details of a freeze.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(example = serde_json::json!({"note": "incident 7"}))]
pub struct NewFreeze {
    /// Why, for other operators; null for no note.
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
}

impl Operator {
    /// Freezes all orders; returns whether they were not frozen before.
    pub async fn freeze(&self, new: NewFreeze, actor: &Actor) -> Result<(Freeze, bool), OperatorError> {
        if new.note.as_ref().is_some_and(|note| note.len() > MAX_NOTE) {
            return Err(OperatorError::Invalid(format!("note: at most {MAX_NOTE} bytes")));
        }
        let before = self.frozen().await?;
        let after = Freeze {
            note: new.note,
            by: actor.who.clone(),
            since: before.as_ref().map_or_else(|| self.core.clock.now(), |f| f.since),
        };
        let audit = self.audit_entry(actor, "freeze", SUBJECT, view(before.as_ref()), view(Some(&after)));
        self.core.store.put_freeze(&after, audit).await?;
        tracing::warn!(by = after.by, "all orders frozen");
        Ok((after, before.is_none()))
    }

    /// Ends the freeze. The domains that it stopped go on in the background.
    pub async fn thaw(self: &Arc<Self>, actor: &Actor) -> Result<(), OperatorError> {
        let before = self.frozen().await?;
        let audit = self.audit_entry(actor, "thaw", SUBJECT, view(before.as_ref()), Value::Null);
        self.core.store.end_freeze(audit).await?;
        tracing::warn!(by = actor.who, "freeze ended; orders go on");
        let operator = Arc::clone(self);
        self.core
            .tasks
            .spawn_until_stop(async move { operator.resume_stopped().await });
        Ok(())
    }

    /// The freeze in force; `None` while orders go on.
    pub async fn frozen(&self) -> Result<Option<Freeze>, StoreError> {
        self.core.frozen().await
    }

    /// Plans the orders that a freeze, which is over, or `acme.issue = "off"` had stopped: after a start,
    /// and when a reload turns orders on again. `some_are`: whether any domain may be stopped.
    pub(crate) async fn resume_stopped_unless_frozen(self: Arc<Self>, some_are: bool) {
        if self.core.settings().issue == Issue::Off {
            return;
        }
        match self.frozen().await {
            Ok(Some(freeze)) => tracing::warn!(
                by = freeze.by, since = %freeze.since, note = freeze.note,
                "all orders are frozen; nothing is ordered or renewed (to end it: linkseal api DELETE /v1/issuer/freeze)"
            ),
            // If the store does not say whether orders are frozen, each order finds out.
            Ok(None) | Err(_) if some_are => self.resume_stopped().await,
            Ok(None) | Err(_) => {}
        }
    }

    /// Plans the orders that were stopped, in order of their due times.
    pub(super) async fn resume_stopped(&self) {
        let edit = |draft: &mut Draft| {
            if !is_stopped(&draft.record) {
                return Edit::Nothing;
            }
            let was_shown = draft.record.ssl.reason == Reason::Paused;
            draft.apply(SslEvent::Thawed);
            if was_shown {
                draft.log("thawed", None);
            }
            Edit::Store
        };
        // Renewals were stopped too, so the domain may be in any state.
        self.core
            .change_all(
                "resume domains after a freeze",
                self.core.all_pages(),
                |record, _| is_stopped(record),
                edit,
            )
            .await;
    }
}

/// Whether a domain is stopped together with all others, not set aside by an operator.
pub(crate) fn is_stopped(record: &DomainRecord) -> bool {
    record.is_wanted() && (record.ssl.stopped || record.ssl.reason == Reason::Paused)
}

fn view(freeze: Option<&Freeze>) -> Value {
    freeze.map_or(Value::Null, |f| json!({"note": f.note, "by": f.by, "since": f.since}))
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;
    use linkseal_domain::record::Origin;
    use linkseal_store::Creation;
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::tests::{Bench, actor, name};

    #[tokio::test]
    async fn a_start_while_orders_are_frozen_is_logged() {
        let bench = Bench::new().await;
        let operator = bench.control.operator();
        let written = Written::default();
        let _logs = written.capture(LevelFilter::INFO);
        Arc::clone(operator).resume_stopped_unless_frozen(true).await;
        assert_eq!(written.text(), "");
        operator.freeze(NewFreeze::default(), &actor()).await.unwrap();
        Arc::clone(operator).resume_stopped_unless_frozen(true).await;
        let text = written.text();
        assert_eq!(text.matches("all orders are frozen").count(), 1, "{text}");
    }

    #[tokio::test]
    async fn after_a_thaw_every_domain_goes_on_where_it_was() {
        let bench = Bench::new().await;
        let (operator, now) = (bench.control.operator(), bench.clock.now());
        let name = name("links.customer.example");
        let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, now);
        record.apply(SslEvent::Wanted, now);
        (record.ssl.attempts, record.ssl.setbacks) = (7, 2);
        record.apply(bench.control.core.freeze_event(), now);
        assert_eq!(record.ssl.reason, Reason::Paused);
        let creation = Creation {
            record,
            timeline: Vec::new(),
            audit: None,
        };
        bench.store.create(creation).await.unwrap();
        operator.freeze(NewFreeze::default(), &actor()).await.unwrap();
        operator.thaw(&actor()).await.unwrap();
        operator.resume_stopped().await;
        let ssl = bench.store.domain(&name).await.unwrap().unwrap().ssl;
        assert_eq!((ssl.attempts, ssl.setbacks), (7, 2));
        assert!(ssl.next_attempt.is_some_and(|at| at <= bench.clock.now()));
    }
}
