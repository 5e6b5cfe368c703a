//! The one way a domain's record changes: read, compute, store, and then let it be seen.

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord, LifecycleEvent};
use linkseal_store::{AuditEntry, Creation, Fence, StoreError, StoredCertificate, TimelineEntry, Transition};

use super::Control;
use super::input::Actor;
use super::lines::Rank;

/// A change on its way: the new record and what is stored with it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The record, to be changed in place.
    pub record: DomainRecord,
    now: Timestamp,
    certificate: Option<StoredCertificate>,
    order_ended: bool,
    timeline: Vec<TimelineEntry>,
    milestones: Vec<LifecycleEvent>,
    audit: Option<AuditEntry>,
}

/// What a computed change comes to.
#[derive(Debug)]
pub enum Edit<E> {
    /// Store it.
    Store,
    /// There is nothing to change.
    Nothing,
    /// It must not be.
    Refuse(E),
}

/// Reads again at most so often when other nodes change the same record at the same time.
const CONFLICTS: usize = 16;

impl Draft {
    pub(super) fn of(record: DomainRecord, now: Timestamp) -> Self {
        Self {
            record,
            now,
            certificate: None,
            order_ended: false,
            timeline: Vec::new(),
            milestones: Vec::new(),
            audit: None,
        }
    }

    /// The time the change is computed for.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets something happen to the domain's SSL state; what of it is told of goes with the change.
    pub fn happens(&mut self, event: SslEvent) -> &mut Self {
        if self.record.ssl.is_out_of_step(self.now) && event != SslEvent::Tick {
            self.happens(SslEvent::Tick);
        }
        let next = self.record.ssl.apply(event.clone(), self.record.intent(), self.now);
        let lifecycle_event = LifecycleEvent::of(&self.record.ssl, &event, &next, self.now);
        // A retired domain is meant to run out.
        let meant = self.record.retired.is_some() && lifecycle_event == Some(LifecycleEvent::Expiring);
        self.milestones.extend(lifecycle_event.filter(|_| !meant));
        self.record.ssl = next;
        self
    }

    /// Adds a line to the timeline, with the reason the domain has come to so far.
    pub fn tells(&mut self, event: &str, detail: Option<String>) -> &mut Self {
        self.timeline
            .push(line(self.now, event, self.record.ssl.reason, detail));
        self
    }

    /// Stores a certificate with it; its order has ended.
    pub fn holds(&mut self, certificate: StoredCertificate) -> &mut Self {
        self.certificate = Some(certificate);
        self.order_ended = true;
        self
    }

    /// The domain's order has ended.
    pub fn ends_order(&mut self) -> &mut Self {
        self.order_ended = true;
        self
    }

    /// Says who does it.
    pub fn audited(&mut self, entry: AuditEntry) -> &mut Self {
        self.audit = Some(entry);
        self
    }
}

/// A line of a timeline; the store numbers it.
pub(super) fn line(at: Timestamp, event: &str, reason: Reason, detail: Option<String>) -> TimelineEntry {
    TimelineEntry {
        id: 0,
        at,
        event: event.to_owned(),
        reason,
        detail,
    }
}

impl Control {
    /// Changes a domain. `edit` may be called several times, when others change it meanwhile.
    /// `None`: there is no such domain.
    pub async fn change<E: From<StoreError>>(
        &self,
        name: &DomainName,
        fence: Option<Fence>,
        edit: impl FnMut(&mut Draft) -> Edit<E>,
    ) -> Result<Option<DomainRecord>, E> {
        self.change_in_turn(Rank::First, name, fence, edit).await
    }

    /// The same for a person or the platform's back end.
    pub(super) async fn change_by<E: From<StoreError>>(
        &self,
        actor: &Actor,
        name: &DomainName,
        edit: impl FnMut(&mut Draft) -> Edit<E>,
    ) -> Result<Option<DomainRecord>, E> {
        self.change_in_turn(Rank::of(actor), name, None, edit).await
    }

    async fn change_in_turn<E: From<StoreError>>(
        &self,
        rank: Rank,
        name: &DomainName,
        fence: Option<Fence>,
        mut edit: impl FnMut(&mut Draft) -> Edit<E>,
    ) -> Result<Option<DomainRecord>, E> {
        let _turn = self.inner.changing.enter(name.clone(), rank).await;
        for _ in 0..CONFLICTS {
            let Some(record) = self.inner.store.domain(name).await? else {
                return Ok(None);
            };
            let mut draft = Draft::of(record.clone(), self.inner.clock.now());
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
                milestones,
                audit,
                now,
            } = draft;
            let outbox_events = self.outbox_events(&record, &milestones, now);
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

    async fn store_and_publish(&self, transition: Transition) -> Result<DomainRecord, StoreError> {
        let control = self.clone();
        self.seen_through(async move {
            let tells = !transition.outbox_events.is_empty();
            let record = control.inner.store.transition(transition).await?;
            control.publish(&record);
            if tells {
                control.inner.told.notify_one();
            }
            Ok(record)
        })
        .await
    }

    /// Does what is stored and then seen. Who asked for it may go away at any moment: what is stored is
    /// seen all the same.
    pub(super) async fn seen_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let broken_off = |_| Err(StoreError::Unavailable("the change was broken off".into()));
        self.inner.tasks.spawn(work).await.unwrap_or_else(broken_off)
    }

    /// Adds a domain by itself, told of in its timeline by a word and its detail; where the name is
    /// known already, `edit` changes it instead.
    pub(super) async fn create_or_change(
        &self,
        record: DomainRecord,
        (word, detail): (&str, &str),
        edit: impl FnMut(&mut Draft) -> Edit<StoreError>,
    ) -> Result<DomainRecord, StoreError> {
        let name = record.name.clone();
        let timeline = vec![line(record.created, word, record.ssl.reason, Some(detail.to_owned()))];
        let creation = Creation {
            record,
            timeline,
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

    /// Stores a new domain and lets it be seen.
    pub(super) async fn create(&self, creation: Creation) -> Result<DomainRecord, StoreError> {
        let control = self.clone();
        self.seen_through(async move {
            let record = control.inner.store.create(creation).await?;
            control.publish(&record);
            Ok(record)
        })
        .await
    }

    /// Lets the data plane see a record that is durable.
    pub(super) fn publish(&self, record: &DomainRecord) {
        self.inner.cname.note(record);
        self.note_own_name(record);
        self.inner.rejected.forget(&record.name);
        // A name that admission denies is not known to the data plane: it asks again instead.
        if record.ssl.reason == Reason::Denied {
            self.inner.registry.remove(&record.name, record.version);
        } else {
            self.inner.registry.put(record);
        }
        if record.next_due().is_some() {
            self.inner.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use linkseal_domain::record::Origin;

    use super::super::tests::{Bench, name};
    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_though_whoever_asked_for_it_has_gone_away() {
        let bench = Bench::new().await;
        let control = &bench.control;
        let url = "https://www.customer.example/";
        for polls in 1..40 {
            let name = name(&format!("links.c{polls}.example"));
            let record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
            let record = control
                .create_or_change(record, ("registered", "by a test"), |_| Edit::Nothing)
                .await
                .unwrap();
            assert_eq!(record.fallback_url, None);
            {
                // Broken off at any moment of it.
                let mut change = Box::pin(control.change(&name, None, |draft| {
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
                    let seen = control.inner.registry.get(name.as_str()).unwrap();
                    if stored.fallback_url.as_deref() == seen.fallback_url() {
                        return;
                    }
                }
            };
            let patient = Duration::from_secs(60);
            tokio::time::timeout(patient, agree)
                .await
                .expect("what is stored is seen");
        }
    }
}
