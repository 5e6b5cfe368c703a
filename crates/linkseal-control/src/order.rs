//! One order, from its place in the queue to a certificate that is served, or to a failure with a
//! time for the next attempt.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::random;
use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::ssl::{Failure, Slot, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_issuer::{IssueError, Issued, Issuer, Job, Progress, Spent};
use linkseal_store::{Fence, StoreError, domain_lease};
use tokio::sync::mpsc;

use super::authority::{Cause, Choice, Chosen, Wait};
use super::work::Hand;
use super::{Control, Edit, rules};

/// How long one order may hold its domain: longer than all its deadlines together.
pub(super) const ORDER_LEASE: Duration = Duration::from_secs(300);

/// How often one order may be admitted again: its predecessor is gone, and then the CA does not take
/// it as a replacement.
const ADMISSIONS: usize = 3;
/// When to come back to a domain for which even that was not enough.
const AGAIN_LATER: Duration = Duration::from_secs(3_600);

/// What came of one admission.
enum Once {
    /// It is over; whether an order was made.
    Done(bool),
    /// A new order has to be admitted.
    Again {
        /// Not as a replacement.
        without_replaces: bool,
    },
}

impl Control {
    /// Runs the orders in the queue, as many at once as there are slots.
    pub(super) async fn run_orders(self) {
        loop {
            let (name, slot) = self.inner.queue.next().await;
            let control = self.clone();
            self.inner.tasks.spawn(async move {
                let hand = Hand::of(control, name);
                let (control, name) = (&hand.control, &hand.name);
                let begun = control.inner.clock.now();
                match Box::pin(control.order(name)).await {
                    Ok(true) => control
                        .inner
                        .queue
                        .took(control.inner.clock.now().saturating_since(begun)),
                    Ok(false) => {}
                    Err(StoreError::Fenced | StoreError::NotFound) => {
                        tracing::info!(domain = %name, "the domain was forgotten, or another node sees its order through");
                    }
                    Err(error) => control.store_fails("see orders through", Some(name), &error),
                }
                drop(slot);
            });
        }
    }

    /// Returns whether an order was made.
    async fn order(&self, name: &DomainName) -> Result<bool, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let lease = domain_lease(name);
        let Some(fence) = store.acquire_lease(&lease, &self.inner.node, ORDER_LEASE, now).await? else {
            return Ok(false);
        };
        let result = self.order_under_lease(name, fence).await;
        // After a lost lease there is nothing to give back; after a failed store it runs out.
        if result.is_ok() {
            store.release_lease(&lease, fence).await?;
        }
        result
    }

    async fn order_under_lease(&self, name: &DomainName, fence: Fence) -> Result<bool, StoreError> {
        let Some(record) = self.inner.store.domain(name).await? else {
            return Ok(false);
        };
        if !record.is_wanted() {
            return Ok(false);
        }
        if self.frozen().await?.is_some() {
            let event = self.freezes();
            self.transition(name, fence, |draft| {
                Self::note_freeze(draft, &event);
                Edit::Store
            })
            .await?;
            return Ok(false);
        }
        // Each time, a new order is admitted as if it were the first: by the CA's limits.
        let mut plain = false;
        for _ in 0..ADMISSIONS {
            match self.order_once(&record, fence, plain).await? {
                Once::Done(made) => return Ok(made),
                Once::Again { without_replaces } => plain |= without_replaces,
            }
        }
        tracing::warn!(domain = %name, "the CA takes no order for the domain as it is; it is tried again later");
        self.transition(name, fence, |draft| {
            let until = draft.now() + AGAIN_LATER;
            draft.happens(SslEvent::Postponed { until });
            Edit::Store
        })
        .await?;
        Ok(false)
    }

    /// Admits an order and sees it through.
    async fn order_once(&self, record: &DomainRecord, fence: Fence, plain: bool) -> Result<Once, StoreError> {
        let name = &record.name;
        // A certificate that could not be stored must not be ordered, nor cost anything of a limit.
        self.inner.store.probe().await?;
        let chosen = match self.choose(record, plain).await? {
            Choice::At(chosen) => {
                // It goes before its turn.
                self.leave_line(name, &record.ssl).await?;
                chosen
            }
            Choice::Wait(wait) => {
                let wait = self.in_its_turn(record, wait).await?;
                self.hold_back(name, fence, wait).await?;
                return Ok(Once::Done(false));
            }
            Choice::Forbidden { host } => {
                self.transition(name, fence, |draft| {
                    self.note_dns(draft, &DnsVerdict::CaaForbids { host: host.clone() }, None);
                    Edit::Store
                })
                .await?;
                return Ok(Once::Done(false));
            }
        };
        let end = match self.begin(&chosen, record, fence).await {
            Ok(job) => self.issue(&chosen.authority.issuer, &job).await,
            Err(error) => {
                // Nothing of it got to the CA.
                self.give_back(&chosen, record, Spent::Nothing).await?;
                Err(error)
            }
        };
        self.judge(&chosen, &end).await?;
        match end {
            Ok(issued) => {
                self.went_well();
                self.inner.throttles.works(chosen.authority.directory());
                self.issued(name, fence, issued).await?;
                Ok(Once::Done(true))
            }
            Err(IssueError::Failed {
                failure,
                resumable,
                spent,
            }) => {
                if !resumable {
                    self.give_back(&chosen, record, spent).await?;
                }
                self.failed(&chosen, record, fence, failure, resumable).await?;
                Ok(Once::Done(true))
            }
            Err(IssueError::Gone) => {
                self.transition(name, fence, |draft| {
                    draft.tells("order_gone", None);
                    draft.ends_order();
                    Edit::Store
                })
                .await?;
                Ok(Once::Again {
                    without_replaces: false,
                })
            }
            Err(IssueError::NotAsReplacement) => Ok(Once::Again { without_replaces: true }),
            Err(IssueError::Fenced) => Err(StoreError::Fenced),
            Err(IssueError::Store(error)) => Err(error),
        }
    }

    /// Gives back what a failed order took from the CA's limits and the CA did not count.
    async fn give_back(&self, chosen: &Chosen, record: &DomainRecord, spent: Spent) -> Result<(), StoreError> {
        if chosen.replaces.is_some() || chosen.resumes && spent == Spent::Nothing {
            return Ok(());
        }
        let authority = &chosen.authority;
        let domain = (&record.name, &record.ssl);
        let takes = match spent {
            Spent::Certificate => return Ok(()),
            // It has come to no certificate: the customer who repairs it need not wait.
            Spent::Order => rules::certificate_budgets(domain, authority.directory(), &authority.limits),
            Spent::Nothing => rules::budgets(domain, authority.directory(), &authority.limits),
        };
        self.inner.store.return_budgets(&takes, self.inner.clock.now()).await
    }

    /// Notes that the order is made at the CA chosen.
    async fn begin(&self, chosen: &Chosen, record: &DomainRecord, fence: Fence) -> Result<Job, IssueError> {
        let ca = chosen.authority.issuer.host();
        let word = if chosen.resumes {
            "order_resumed"
        } else {
            "order_started"
        };
        let begun = self
            .transition(&record.name, fence, |draft| {
                // Paused, retired or forgotten since it was read.
                if !draft.record.is_wanted() {
                    return Edit::Refuse(StoreError::Fenced);
                }
                draft.happens(SslEvent::OrderStarted { ca: ca.to_owned() });
                draft.tells(word, Some(ca.to_owned()));
                Edit::Store
            })
            .await?;
        if begun.is_none() {
            return Err(IssueError::Fenced);
        }
        Ok(Job {
            name: record.name.clone(),
            replaces: chosen.replaces.clone(),
            resumes: chosen.resumes,
            fence,
        })
    }

    /// Runs the order; its progress becomes transitions as it comes.
    async fn issue(&self, issuer: &Issuer, job: &Job) -> Result<Issued, IssueError> {
        let (progress, mut steps) = mpsc::channel(4);
        let report = move |step: Progress| {
            // The newest step is what counts: one that finds the channel full is not missed.
            progress.try_send(step).ok();
        };
        let order = issuer.issue(job, &report);
        tokio::pin!(order);
        loop {
            tokio::select! {
                biased;
                Some(step) = steps.recv() => {
                    if step == Progress::Validating {
                        let told = self.transition(&job.name, job.fence, |draft| {
                            draft.happens(SslEvent::Validating);
                            draft.tells("validating", None);
                            Edit::Store
                        }).await?;
                        if told.is_none() {
                            return Err(IssueError::Fenced);
                        }
                    }
                }
                result = &mut order => return result,
            }
        }
    }

    async fn issued(&self, name: &DomainName, fence: Fence, issued: Issued) -> Result<(), StoreError> {
        let served = self.open_certificate(name, &issued.certificate);
        let changed = self
            .transition(name, fence, |draft| {
                let word = if draft.record.ssl.certificate.is_some() {
                    "renewed"
                } else {
                    "issued"
                };
                draft.happens(SslEvent::Issued(issued.info.clone()));
                self.plan_look(draft);
                draft.holds(issued.certificate.clone());
                draft.tells(
                    word,
                    Some(format!("{}, until {}", issued.info.issuer, issued.info.not_after)),
                );
                Edit::Store
            })
            .await?;
        match served {
            Ok(certificate) if changed.is_some() => self.serve(name, Arc::new(certificate)),
            Ok(_) => {}
            Err(error) => tracing::error!(domain = %name, %error, "the CA's certificate cannot be served"),
        }
        tracing::info!(domain = %name, issuer = %issued.info.issuer, not_after = %issued.info.not_after, "certificate issued");
        Ok(())
    }

    async fn failed(
        &self,
        chosen: &Chosen,
        record: &DomainRecord,
        fence: Fence,
        failure: Failure,
        resumable: bool,
    ) -> Result<(), StoreError> {
        let (name, now) = (&record.name, self.inner.clock.now());
        let ca = chosen.authority.directory();
        if failure.kind.blames_domain() {
            tracing::info!(domain = %name, ca, kind = ?failure.kind, detail = %failure.error.detail, "an order failed");
        } else if !self.complain(&chosen.authority, &failure, "orders at the CA fail") {
            tracing::debug!(domain = %name, ca, kind = ?failure.kind, detail = %failure.error.detail, "an order failed");
        }
        if let Some(until) = rules::holds_back_all(&failure, now) {
            // Some CAs name a time that is past: then the limit lasts a growing while.
            let (throttles, steady) = (&self.inner.throttles, self.inner.clock.uptime());
            throttles.note(ca, failure.kind, &failure.error.detail, steady);
            let floor = throttles.left(ca, steady).map(|(left, _)| now + left);
            self.note_hold_back(ca, until.max(floor.unwrap_or(until))).await?;
        }
        let refused = failure.kind.is_refusal_of_name();
        let doubts = self.doubts_failure(record, &failure);
        let changed = self
            .transition(name, fence, |draft| {
                if refused {
                    draft.happens(SslEvent::RefusedBy { ca: ca.to_owned() });
                }
                if doubts {
                    draft.happens(rules::doubted(&failure, self.doubts_order_until(&draft.record)));
                } else {
                    draft.happens(rules::failed(&draft.record.ssl, failure.clone(), random::unit()));
                }
                let word = if doubts { "doubted" } else { "failed" };
                draft.tells(word, Some(failure.error.detail.clone()));
                // What the CA only did not get to is taken up again, not ordered again.
                if !resumable {
                    draft.ends_order();
                }
                Edit::Store
            })
            .await?;
        // The wait was this CA's alone.
        if let Some(record) = changed
            && record.ssl.next_attempt.is_some()
            && self.may_go_elsewhere(chosen, &record).await?
        {
            self.transition(name, fence, |draft| {
                draft.happens(SslEvent::OtherCa);
                Edit::Store
            })
            .await?;
        }
        Ok(())
    }

    async fn hold_back(&self, name: &DomainName, fence: Fence, wait: Wait) -> Result<(), StoreError> {
        let Wait { until, ca, cause, turn } = wait.clone();
        let in_queue = turn.is_some();
        let turn = turn.map(|take| Slot {
            queue: take.key,
            at: until,
        });
        let changed = self.transition(name, fence, |draft| {
            let ca = ca.clone();
            draft.happens(match cause {
                Cause::Name | Cause::Account => SslEvent::HeldBack { until, ca, in_queue },
                Cause::Outage => SslEvent::CaUnavailable { until, ca },
                Cause::Ours(kind) => SslEvent::OursToFix { until, ca, kind },
            });
            if let Some(turn) = turn.clone() {
                draft.happens(SslEvent::SlotReserved(turn));
            }
            draft.tells("held_back", Some(format!("until {until}")));
            Edit::Store
        });
        let changed = changed.await;
        if !matches!(&changed, Ok(Some(record)) if record.ssl.slot.is_some()) {
            // Set aside or forgotten meanwhile: it does not come for its turn.
            self.give_up_turn(Some(wait)).await?;
        }
        changed.map(drop)
    }

    /// Opens a stored certificate for serving.
    pub(super) fn open_certificate(
        &self,
        name: &DomainName,
        stored: &linkseal_store::StoredCertificate,
    ) -> Result<Certificate, String> {
        let place = format!("certificates/{name}");
        let key = self
            .inner
            .sealer
            .open(&place, &stored.sealed_key)
            .map_err(|e| e.to_string())?;
        Certificate::new(&stored.chain_pem, &key).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests;
