//! The names being worked on: one task per name and node (in a fleet, its lease makes it one per
//! fleet), from its preparation to the end of its order. Handshakes for the name wait for it.

use std::sync::Arc;

use dashmap::Entry;
use linkseal_domain::DomainName;
use linkseal_domain::cert::cache::CertificateAnswer;
use linkseal_store::StoreError;
use tokio::sync::{oneshot, watch};

use super::Schedule;
use crate::core::Priority;

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

    /// Moves the name into the queue, which keeps it in progress.
    fn queue(mut self, ready: &Ready) {
        self.queued = true;
        let Schedule { queue, in_progress, .. } = &*self.schedule;
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
        match self.in_progress.entry(name.clone()) {
            Entry::Occupied(mut entry) => {
                // The work may have been decided before what this handshake saw was stored.
                let joined = waiter.map(|w| Waiter { joined: true, ..w });
                entry.get_mut().waiters.extend(joined);
                entry.get().raise(priority);
                drop(entry);
                self.queue.raise(&name, priority);
            }
            Entry::Vacant(entry) => {
                let (asked, urgency) = watch::channel(priority);
                let waiters = waiter.into_iter().collect();
                entry.insert(InProgress { asked, waiters });
                let schedule = Arc::clone(self);
                self.core.tasks.spawn(async move {
                    let guard = NameGuard::new(schedule, name);
                    let (schedule, name) = (&guard.schedule, &guard.name);
                    match schedule.prepare(name, urgency.into()).await {
                        Ok(Some(ready)) => guard.queue(&ready),
                        Ok(None) => {}
                        // The store has logged the unreadable record; or the domain was purged meanwhile.
                        Err(StoreError::Unreadable { .. } | StoreError::Fenced | StoreError::NotFound) => {}
                        Err(error) => schedule.core.store_failed("process due domains", Some(name), &error),
                    }
                });
            }
        }
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
