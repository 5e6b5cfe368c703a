//! The freeze of all orders: an operator's stop for everything, in the store, so that every node
//! obeys and a restart changes nothing. Certificates held are served; orders that run end; what
//! would be ordered is looked at now and then, and goes on by itself after the thaw.

use std::time::Duration;

use linkseal_base::random;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_store::{DomainQuery, Freeze, StoreError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::{Actor, OperatorError};
use super::operator::audit_entry;
use super::{Control, Draft, Edit, Issue};

/// The longest note, in bytes.
const MAX_NOTE: usize = 1_024;
/// How long until a domain that waits for the thaw is looked at again, should the thaw not find it
/// (a node that ends in the midst of it). With 100,000 of them: some 30 looks a second.
const LOOK: Duration = Duration::from_secs(3_600);
/// Jitter of that.
const JITTER: f64 = 0.3;
/// What the audit log calls all orders.
const SUBJECT: &str = "orders";

/// What is said with a freeze.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(example = serde_json::json!({"note": "incident 7"}))]
pub struct NewFreeze {
    /// Why, for other operators. `None`: nothing.
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
}

impl Control {
    /// Freezes all orders; tells whether that is new.
    pub async fn freeze(&self, new: NewFreeze, actor: &Actor) -> Result<(Freeze, bool), OperatorError> {
        if new.note.as_ref().is_some_and(|note| note.len() > MAX_NOTE) {
            return Err(OperatorError::Invalid(format!("note: at most {MAX_NOTE} bytes")));
        }
        let now = self.inner.clock.now();
        let before = self.frozen().await?;
        let after = Freeze {
            note: new.note,
            by: actor.who.clone(),
            since: before.as_ref().map_or(now, |f| f.since),
        };
        let audit = audit_entry(
            actor,
            now,
            "freeze",
            SUBJECT.into(),
            view(before.as_ref()),
            view(Some(&after)),
        );
        self.inner.store.put_freeze(&after, audit).await?;
        tracing::warn!(by = after.by, "all orders are frozen");
        Ok((after, before.is_none()))
    }

    /// Lets orders go on.
    pub async fn thaw(&self, actor: &Actor) -> Result<(), OperatorError> {
        let before = self.frozen().await?;
        let now = self.inner.clock.now();
        let audit = audit_entry(actor, now, "thaw", SUBJECT.into(), view(before.as_ref()), Value::Null);
        self.inner.store.end_freeze(audit).await?;
        tracing::warn!(by = actor.who, "orders go on");
        let control = self.clone();
        self.inner.tasks.spawn_until_stop(async move {
            control.go_on().await;
        });
        Ok(())
    }

    /// The freeze. `None`: orders go on.
    pub async fn frozen(&self) -> Result<Option<Freeze>, StoreError> {
        self.inner.store.freeze().await
    }

    /// What happens to a domain whose order a freeze stops.
    pub(super) fn freezes(&self) -> SslEvent {
        SslEvent::Frozen {
            until: self.inner.clock.now() + random::jitter(LOOK, JITTER),
        }
    }

    /// Writes that a freeze stops a domain's order into a draft.
    pub(super) fn note_freeze(draft: &mut Draft, event: &SslEvent) {
        let before = draft.record.ssl.reason;
        draft.happens(event.clone());
        if draft.record.ssl.reason != before {
            draft.tells("frozen", None);
        }
    }

    /// Plans the orders that a freeze which is over, or `acme.issue = "off"`, had stopped: after a
    /// start, and when a reload switches orders on again.
    pub(super) async fn go_on_unless_stopped(self) {
        let off = self.inner.settings.load().issue == Issue::Off;
        // Where the store does not say whether orders are frozen, each of them finds out.
        if !off && !matches!(self.frozen().await, Ok(Some(_))) {
            self.go_on().await;
        }
    }

    /// Plans the orders that were stopped. What is due goes first come, first served.
    async fn go_on(&self) {
        let edit = |draft: &mut Draft| {
            if !waits_for_thaw(&draft.record) {
                return Edit::Nothing;
            }
            let was_told = draft.record.ssl.reason == Reason::Paused;
            draft.happens(SslEvent::Thawed);
            if was_told {
                draft.tells("thawed", None);
            }
            Edit::Store
        };
        // Renewals were stopped too, in any state.
        self.change_all(
            "let domains go on after the thaw",
            DomainQuery::default(),
            |r, _| waits_for_thaw(r),
            edit,
        )
        .await;
    }
}

/// Whether a domain is stopped with all others, not set aside by an operator.
fn waits_for_thaw(record: &DomainRecord) -> bool {
    record.is_wanted() && (record.ssl.stopped || record.ssl.reason == Reason::Paused)
}

fn view(freeze: Option<&Freeze>) -> Value {
    freeze.map_or(Value::Null, |f| json!({"note": f.note, "by": f.by, "since": f.since}))
}

#[cfg(test)]
mod tests {
    use linkseal_domain::record::Origin;
    use linkseal_store::Creation;

    use super::super::tests::{Bench, actor, name};
    use super::*;

    #[tokio::test]
    async fn after_a_thaw_every_domain_goes_on_where_it_was() {
        let bench = Bench::new().await;
        let (control, now) = (&bench.control, bench.clock.now());
        let name = name("links.customer.example");
        let mut record = DomainRecord::new(name.clone(), None, Origin::Registered, now);
        record.apply(SslEvent::Wanted, now);
        (record.ssl.attempts, record.ssl.setbacks) = (7, 2);
        record.apply(control.freezes(), now);
        assert_eq!(record.ssl.reason, Reason::Paused);
        let creation = Creation {
            record,
            timeline: Vec::new(),
            audit: None,
        };
        bench.store.create(creation).await.unwrap();
        control.freeze(NewFreeze::default(), &actor()).await.unwrap();
        control.thaw(&actor()).await.unwrap();
        control.go_on().await;
        let ssl = bench.store.domain(&name).await.unwrap().unwrap().ssl;
        assert_eq!((ssl.attempts, ssl.setbacks), (7, 2));
        assert!(ssl.next_attempt.is_some_and(|at| at <= bench.clock.now()));
    }
}
