//! The right to hold one connection, and the right to wait for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use linkseal_net::shares::Entered;

use super::bounds::{Bounds, LimitReached};
use super::counts::{Counts, more, owners};
use crate::Listener;
use crate::fair::FairPlace;
use crate::presence::Presence;

/// The right to hold one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    inner: Arc<Counts>,
    listener: Listener,
    brief: bool,
    /// `None` until it is counted for its client.
    counted: Option<(IpAddr, Arc<Presence>)>,
}

/// A place among the connections that wait for room; given back when dropped.
#[derive(Debug)]
pub(crate) enum Newcomer {
    /// Of a known client. It may go to another network when the room is full.
    Named(FairPlace),
    /// Of a client that its balancer has not named yet.
    Unnamed(#[expect(dead_code, reason = "held until it is dropped")] Entered),
}

impl Newcomer {
    /// Waits for `room`, or until the place goes to another network: then the default.
    pub(crate) async fn unless_taken_away<T: Default>(&self, room: impl Future<Output = T>) -> T {
        match self {
            Self::Unnamed(_) => room.await,
            Self::Named(place) => tokio::select! {
                biased;
                found = room => found,
                () = place.taken_away() => T::default(),
            },
        }
    }
}

impl Permit {
    pub(super) fn new(inner: Arc<Counts>, listener: Listener, brief: bool) -> Self {
        Self {
            inner,
            listener,
            brief,
            counted: None,
        }
    }

    /// Counts the connection for its client, once that is known. On port 80 a client that has its share
    /// gets a place of the reserve.
    pub(crate) fn count_for(&mut self, from: IpAddr) -> Result<(), LimitReached> {
        let counted = self.inner.count(from, self.brief);
        if counted.is_err() && self.listener == Listener::Http && !self.brief {
            let reserve = self.inner.bounds().reserve();
            if more(&self.inner.brief, reserve) {
                if self.inner.count(from, true).is_ok() {
                    self.inner.open.fetch_sub(1, Ordering::Relaxed);
                    self.brief = true;
                    self.set_counted(from);
                    return Ok(());
                }
                self.inner.brief.fetch_sub(1, Ordering::Relaxed);
            }
        }
        counted?;
        self.set_counted(from);
        Ok(())
    }

    /// As [`Permit::count_for`], once another connection of that client or network makes way.
    pub(crate) async fn count_for_soon(&mut self, from: IpAddr, limit: LimitReached) -> bool {
        let inner = Arc::clone(&self.inner);
        let take = |beyond: bool| {
            if !beyond {
                return self.count_for(from).ok();
            }
            let all = Bounds {
                max: usize::MAX,
                per_address: usize::MAX,
                per_network: usize::MAX,
            };
            let counted = self.inner.count_within(from, self.brief, all).ok();
            counted.inspect(|()| self.set_counted(from))
        };
        inner.soon(limit, from, take).await.is_some()
    }

    /// `None` until the connection is counted.
    pub(crate) fn presence(&self) -> Option<&Arc<Presence>> {
        self.counted.as_ref().map(|(_, presence)| presence)
    }

    fn set_counted(&mut self, from: IpAddr) {
        let presence = Arc::new(Presence::new(from, self.brief));
        self.inner.holders.enter(&presence);
        self.counted = Some((from, presence));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = if self.brief {
            &self.inner.brief
        } else {
            &self.inner.open
        };
        count.fetch_sub(1, Ordering::Relaxed);
        if let Some((from, presence)) = &self.counted {
            self.inner.holders.leave(presence);
            for owner in owners(*from, self.brief) {
                self.inner.remove(owner);
            }
        }
        self.inner.freed.notify_one();
    }
}
