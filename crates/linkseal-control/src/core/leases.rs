//! The leases on domains that this process holds: work on a domain goes on only while its lease holds, from its
//! preparation to the end of its order.
//!
//! One task renews all of them in one call. A lease that the store no longer knows, or that could not be renewed
//! in time, is lost: the work under it ends at its next await point. Its writes would be refused by the fence
//! in any case, but its calls to a CA would not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_domain::DomainName;
use linkseal_store::{Fence, Lease, LeaseKey, Owner, SharedStore, StoreError};
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Core;

/// How long a lease lasts unless it is renewed: if its node dies, another one goes on after that.
pub(crate) const TTL: Duration = Duration::from_secs(60);
/// How often leases are renewed.
const RENEW: Duration = Duration::from_secs(20);
/// A lease that was not renewed for this long is lost: its holder stops a fifth of [`TTL`] before another node
/// can begin.
const KEPT: Duration = Duration::from_secs(48);
/// Wait after a renewal failed.
const RETRY: Duration = Duration::from_secs(1);
/// The longest wait for the answer to a renewal, and the shortest.
const ANSWER: Duration = Duration::from_secs(10);
const ANSWER_MIN: Duration = Duration::from_secs(1);

/// The leases in hand.
pub(crate) struct Leases {
    store: SharedStore,
    clock: Clock,
    owner: Owner,
    held: Mutex<HashMap<DomainName, Held>>,
}

struct Held {
    fence: Fence,
    /// The process's uptime before the call that granted or renewed it last.
    renewed: Duration,
    lost: CancellationToken,
}

impl Leases {
    pub(super) fn new(store: SharedStore, clock: Clock, owner: Owner) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            owner,
            held: Mutex::default(),
        })
    }

    /// Takes the lease on a domain. `None`: another node works on it.
    pub(crate) async fn acquire(self: &Arc<Self>, name: &DomainName) -> Result<Option<DomainLease>, StoreError> {
        let begun = self.clock.uptime();
        let key = LeaseKey::Domain(name.clone());
        let fence = self.store.acquire_lease(&key, self.owner, TTL).await?;
        Ok(fence.map(|fence| self.hold(name.clone(), fence, begun)))
    }

    /// Takes the leases on domains that are due, most overdue first.
    pub(crate) async fn claim_due(self: &Arc<Self>, limit: usize) -> Result<Vec<DomainLease>, StoreError> {
        let begun = self.clock.uptime();
        let claims = self.store.claim_due(self.owner, TTL, limit).await?;
        let hold = |claim: linkseal_store::Claim| self.hold(claim.name, claim.fence, begun);
        Ok(claims.into_iter().map(hold).collect())
    }

    fn hold(self: &Arc<Self>, name: DomainName, fence: Fence, renewed: Duration) -> DomainLease {
        let lease = DomainLease {
            leases: Arc::clone(self),
            name,
            fence,
            lost: CancellationToken::new(),
        };
        let mut held = self.held.lock();
        match held.get(&lease.name) {
            // Two calls at once, whose answers came in the other order.
            Some(newer) if newer.fence.number > fence.number => lease.lost.cancel(),
            before => {
                // A grant ends the one before: whatever is still done under that has lost its lease.
                if let Some(before) = before {
                    before.lost.cancel();
                }
                let lost = lease.lost.clone();
                held.insert(lease.name.clone(), Held { fence, renewed, lost });
            }
        }
        drop(held);
        lease
    }

    /// Renews all of them; those that do not hold are lost.
    pub(crate) async fn renew(&self) -> Result<(), StoreError> {
        let (begun, leases, oldest) = {
            let (all, now) = (self.held.lock(), self.clock.uptime());
            let held = || all.iter().filter(|(_, held)| !held.lost.is_cancelled());
            let leases: Vec<Lease> = held().map(|(name, held)| lease(name, held.fence)).collect();
            let oldest = held().map(|(_, held)| held.renewed).min();
            (now, leases, oldest)
        };
        let Some(oldest) = oldest else { return Ok(()) };
        let left = (oldest + KEPT).saturating_sub(begun).clamp(ANSWER_MIN, ANSWER);
        let answer = timeout(left, self.store.renew_leases(&leases, TTL)).await;
        let silent = |_| Err(StoreError::Unavailable("it has not answered in time".into()));
        let answer = answer.unwrap_or_else(silent);
        let mut held = self.held.lock();
        let mut lost = 0;
        let result = match answer {
            Ok(renewed) => {
                let renewed: HashSet<Lease> = renewed.into_iter().collect();
                for asked in &leases {
                    let LeaseKey::Domain(name) = &asked.key else { continue };
                    match held.get_mut(name).filter(|held| held.fence == asked.fence) {
                        Some(held) if renewed.contains(asked) => held.renewed = begun,
                        Some(held) => {
                            held.lost.cancel();
                            lost += 1;
                        }
                        // Released, or granted again, meanwhile.
                        None => {}
                    }
                }
                Ok(())
            }
            Err(error) => {
                let now = self.clock.uptime();
                let is_late = |held: &&Held| now.saturating_sub(held.renewed) >= KEPT && !held.lost.is_cancelled();
                for late in held.values().filter(is_late) {
                    late.lost.cancel();
                    lost += 1;
                }
                Err(error)
            }
        };
        drop(held);
        if lost > 0 {
            tracing::warn!(
                domains = lost,
                "leases lost; work on these domains stops here, and another node takes it up"
            );
        }
        result
    }
}

fn lease(name: &DomainName, fence: Fence) -> Lease {
    Lease {
        key: LeaseKey::Domain(name.clone()),
        fence,
    }
}

/// The lease on a domain. It is renewed as long as this exists; if it is dropped without [`Self::release`], it
/// ends after [`TTL`].
pub(crate) struct DomainLease {
    leases: Arc<Leases>,
    name: DomainName,
    fence: Fence,
    lost: CancellationToken,
}

impl DomainLease {
    pub(crate) fn name(&self) -> &DomainName {
        &self.name
    }

    pub(crate) fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether it no longer holds, as far as is known.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Does work for as long as the lease holds; [`StoreError::Fenced`] once it is lost.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(StoreError::Fenced),
            result = work => result,
        }
    }

    /// Ends the lease: the domain is due again as its record says.
    pub(crate) async fn release(self) -> Result<(), StoreError> {
        self.leases.store.release_lease(&lease(&self.name, self.fence)).await
    }
}

impl Drop for DomainLease {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock();
        if held.get(&self.name).is_some_and(|held| held.fence == self.fence) {
            held.remove(&self.name);
        }
    }
}

impl Core {
    /// Renews the leases in hand until shutdown.
    pub(crate) async fn keep_leases(self: Arc<Self>) {
        loop {
            let wait = match self.leases.renew().await {
                Ok(()) => RENEW,
                Err(error) => {
                    self.store_failed("renew leases", None, &error);
                    RETRY
                }
            };
            self.clock.sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests;
