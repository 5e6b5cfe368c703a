//! The one way a domain's record changes: read, compute, store, publish.

use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord, LifecycleEvent};
use linkseal_store::{AuditEntry, Creation, Fence, StoreError, StoredCertificate, TimelineEntry, Transition};

use super::change_queue::{ChangeTurn, Rank};
use super::{Actor, Core};

/// A change being computed: the new record and what is stored together with it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// The record, changed in place.
    pub(crate) record: DomainRecord,
    now: Timestamp,
    certificate: Option<StoredCertificate>,
    order_ended: bool,
    timeline: Vec<TimelineEntry>,
    lifecycle: Vec<LifecycleEvent>,
    audit: Option<AuditEntry>,
}

/// The outcome of computing a change.
#[derive(Debug)]
pub(crate) enum Edit<E> {
    /// Store the draft.
    Store,
    /// There is nothing to change.
    Nothing,
    /// The change is not allowed.
    Refuse(E),
}

/// How often a change is computed again because another node changed the record meanwhile.
pub(crate) const MAX_CONFLICTS: usize = 16;

/// Repeats an attempt that reads something and replaces what it has read, while other nodes replace it first.
///
/// # Errors
/// [`StoreError::Conflict`] after [`MAX_CONFLICTS`] attempts; any other error of an attempt at once.
pub(crate) async fn until_no_conflict<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..MAX_CONFLICTS {
        match attempt().await {
            Err(StoreError::Conflict) => {}
            ended => return ended,
        }
    }
    Err(StoreError::Conflict)
}

impl Draft {
    pub(crate) fn of(record: DomainRecord, now: Timestamp) -> Self {
        Self {
            record,
            now,
            certificate: None,
            order_ended: false,
            timeline: Vec::new(),
            lifecycle: Vec::new(),
            audit: None,
        }
    }

    /// The time that the change is computed for.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// Applies an event to the domain's SSL state; the lifecycle event that follows from it is stored
    /// with the change.
    pub(crate) fn apply(&mut self, event: SslEvent) -> &mut Self {
        if self.record.ssl.is_out_of_step(self.now) && event != SslEvent::Tick {
            self.apply(SslEvent::Tick);
        }
        let next = self.record.ssl.apply(event.clone(), self.record.intent(), self.now);
        let lifecycle_event = LifecycleEvent::of(&self.record.ssl, &event, &next, self.now);
        // The certificate of a retired domain is meant to expire.
        let intended = self.record.retired.is_some() && lifecycle_event == Some(LifecycleEvent::Expiring);
        self.lifecycle.extend(lifecycle_event.filter(|_| !intended));
        self.record.ssl = next;
        self
    }

    /// Adds a timeline entry, with the reason that the domain is in at this point of the draft.
    pub(crate) fn log(&mut self, event: &str, detail: Option<String>) -> &mut Self {
        self.timeline
            .push(timeline_entry(self.now, event, self.record.ssl.reason, detail));
        self
    }

    /// Stores a certificate with the change and ends the domain's order.
    pub(crate) fn attach_certificate(&mut self, certificate: StoredCertificate) -> &mut Self {
        self.certificate = Some(certificate);
        self.order_ended = true;
        self
    }

    /// Ends the domain's order.
    pub(crate) fn end_order(&mut self) -> &mut Self {
        self.order_ended = true;
        self
    }

    /// Stores an audit entry with the change.
    pub(crate) fn audit(&mut self, entry: AuditEntry) -> &mut Self {
        self.audit = Some(entry);
        self
    }
}

/// A timeline entry; the store numbers it.
pub(crate) fn timeline_entry(at: Timestamp, event: &str, reason: Reason, detail: Option<String>) -> TimelineEntry {
    TimelineEntry {
        id: 0,
        at,
        event: event.to_owned(),
        reason,
        detail,
    }
}

impl Core {
    /// Changes a domain; `None` if there is no such domain. `edit` is called again when another node
    /// changes the record meanwhile.
    pub(crate) async fn change<E: From<StoreError>>(
        self: &Arc<Self>,
        name: &DomainName,
        fence: Option<Fence>,
        edit: impl FnMut(&mut Draft) -> Edit<E>,
    ) -> Result<Option<DomainRecord>, E> {
        self.change_in_turn(Rank::First, name, fence, edit).await
    }

    /// [`Core::change`] on behalf of a person or of the platform's back end.
    pub(crate) async fn change_by<E: From<StoreError>>(
        self: &Arc<Self>,
        actor: &Actor,
        name: &DomainName,
        edit: impl FnMut(&mut Draft) -> Edit<E>,
    ) -> Result<Option<DomainRecord>, E> {
        self.change_in_turn(Rank::of(actor), name, None, edit).await
    }

    /// [`Core::change`] under a lease; only the store can fail.
    pub(crate) async fn transition(
        self: &Arc<Self>,
        name: &DomainName,
        fence: Fence,
        edit: impl FnMut(&mut Draft) -> Edit<StoreError>,
    ) -> Result<Option<DomainRecord>, StoreError> {
        self.change(name, Some(fence), edit).await
    }

    async fn change_in_turn<E: From<StoreError>>(
        self: &Arc<Self>,
        rank: Rank,
        name: &DomainName,
        fence: Option<Fence>,
        mut edit: impl FnMut(&mut Draft) -> Edit<E>,
    ) -> Result<Option<DomainRecord>, E> {
        let _turn = self.changes.enter(name.clone(), rank).await;
        for _ in 0..MAX_CONFLICTS {
            let Some(record) = self.store.domain(name).await? else {
                return Ok(None);
            };
            let mut draft = Draft::of(record.clone(), self.clock.now());
            match edit(&mut draft) {
                Edit::Store => {}
                Edit::Nothing => return Ok(Some(record)),
                Edit::Refuse(error) => return Err(error),
            }
            let Draft {
                record,
                certificate,
                order_ended,
                timeline,
                lifecycle,
                audit,
                now,
            } = draft;
            let outbox_events = self.outbox_events(&record, &lifecycle, now);
            let transition = Transition {
                record,
                fence,
                certificate,
                order_ended,
                timeline,
                outbox_events,
                audit,
            };
            match self.store_and_publish(transition).await {
                Ok(record) => return Ok(Some(record)),
                Err(StoreError::Conflict) => {}
                // Purged since it was read.
                Err(StoreError::NotFound) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn store_and_publish(self: &Arc<Self>, transition: Transition) -> Result<DomainRecord, StoreError> {
        let core = Arc::clone(self);
        self.run_to_completion(async move {
            let has_events = !transition.outbox_events.is_empty();
            let has_certificate = transition.certificate.is_some();
            let record = core.store.transition(transition).await?;
            if has_certificate {
                core.everywhere.stored(&record.name);
            }
            core.publish(&record);
            if has_events {
                core.outbox_ready.notify_one();
            }
            Ok(record)
        })
        .await
    }

    /// Runs a store operation and its publication in a task of its own: the caller may be cancelled
    /// at any moment, and what is stored must be published nevertheless.
    pub(crate) async fn run_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let aborted = |_| Err(StoreError::Unavailable("the change was aborted".into()));
        self.tasks.spawn(work).await.unwrap_or_else(aborted)
    }

    /// Adds a domain on linkseal's own account, with a timeline entry; if the name is known already,
    /// `edit` changes it instead.
    pub(crate) async fn create_or_change(
        self: &Arc<Self>,
        record: DomainRecord,
        (event, detail): (&str, &str),
        edit: impl FnMut(&mut Draft) -> Edit<StoreError>,
    ) -> Result<DomainRecord, StoreError> {
        let name = record.name.clone();
        let entry = timeline_entry(record.created, event, record.ssl.reason, Some(detail.to_owned()));
        let creation = Creation {
            record,
            timeline: vec![entry],
            audit: None,
        };
        match self.create(creation).await {
            Err(StoreError::Exists) => {
                let record = self.change(&name, None, edit).await?.ok_or(StoreError::NotFound)?;
                self.publish(&record);
                Ok(record)
            }
            created => created,
        }
    }

    async fn create(self: &Arc<Self>, creation: Creation) -> Result<DomainRecord, StoreError> {
        let core = Arc::clone(self);
        self.run_to_completion(async move {
            let record = core.store.create(creation).await?;
            core.publish(&record);
            Ok(record)
        })
        .await
    }

    /// Publishes a durable record to the data plane and the observers.
    pub(crate) fn publish(&self, record: &DomainRecord) {
        self.observe(record);
        // The data plane does not know a name that admission denies, and asks again instead.
        if record.ssl.reason == Reason::Denied {
            self.registry.remove(&record.name, record.version);
        } else {
            self.registry.put(record);
        }
        if record.next_due().is_some() {
            self.wake.notify_one();
        }
    }

    fn observe(&self, record: &DomainRecord) {
        for observer in self.observers.all() {
            observer.stored(record);
        }
    }

    /// The right to change or purge a name; the callers of [`Core::change`] take it there.
    pub(crate) async fn change_turn(&self, actor: &Actor, name: &DomainName) -> ChangeTurn<'_, DomainName> {
        self.changes.enter(name.clone(), Rank::of(actor)).await
    }

    /// Purges a domain from the store and from memory. `version` is that of the record that is
    /// meant; `None` purges any version.
    pub(crate) async fn purge(
        self: &Arc<Self>,
        name: &DomainName,
        version: Option<u64>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (core, name) = (Arc::clone(self), name.clone());
        self.run_to_completion(async move {
            let version = core.store.purge(&name, version, audit).await?;
            core.forget(&name, version);
            Ok(())
        })
        .await
    }

    /// Drops a domain that was purged from memory, up to this version.
    pub(crate) fn forget(&self, name: &DomainName, version: u64) {
        self.registry.remove(name, version);
        self.certificates.remove(name);
        for observer in self.observers.all() {
            observer.purged(name);
        }
        self.handshake_failures.forget(name);
    }

    /// Whether no change of any name is in progress.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linkseal_domain::record::Origin;

    use super::*;
    use crate::tests::{Bench, name};

    #[tokio::test]
    async fn a_domain_purged_in_the_middle_of_a_change_is_no_error() {
        let bench = Bench::new().await;
        let (core, name) = (&bench.control.core, name("a.example"));
        let record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
        core.create_or_change(record, ("registered", "by a test"), |_| Edit::Nothing)
            .await
            .unwrap();
        let gone = core.change(&name, None, |draft| {
            bench.sql("PRAGMA foreign_keys = ON; DELETE FROM domains WHERE name = 'a.example'");
            draft.apply(SslEvent::Wanted);
            Edit::<StoreError>::Store
        });
        assert_eq!(gone.await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_stored_change_is_published_even_if_its_caller_is_cancelled() {
        let bench = Bench::new().await;
        let core = &bench.control.core;
        let url = "https://www.customer.example/";
        for polls in 1..40 {
            let name = name(&format!("links.c{polls}.example"));
            let record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
            let record = core
                .create_or_change(record, ("registered", "by a test"), |_| Edit::Nothing)
                .await
                .unwrap();
            assert_eq!(record.fallback_url, None);
            {
                // Cancelled at any point of it.
                let mut change = Box::pin(core.change(&name, None, |draft| {
                    draft.record.fallback_url = Some(url.into());
                    Edit::<StoreError>::Store
                }));
                for _ in 0..polls {
                    if futures_util::poll!(&mut change).is_ready() {
                        break;
                    }
                    tokio::time::sleep(Duration::from_micros(50)).await;
                }
            }
            let agree = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    let stored = bench.store.domain(&name).await.unwrap().unwrap();
                    let published = core.registry.get(name.as_str()).unwrap();
                    if stored.fallback_url.as_deref() == published.fallback_url() {
                        return;
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(60), agree)
                .await
                .expect("what is stored is published");
        }
    }
}
