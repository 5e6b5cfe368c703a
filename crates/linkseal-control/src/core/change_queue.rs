//! Changes of one thing run one after the other within this process, so that conflicts, after which
//! a change has to be computed again, arise between nodes only.
//!
//! Tenants queue among themselves, and only the first of them queues with the others: however many
//! changes tenants ask for, an operator or an order waits for one of theirs at most.

use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::Actor;

/// Who wants to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// An operator, or linkseal itself.
    First,
    /// A caller limited to one tenant, or with a share link only.
    Tenant,
}

impl Rank {
    pub(crate) fn of(actor: &Actor) -> Self {
        match actor.tenant.is_some() || actor.is_guest() {
            true => Self::Tenant,
            false => Self::First,
        }
    }
}

/// The queues, by what is changed. A key without changes in progress has none.
#[derive(Debug)]
pub(crate) struct ChangeQueues<K: Eq + Hash> {
    queues: DashMap<K, Arc<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    all: Arc<Mutex<()>>,
    tenants: Arc<Mutex<()>>,
}

/// The right to change one thing, or a place in its queue; given back on drop.
#[derive(Debug)]
pub(crate) struct ChangeTurn<'a, K: Eq + Hash> {
    queues: &'a ChangeQueues<K>,
    key: K,
    /// Taken on drop.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    queue: Arc<Queue>,
    of_tenants: Option<OwnedMutexGuard<()>>,
    of_all: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Default for ChangeQueues<K> {
    fn default() -> Self {
        Self { queues: DashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> ChangeQueues<K> {
    /// Waits for the turn of this change.
    pub(crate) async fn enter(&self, key: K, rank: Rank) -> ChangeTurn<'_, K> {
        let queue = Arc::clone(&self.queues.entry(key.clone()).or_default());
        let (all, tenants) = (Arc::clone(&queue.all), Arc::clone(&queue.tenants));
        let held = Held {
            queue,
            of_tenants: None,
            of_all: None,
        };
        // From here on, a caller that is cancelled while it waits leaves nothing behind.
        let mut turn = ChangeTurn {
            queues: self,
            key,
            held: Some(held),
        };
        let of_tenants = match rank {
            Rank::First => None,
            Rank::Tenant => Some(tenants.lock_owned().await),
        };
        let of_all = all.lock_owned().await;
        if let Some(held) = &mut turn.held {
            (held.of_tenants, held.of_all) = (of_tenants, Some(of_all));
        }
        turn
    }
}

#[cfg(test)]
impl<K: Eq + Hash> ChangeQueues<K> {
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }
}

impl<K: Eq + Hash> Drop for ChangeTurn<'_, K> {
    fn drop(&mut self) {
        if let Some(Held {
            queue,
            of_tenants,
            of_all,
        }) = self.held.take()
        {
            drop((of_all, of_tenants, queue));
        }
        // The map holds the last reference: the key is not being changed any more.
        self.queues
            .queues
            .remove_if(&self.key, |_, queue| Arc::strong_count(queue) == 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_operator_waits_for_one_tenant_at_most() {
        let queues = ChangeQueues::default();
        let first = queues.enter("a", Rank::Tenant).await;
        let mut tenants: Vec<_> = (0..10).map(|_| Box::pin(queues.enter("a", Rank::Tenant))).collect();
        for tenant in &mut tenants {
            assert!(tenant.as_mut().now_or_never().is_none());
        }
        let mut operator = Box::pin(queues.enter("a", Rank::First));
        assert!(operator.as_mut().now_or_never().is_none());
        let other = queues.enter("b", Rank::Tenant).now_or_never();
        assert!(other.is_some(), "another name is independent");
        drop(first);
        for tenant in &mut tenants {
            assert!(tenant.as_mut().now_or_never().is_none());
        }
        let held = operator.as_mut().now_or_never().expect("the operator is next");
        drop(held);
        // One that is cancelled gives up its place.
        drop(tenants.remove(0));
        let second = tenants.remove(0).now_or_never();
        assert!(second.is_some());
        drop((second, tenants, other, operator));
        assert!(queues.queues.is_empty(), "nothing is left behind");
    }
}
