//! What the limits know of one connection: whether it is busy, how long it has been idle; and how it is
//! told to make way.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

/// Instants are kept as milliseconds since this one, in 32 bits that wrap after seven weeks.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One live connection.
#[derive(Debug)]
pub struct Presence {
    client: IpAddr,
    brief: bool,
    /// Requests in progress, bodies included. Written by the connection's core only.
    busy: AtomicU32,
    /// As `busy`: when the last request came or was answered; before the first one, when the connection came.
    last: AtomicU32,
    evicted: AtomicBool,
    displaced: AtomicBool,
    waker: AtomicWaker,
}

impl Presence {
    /// `brief`: the connection holds a place of the reserve, for one request.
    pub(crate) fn new(client: IpAddr, brief: bool) -> Self {
        Self {
            client,
            brief,
            busy: 0.into(),
            last: since_start(Instant::now()).into(),
            evicted: false.into(),
            displaced: false.into(),
            waker: AtomicWaker::new(),
        }
    }

    pub(crate) fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether it gets one request and little time.
    pub(crate) fn is_brief(&self) -> bool {
        self.brief
    }

    pub(super) fn request(&self, now: Instant) {
        self.last.store(since_start(now), Ordering::Relaxed);
        self.begins();
    }

    /// Work on the connection begins.
    pub(super) fn begins(&self) {
        let busy = self.busy.load(Ordering::Relaxed);
        self.busy.store(busy + 1, Ordering::Relaxed);
    }

    pub(super) fn ends(&self, now: Instant) {
        self.last.store(since_start(now), Ordering::Relaxed);
        let busy = self.busy.load(Ordering::Relaxed);
        self.busy.store(busy.saturating_sub(1), Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// How long it has been idle. `None` if it is busy or was told to make way.
    pub(crate) fn idle(&self) -> Option<Duration> {
        if self.is_busy() || self.evicted.load(Ordering::Relaxed) {
            return None;
        }
        // Read before the clock: a request that comes in between must not make it look old.
        let last = self.last.load(Ordering::Relaxed);
        let age = since_start(Instant::now()).wrapping_sub(last);
        Some(Duration::from_millis(age.into()))
    }

    /// Tells it to make way once it is idle.
    pub(crate) fn evict(&self) {
        self.evicted.store(true, Ordering::Release);
        self.waker.wake();
    }

    #[cfg(test)]
    pub(super) fn is_since(&self, last: Instant) {
        self.last.store(before_start(last), Ordering::Relaxed);
    }

    /// Tells it to make way at once, also while it is busy.
    pub(super) fn displace(&self) {
        self.displaced.store(true, Ordering::Relaxed);
        self.evict();
    }

    /// Whether requests in progress are cut, as its place has gone to another connection.
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Whether it was told to make way.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    /// Resolves when it has to make way. For one task at a time: the one that serves the connection.
    pub(crate) async fn evicted(&self) {
        let mut registered = false;
        poll_fn(|cx| {
            if !registered {
                // Once is enough: the task's waker stays the same.
                self.waker.register(cx.waker());
                registered = true;
            }
            if self.evicted.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new(Ipv4Addr::UNSPECIFIED.into(), false)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "it wraps, and ages are computed with wrapping arithmetic"
)]
fn since_start(now: Instant) -> u32 {
    now.saturating_duration_since(*START).as_millis() as u32
}

/// As [`since_start`], also for instants before [`START`].
#[cfg(test)]
fn before_start(at: Instant) -> u32 {
    let age = u32::try_from(at.elapsed().as_millis()).unwrap();
    since_start(Instant::now()).wrapping_sub(age)
}
