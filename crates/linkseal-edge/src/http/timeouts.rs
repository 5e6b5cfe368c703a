//! Time limits of a connection without a timer per request: reads, writes and requests are counted
//! ([`super::activity`]), and a slow tick checks whether anything has moved.

use std::time::Duration;

use super::activity::Activity;

/// How long a connection may take to send its first request, or another, once the edge stops: its
/// client may just have been accepted, with the request on its way.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// For noticing what has come already, before a connection is closed whose place is needed.
const A_LOOK: Duration = Duration::from_millis(20);

/// Time limits of a connection. They are checked on a tick, so that requests need no timers, and hold
/// to within one tick.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How often a connection is checked.
    pub tick: Duration,
    /// From the first byte of a request to the end of its headers; also from accept to the first request.
    pub headers: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// While a request is being answered: how long nothing at all may move.
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
            // Recipients on trains: a handshake and a request of one packet within this.
            headers: Duration::from_secs(15),
            // A little more than the 60 s after which common balancers and mail proxies give up
            // an idle connection themselves, so that they never meet a closing one.
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(60),
            body: Duration::from_secs(10),
            // Several round trips: what a client sent before it heard of it still comes.
            farewell: Duration::from_secs(2),
        }
    }
}

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is well.
    Fine,
    /// Nothing to do for too long: close in good order.
    Idle,
    /// The client dawdles, or is gone: close now.
    Stuck,
}

/// Looks at one connection.
pub(super) struct Watch {
    limits: Timeouts,
    /// HTTP/2: bytes between requests are no beginning of a request (settings, pings, windows).
    multiplexed: bool,
    moves: u32,
    requests: u32,
    /// Whether the beginning of a request was there at the last look.
    begun: bool,
    quiet: Duration,
    closing: bool,
}

impl Watch {
    pub(super) fn new(limits: Timeouts, multiplexed: bool) -> Self {
        Self {
            limits,
            multiplexed,
            moves: 0,
            requests: 0,
            begun: false,
            quiet: Duration::ZERO,
            closing: false,
        }
    }

    /// How often to look: more often once the connection is being closed.
    pub(super) fn tick(&self) -> Duration {
        self.limits.tick
    }

    /// To be called after each [`Watch::tick`]. `fullness`: how many connections there are, in
    /// percent of those there may be.
    pub(super) fn look(&mut self, activity: &Activity, fullness: u8) -> Verdict {
        let now = activity.snapshot();
        let (requests, busy) = (now.requests, now.busy);
        // Between requests only a whole request counts: bytes that dribble in do not.
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
        self.quiet += self.limits.tick;
        let dawdles = requests == 0 || self.closing || partial;
        let limit = match (busy, dawdles) {
            (true, _) => self.limits.stall,
            (false, true) => self.pressed(self.limits.headers, fullness),
            (false, false) => self.pressed(self.limits.idle, fullness),
        };
        if self.quiet < limit {
            return Verdict::Fine;
        }
        if busy || dawdles {
            return Verdict::Stuck;
        }
        self.closing();
        Verdict::Idle
    }

    /// The edge stops: the connection is to end. How long it may be before it is closed.
    pub(super) fn leave(&mut self, activity: &Activity) -> Duration {
        let bound = if self.multiplexed && activity.has_begun() {
            // GOAWAY makes no request fail that is on its way (RFC 9113 §6.8).
            Duration::ZERO
        } else {
            LAST_REQUEST
        };
        self.ends(activity);
        bound
    }

    /// The place of the connection is needed: it is to end. How long it may be before it is closed.
    pub(super) fn make_way(&mut self, activity: &Activity) -> Duration {
        self.ends(activity);
        A_LOOK
    }

    fn ends(&mut self, activity: &Activity) {
        activity.leave();
        self.closing();
    }

    /// Whether a part of a request has come whose rest may still come.
    pub(super) fn awaits_rest(&self, activity: &Activity) -> bool {
        !self.multiplexed && activity.has_part_of_request()
    }

    /// The connection is being closed in good order: from now on it has [`Timeouts::farewell`] of quiet.
    fn closing(&mut self) {
        self.closing = true;
        self.quiet = Duration::ZERO;
        self.limits.headers = self.limits.farewell;
        self.limits.tick = self.limits.tick.min(self.limits.farewell / 2);
    }

    /// What is left of a bound when there are many connections: from 90 percent on ever less, so that
    /// those that were idle for longest go first.
    fn pressed(&self, bound: Duration, fullness: u8) -> Duration {
        match 100u8.saturating_sub(fullness) {
            10.. => bound,
            left => (bound * u32::from(left) / 10).max(self.limits.tick),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const TICK: Duration = Duration::from_secs(5);

    fn limits() -> Timeouts {
        Timeouts {
            tick: TICK,
            headers: TICK * 2,
            idle: TICK * 4,
            stall: TICK * 3,
            ..Timeouts::default()
        }
    }

    /// How many ticks until something other than `Fine` is found, and what.
    fn until(watch: &mut Watch, activity: &Activity) -> (u32, Verdict) {
        for tick in 1..100 {
            match watch.look(activity, 0) {
                Verdict::Fine => {}
                found => return (tick, found),
            }
        }
        (100, Verdict::Fine)
    }

    #[test]
    fn a_silent_or_dribbling_client_gets_the_headers_limit() {
        let activity = Activity::default();
        assert_eq!(until(&mut Watch::new(limits(), false), &activity), (2, Verdict::Stuck));
        let mut watch = Watch::new(limits(), false);
        for _ in 0..1 {
            activity.moved();
            assert_eq!(watch.look(&activity, 0), Verdict::Fine);
        }
        activity.moved();
        assert_eq!(watch.look(&activity, 0), Verdict::Stuck);
    }

    #[test]
    fn an_idle_connection_closes_in_order_and_a_half_request_does_not_keep_it() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), false);
        activity.request_began(Instant::now());
        activity.request_ended();
        assert_eq!(watch.look(&activity, 0), Verdict::Fine);
        assert_eq!(until(&mut watch, &activity), (4, Verdict::Idle));
        assert_eq!(until(&mut watch, &activity), (2, Verdict::Stuck));

        let mut watch = Watch::new(limits(), false);
        activity.request_began(Instant::now());
        activity.request_ended();
        assert_eq!(watch.look(&activity, 0), Verdict::Fine);
        for _ in 0..3 {
            assert_eq!(watch.look(&activity, 0), Verdict::Fine);
        }
        // The first tick finds that it has begun: it has its whole time from there.
        activity.bytes_came();
        assert_eq!(until(&mut watch, &activity), (3, Verdict::Stuck));

        let mut multiplexed = Watch::new(limits(), true);
        activity.request_began(Instant::now());
        activity.request_ended();
        assert_eq!(multiplexed.look(&activity, 0), Verdict::Fine);
        activity.bytes_came();
        assert_eq!(until(&mut multiplexed, &activity), (4, Verdict::Idle));
    }

    #[test]
    fn a_request_may_take_its_time_while_something_moves() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), false);
        activity.request_began(Instant::now());
        for _ in 0..50 {
            activity.moved();
            assert_eq!(watch.look(&activity, 0), Verdict::Fine);
        }
        assert_eq!(until(&mut watch, &activity), (3, Verdict::Stuck));
    }

    #[test]
    fn waiting_for_a_back_end_is_not_the_clients_doing() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), false);
        activity.request_began(Instant::now());
        activity.backend_wait_began();
        assert_eq!(until(&mut watch, &activity), (100, Verdict::Fine));
        activity.body_began();
        activity.request_ended();
        activity.backend_wait_ended();
        assert_eq!(
            until(&mut watch, &activity),
            (3, Verdict::Stuck),
            "now the client does not read"
        );
    }

    #[test]
    fn where_there_are_many_those_that_were_idle_for_longest_go_first() {
        let ticks = |fullness: u8, partial: bool| {
            let (activity, mut watch) = (
                Activity::default(),
                Watch::new(
                    Timeouts {
                        idle: TICK * 20,
                        headers: TICK * 4,
                        ..limits()
                    },
                    false,
                ),
            );
            if !partial {
                activity.request_began(Instant::now());
                activity.request_ended();
                assert_eq!(watch.look(&activity, fullness), Verdict::Fine);
            }
            (1..100)
                .find(|_| watch.look(&activity, fullness) != Verdict::Fine)
                .unwrap()
        };
        for (fullness, idle, head) in [
            (0, 20, 4),
            (90, 20, 4),
            (95, 10, 2),
            (99, 2, 1),
            (100, 1, 1),
            (120, 1, 1),
        ] {
            assert_eq!(
                (ticks(fullness, false), ticks(fullness, true)),
                (idle, head),
                "{fullness} %"
            );
        }
    }

    #[test]
    fn a_connection_that_is_being_closed_has_a_moment_left_however_long_it_was_idle() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), true);
        activity.request_began(Instant::now());
        activity.request_ended();
        for _ in 0..4 {
            assert_eq!(watch.look(&activity, 0), Verdict::Fine);
        }
        watch.closing();
        let farewell = limits().farewell;
        assert_eq!(watch.tick(), farewell / 2);
        assert_eq!(
            until(&mut watch, &activity),
            (2, Verdict::Stuck),
            "one to two seconds, not fifteen"
        );
        // What is being answered is not cut.
        activity.request_began(Instant::now());
        activity.backend_wait_began();
        assert_eq!(until(&mut watch, &activity), (100, Verdict::Fine));
    }
}
