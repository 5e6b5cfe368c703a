//! The steps for one due domain: time, renewal information, admission, DNS. Whatever takes time has
//! bounded places (`fairness::lanes`), and a name waits for a place without holding anything but its
//! lease.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, SslEvent, State};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{Fence, StoreError};

use super::Schedule;
use super::in_progress::Ready;
use crate::admission::Answer;
use crate::checks::places::{CheckPlace, was_silent};
use crate::core::{Draft, Edit, Priority};
use crate::fairness::urgency::Urgency;
use crate::rules::{self, First};

/// When to ask again after the platform's `ask` endpoint did not answer.
const ASK_RETRY: Duration = Duration::from_secs(60);

impl Schedule {
    /// Whether an order is to be queued for the name, and how urgently.
    pub(super) async fn prepare(
        &self,
        name: &DomainName,
        fence: Fence,
        mut urgency: Urgency,
    ) -> Result<Option<Ready>, StoreError> {
        let Some(mut record) = self.record_after_tick(name).await? else {
            return Ok(None);
        };
        if self.first_step(&record).await? == First::Check {
            self.checks.renewal_info.refresh(&record, fence).await?;
            let Some(after) = self.record_after_tick(name).await? else {
                return Ok(None);
            };
            record = after;
        }
        let place = self.place_for_check(&record, &mut urgency).await?;
        self.prepare_in(place, name, fence, urgency).await
    }

    /// Waits for a place for the DNS check, if there is going to be one.
    async fn place_for_check(
        &self,
        record: &DomainRecord,
        urgency: &mut Urgency,
    ) -> Result<Option<CheckPlace>, StoreError> {
        let now = self.core.clock.now();
        if self.first_step(record).await? != First::Check || !checks_dns(record, urgency.asked(), now) {
            return Ok(None);
        }
        urgency.floor = rules::urgency(&record.ssl, Priority::Bulk, now);
        let (owners, silent) = (self.fairness.owners(record), was_silent(record));
        let enter = |priority| self.checks.places.enter(priority, owners.clone(), silent);
        Ok(Some(urgency.enter(enter).await))
    }

    /// The record as it will be once the passage of time is stored.
    async fn record_after_tick(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError> {
        let record = self.core.store.domain(name).await?;
        Ok(record.map(|mut record| {
            let (wish, now) = (record.intent(), self.core.clock.now());
            record.ssl = record.ssl.apply(SslEvent::Tick, wish, now);
            record
        }))
    }

    async fn first_step(&self, record: &DomainRecord) -> Result<First, StoreError> {
        let issue = self.core.settings().issue;
        let open_order = self.core.store.order(&record.name).await?.is_some();
        let now = self.core.clock.now();
        Ok(rules::first(&record.ssl, record.is_wanted(), issue, open_order, now))
    }

    /// `place` is where DNS may be checked; `None` if no check was due before the place was waited for.
    async fn prepare_in(
        &self,
        place: Option<CheckPlace>,
        name: &DomainName,
        fence: Fence,
        mut urgency: Urgency,
    ) -> Result<Option<Ready>, StoreError> {
        let Some(record) = self.tick(name, fence).await? else {
            return Ok(None);
        };
        let now = self.core.clock.now();
        if record.forget_at().is_some_and(|at| at <= now) {
            self.forget_unregistered(&record).await?;
            return Ok(None);
        }
        match self.first_step(&record).await? {
            First::Leave => return Ok(None),
            First::Postpone(until) => {
                let event = SslEvent::SwitchedOff { until };
                self.postpone_by(name, fence, &event, until).await?;
                return Ok(None);
            }
            // A crash, or an outage of the CA, interrupted it.
            First::Resume => return Ok(Some(self.ready(&record, &urgency))),
            First::Check => {}
        }
        let priority = urgency.asked();
        if rules::is_due(&record.ssl, priority, now) && !self.still_admitted(&record, fence).await? {
            return Ok(None);
        }
        if !checks_dns(&record, priority, now) {
            return Ok(None);
        }
        // Without a place it became due just now: the scheduler takes it up again.
        let Some(place) = place else { return Ok(None) };
        let queued = self.dns_step(&record, fence, &mut urgency, place).await?;
        Ok(queued.then(|| self.ready(&record, &urgency)))
    }

    fn ready(&self, record: &DomainRecord, urgency: &Urgency) -> Ready {
        Ready {
            tenant: self.fairness.tenant_of(record),
            priority: rules::urgency(&record.ssl, urgency.asked(), self.core.clock.now()),
        }
    }

    /// Stores the passage of time: a certificate may be about to expire, or have expired.
    async fn tick(&self, name: &DomainName, fence: Fence) -> Result<Option<DomainRecord>, StoreError> {
        self.core
            .transition(name, fence, |draft| {
                let before = draft.record.ssl.clone();
                draft.apply(SslEvent::Tick);
                if draft.record.ssl == before {
                    return Edit::Nothing;
                }
                if before.state() != State::Issued && draft.record.ssl.state() == State::Issued {
                    let detail = "the certificate is valid: the clock here had been ahead";
                    draft.log("valid_again", Some(detail.into()));
                } else if draft.record.ssl.reason != before.reason {
                    draft.log("expired", None);
                } else if draft.record.ssl.expiring_reported != before.expiring_reported {
                    draft.log("expiring", None);
                }
                Edit::Store
            })
            .await
    }

    /// Asks the platform again about a name that it admitted, before a certificate is ordered for it.
    async fn still_admitted(&self, record: &DomainRecord, fence: Fence) -> Result<bool, StoreError> {
        if record.origin != Origin::Asked {
            return Ok(true);
        }
        let name = &record.name;
        match self.admission.ask_again(name).await {
            None | Some(Answer::Yes { .. }) => Ok(true),
            Some(Answer::No) => {
                self.core
                    .transition(name, fence, |draft| {
                        draft.apply(SslEvent::Denied);
                        if draft.record.ssl.reason != Reason::Denied {
                            let until = draft.now() + rules::IDLE_RECHECK;
                            put_off(draft, &SslEvent::Postponed { until }, until);
                        }
                        draft.log("denied", Some("the ask endpoint answered no".into()));
                        Edit::Store
                    })
                    .await?;
                Ok(false)
            }
            // Fail open for names with a certificate, closed for new ones.
            Some(Answer::Unreachable) if record.ssl.holds(self.core.clock.now()) => Ok(true),
            Some(Answer::Unreachable) => {
                self.postpone(name, fence, self.core.clock.now() + ASK_RETRY).await?;
                Ok(false)
            }
        }
    }

    pub(super) async fn postpone(&self, name: &DomainName, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        self.postpone_by(name, fence, &SslEvent::Postponed { until }, until)
            .await
    }

    async fn postpone_by(
        &self,
        name: &DomainName,
        fence: Fence,
        event: &SslEvent,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        self.core
            .transition(name, fence, |draft| {
                put_off(draft, event, until);
                Edit::Store
            })
            .await?;
        Ok(())
    }
}

/// Whether DNS is checked for a domain that was taken up with this priority.
fn checks_dns(record: &DomainRecord, priority: Priority, now: Timestamp) -> bool {
    rules::is_due(&record.ssl, priority, now) || rules::check_only(record, priority, now)
}

/// Applies an event that puts a domain off, together with checks that would come before `until`.
pub(super) fn put_off(draft: &mut Draft, event: &SslEvent, until: Timestamp) {
    draft.apply(event.clone());
    if draft.record.ssl.next_check.is_some_and(|at| at < until) {
        draft.apply(SslEvent::CheckScheduled { at: until });
    }
}
