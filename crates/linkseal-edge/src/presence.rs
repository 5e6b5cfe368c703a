//! What is known of one connection by those who look after all: whether it has anything to do, and
//! since when not; and the way to tell it that its place is needed.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

/// From where instants are counted, in milliseconds that go round once in seven weeks.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One connection, as long as it lives.
#[derive(Debug)]
pub struct Presence {
    client: IpAddr,
    brief: bool,
    /// Requests that are being answered, bodies included.
    busy: AtomicU32,
    /// When the last request came or was answered; at first, when the connection came.
    last: AtomicU32,
    evicted: AtomicBool,
    displaced: AtomicBool,
    waker: AtomicWaker,
}

impl Presence {
    /// Of a client. `brief`: it has a place of the reserve, for one request.
    pub fn new(client: IpAddr, brief: bool) -> Self {
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

    /// Whose it is.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether it is to have one request and little time.
    pub fn is_brief(&self) -> bool {
        self.brief
    }

    /// A request came.
    pub(super) fn request(&self, now: Instant) {
        self.last.store(since_start(now), Ordering::Relaxed);
        self.begins();
    }

    /// Something is to be done.
    pub(super) fn begins(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// It is done.
    pub(super) fn ends(&self, now: Instant) {
        self.last.store(since_start(now), Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether anything is to be done.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// For how long nothing was to be done. `None`: one is being answered, or it is about to go.
    pub fn idle(&self) -> Option<Duration> {
        if self.is_busy() || self.evicted.load(Ordering::Relaxed) {
            return None;
        }
        // Read before the clock: a request that comes in between must not make it old.
        let last = self.last.load(Ordering::Relaxed);
        let age = since_start(Instant::now()).wrapping_sub(last);
        Some(Duration::from_millis(age.into()))
    }

    /// Tells it that its place is needed.
    pub fn evict(&self) {
        self.evicted.store(true, Ordering::Release);
        self.waker.wake();
    }

    #[cfg(test)]
    pub(super) fn is_since(&self, last: Instant) {
        self.last.store(before_start(last), Ordering::Relaxed);
    }

    /// Tells it that its place goes to another, also while something is to be done.
    pub(super) fn displace(&self) {
        self.displaced.store(true, Ordering::Relaxed);
        self.evict();
    }

    /// Whether its place has gone to another, so that nothing of it is waited for.
    pub(super) fn is_displaced(&self) -> bool {
        self.displaced.load(Ordering::Relaxed)
    }

    /// Whether it has been told to go.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::Acquire)
    }

    /// Resolves when its place is needed. Of the task that serves it, and of one at a time.
    pub async fn evicted(&self) {
        let mut registered = false;
        poll_fn(|cx| {
            if !registered {
                // Once is enough: a task's waker stays the same.
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
    reason = "it goes round, and ages are taken likewise"
)]
fn since_start(now: Instant) -> u32 {
    now.saturating_duration_since(*START).as_millis() as u32
}

/// As [`since_start`], also for instants before the first of all.
#[cfg(test)]
fn before_start(at: Instant) -> u32 {
    let age = u32::try_from(at.elapsed().as_millis()).unwrap();
    since_start(Instant::now()).wrapping_sub(age)
}
