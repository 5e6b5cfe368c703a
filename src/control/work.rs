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
use crate::domain::record::{DnsVerdict, Origin};
use crate::domain::ssl::{Preflight, Reason, SslEvent};
use crate::domain::{DomainName, DomainRecord, messages};
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
/// When to look again at a zone whose servers failed while nothing was to be ordered.
const FAILING_ZONE_RETRY: Duration = Duration::from_secs(3600);

/// A handshake that waits for what is in hand.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<CertificateAnswer>,
    /// Whether it came when the name was in hand already.
    pub(super) joined: bool,
}

/// A domain whose order may be queued.
struct Ready {
    tenant: String,
    priority: Priority,
}

impl Ready {
    fn of(record: &DomainRecord, asked: Priority, now: Timestamp) -> Self {
        Self {
            tenant: record.tenant.clone(),
            priority: rules::urgency(&record.ssl, asked, now),
        }
    }
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
                        Ok(Some(ready)) => control.inner.queue.push(name, &ready.tenant, ready.priority),
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
    async fn prepare(&self, name: &DomainName, priority: Priority) -> Result<Option<Ready>, StoreError> {
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

    async fn decide(&self, name: &DomainName, fence: Fence, priority: Priority) -> Result<Option<Ready>, StoreError> {
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
            First::Resume => return Ok(Some(Ready::of(&record, priority, now))),
            First::Look => {}
        }
        let record = self.ask_renewal_info(record, fence).await?;
        let due = rules::is_due(&record.ssl, priority, now);
        if due && !self.still_admitted(&record, fence).await? {
            return Ok(None);
        }
        if !due && !rules::looks_only(&record, priority, now) {
            return Ok(None);
        }
        let queued = self.queue_if_dns_is_right(&record, fence).await?;
        Ok(queued.then(|| Ready::of(&record, priority, now)))
    }

    /// Lets time go by: a certificate may near its end, or have run out.
    async fn tick(&self, name: &DomainName, fence: Fence) -> Result<Option<DomainRecord>, StoreError> {
        self.transition(name, fence, |draft| {
            let before = draft.record.ssl.clone();
            draft.happens(SslEvent::Tick);
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
        // Only the CA that has issued it knows; one that is no longer configured is not asked.
        let tools = self.tools();
        let event = match tools.authorities.find(&certificate.ca) {
            Some(authority) => match authority.issuer.renewal_info(id).await {
                Ok(info) => rules::renewal_info(certificate, info, now, random::unit()),
                Err(failure) => rules::no_renewal_info(certificate, failure.retry_after, now),
            },
            None => rules::no_renewal_info(certificate, None, now),
        };
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
    /// A certificate that is not to be renewed yet is not: the look was all that was wanted.
    async fn queue_if_dns_is_right(&self, record: &DomainRecord, fence: Fence) -> Result<bool, StoreError> {
        let now = self.inner.clock.now();
        let orders = rules::needs_order(&record.ssl, now);
        let fresh = record.dns.checked.is_some_and(|t| now.saturating_since(t) <= DNS_FRESH);
        let frozen = self.frozen().await?.map(|_| self.freezes());
        let queued = SslEvent::Queued {
            eta: Some(self.expected(self.is_exempt(record), now).await?),
        };
        let next = |draft: &mut super::Draft| {
            match &frozen {
                Some(frozen) => Self::note_freeze(draft, frozen),
                None => drop(draft.happens(queued.clone())),
            };
        };
        if record.origin == Origin::Edge {
            self.transition(&record.name, fence, |draft| {
                draft.happens(SslEvent::DnsChecked(DnsVerdict::Right));
                if orders {
                    next(draft);
                }
                Edit::Store
            })
            .await?;
            return Ok(orders && frozen.is_none());
        }
        let verdict = if fresh && record.dns.https {
            None
        } else {
            let finding = self.tools().checker.https(&record.name).await;
            if finding.fault == Some(Fault::Ours) {
                // Our own resolvers fail: that says nothing about the domain.
                tracing::error!(domain = %record.name, verdict = ?finding.verdict, "DNS cannot be looked at from here");
                self.postpone(&record.name, fence, now + OUR_DNS_RETRY).await?;
                return Ok(false);
            }
            if !orders && matches!(finding.verdict, DnsVerdict::Error { .. }) {
                // Servers fail now and then; until a renewal depends on them that is no news.
                self.postpone(&record.name, fence, now + FAILING_ZONE_RETRY).await?;
                return Ok(false);
            }
            Some(finding.verdict)
        };
        let through = match &verdict {
            None => record.ssl.facts.arrives_through(),
            Some(DnsVerdict::Proxied { provider }) => Some(provider.as_str()),
            Some(_) => None,
        };
        let leads_here = matches!(verdict, None | Some(DnsVerdict::Right));
        let tried = if through.is_some() || (leads_here && orders) {
            self.preflight(record, through, Some(fence)).await?
        } else {
            None
        };
        let arrives = through.is_some() && tried.as_ref().is_some_and(|t| t.miss.is_none());
        if verdict.is_some() && self.doubts_look(record, leads_here || arrives) {
            self.postpone(&record.name, fence, self.doubts_until()).await?;
            return Ok(false);
        }
        let changed = self
            .transition(&record.name, fence, |draft| {
                let told = note_preflight(draft, tried.clone());
                match &verdict {
                    Some(verdict) => self.note_dns(draft, verdict, None),
                    None => drop(draft.happens(SslEvent::DnsChecked(DnsVerdict::Right))),
                }
                if told.is_some() {
                    draft.tells("preflight", told);
                }
                if draft.record.dns.https && orders {
                    next(draft);
                }
                Edit::Store
            })
            .await?;
        Ok(orders && frozen.is_none() && changed.is_some_and(|record| record.dns.https))
    }

    /// Whether an order for it names what it replaces, and so counts against no limit.
    fn is_exempt(&self, record: &DomainRecord) -> bool {
        let ca = record.ssl.certificate.as_ref().map(|c| c.ca.as_str());
        ca.is_some_and(|ca| self.tools().authorities.find(ca).is_some() && rules::replaces(&record.ssl, ca).is_some())
    }

    async fn postpone(&self, name: &DomainName, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        self.transition(name, fence, |draft| {
            draft.happens(SslEvent::Postponed { until });
            if draft.record.ssl.look_at.is_some_and(|at| at < until) {
                draft.happens(SslEvent::LookAt { at: until });
            }
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

/// Writes what a pre-flight found into a draft, before the DNS check that it belongs to; returns
/// what is to be told of it after that. `None`: nothing is new.
pub(super) fn note_preflight(draft: &mut super::Draft, tried: Option<Preflight>) -> Option<String> {
    let tried = tried.filter(|t| draft.record.ssl.facts.preflight.as_ref() != Some(t))?;
    let text = messages::preflight(&tried).en;
    draft.happens(SslEvent::Preflight(tried));
    Some(text)
}
