//! One order, from its place in the queue to a certificate that is served, or to a failure with a
//! time for the next attempt.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::authority::{Cause, Choice, Chosen, Wait};
use super::work::Hand;
use super::{Control, Edit, rules};
use crate::cert::certificate::Certificate;
use crate::domain::record::DnsVerdict;
use crate::domain::ssl::{Failure, SslEvent};
use crate::domain::{DomainName, DomainRecord};
use crate::issuer::{IssueError, Issued, Issuer, Job, Progress};
use crate::random;
use crate::store::{Fence, StoreError, domain_lease};

/// How long one order may hold its domain: longer than all its deadlines together.
pub(super) const ORDER_LEASE: Duration = Duration::from_secs(300);

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
                    Err(StoreError::Fenced) => {
                        tracing::info!(domain = %name, "the domain was forgotten, or another node sees its order through");
                    }
                    Err(error) => tracing::error!(domain = %name, %error, "an order could not be seen through"),
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
        let chosen = match self.choose(&record).await? {
            Choice::At(chosen) => chosen,
            Choice::Wait(wait) => {
                self.hold_back(name, fence, wait).await?;
                return Ok(false);
            }
            Choice::Forbidden { host } => {
                self.transition(name, fence, |draft| {
                    self.note_dns(draft, &DnsVerdict::CaaForbids { host: host.clone() }, None);
                    Edit::Store
                })
                .await?;
                return Ok(false);
            }
        };
        let end = self.order_at(&chosen, &record, fence).await;
        self.judge(&chosen, &end).await?;
        match end {
            Ok(issued) => {
                self.went_well();
                self.issued(name, fence, issued).await.map(|()| true)
            }
            Err(IssueError::Failed { failure, resumable }) => {
                if !resumable && chosen.replaces.is_none() {
                    // It has come to no certificate: the customer who repairs it need not wait.
                    let authority = &chosen.authority;
                    let domain = (&record.name, &record.ssl);
                    let takes = rules::certificate_budgets(domain, authority.directory(), &authority.limits);
                    self.inner.store.return_budgets(&takes, self.inner.clock.now()).await?;
                }
                self.failed(&chosen, &record, fence, failure, resumable)
                    .await
                    .map(|()| true)
            }
            Err(IssueError::Fenced) => Err(StoreError::Fenced),
            Err(IssueError::Store(error)) => Err(error),
        }
    }

    /// Runs the order at the CA chosen.
    async fn order_at(&self, chosen: &Chosen, record: &DomainRecord, fence: Fence) -> Result<Issued, IssueError> {
        // A certificate that could not be stored must not be ordered.
        self.inner.store.probe().await?;
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
        let job = Job {
            name: record.name.clone(),
            replaces: chosen.replaces.clone(),
            fence,
        };
        self.issue(&chosen.authority.issuer, &job).await
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
            Ok(certificate) if changed.is_some() => self.inner.certificates.put(name.clone(), Arc::new(certificate)),
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
        tracing::info!(domain = %name, ca, kind = ?failure.kind, detail = %failure.error.detail, "an order failed");
        if let Some(until) = rules::holds_back_all(&failure, now) {
            self.inner.store.hold_back(ca, until).await?;
        }
        let refused = failure.kind.is_refusal_of_name();
        let doubts = self.doubts_failure(record, &failure);
        let changed = self
            .transition(name, fence, |draft| {
                if refused {
                    draft.happens(SslEvent::RefusedBy { ca: ca.to_owned() });
                }
                if doubts {
                    draft.happens(rules::doubted(&failure, self.doubts_until()));
                } else {
                    draft.happens(rules::failed(&draft.record.ssl, failure.clone(), random::unit()));
                }
                let word = if doubts { "doubted" } else { "failed" };
                draft.tells(word, Some(failure.error.detail.clone()));
                // What the CA only did not get to is taken up again, not ordered anew.
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
            let until = self.inner.clock.now();
            self.transition(name, fence, |draft| {
                draft.happens(SslEvent::Postponed { until });
                Edit::Store
            })
            .await?;
        }
        Ok(())
    }

    async fn hold_back(&self, name: &DomainName, fence: Fence, wait: Wait) -> Result<(), StoreError> {
        let Wait { until, ca, cause, .. } = wait;
        self.transition(name, fence, |draft| {
            let ca = ca.clone();
            draft.happens(match cause {
                Cause::Name | Cause::Account => SslEvent::HeldBack { until, ca },
                Cause::Outage => SslEvent::CaOut { until, ca },
            });
            draft.tells("held_back", Some(format!("until {until}")));
            Edit::Store
        })
        .await?;
        Ok(())
    }

    /// Opens a stored certificate for serving.
    pub(super) fn open_certificate(
        &self,
        name: &DomainName,
        stored: &crate::store::StoredCertificate,
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
