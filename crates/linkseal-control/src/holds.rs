//! What orders wait for, ended by an operator: hold-backs that a CA has asked for, CAs out of use,
//! and the times at which single domains are tried again.

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{FailureKind, Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{DomainQuery, StoreError};
use serde_json::{Value, json};

use super::input::{Actor, OperatorError};
use super::operator::audit_entry;
use super::{ConfiguredCa, Control, Draft, Edit, Priority, rules};

/// What the audit log calls all CAs.
const ALL: &str = "orders";

/// Which waits to end. Neither given: all.
#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// Those at this CA: its directory URL, or its host name. `None`: at every CA, or at none where
    /// a domain is given.
    pub ca: Option<String>,
    /// That of this domain. `None`: of every domain that waits for the CA.
    pub domain: Option<DomainName>,
}

impl Control {
    /// Ends waits. Domains that wait for a CA go on in the background, page by page.
    pub async fn release(&self, holds: &Holds, actor: &Actor) -> Result<(), OperatorError> {
        if let Some(name) = &holds.domain {
            self.release_domain(name, actor).await?;
        }
        if holds.domain.is_none() || holds.ca.is_some() {
            self.release_cas(holds.ca.as_deref(), actor).await?;
        }
        self.inner.wake.notify_one();
        Ok(())
    }

    async fn release_domain(&self, name: &DomainName, actor: &Actor) -> Result<(), OperatorError> {
        let changed = self.change(name, None, |draft| {
            let before = draft.record.clone();
            draft.happens(SslEvent::Released);
            if draft.record.ssl != before.ssl {
                draft.tells("released", Some(format!("by {}", actor.who)));
            }
            self.audited(draft, &before, "release", actor)
        });
        let record = changed.await?.ok_or(OperatorError::NotFound)?;
        if record.ssl.next_attempt.is_some_and(|at| at <= self.inner.clock.now()) {
            self.attend(name.clone(), Priority::Verify, None);
        }
        Ok(())
    }

    async fn release_cas(&self, ca: Option<&str>, actor: &Actor) -> Result<(), OperatorError> {
        let tools = self.tools();
        let is_meant = |a: &ConfiguredCa| ca.is_none_or(|ca| ca == a.directory() || ca == a.issuer.host());
        let meant: Vec<_> = tools.authorities.iter().filter(|a| is_meant(a)).cloned().collect();
        if meant.is_empty() {
            let known: Vec<_> = tools.authorities.iter().map(|a| a.directory()).collect();
            let known = known.join(", ");
            return Err(OperatorError::Invalid(format!(
                "ca: no such CA is configured; there are: {known}"
            )));
        }
        let now = self.inner.clock.now();
        {
            // An order that ends now must not write over it what it read before.
            let _judging = self.inner.judging.lock().await;
            for authority in &meant {
                let before = self.waits_at(authority, now).await?;
                let subject = if ca.is_some() { authority.directory() } else { ALL };
                let audit = audit_entry(actor, now, "release", subject.into(), before, Value::Null);
                self.inner.store.release_ca(authority.directory(), audit).await?;
                self.inner.standstills.forget(Some(authority.directory()));
                self.inner.throttles.works(authority.directory());
                tracing::warn!(
                    ca = authority.directory(),
                    by = actor.who,
                    "what orders at the CA waited for is ended by hand"
                );
            }
        }
        let hosts = ca.map(|_| meant.iter().map(|a| a.issuer.host().to_owned()).collect::<Vec<_>>());
        let control = self.clone();
        self.inner.tasks.spawn_until_stop(async move {
            control.release_waiting(|r, now| waits(r, hosts.as_deref(), now)).await;
        });
        Ok(())
    }

    async fn waits_at(&self, authority: &ConfiguredCa, now: Timestamp) -> Result<Value, StoreError> {
        let directory = authority.directory();
        let trouble = self.inner.store.ca_trouble(directory).await?;
        Ok(json!({
            "ca": directory,
            "held_back": self.inner.store.held_back(directory, now).await?,
            "out_until": trouble.as_ref().and_then(|t| t.out_until),
            "why": trouble.map(|t| t.why),
            "ours": self.stands_still(authority, now).map(|(until, _)| until),
        }))
    }

    /// Lets the domains go on that wait for something here to be put right: it may have been.
    pub(super) fn release_what_waits_for_us(&self) {
        let control = self.clone();
        self.inner
            .tasks
            .spawn_until_stop(async move { control.release_waiting(waits_for_us).await });
    }

    /// Lets the domains go on for which `waits` holds.
    async fn release_waiting(&self, waits: impl Fn(&DomainRecord, Timestamp) -> bool + Send + Sync) {
        for reason in [
            Reason::RateLimited,
            Reason::CaUnreachable,
            Reason::RetryScheduled,
            Reason::RenewalFailing,
            Reason::Ok,
        ] {
            let waiting = DomainQuery {
                reason: Some(reason),
                ..DomainQuery::default()
            };
            let edit = |draft: &mut Draft| {
                if !waits(&draft.record, draft.now()) {
                    return Edit::Nothing;
                }
                draft.happens(SslEvent::Released);
                Edit::Store
            };
            self.change_all("release domains that wait", waiting, &waits, edit)
                .await;
        }
    }
}

/// Whether a domain waits for what is ours to put right. What a CA has said of it is kept.
fn waits_for_us(record: &DomainRecord, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    waits(record, None, now) && ssl.not_before.is_none() && ssl.facts.cause.is_none_or(FailureKind::is_ours)
}

/// Whether a domain waits for one of these CAs. Who stands in the line for a limit keeps its turn,
/// and what its owner has to repair is not tried again for a CA's sake.
fn waits(record: &DomainRecord, hosts: Option<&[String]>, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    let at_ca = hosts.is_none_or(|hosts| ssl.facts.ca.as_ref().is_some_and(|ca| hosts.contains(ca)));
    // A limit on the name is the CA's wait, and no repair ends it.
    let repairs = |cause: FailureKind| cause.blames_domain() && cause != FailureKind::NameLimit;
    let blamed = ssl.facts.cause.is_some_and(repairs);
    record.is_wanted()
        && at_ca
        && !blamed
        && !ssl.in_queue
        && ssl.next_attempt.is_some_and(|at| at > now)
        && rules::needs_order(ssl, now)
}
