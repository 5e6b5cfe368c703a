//! How many connections may be open: in all, of one address, of one network.
//!
//! When a limit is reached, another connection makes way (`displace`). A part is reserved for port 80: a
//! connection there that finds all else taken gets one request and little time, so that challenges and
//! health checks always get in.

mod bounds;
mod counts;
mod displace;
mod permit;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use linkseal_net::shares::Room;
use tokio::sync::Notify;

pub use self::bounds::Bounds;
pub(crate) use self::bounds::LimitReached;
use self::counts::{Counts, more};
use self::displace::Holders;
pub(crate) use self::permit::{Newcomer, Permit};
use super::Listener;
use super::fair::FairRoom;

/// How many connections may wait at once in each of the three rooms, in all and of one network.
pub const NEWCOMERS: usize = 1024;
const NEWCOMERS_OF_NETWORK: usize = 32;
/// How often a reached limit is logged.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The limits, and what is open. Clones share both.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Counts>,
}

impl Limits {
    /// At most `max` connections, with the usual shares.
    pub fn new(max: usize) -> Self {
        Self::with(Bounds::of(max))
    }

    /// At most `max` connections, and `max_per_address` from one address.
    #[cfg(test)]
    pub(crate) fn with_address_limit(max: usize, max_per_address: usize) -> Self {
        Self::with(Bounds {
            max,
            per_address: max_per_address,
            per_network: max,
        })
    }

    pub fn with(bounds: Bounds) -> Self {
        Self::with_newcomers(bounds, NEWCOMERS)
    }

    /// `newcomers`: how many connections may wait in each of the three rooms. They are open in addition to
    /// those that the bounds count.
    pub fn with_newcomers(bounds: Bounds, newcomers: usize) -> Self {
        let inner = Counts {
            max: bounds.max.into(),
            per_address: bounds.per_address.into(),
            per_network: bounds.per_network.into(),
            open: 0.into(),
            brief: 0.into(),
            owners: DashMap::new(),
            holders: Holders::default(),
            newcomers: FairRoom::new(newcomers, NEWCOMERS_OF_NETWORK),
            strangers: FairRoom::new(newcomers, NEWCOMERS_OF_NETWORK),
            unnamed: Room::new(newcomers, newcomers),
            freed: Notify::new(),
            start: Instant::now(),
            warned: 0.into(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Changes the bounds. Open connections stay open.
    pub fn set(&self, bounds: Bounds) {
        self.inner.max.store(bounds.max, Ordering::Relaxed);
        self.inner.per_address.store(bounds.per_address, Ordering::Relaxed);
        self.inner.per_network.store(bounds.per_network, Ordering::Relaxed);
    }

    /// A permit for one more connection; it is counted for its client later ([`Permit::count_for`]).
    pub(crate) fn permit(&self, listener: Listener) -> Result<Permit, LimitReached> {
        let bounds = self.inner.bounds();
        if more(&self.inner.open, bounds.ordinary().max) {
            return Ok(self.permit_of(listener, false));
        }
        if listener == Listener::Http && more(&self.inner.brief, bounds.reserve()) {
            return Ok(self.permit_of(listener, true));
        }
        Err(LimitReached::All)
    }

    fn permit_of(&self, listener: Listener, brief: bool) -> Permit {
        Permit::new(Arc::clone(&self.inner), listener, brief)
    }

    /// A place among the connections that wait for room. `None` if too many wait. `peer` is `None` for a
    /// balancer, whose client is not known yet.
    pub(crate) fn newcomer(&self, peer: Option<IpAddr>) -> Option<Newcomer> {
        let Some(from) = peer else {
            return self.inner.unnamed.try_enter_unnamed().map(Newcomer::Unnamed);
        };
        let room = match self.inner.held(from, false) {
            0 => &self.inner.strangers,
            _ => &self.inner.newcomers,
        };
        room.try_enter(from).map(Newcomer::Named)
    }

    /// As [`Limits::permit`], once another connection makes way for one of `peer`.
    pub(crate) async fn permit_soon(&self, listener: Listener, peer: IpAddr) -> Option<Permit> {
        let take = |beyond: bool| {
            if beyond {
                self.inner.open.fetch_add(1, Ordering::Relaxed);
                return Some(self.permit_of(listener, false));
            }
            self.permit(listener).ok()
        };
        self.inner.soon(LimitReached::All, peer, take).await
    }

    /// Whether a warning about a reached limit is due. Marks it as logged.
    pub(crate) fn is_warning_due(&self) -> bool {
        self.inner.is_due(&self.inner.warned, WARN_EVERY)
    }

    /// Open connections in percent of the bound. From 90 on, idle clients are given less time.
    pub(crate) fn fullness(&self) -> u8 {
        let (open, max) = (self.open(), self.inner.bounds().max.max(1));
        u8::try_from(open.saturating_mul(100) / max).unwrap_or(u8::MAX)
    }

    pub fn open(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed) + self.inner.brief.load(Ordering::Relaxed)
    }

    /// Marks all connections as busy.
    #[cfg(test)]
    pub(super) fn all_are_busy(&self) {
        self.inner.holders.each(crate::presence::Presence::begins);
    }

    #[cfg(test)]
    pub(crate) fn addresses(&self) -> usize {
        self.inner.owners.iter().filter(|o| !o.key().is_network).count()
    }
}
