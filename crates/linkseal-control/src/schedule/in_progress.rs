//! The names being worked on: one task per name and node, from its preparation to the end of its order. All of
//! that is done under one lease, which makes it one task per fleet. Handshakes for the name wait for it.

use std::sync::Arc;
use std::time::Duration;

use dashmap::Entry;
use linkseal_domain::DomainName;
use linkseal_domain::cert::cache::CertificateAnswer;
use linkseal_store::StoreError;
use tokio::sync::{oneshot, watch};

use super::Schedule;
use super::scheduler::REST;
use crate::core::Priority;
use crate::core::leases::DomainLease;
use crate::fairness::urgency::Urgency;

/// A handshake that waits for a name in progress.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) reply: oneshot::Sender<CertificateAnswer>,
    /// Whether the name was in progress already when it came.
    pub(super) joined: bool,
}

/// The state of a name in progress.
pub(super) struct InProgress {
    asked: watch::Sender<Priority>,
    waiters: Vec<Waiter>,
    /// Its lease, while its order waits in the queue.
    lease: Option<DomainLease>,
}

impl InProgress {
    fn raise(&self, priority: Priority) {
        self.asked.send_if_modified(|asked| {
            let rises = priority > *asked;
            *asked = priority.max(*asked);
            rises
        });
    }
}

/// A domain whose order may be queued.
pub(super) struct Ready {
    pub(super) tenant: String,
    pub(super) priority: Priority,
}

/// How a name came to be taken up.
enum Taken {
    /// It was asked for; its lease is still to be taken.
    Wanted,
    /// It was due, and its lease was taken with that. It rests first if it was taken up a moment ago.
    Claimed { lease: DomainLease, rests: bool },
}

/// How often to look whether another node has obtained the certificate that handshakes wait for here.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Releases its name on drop, also after a panic, so that no name is stuck.
pub(crate) struct NameGuard {
    schedule: Arc<Schedule>,
    pub(crate) name: DomainName,
    queued: bool,
}

impl NameGuard {
    pub(crate) fn new(schedule: Arc<Schedule>, name: DomainName) -> Self {
        Self {
            schedule,
            name,
            queued: false,
        }
    }

    /// The lease under which the name has waited in the queue.
    pub(crate) fn take_lease(&self) -> Option<DomainLease> {
        self.schedule.in_progress.get_mut(&self.name)?.lease.take()
    }

    /// Moves the name into the queue, which keeps it in progress.
    fn queue(mut self, ready: &Ready, lease: DomainLease) {
        self.queued = true;
        let Schedule { queue, in_progress, .. } = &*self.schedule;
        if let Some(mut entry) = in_progress.get_mut(&self.name) {
            entry.lease = Some(lease);
        }
        queue.push(self.name.clone(), &ready.tenant, ready.priority);
        // It may have become more urgent since that was computed.
        if let Some(asked) = in_progress.get(&self.name).map(|entry| *entry.asked.borrow()) {
            queue.raise(&self.name, asked);
        }
    }
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        if !self.queued {
            self.schedule.release(&self.name);
        }
    }
}

impl Schedule {
    /// Starts the work on a name, unless it is in progress: then it becomes as urgent as `priority`.
    pub(crate) fn take_up(self: &Arc<Self>, name: DomainName, priority: Priority) {
        self.take_up_for(name, priority, None);
    }

    /// [`Schedule::take_up`] for a handshake, which is answered when the work has ended.
    pub(super) fn take_up_for(self: &Arc<Self>, name: DomainName, priority: Priority, waiter: Option<Waiter>) {
        self.begin(name, priority, waiter, Taken::Wanted);
    }

    /// Starts the work on a due name under the lease with which it was claimed, after a rest if it `rests`.
    pub(super) fn take_up_claimed(self: &Arc<Self>, lease: DomainLease, rests: bool) {
        self.begin(
            lease.name().clone(),
            Priority::Bulk,
            None,
            Taken::Claimed { lease, rests },
        );
    }

    fn begin(self: &Arc<Self>, name: DomainName, priority: Priority, waiter: Option<Waiter>, taken: Taken) {
        match self.in_progress.entry(name.clone()) {
            Entry::Occupied(mut entry) => {
                // The work may have been decided before what this handshake saw was stored.
                let joined = waiter.map(|w| Waiter { joined: true, ..w });
                entry.get_mut().waiters.extend(joined);
                entry.get().raise(priority);
                if let Taken::Claimed { lease, .. } = taken {
                    self.renew_with(entry.get_mut(), lease);
                }
                drop(entry);
                self.queue.raise(&name, priority);
            }
            Entry::Vacant(entry) => {
                let (asked, urgency) = watch::channel(priority);
                let waiters = waiter.into_iter().collect();
                entry.insert(InProgress {
                    asked,
                    waiters,
                    lease: None,
                });
                let schedule = Arc::clone(self);
                self.core.tasks.spawn(async move {
                    let guard = NameGuard::new(schedule, name);
                    let (schedule, name) = (&guard.schedule, &guard.name);
                    match schedule.process(name, taken, urgency.into()).await {
                        Ok(Some((ready, lease))) => guard.queue(&ready, lease),
                        Ok(None) => {}
                        // The store has logged the unreadable record; or the domain was purged meanwhile.
                        Err(StoreError::Unreadable { .. } | StoreError::Fenced | StoreError::NotFound) => {}
                        Err(error) => schedule.core.store_failed("process due domains", Some(name), &error),
                    }
                });
            }
        }
    }

    /// A name in progress was claimed: its work has lost the lease, such as after a pause of the whole process. An order
    /// in the queue goes on under the new one; work that runs ends, and the name is due again then.
    fn renew_with(&self, entry: &mut InProgress, claimed: DomainLease) {
        match &mut entry.lease {
            Some(queued) if queued.is_lost() => *queued = claimed,
            _ => drop(self.core.tasks.spawn(claimed.release())),
        }
    }

    /// Prepares a name under its lease, which goes with it into the queue. `None`: nothing is to be ordered, or
    /// another node works on it.
    async fn process(
        self: &Arc<Self>,
        name: &DomainName,
        taken: Taken,
        urgency: Urgency,
    ) -> Result<Option<(Ready, DomainLease)>, StoreError> {
        let lease = match taken {
            Taken::Claimed { lease, rests } => {
                if rests {
                    tokio::time::sleep(REST).await;
                }
                lease
            }
            Taken::Wanted => match self.lease_for(name).await? {
                Some(lease) => lease,
                None => return Ok(None),
            },
        };
        let prepared = Box::pin(self.prepare(name, lease.fence(), urgency));
        match lease.run(prepared).await {
            Ok(Some(ready)) => Ok(Some((ready, lease))),
            Err(StoreError::Fenced) => Err(StoreError::Fenced),
            ended => {
                lease.release().await?;
                ended.map(|_| None)
            }
        }
    }

    /// The lease on a name. While another node has it, handshakes wait here for what that node orders; `None` once
    /// it has stored a certificate, or none waits.
    async fn lease_for(&self, name: &DomainName) -> Result<Option<DomainLease>, StoreError> {
        loop {
            if let Some(lease) = self.core.leases.acquire(name).await? {
                return Ok(Some(lease));
            }
            if !self.is_waited_for(name) {
                return Ok(None);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            if self.has_arrived(name).await? {
                return Ok(None);
            }
        }
    }

    /// Whether a handshake still waits for the name.
    fn is_waited_for(&self, name: &DomainName) -> bool {
        let is_open = |waiter: &Waiter| !waiter.reply.is_closed();
        self.in_progress
            .get(name)
            .is_some_and(|entry| entry.waiters.iter().any(is_open))
    }

    /// Ends the work on a name and answers the handshakes that wait for it.
    fn release(self: &Arc<Self>, name: &DomainName) {
        let waiters = self.in_progress.remove(name).map(|(_, entry)| entry.waiters);
        let certificates = &self.core.certificates;
        let valid = certificates.cached(name, self.core.clock.now());
        let is_valid = valid.is_some();
        // An expired certificate is better than none.
        let certificate = valid.or_else(|| certificates.held(name));
        let answer = certificate.map_or(CertificateAnswer::None, CertificateAnswer::Ready);
        for waiter in waiters.unwrap_or_default() {
            if waiter.joined && !is_valid {
                self.answer_again(name.clone(), waiter.reply);
            } else {
                // The handshake may have been cancelled.
                drop(waiter.reply.send(answer.clone()));
            }
        }
        self.core.wake.notify_one();
    }

    pub(super) fn is_in_progress(&self, name: &DomainName) -> bool {
        self.in_progress.contains_key(name)
    }

    /// How many names are in progress.
    pub(super) fn in_progress_len(&self) -> usize {
        self.in_progress.len()
    }
}
