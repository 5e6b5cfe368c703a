//! Time limits of a connection without a timer per request: reads, writes and requests are counted
//! ([`super::activity`]), and a slow tick checks whether anything has moved.

use std::sync::Arc;
use std::time::Duration;

use super::activity::Activity;

/// How long a connection may still bring a request once the edge drains: it may just have been accepted,
/// with its request in flight.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// How long a connection that makes way is still read: a request that has come is answered.
const LAST_READ: Duration = Duration::from_millis(20);

/// Time limits of a connection. They are checked on a tick, so that requests need no timers, and hold
/// to within one tick.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How often a connection is checked.
    pub tick: Duration,
    /// How long an HTTP/1.1 connection is quiet before it gives its buffers back.
    pub settle: Duration,
    /// From the first byte of a request to the end of its headers; also from accept to the first request.
    pub headers: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Without any transfer, while a request is being answered.
    pub stall: Duration,
    /// For a whole request body.
    pub body: Duration,
    /// From the graceful close of a connection to its end, when nothing is being answered.
    pub farewell: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            // Longer than between most images of one message; what it costs is a microsecond per rest.
            settle: Duration::from_millis(100),
            // Enough for a handshake and a request of one packet on a train's network.
            headers: Duration::from_secs(15),
            // More than the 60 s after which common balancers and mail proxies close idle connections
            // themselves, so that they never meet one that is closing.
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(60),
            body: Duration::from_secs(10),
            // Several round trips: requests sent before the client saw the close still arrive.
            farewell: Duration::from_secs(2),
        }
    }
}

/// The result of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Idle for too long: close gracefully.
    Idle,
    /// The client is too slow, or gone: close now.
    Stuck,
}

/// Watches one connection.
pub(super) struct Watch {
    limits: Arc<Timeouts>,
    /// HTTP/2: bytes between requests may be settings, pings or windows, not the beginning of a request.
    multiplexed: bool,
    moves: u32,
    requests: u32,
    /// Whether the beginning of a request was there at the last tick.
    begun: bool,
    quiet: Duration,
    closing: bool,
}

impl Watch {
    pub(super) fn new(limits: impl Into<Arc<Timeouts>>, multiplexed: bool) -> Self {
        Self {
            limits: limits.into(),
            multiplexed,
            moves: 0,
            requests: 0,
            begun: false,
            quiet: Duration::ZERO,
            closing: false,
        }
    }

    /// The interval while a connection is driven: short while it may soon rest.
    pub(super) fn tick(&self, activity: &Activity) -> Duration {
        let tick = self.long_tick();
        if self.multiplexed || self.closing || !activity.is_at_rest() {
            tick
        } else {
            tick.min(self.limits.settle)
        }
    }

    /// The interval while a connection that is at rest waits; shorter once it is being closed.
    pub(super) fn long_tick(&self) -> Duration {
        if self.closing {
            self.limits.tick.min(self.limits.farewell / 2)
        } else {
            self.limits.tick
        }
    }

    /// Whether an HTTP/1.1 connection may give its buffers back: nothing is in flight, and it has been
    /// quiet for a while.
    pub(super) fn is_at_rest(&self, activity: &Activity) -> bool {
        !self.multiplexed && !self.closing && self.quiet >= self.limits.settle && activity.is_at_rest()
    }

    /// To be called when a tick has passed. `passed`: how long it was; `fullness`: open connections in
    /// percent of the bound.
    pub(super) fn look(&mut self, activity: &Activity, passed: Duration, fullness: u8) -> Verdict {
        let now = activity.snapshot();
        let (requests, busy) = (now.requests, now.busy);
        // Between requests only a complete request counts, not single bytes.
        let moved = now.waits_for_backend || now.moves != self.moves;
        let alive = requests != self.requests || (busy && moved);
        let partial = !self.multiplexed && now.partial;
        // A head has its whole time from its first byte on, however long the connection was idle.
        let begins = partial && !self.begun && requests > 0 && !busy;
        (self.moves, self.requests, self.begun) = (now.moves, requests, partial);
        if alive || begins {
            self.quiet = Duration::ZERO;
            return Verdict::Fine;
        }
        self.quiet += passed;
        let slow = requests == 0 || self.closing || partial;
        let limit = match (busy, slow) {
            (true, _) => self.limits.stall,
            (false, true) if self.closing => self.pressed(self.limits.farewell, fullness),
            (false, true) => self.pressed(self.limits.headers, fullness),
            (false, false) => self.pressed(self.limits.idle, fullness),
        };
        if self.quiet < limit {
            return Verdict::Fine;
        }
        if busy || slow {
            return Verdict::Stuck;
        }
        self.closing();
        Verdict::Idle
    }

    /// The edge drains. Returns the time until the connection is closed.
    pub(super) fn leave(&mut self, activity: &Activity) -> Duration {
        let bound = if self.multiplexed && activity.has_begun() {
            // GOAWAY fails no request that is in flight (RFC 9113 §6.8).
            Duration::ZERO
        } else {
            LAST_REQUEST
        };
        self.ends(activity);
        bound
    }

    /// The connection makes way for another. Returns the time until it is closed.
    pub(super) fn make_way(&mut self, activity: &Activity) -> Duration {
        self.ends(activity);
        LAST_READ
    }

    fn ends(&mut self, activity: &Activity) {
        activity.leave();
        self.closing();
    }

    /// Whether a part of a request has come and the rest may follow.
    pub(super) fn awaits_rest(&self, activity: &Activity) -> bool {
        !self.multiplexed && activity.has_part_of_request()
    }

    /// The connection is being closed gracefully: from now on it may be quiet for [`Timeouts::farewell`].
    fn closing(&mut self) {
        self.closing = true;
        self.quiet = Duration::ZERO;
    }

    /// A bound under pressure: it shrinks from 90 % fullness on, so that connections that have been idle the
    /// longest go first.
    fn pressed(&self, bound: Duration, fullness: u8) -> Duration {
        match 100u8.saturating_sub(fullness) {
            10.. => bound,
            left => (bound * u32::from(left) / 10).max(self.long_tick()),
        }
    }
}

#[cfg(test)]
mod tests;
