//! A bounded number of places that many want at the same time, and who gets one.
//!
//! DNS checks, reports, pre-flights and requests for renewal information each have their places. Four
//! rules say who gets one:
//!
//! 1. **Priority before arrival.** The higher priority goes first, and each priority leaves some
//!    places free for those above it: bulk work never fills the places in front of a certificate that
//!    is about to expire.
//! 2. **A share each.** An owner (a tenant, a zone, a token) takes another place only while it has
//!    fewer than are still free; a zone or a token, fewer than half of that. So a single owner gets
//!    half of the places, two get a third each, and an owner without any always finds one.
//! 3. **Fewest first.** Among waiters of one priority that may have a place, the one whose owners have
//!    the fewest goes first, and then the one that came first. A name whose owner has its full share
//!    does not delay the names of other owners.
//! 4. **Silent zones wait elsewhere** (`checks::places`): a check without an answer after a second
//!    gives its place back and goes on in another set of places.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::core::Priority;

/// Whose share a place counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// A tenant; empty for the platform itself.
    Tenant(Arc<str>),
    /// A registered domain: its name servers may not answer.
    Zone(Arc<str>),
    /// A token of the admin port.
    Token(Arc<str>),
}

impl Owner {
    /// How many times smaller its share is than a tenant's, which has several zones.
    fn parts(&self) -> usize {
        match self {
            Self::Tenant(_) => 1,
            Self::Zone(_) | Self::Token(_) => 2,
        }
    }
}

/// A number of places. Clones share them.
#[derive(Clone)]
pub(crate) struct Lanes {
    inner: Arc<Inner>,
}

struct Inner {
    places: usize,
    /// Places that each priority leaves free for the next higher one.
    reserve: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    held: HashMap<Owner, usize>,
    /// In order of arrival.
    waiting: Vec<Waiter>,
}

struct Waiter {
    priority: Priority,
    owners: Vec<Owner>,
    place: oneshot::Sender<Place>,
}

/// A place in use; dropping it frees the place.
pub(crate) struct Place {
    inner: Arc<Inner>,
    owners: Vec<Owner>,
}

impl Lanes {
    /// Creates `places`; each priority leaves `reserve` of them to the next higher one.
    pub(crate) fn new(places: usize, reserve: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                places,
                reserve,
                state: Mutex::default(),
            }),
        }
    }

    /// Waits for a place. It is cancel-safe.
    pub(crate) async fn enter(&self, priority: Priority, owners: Vec<Owner>) -> Place {
        let (sender, place) = oneshot::channel();
        self.inner.state.lock().waiting.push(Waiter {
            priority,
            owners: owners.clone(),
            place: sender,
        });
        self.inner.grant();
        match place.await {
            Ok(place) => place,
            // A waiter is only dropped when its receiver is, and this one is not.
            Err(_) => std::future::pending().await,
        }
    }

    /// A place, if one is free for these owners now.
    pub(crate) fn try_enter(&self, priority: Priority, owners: &[Owner]) -> Option<Place> {
        let mut state = self.inner.state.lock();
        if !state.may_enter(owners, self.inner.free_for(priority, state.taken)) {
            return None;
        }
        state.take(owners);
        Some(Place {
            inner: Arc::clone(&self.inner),
            owners: owners.to_vec(),
        })
    }

    /// How many waiters there are.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.inner.state.lock().waiting.len()
    }
}

impl Inner {
    /// How many places are free at this priority.
    fn free_for(&self, priority: Priority, taken: usize) -> usize {
        let above = Priority::ALL.iter().take_while(|p| **p != priority).count();
        self.places.saturating_sub(self.reserve * above).saturating_sub(taken)
    }

    /// Gives places to waiters as far as the rules allow.
    fn grant(self: &Arc<Self>) {
        loop {
            let granted = {
                let mut state = self.state.lock();
                state.waiting.retain(|w| !w.place.is_closed());
                let Some(next) = self.next(&state) else { return };
                let waiter = state.waiting.remove(next);
                state.take(&waiter.owners);
                waiter
            };
            let place = Place {
                inner: Arc::clone(self),
                owners: granted.owners,
            };
            // If the waiter has just been cancelled, dropping the place frees it.
            drop(granted.place.send(place));
        }
    }

    /// The index of the next waiter to get a place.
    fn next(&self, state: &State) -> Option<usize> {
        let free = Priority::ALL.map(|p| self.free_for(p, state.taken));
        let may = state.waiting.iter().enumerate().filter(|(_, waiter)| {
            let lane = Priority::ALL.iter().position(|p| *p == waiter.priority);
            let free = lane.and_then(|lane| free.get(lane)).copied().unwrap_or(0);
            state.may_enter(&waiter.owners, free)
        });
        let rank = |(at, waiter): &(usize, &Waiter)| {
            let holds = waiter.owners.iter().map(|o| state.held_by(o)).max();
            (std::cmp::Reverse(waiter.priority), holds, *at)
        };
        may.min_by_key(rank).map(|(at, _)| at)
    }
}

impl State {
    fn held_by(&self, owner: &Owner) -> usize {
        self.held.get(owner).copied().unwrap_or(0)
    }

    fn may_enter(&self, owners: &[Owner], free: usize) -> bool {
        free > 0 && owners.iter().all(|o| self.held_by(o) * o.parts() < free)
    }

    fn take(&mut self, owners: &[Owner]) {
        self.taken += 1;
        for owner in owners {
            *self.held.entry(owner.clone()).or_default() += 1;
        }
    }

    fn give_back(&mut self, owners: &[Owner]) {
        self.taken -= 1;
        for owner in owners {
            if let Some(held) = self.held.get_mut(owner) {
                *held -= 1;
                if *held == 0 {
                    self.held.remove(owner);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.state.lock().give_back(&self.owners);
        self.inner.grant();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    const PLACES: usize = 16;
    const RESERVE: usize = 2;

    fn tenant(n: usize) -> Owner {
        Owner::Tenant(format!("t{n}").into())
    }

    fn zone(n: usize) -> Owner {
        Owner::Zone(format!("z{n}").into())
    }

    type Entering = Pin<Box<dyn Future<Output = Place> + Send>>;

    /// A client that waits for a place or has one.
    struct Client {
        priority: Priority,
        owners: Vec<Owner>,
        waits: Option<Entering>,
        place: Option<Place>,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(usize, usize, usize),
        /// A client gives its place back, or stops waiting.
        Leave(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4usize, 0..4usize, 0..6usize).prop_map(|(p, t, z)| Step::Enter(p, t, z)),
            2 => any::<usize>().prop_map(Step::Leave),
        ]
    }

    fn held(clients: &[Client], owner: &Owner) -> usize {
        let has = |c: &&Client| c.place.is_some() && c.owners.contains(owner);
        clients.iter().filter(has).count()
    }

    proptest! {
        #[test]
        fn shares_and_reserves_hold_and_no_place_is_lost(steps in prop::collection::vec(step(), 1..200)) {
            let lanes = Lanes::new(PLACES, RESERVE);
            let mut clients: Vec<Client> = Vec::new();
            for step in steps {
                match step {
                    Step::Enter(p, t, z) => {
                        let (priority, owners) = (Priority::ALL[p], vec![tenant(t), zone(z)]);
                        let (own, all) = (owners.clone(), lanes.clone());
                        let waits: Entering = Box::pin(async move { all.enter(priority, own).await });
                        clients.push(Client { priority, owners, waits: Some(waits), place: None });
                    }
                    Step::Leave(n) if !clients.is_empty() => {
                        clients.remove(n % clients.len());
                    }
                    Step::Leave(_) => {}
                }
                for client in &mut clients {
                    if let Some(place) = client.waits.as_mut().and_then(|w| w.now_or_never()) {
                        (client.place, client.waits) = (Some(place), None);
                    }
                }
                let taken = clients.iter().filter(|c| c.place.is_some()).count();
                prop_assert_eq!(lanes.inner.state.lock().taken, taken, "no place is lost or invented");
                prop_assert!(taken <= PLACES);
                for (above, priority) in Priority::ALL.into_iter().enumerate() {
                    let at_most = PLACES - RESERVE * above;
                    let lower = clients.iter().filter(|c| c.place.is_some() && c.priority <= priority).count();
                    prop_assert!(lower <= at_most, "{lower} places of {priority:?} and below");
                    for waiter in clients.iter().filter(|c| c.waits.is_some() && c.priority == priority) {
                        let free = at_most.saturating_sub(taken);
                        let has_share = waiter.owners.iter().any(|o| held(&clients, o) * o.parts() >= free);
                        prop_assert!(free == 0 || has_share, "no waiter is left that could have a place");
                    }
                }
                for n in 0..6 {
                    prop_assert!(held(&clients, &tenant(n)) <= PLACES / 2, "half of all at most");
                    prop_assert!(held(&clients, &zone(n)) <= PLACES / 3 + 1, "a third of all at most");
                }
            }
            drop(clients);
            prop_assert!(lanes.try_enter(Priority::Bulk, &[]).is_some());
            let state = lanes.inner.state.lock();
            prop_assert_eq!((state.taken, state.held.len()), (0, 0));
        }
    }

    fn enter(lanes: &Lanes, priority: Priority, owners: &[Owner]) -> Option<Place> {
        lanes.enter(priority, owners.to_vec()).now_or_never()
    }

    #[test]
    fn one_owner_leaves_places_to_the_others() {
        let lanes = Lanes::new(64, 4);
        let crowd = |_| enter(&lanes, Priority::Bulk, &[tenant(0)]);
        let places: Vec<_> = (0..600).filter_map(crowd).collect();
        assert_eq!(places.len(), 26, "half of the 52 that bulk may have");
        assert!(enter(&lanes, Priority::Bulk, &[tenant(1)]).is_some());
        // One zone of a tenant leaves places to its others.
        let lanes = Lanes::new(64, 4);
        let crowd = |_| enter(&lanes, Priority::Bulk, &[tenant(0), zone(0)]);
        let places: Vec<_> = (0..600).filter_map(crowd).collect();
        assert_eq!(places.len(), 18);
        assert!(enter(&lanes, Priority::Bulk, &[tenant(0), zone(1)]).is_some());
    }

    #[test]
    fn bulk_work_of_all_owners_together_leaves_the_upper_priorities_their_places() {
        let lanes = Lanes::new(64, 4);
        let crowd = |n| enter(&lanes, Priority::Bulk, &[tenant(n)]);
        let mut places: Vec<_> = (0..600).filter_map(crowd).collect();
        assert_eq!(places.len(), 52);
        for (n, priority) in [Priority::Verify, Priority::Handshake, Priority::Expiring]
            .into_iter()
            .enumerate()
        {
            let crowd = |i| enter(&lanes, priority, &[tenant(1_000 * (n + 1) + i)]);
            let more: Vec<_> = (0..600).filter_map(crowd).collect();
            assert_eq!(more.len(), 4, "{priority:?}");
            places.extend(more);
        }
    }

    #[tokio::test]
    async fn the_higher_priority_goes_first_and_then_the_owner_with_fewest_places() {
        let lanes = Lanes::new(3, 0);
        let one = lanes.enter(Priority::Bulk, vec![tenant(0)]).await;
        let others = [
            lanes.enter(Priority::Bulk, vec![tenant(1)]).await,
            lanes.enter(Priority::Bulk, vec![tenant(2)]).await,
        ];
        let mut crowd = Box::pin(lanes.enter(Priority::Bulk, vec![tenant(1)]));
        let mut gone = Box::pin(lanes.enter(Priority::Expiring, vec![tenant(8)]));
        let mut newcomer = Box::pin(lanes.enter(Priority::Bulk, vec![tenant(3)]));
        let mut handshake = Box::pin(lanes.enter(Priority::Handshake, vec![tenant(4)]));
        for waits in [&mut crowd, &mut gone, &mut newcomer, &mut handshake] {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        drop(gone);
        drop(one);
        let first = handshake.now_or_never().expect("the highest priority that still waits");
        assert!(newcomer.as_mut().now_or_never().is_none());
        drop(first);
        assert!(
            newcomer.now_or_never().is_some(),
            "its owner has no place, that of the crowd has one"
        );
        assert!(
            crowd.as_mut().now_or_never().is_none(),
            "the crowd's owner has its share"
        );
        drop(others);
        assert!(crowd.now_or_never().is_some());
    }
}
