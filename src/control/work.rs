//! What is done for one domain when it is due: look at the time, at admission, at DNS, and, where
//! all of that is right, queue its order. One name is in one hand only: here by `in_hand`, in a
//! fleet by its lease.

use std::time::Duration;

use dashmap::Entry;
use tokio::sync::oneshot;

use super::ask::Answer;
use super::queue::Priority;
use super::rules::{self, First};
use super::{Control, Edit};
use crate::cert::cache::CertificateAnswer;
use crate::clock::Timestamp;
use crate::domain::record::{DnsSummary, DnsVerdict, Origin};
use crate::domain::ssl::{Reason, SslEvent};
use crate::domain::{DomainName, DomainRecord};
use crate::fault::Fault;
use crate::random;
use crate::store::{Fence, StoreError, domain_lease};

/// How long the preparation of one name may take; a node that dies gives it back after that.
const PREPARE_LEASE: Duration = Duration::from_secs(60);
/// A DNS check that is not older than that is not made again ("verify" has just made it).
const DNS_FRESH: Duration = Duration::from_secs(30);
/// When to ask again after the platform's `ask` endpoint did not answer.
const ASK_RETRY: Duration = Duration::from_secs(60);
/// When to look again after our own resolvers failed.
const OUR_DNS_RETRY: Duration = Duration::from_secs(60);

/// A handshake that waits for what is in hand.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<CertificateAnswer>,
    /// Whether it came when the name was in hand already.
    pub(super) joined: bool,
}

impl Control {
    /// Sees to a name, unless it is in hand already; a waiting handshake is answered at the end.
    pub(super) fn attend(&self, name: DomainName, priority: Priority, waiter: Option<Waiter>) {
        match self.inner.in_hand.entry(name.clone()) {
            Entry::Occupied(mut hand) => {
                // What is in hand may have been decided before what this waiter saw.
                hand.get_mut().extend(waiter.map(|w| Waiter { joined: true, ..w }));
                drop(hand);
                self.inner.queue.raise(&name, priority);
            }
            Entry::Vacant(hand) => {
                hand.insert(waiter.into_iter().collect());
                let control = self.clone();
                self.inner.tasks.spawn(async move {
                    match control.prepare(&name, priority).await {
                        Ok(Some(priority)) => control.inner.queue.push(name, priority),
                        Ok(None) => control.done(&name),
                        Err(error) => {
                            tracing::error!(domain = %name, %error, "a domain could not be seen to");
                            control.done(&name);
                        }
                    }
                });
            }
        }
    }

    /// Lets a name go: whoever waited for its certificate is answered.
    pub(super) fn done(&self, name: &DomainName) {
        let waiters = self.inner.in_hand.remove(name).map(|(_, w)| w).unwrap_or_default();
        let held = self.inner.certificates.cached(name, self.inner.clock.now());
        let answer = held.map_or(CertificateAnswer::None, CertificateAnswer::Ready);
        for waiter in waiters {
            if waiter.joined && matches!(answer, CertificateAnswer::None) {
                self.look_again(name.clone(), waiter.reply);
            } else {
                // A handshake that has given up is not told.
                drop(waiter.reply.send(answer.clone()));
            }
        }
        self.inner.wake.notify_one();
    }

    /// Whether an order is to be queued for the name, and how urgently.
    async fn prepare(&self, name: &DomainName, priority: Priority) -> Result<Option<Priority>, StoreError> {
        #[allow(clippy::expect_used, reason = "the semaphore is never closed")]
        let _permit = self.inner.looks.acquire().await.expect("open semaphore");
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let lease = domain_lease(name);
        let Some(fence) = store
            .acquire_lease(&lease, &self.inner.node, PREPARE_LEASE, now)
            .await?
        else {
            return Ok(None);
        };
        let result = self.decide(name, fence, priority).await;
        store.release_lease(&lease, fence).await?;
        result
    }

    async fn decide(
        &self,
        name: &DomainName,
        fence: Fence,
        priority: Priority,
    ) -> Result<Option<Priority>, StoreError> {
        let Some(record) = self.tick(name, fence).await? else {
            return Ok(None);
        };
        let now = self.inner.clock.now();
        if record.forget_at().is_some_and(|at| at <= now) {
            self.forget_unregistered(&record).await?;
            return Ok(None);
        }
        let issue = self.inner.settings.load().issue;
        let open_order = self.inner.store.order(name).await?.is_some();
        match rules::first(&record.ssl, record.is_wanted(), issue, open_order, now) {
            First::Leave => return Ok(None),
            First::Postpone(until) => {
                self.postpone(name, fence, until).await?;
                return Ok(None);
            }
            // A crash, or a CA that went away, interrupted it.
            First::Resume => return Ok(Some(rules::urgency(&record.ssl, priority, now))),
            First::Look => {}
        }
        let record = self.ask_renewal_info(record, fence).await?;
        if !rules::is_due(&record.ssl, priority, now) || !self.still_admitted(&record, fence).await? {
            return Ok(None);
        }
        let queued = self.queue_if_dns_is_right(&record, fence).await?;
        Ok(queued.then(|| rules::urgency(&record.ssl, priority, now)))
    }

    /// Lets time go by: a certificate may near its end, or have run out.
    async fn tick(&self, name: &DomainName, fence: Fence) -> Result<Option<DomainRecord>, StoreError> {
        self.transition(name, fence, |draft| {
            let before = draft.record.ssl.clone();
            draft.happens(SslEvent::Tick);
            if draft.record.paused.is_some() && draft.record.ssl.reason == Reason::Expired {
                draft.happens(SslEvent::Paused);
            }
            if draft.record.ssl == before {
                return Edit::Nothing;
            }
            let ran_out = draft.record.ssl.reason != before.reason;
            draft.tells(if ran_out { "expired" } else { "expiring" }, None);
            Edit::Store
        })
        .await
    }

    /// Asks the CA when the certificate should be renewed (RFC 9773), if that is due.
    async fn ask_renewal_info(&self, record: DomainRecord, fence: Fence) -> Result<DomainRecord, StoreError> {
        let now = self.inner.clock.now();
        let Some((certificate, id)) = rules::asks_renewal_info(&record.ssl, now) else {
            return Ok(record);
        };
        // Another CA's certificate is none of this one's business.
        let tools = self.tools();
        let info = if certificate.ca == tools.issuer.directory() {
            tools.issuer.renewal_info(id).await.unwrap_or(None)
        } else {
            None
        };
        let event = rules::renewal_info(certificate, info, now, random::unit());
        let changed = self
            .transition(&record.name, fence, |draft| {
                draft.happens(event.clone());
                Edit::Store
            })
            .await?;
        Ok(changed.unwrap_or(record))
    }

    /// Asks the platform again about a name it admitted, before anything is ordered for it.
    async fn still_admitted(&self, record: &DomainRecord, fence: Fence) -> Result<bool, StoreError> {
        let tools = self.tools();
        let (Origin::Asked, Some(asker)) = (record.origin, &tools.asker) else {
            return Ok(true);
        };
        match asker.ask(&record.name).await {
            Answer::Yes { .. } => Ok(true),
            Answer::No => {
                self.transition(&record.name, fence, |draft| {
                    draft.happens(SslEvent::Denied);
                    if draft.record.ssl.reason != Reason::Denied {
                        draft.happens(SslEvent::Postponed {
                            until: draft.now() + rules::IDLE_RECHECK,
                        });
                    }
                    draft.tells("denied", Some("the ask endpoint answered no".into()));
                    Edit::Store
                })
                .await?;
                Ok(false)
            }
            // Fail open for what is held, closed for what is new.
            Answer::Unreachable if record.ssl.holds(self.inner.clock.now()) => Ok(true),
            Answer::Unreachable => {
                self.postpone(&record.name, fence, self.inner.clock.now() + ASK_RETRY)
                    .await?;
                Ok(false)
            }
        }
    }

    /// Looks whether the name leads here, and writes down what was found and, in one step with it,
    /// that its order is queued: a crash in between would leave a name that nobody comes back to.
    async fn queue_if_dns_is_right(&self, record: &DomainRecord, fence: Fence) -> Result<bool, StoreError> {
        let now = self.inner.clock.now();
        let fresh = record.dns.checked.is_some_and(|t| now.saturating_since(t) <= DNS_FRESH);
        let queued = SslEvent::Queued {
            eta: Some(self.inner.queue.eta(now)),
        };
        if record.origin == Origin::Edge || (fresh && record.dns.https) {
            self.transition(&record.name, fence, |draft| {
                draft.happens(queued.clone());
                Edit::Store
            })
            .await?;
            return Ok(true);
        }
        let finding = self.tools().checker.https(&record.name).await;
        if finding.fault == Some(Fault::Ours) {
            // Our own resolvers fail: that says nothing about the domain.
            tracing::error!(domain = %record.name, verdict = ?finding.verdict, "DNS cannot be looked at from here");
            self.postpone(&record.name, fence, now + OUR_DNS_RETRY).await?;
            return Ok(false);
        }
        let verdict = finding.verdict;
        let right = verdict == DnsVerdict::Right;
        self.transition(&record.name, fence, |draft| {
            self.note_dns(draft, &verdict, None);
            if right {
                draft.happens(queued.clone());
            }
            Edit::Store
        })
        .await?;
        Ok(right)
    }

    /// Writes the outcome of a DNS check into a draft. `verified`: whether all that was asked for
    /// is published. `None`: that was not looked at.
    pub(super) fn note_dns(&self, draft: &mut super::Draft, verdict: &DnsVerdict, verified: Option<bool>) {
        let before = draft.record.ssl.reason;
        draft.happens(SslEvent::DnsChecked(verdict.clone()));
        let https = *verdict == DnsVerdict::Right;
        let verified = https && verified.unwrap_or(draft.record.dns.verified);
        let was_https = draft.record.dns.https;
        draft.record.dns = DnsSummary {
            checked: Some(draft.now()),
            https,
            verified,
        };
        if draft.record.ssl.reason != before || was_https != https {
            let detail = (!https).then(|| draft.record.ssl.facts.found.clone()).flatten();
            draft.tells(if https { "dns_right" } else { "dns_wrong" }, detail);
        }
    }

    async fn postpone(&self, name: &DomainName, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        self.transition(name, fence, |draft| {
            draft.happens(SslEvent::Postponed { until });
            Edit::Store
        })
        .await?;
        Ok(())
    }

    /// [`Control::change`] under a lease; what it cannot do is the store's fault alone.
    pub(super) async fn transition(
        &self,
        name: &DomainName,
        fence: Fence,
        edit: impl FnMut(&mut super::Draft) -> Edit<StoreError>,
    ) -> Result<Option<DomainRecord>, StoreError> {
        self.change(name, Some(fence), edit).await
    }
}
