//! What is done for one domain when it is due: look at the time, at admission, at DNS, and, where
//! all of that is right, queue its order. One name is in one hand only: here by `in_hand`, in a
//! fleet by its lease. What takes time has places ([`super::lanes`]), and a name waits for one
//! without holding anything another could use.

use std::time::Duration;

use dashmap::Entry;
use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_base::random;
use linkseal_domain::cert::cache::CertificateAnswer;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Preflight, Reason, SslEvent, State};
use linkseal_domain::{DomainName, DomainRecord, messages};
use linkseal_store::{Fence, StoreError, domain_lease};
use tokio::sync::{oneshot, watch};

use super::ask::Answer;
use super::looks::{self, LookPlace};
use super::queue::Priority;
use super::recheck::SILENCE_ALLOWED;
use super::rules::{self, First};
use super::{Control, Edit, Inner};

/// How long the preparation of one name may take; a node that dies gives it back after that.
const PREPARE_LEASE: Duration = Duration::from_secs(60);
/// A DNS check that is not older than that is not made again ("verify" has just made it).
const DNS_FRESH: Duration = Duration::from_secs(30);
/// When to ask again after the platform's `ask` endpoint did not answer.
const ASK_RETRY: Duration = Duration::from_secs(60);
/// When to look again after our own resolvers failed.
const OUR_DNS_RETRY: Duration = Duration::from_secs(60);
/// When to look again at a zone whose servers failed while nothing was to be ordered, at first and
/// at the longest.
const FAILING_ZONE_RETRY: Duration = Duration::from_secs(3600);
const FAILING_ZONE_RETRY_MAX: Duration = Duration::from_secs(86_400);
/// What failed together is not looked at together: by this share of the wait.
const SPREAD: f64 = 0.2;

/// A handshake that waits for what is in hand.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<CertificateAnswer>,
    /// Whether it came when the name was in hand already.
    pub(super) joined: bool,
}

/// How urgently the work on a name is asked for. It may become more urgent while the work goes on.
pub(super) struct Asked {
    priority: watch::Receiver<Priority>,
    /// What its certificate asks for by itself.
    floor: Priority,
}

impl Asked {
    /// As it is now.
    fn now(&self) -> Priority {
        *self.priority.borrow()
    }

    /// Waits for a place, by the present urgency: when it becomes more urgent, it goes on waiting
    /// among those that are as urgent.
    pub(super) async fn enter<F: Future>(&mut self, enter: impl Fn(Priority) -> F) -> F::Output {
        loop {
            let asked = *self.priority.borrow_and_update();
            tokio::select! {
                biased;
                place = enter(asked.max(self.floor)) => return place,
                Ok(()) = self.priority.changed() => {}
            }
        }
    }
}

/// That stays as it is.
impl From<Priority> for Asked {
    fn from(priority: Priority) -> Self {
        watch::channel(priority).1.into()
    }
}

impl From<watch::Receiver<Priority>> for Asked {
    fn from(priority: watch::Receiver<Priority>) -> Self {
        let floor = Priority::Bulk;
        Self { priority, floor }
    }
}

/// What is known of a name in hand: how urgent it is, and which handshakes wait for it.
pub(super) struct InHand {
    asked: watch::Sender<Priority>,
    waiters: Vec<Waiter>,
}

impl InHand {
    fn raise(&self, priority: Priority) {
        self.asked.send_if_modified(|asked| {
            let rises = priority > *asked;
            *asked = priority.max(*asked);
            rises
        });
    }
}

/// A name in hand: let go when this is dropped, also by a panic, so that no name is lost to one.
pub(super) struct Hand {
    pub(super) control: Control,
    pub(super) name: DomainName,
    queued: bool,
}

impl Hand {
    pub(super) fn of(control: Control, name: DomainName) -> Self {
        Self {
            control,
            name,
            queued: false,
        }
    }

    /// The queue has it from here on.
    fn queue(mut self, ready: &Ready) {
        self.queued = true;
        let Inner { queue, in_hand, .. } = &*self.control.inner;
        queue.push(self.name.clone(), &ready.tenant, ready.priority);
        // It may have become more urgent since that was computed.
        if let Some(asked) = in_hand.get(&self.name).map(|hand| *hand.asked.borrow()) {
            queue.raise(&self.name, asked);
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if !self.queued {
            self.control.done(&self.name);
        }
    }
}

/// A domain whose order may be queued.
struct Ready {
    tenant: String,
    priority: Priority,
}

impl Control {
    /// Sees to a name, unless it is in hand already; a waiting handshake is answered at the end.
    pub(super) fn attend(&self, name: DomainName, priority: Priority, waiter: Option<Waiter>) {
        match self.inner.in_hand.entry(name.clone()) {
            Entry::Occupied(mut hand) => {
                // What is in hand may have been decided before what this waiter saw.
                let joined = waiter.map(|w| Waiter { joined: true, ..w });
                hand.get_mut().waiters.extend(joined);
                hand.get().raise(priority);
                drop(hand);
                self.inner.queue.raise(&name, priority);
            }
            Entry::Vacant(hand) => {
                let (asked, asks) = watch::channel(priority);
                let waiters = waiter.into_iter().collect();
                hand.insert(InHand { asked, waiters });
                let control = self.clone();
                self.inner.tasks.spawn(async move {
                    let hand = Hand::of(control, name);
                    match hand.control.prepare(&hand.name, asks.into()).await {
                        Ok(Some(ready)) => hand.queue(&ready),
                        Ok(None) => {}
                        // The store has logged its name; or it was purged meanwhile.
                        Err(StoreError::Unreadable { .. } | StoreError::Fenced | StoreError::NotFound) => {}
                        Err(error) => hand.control.store_fails("see to domains", Some(&hand.name), &error),
                    }
                });
            }
        }
    }

    /// Lets a name go: anyone who waited for its certificate is answered.
    pub(super) fn done(&self, name: &DomainName) {
        let waiters = self.inner.in_hand.remove(name).map(|(_, hand)| hand.waiters);
        let held = self.inner.certificates.cached(name, self.inner.clock.now());
        let came = held.is_some();
        // One that has expired is better than none.
        let held = held.or_else(|| self.inner.certificates.held(name));
        let answer = held.map_or(CertificateAnswer::None, CertificateAnswer::Ready);
        for waiter in waiters.unwrap_or_default() {
            if waiter.joined && !came {
                self.look_again(name.clone(), waiter.reply);
            } else {
                // A handshake that has given up is not told.
                drop(waiter.reply.send(answer.clone()));
            }
        }
        self.inner.wake.notify_one();
    }

    /// Whether an order is to be queued for the name, and how urgently.
    async fn prepare(&self, name: &DomainName, mut asked: Asked) -> Result<Option<Ready>, StoreError> {
        let Some(mut record) = self.expected_next(name).await? else {
            return Ok(None);
        };
        if self.comes_first(&record).await? == First::Look {
            self.ask_renewal_info(name, &record).await?;
            let Some(after) = self.expected_next(name).await? else {
                return Ok(None);
            };
            record = after;
        }
        let now = self.inner.clock.now();
        let looks = self.comes_first(&record).await? == First::Look
            && (rules::is_due(&record.ssl, asked.now(), now) || rules::looks_only(&record, asked.now(), now));
        let place = if looks {
            asked.floor = rules::urgency(&record.ssl, Priority::Bulk, now);
            let (owners, silent) = (self.owners(&record), looks::was_silent(&record));
            let enter = |urgency| self.inner.looks.enter(urgency, owners.clone(), silent);
            Some(asked.enter(enter).await)
        } else {
            None
        };
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let lease = domain_lease(name);
        let Some(fence) = store
            .acquire_lease(&lease, &self.inner.node, PREPARE_LEASE, now)
            .await?
        else {
            return Ok(None);
        };
        let result = self.decide(name, fence, asked, place).await;
        store.release_lease(&lease, fence).await?;
        result
    }

    /// A domain as it is, or as it will be once the time that has gone by is noted.
    async fn expected_next(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError> {
        let record = self.inner.store.domain(name).await?;
        Ok(record.map(|mut record| {
            let (wish, now) = (record.intent(), self.inner.clock.now());
            record.ssl = record.ssl.apply(SslEvent::Tick, wish, now);
            record
        }))
    }

    async fn comes_first(&self, record: &DomainRecord) -> Result<First, StoreError> {
        let issue = self.inner.settings.load().issue;
        let open_order = self.inner.store.order(&record.name).await?.is_some();
        let now = self.inner.clock.now();
        Ok(rules::first(&record.ssl, record.is_wanted(), issue, open_order, now))
    }

    /// `place`: where DNS may be looked at. `None`: nothing was to be looked at a moment ago.
    async fn decide(
        &self,
        name: &DomainName,
        fence: Fence,
        mut asked: Asked,
        place: Option<LookPlace>,
    ) -> Result<Option<Ready>, StoreError> {
        let Some(record) = self.tick(name, fence).await? else {
            return Ok(None);
        };
        let now = self.inner.clock.now();
        if record.forget_at().is_some_and(|at| at <= now) {
            self.forget_unregistered(&record).await?;
            return Ok(None);
        }
        match self.comes_first(&record).await? {
            First::Leave => return Ok(None),
            First::Postpone(until) => {
                self.transition(name, fence, |draft| {
                    put_off_by(draft, SslEvent::SwitchedOff { until }, until);
                    Edit::Store
                })
                .await?;
                return Ok(None);
            }
            // A crash, or a CA that went away, interrupted it.
            First::Resume => return Ok(Some(self.ready(&record, &asked))),
            First::Look => {}
        }
        let priority = asked.now();
        let due = rules::is_due(&record.ssl, priority, now);
        if due && !self.still_admitted(&record, fence).await? {
            return Ok(None);
        }
        if !due && !rules::looks_only(&record, priority, now) {
            return Ok(None);
        }
        // It became due just now: the scheduler comes back to it.
        let Some(place) = place else { return Ok(None) };
        let queued = self.queue_if_dns_is_right(&record, fence, &mut asked, place).await?;
        Ok(queued.then(|| self.ready(&record, &asked)))
    }

    fn ready(&self, record: &DomainRecord, asked: &Asked) -> Ready {
        Ready {
            tenant: self.tenant_of(record),
            priority: rules::urgency(&record.ssl, asked.now(), self.inner.clock.now()),
        }
    }

    /// Lets time go by: a certificate may near its end, or have run out.
    async fn tick(&self, name: &DomainName, fence: Fence) -> Result<Option<DomainRecord>, StoreError> {
        self.transition(name, fence, |draft| {
            let before = draft.record.ssl.clone();
            draft.happens(SslEvent::Tick);
            if draft.record.ssl == before {
                return Edit::Nothing;
            }
            if before.state() != State::Issued && draft.record.ssl.state() == State::Issued {
                let detail = "the certificate is valid: the clock here had been ahead";
                draft.tells("valid_again", Some(detail.into()));
            } else if draft.record.ssl.reason != before.reason {
                draft.tells("expired", None);
            } else if draft.record.ssl.expiring_reported != before.expiring_reported {
                draft.tells("expiring", None);
            }
            Edit::Store
        })
        .await
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
                        let until = draft.now() + rules::IDLE_RECHECK;
                        put_off(draft, until);
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

    /// Looks whether the name points here, and writes down what was found and, in one step with it,
    /// that its order is queued: a crash in between would leave a name that no one comes back to.
    /// A certificate that is not to be renewed yet is not: the look was all that was wanted.
    async fn queue_if_dns_is_right(
        &self,
        record: &DomainRecord,
        fence: Fence,
        asked: &mut Asked,
        place: LookPlace,
    ) -> Result<bool, StoreError> {
        let now = self.inner.clock.now();
        let orders = rules::needs_order(&record.ssl, now);
        let fresh = record.dns.checked.is_some_and(|t| t.is_within(DNS_FRESH, now));
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
                let before = draft.record.clone();
                self.note_right(draft);
                if orders {
                    next(draft);
                }
                store_unless(&before, draft)
            })
            .await?;
            return Ok(orders && frozen.is_none());
        }
        let verdict = if fresh && record.dns.https {
            None
        } else {
            let tools = self.tools();
            let finding = place.spend(tools.checker.https(&record.name)).await;
            if finding.fault == Some(Fault::Ours) {
                // Our own resolvers fail: that says nothing about the domain.
                self.complain_of_resolvers(&record.name, &finding.verdict);
                self.look_failed(&record.name, fence, now + OUR_DNS_RETRY).await?;
                return Ok(false);
            }
            let recheck = self.inner.settings.load().recheck;
            let is_news = record.still_points_here || silence(record, recheck, now) >= SILENCE_ALLOWED;
            if !orders && !is_news && matches!(finding.verdict, DnsVerdict::Error { .. }) {
                // Servers fail now and then; until a renewal depends on them that is no news.
                let wait = random::jitter(failing_zone_retry(record, recheck, now), SPREAD);
                self.postpone(&record.name, fence, now + wait).await?;
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
            self.preflight(record, through, Some(fence), asked).await?
        } else {
            None
        };
        let arrives = through.is_some()
            && match &tried {
                Some(tried) => tried.miss.is_none(),
                None => record.ssl.facts.arrives_through() == through,
            };
        if verdict.is_some() && self.doubts_look(record, leads_here || arrives) {
            self.look_failed(&record.name, fence, self.doubts_until()).await?;
            return Ok(false);
        }
        let changed = self
            .transition(&record.name, fence, |draft| {
                let before = draft.record.clone();
                let told = note_preflight(draft, tried.clone());
                match &verdict {
                    Some(verdict) => self.note_dns(draft, verdict, None),
                    None => self.note_right(draft),
                }
                if told.is_some() {
                    draft.tells("preflight", told);
                }
                if draft.record.dns.https && orders {
                    match draft.record.ssl.rests_until(draft.now()) {
                        None => next(draft),
                        Some(until) => drop(draft.happens(SslEvent::Postponed { until })),
                    }
                }
                store_unless(&before, draft)
            })
            .await?;
        let goes = |record: DomainRecord| record.dns.https && record.ssl.rests_until(now).is_none();
        Ok(orders && frozen.is_none() && changed.is_some_and(goes))
    }

    /// Notes that DNS is right without a look: it was looked at a moment ago, or need not be. A look
    /// that was planned is done with it.
    fn note_right(&self, draft: &mut super::Draft) {
        let now = draft.now();
        draft.happens(SslEvent::DnsChecked(DnsVerdict::Right));
        if draft.record.ssl.next_check.is_some_and(|at| at <= now) {
            let at = now + random::jitter(self.inner.settings.load().recheck, SPREAD);
            draft.happens(SslEvent::CheckScheduled { at });
        }
    }

    /// Whether an order for it names what it replaces, and so counts against no limit.
    fn is_exempt(&self, record: &DomainRecord) -> bool {
        let ca = record.ssl.certificate.as_ref().map(|c| c.ca.as_str());
        ca.is_some_and(|ca| self.tools().authorities.find(ca).is_some() && rules::replaces(&record.ssl, ca).is_some())
    }

    /// Says that our own resolvers fail: once a minute, however many domains are looked at.
    pub(super) fn complain_of_resolvers(&self, name: &DomainName, verdict: &DnsVerdict) {
        let now = self.inner.clock.uptime();
        let due = self.inner.dns_complaints.due("dns", "resolvers", now);
        if let Some(unsaid) = due {
            tracing::error!(
                domain = %name, ?verdict, unsaid,
                "the DNS resolvers do not answer, so that nothing new is ordered: check dns.resolvers and the network of \
                 this node"
            );
        }
    }

    /// A look said nothing about the domain: it is looked at again then.
    async fn look_failed(&self, name: &DomainName, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        self.transition(name, fence, |draft| {
            draft.happens(SslEvent::DnsCheckFailed);
            put_off(draft, until);
            Edit::Store
        })
        .await?;
        Ok(())
    }

    async fn postpone(&self, name: &DomainName, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        self.transition(name, fence, |draft| {
            put_off(draft, until);
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

/// What changes nothing is not stored.
fn store_unless(before: &DomainRecord, draft: &super::Draft) -> Edit<StoreError> {
    if draft.record == *before {
        Edit::Nothing
    } else {
        Edit::Store
    }
}

/// Puts a domain off, with the looks that would come before.
fn put_off(draft: &mut super::Draft, until: Timestamp) {
    put_off_by(draft, SslEvent::Postponed { until }, until);
}

fn put_off_by(draft: &mut super::Draft, event: SslEvent, until: Timestamp) {
    draft.happens(event);
    if draft.record.ssl.next_check.is_some_and(|at| at < until) {
        draft.happens(SslEvent::CheckScheduled { at: until });
    }
}

/// How long to leave a zone alone whose servers fail: as long as they have failed already.
/// `recheck`: how long after a look that was answered the next one comes.
fn failing_zone_retry(record: &DomainRecord, recheck: Duration, now: Timestamp) -> Duration {
    silence(record, recheck, now).clamp(FAILING_ZONE_RETRY, FAILING_ZONE_RETRY_MAX)
}

/// How long a zone has not answered, counted from the look that it should have answered.
fn silence(record: &DomainRecord, recheck: Duration, now: Timestamp) -> Duration {
    let last = record.dns.checked.map_or(Duration::ZERO, |at| now.saturating_since(at));
    last.saturating_sub(recheck)
}

/// Writes what a pre-flight found into a draft, before the DNS check that it belongs to; returns
/// what is to be told of it after that. `None`: nothing is new.
pub(super) fn note_preflight(draft: &mut super::Draft, tried: Option<Preflight>) -> Option<String> {
    let tried = tried.filter(|t| draft.record.ssl.facts.preflight.as_ref() != Some(t))?;
    let text = messages::preflight(&tried).en;
    draft.happens(SslEvent::Preflight(tried));
    Some(text)
}

#[cfg(test)]
mod tests;
