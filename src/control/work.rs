//! What is done for one domain when it is due: look at the time, at admission, at DNS, and, where
//! all of that is right, queue its order. One name is in one hand only: here by `in_hand`, in a
//! fleet by its lease.

use std::time::Duration;

use dashmap::Entry;
use tokio::sync::oneshot;

use super::ask::Answer;
use super::queue::Priority;
use super::{Control, Edit, Issue};
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
/// When to look again at a domain for which nothing may be ordered now (issue = "off").
const IDLE_RECHECK: Duration = Duration::from_secs(6 * 3600);
/// When to ask again after the platform's `ask` endpoint did not answer.
const ASK_RETRY: Duration = Duration::from_secs(60);
/// When to look again after our own resolvers failed.
const OUR_DNS_RETRY: Duration = Duration::from_secs(60);
/// When to ask for renewal information again after the CA gave none.
const ARI_RETRY: Duration = Duration::from_secs(6 * 3600);
/// Renewals with less than this share of their life left go before everything else.
const EXPIRING_SHARE: u32 = 6;

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
        if !record.is_wanted() {
            return Ok(None);
        }
        if issue == Issue::Off {
            if record.next_due().is_some_and(|due| due <= now) {
                self.postpone(name, fence, now + IDLE_RECHECK).await?;
            }
            return Ok(None);
        }
        if record.ssl.reason.is_in_progress() || self.inner.store.order(name).await?.is_some() {
            // A crash, or a CA that went away, interrupted it: the order stage takes it up again.
            return Ok(Some(urgency(&record, priority, now)));
        }
        let record = self.ask_renewal_info(record, fence).await?;
        if !is_due(&record, priority, now) || !self.still_admitted(&record, fence).await? {
            return Ok(None);
        }
        let queued = self.queue_if_dns_is_right(&record, fence).await?;
        Ok(queued.then(|| urgency(&record, priority, now)))
    }

    /// Lets time go by: a certificate may have run out.
    async fn tick(&self, name: &DomainName, fence: Fence) -> Result<Option<DomainRecord>, StoreError> {
        self.transition(name, fence, |draft| {
            let before = draft.record.ssl.reason;
            draft.happens(SslEvent::Tick);
            if draft.record.paused.is_some() && draft.record.ssl.reason == Reason::Expired {
                draft.happens(SslEvent::Paused);
            }
            if draft.record.ssl.reason == before {
                return Edit::Nothing;
            }
            draft.tells("expired", None);
            Edit::Store
        })
        .await
    }

    /// Asks the CA when the certificate should be renewed (RFC 9773), if that is due.
    async fn ask_renewal_info(&self, record: DomainRecord, fence: Fence) -> Result<DomainRecord, StoreError> {
        let now = self.inner.clock.now();
        let Some(certificate) = &record.ssl.certificate else {
            return Ok(record);
        };
        let (Some(id), Some(check_at)) = (&certificate.ari_id, certificate.ari_check_at) else {
            return Ok(record);
        };
        if !record.ssl.holds(now) || check_at > now {
            return Ok(record);
        }
        // Another CA's certificate is none of this one's business.
        let tools = self.tools();
        let ours = certificate.ca == tools.issuer.directory();
        let info = if ours {
            tools.issuer.renewal_info(id).await
        } else {
            Ok(None)
        };
        let event = match info {
            Ok(Some(info)) => {
                // A moment chosen once stays, while the window still holds it.
                let stays = (info.start..=info.end).contains(&certificate.renew_at);
                let renew_at = if stays {
                    certificate.renew_at
                } else {
                    info.pick(random::unit())
                };
                SslEvent::RenewalInfo {
                    renew_at,
                    check_at: info.check_at,
                }
            }
            // What cannot be asked is asked again later; the date by remaining life stands meanwhile.
            Ok(None) | Err(_) => SslEvent::RenewalInfo {
                renew_at: certificate.renew_at,
                check_at: now + ARI_RETRY,
            },
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
                            until: draft.now() + IDLE_RECHECK,
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

/// Whether something may be ordered now. A handshake or a "verify" starts what nobody has asked
/// for yet; it never starts what waits for its time.
fn is_due(record: &DomainRecord, priority: Priority, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    match (ssl.next_attempt, &ssl.certificate) {
        (Some(at), _) => at <= now,
        (None, Some(certificate)) if ssl.holds(now) => certificate.renew_at <= now,
        (None, _) => priority > Priority::Bulk && ssl.reason.may_be_requested(),
    }
}

/// How urgent the order is: a certificate that runs out goes before everything.
fn urgency(record: &DomainRecord, asked: Priority, now: Timestamp) -> Priority {
    let Some(certificate) = record.ssl.certificate.as_ref().filter(|c| c.not_after > now) else {
        return asked;
    };
    let life = certificate.not_after.saturating_since(certificate.not_before);
    let left = certificate.not_after.saturating_since(now);
    if left < life / EXPIRING_SHARE {
        Priority::Expiring
    } else {
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_starts_what_nobody_asked_for_but_not_what_waits() {
        let now = Timestamp::from_secs(1_795_305_600);
        let name = DomainName::parse("a.example").unwrap();
        let mut record = DomainRecord::new(name, None, Origin::Registered, now);
        assert!(!is_due(&record, Priority::Bulk, now));
        assert!(is_due(&record, Priority::Handshake, now));
        record.ssl.next_attempt = Some(now + Duration::from_secs(1));
        assert!(!is_due(&record, Priority::Handshake, now));
        record.ssl.next_attempt = Some(now);
        assert!(is_due(&record, Priority::Bulk, now));
        record.ssl.next_attempt = None;
        record.ssl.reason = Reason::GivenUp;
        assert!(!is_due(&record, Priority::Handshake, now));
    }
}
