//! Changes of one thing follow one another within this process, so that none of them has to be
//! computed again because another was faster; conflicts arise between nodes only.
//!
//! Tenants stand in a line of their own, whose first alone stands in the common one: however many
//! changes tenants ask for, an operator or an order waits for one of theirs at most.

use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::input::Actor;

/// Who wants to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// An operator, or linkseal itself.
    First,
    /// Whoever is kept to one tenant, or has but a link.
    Tenant,
}

impl Rank {
    pub(super) fn of(actor: &Actor) -> Self {
        match actor.tenant.is_some() || actor.is_guest() {
            true => Self::Tenant,
            false => Self::First,
        }
    }
}

/// The lines, by what is changed. Only what is being changed has one.
#[derive(Debug)]
pub(super) struct Lines<K: Eq + Hash> {
    lines: DashMap<K, Arc<Line>>,
}

#[derive(Debug, Default)]
struct Line {
    all: Arc<Mutex<()>>,
    tenants: Arc<Mutex<()>>,
}

/// The right to change it, or to wait for that; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a, K: Eq + Hash> {
    lines: &'a Lines<K>,
    key: K,
    /// Taken when it is given back.
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    line: Arc<Line>,
    of_tenant: Option<OwnedMutexGuard<()>>,
    of_all: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Default for Lines<K> {
    fn default() -> Self {
        let lines = DashMap::new();
        Self { lines }
    }
}

impl<K: Eq + Hash + Clone> Lines<K> {
    /// Waits until it is this one's turn.
    pub(super) async fn enter(&self, key: K, rank: Rank) -> Turn<'_, K> {
        let line = Arc::clone(&self.lines.entry(key.clone()).or_default());
        let (all, tenants) = (Arc::clone(&line.all), Arc::clone(&line.tenants));
        let held = Held {
            line,
            of_tenant: None,
            of_all: None,
        };
        // From here on, whoever goes away while it waits leaves nothing behind.
        let mut turn = Turn {
            lines: self,
            key,
            held: Some(held),
        };
        let of_tenant = match rank {
            Rank::First => None,
            Rank::Tenant => Some(tenants.lock_owned().await),
        };
        let of_all = all.lock_owned().await;
        if let Some(held) = &mut turn.held {
            (held.of_tenant, held.of_all) = (of_tenant, Some(of_all));
        }
        turn
    }
}

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        if let Some(Held {
            line,
            of_tenant,
            of_all,
        }) = self.held.take()
        {
            drop((of_all, of_tenant, line));
        }
        // The map's own is the last: it is not being changed any more.
        self.lines
            .lines
            .remove_if(&self.key, |_, line| Arc::strong_count(line) == 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::super::input::Patch;
    use super::super::tests::{Bench, actor, name};
    use super::super::{NewDomain, OperatorError};
    use super::*;

    #[tokio::test]
    async fn an_operator_waits_for_one_tenant_at_most() {
        let lines = Lines::default();
        let first = lines.enter("a", Rank::Tenant).await;
        let mut tenants: Vec<_> = (0..10).map(|_| Box::pin(lines.enter("a", Rank::Tenant))).collect();
        for tenant in &mut tenants {
            assert!(tenant.as_mut().now_or_never().is_none());
        }
        let mut operator = Box::pin(lines.enter("a", Rank::First));
        assert!(operator.as_mut().now_or_never().is_none());
        let other = lines.enter("b", Rank::Tenant).now_or_never();
        assert!(other.is_some(), "another name is none of its business");
        drop(first);
        for tenant in &mut tenants {
            assert!(tenant.as_mut().now_or_never().is_none());
        }
        let held = operator.as_mut().now_or_never().expect("the operator is next");
        drop(held);
        // Whoever goes away leaves its place.
        drop(tenants.remove(0));
        let second = tenants.remove(0).now_or_never();
        assert!(second.is_some());
        drop((second, tenants, other, operator));
        assert!(lines.lines.is_empty(), "nothing is left of those who have gone");
    }

    #[tokio::test]
    async fn changes_of_one_name_at_the_same_time_are_all_made() {
        let bench = Bench::new().await;
        let (control, name) = (&bench.control, name("links.customer.example"));
        let new = NewDomain {
            name: name.clone(),
            tenant: Some("acme".into()),
            sending_domain: None,
            records: None,
        };
        control.register(new, &actor()).await.unwrap();
        let of_tenant = Actor {
            tenant: Some("acme".into()),
            ..actor()
        };
        let changes = (0..200).map(|n| {
            let (of_tenant, name) = (&of_tenant, &name);
            async move {
                if n % 20 == 0 {
                    control.verify(name, of_tenant).await?;
                    return Ok::<_, OperatorError>(());
                }
                let patch = Patch {
                    fallback_url: Some(Some(format!("https://customer.example/{n}"))),
                    ..Patch::default()
                };
                control.patch(name, patch, of_tenant).await.map(drop)
            }
        });
        let operator = actor();
        let pause = async {
            let patch = Patch {
                paused: Some(true),
                ..Patch::default()
            };
            control.patch(&name, patch, &operator).await
        };
        let (changed, paused) = futures_util::join!(join_all(changes), pause);
        assert!(paused.expect("an operator's change").paused.is_some());
        for change in changed {
            change.expect("none is refused for another's sake");
        }
        assert!(control.inner.changing.lines.is_empty());
    }
}
