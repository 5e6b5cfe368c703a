//! Bounds in time for a connection, without a timer per request: reads, writes and requests leave
//! marks, and a slow tick looks whether anything moved.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::context::Limits;
use crate::presence::Presence;

/// How long a connection may take to send its first request, or another, once the edge stops: its
/// client may just have been accepted, with the request on its way.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// For noticing what has come already, before a connection is closed whose place is needed.
const A_LOOK: Duration = Duration::from_millis(20);

/// What moved on a connection. Written by the connection's own tasks, read by its tick: the
/// counters only have to differ when something happened.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Reads and writes that moved bytes.
    moved: AtomicU32,
    /// Bytes came that belong to no request yet.
    partial: AtomicBool,
    /// Requests whose headers came.
    requests: AtomicU32,
    /// Which tells others whether requests are being answered.
    presence: Arc<Presence>,
    /// Requests for which a back end is waited for, which has bounds of its own.
    waiting: AtomicU32,
    /// Requests whose body the client has yet to send.
    bodies: AtomicU32,
    /// Whether any request was answered.
    answered: AtomicBool,
    /// Whether the connection is to end: its next answer is its last.
    leaving: AtomicBool,
}

impl Activity {
    pub(super) fn of(presence: Arc<Presence>) -> Self {
        Self {
            presence,
            ..Self::default()
        }
    }

    /// A request's headers are complete.
    pub(super) fn request(&self, now: Instant) {
        self.partial.store(false, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.presence.request(now);
    }

    /// A request is answered, or its client gave up.
    pub(super) fn answered(&self) {
        // What came since was the request's body.
        self.partial.store(false, Relaxed);
        self.presence.ends(Instant::now());
    }

    /// A reply's head is out, its body streams.
    pub(super) fn goes_on(&self) {
        self.presence.begins();
    }

    /// A back end is waited for: not the client's doing.
    pub(super) fn waits(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// It is waited for no longer.
    pub(super) fn waited(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// A body is waited for; tells how many were before it.
    pub(super) fn awaits_body(&self) -> u32 {
        self.bodies.fetch_add(1, Relaxed)
    }

    /// It is waited for no longer.
    pub(super) fn has_body(&self) {
        self.bodies.fetch_sub(1, Relaxed);
    }

    /// A request was answered.
    pub(super) fn has_shown_itself(&self) {
        // Seldom written, so that the line stays where it is.
        if !self.answered.load(Relaxed) {
            self.answered.store(true, Relaxed);
        }
    }

    /// Whether any request was.
    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// The connection is to end: its next answer is its last.
    pub(super) fn leaves(&self) {
        self.leaving.store(true, Relaxed);
    }

    /// Whether it is.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Whether any request has come.
    pub(super) fn has_begun(&self) -> bool {
        self.requests.load(Relaxed) > 0
    }

    /// Whether a part of a request has come that is yet to be answered, over HTTP/1.1.
    pub(super) fn has_part_of_request(&self) -> bool {
        self.partial.load(Relaxed) && !self.presence.is_busy()
    }

    fn moved(&self) {
        // Only the connection's task reads and writes: no read-modify-write is needed.
        self.moved.store(self.moved.load(Relaxed).wrapping_add(1), Relaxed);
    }
}

/// What a tick found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All is well.
    Fine,
    /// Nothing to do for too long: close in good order.
    Idle,
    /// The client dawdles, or is gone: close now.
    Stuck,
}

/// Looks at one connection.
pub(super) struct Watch {
    limits: Limits,
    /// HTTP/2: bytes between requests are no beginning of a request (settings, pings, windows).
    multiplexed: bool,
    moved: u32,
    requests: u32,
    /// Whether the beginning of a request was there at the last look.
    begun: bool,
    quiet: Duration,
    closing: bool,
}

impl Watch {
    pub(super) fn new(limits: Limits, multiplexed: bool) -> Self {
        Self {
            limits,
            multiplexed,
            moved: 0,
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
    pub(super) fn look(&mut self, activity: &Activity, fullness: u8) -> Found {
        let (moved, requests) = (activity.moved.load(Relaxed), activity.requests.load(Relaxed));
        let busy = activity.presence.is_busy();
        // Only whole requests count as life between requests: bytes that dribble in do not.
        let waits = activity.waiting.load(Relaxed) > 0;
        let alive = requests != self.requests || (busy && (waits || moved != self.moved));
        let partial = !self.multiplexed && activity.partial.load(Relaxed);
        // A head has its whole time from its first byte on, however long the connection was idle.
        let begins = partial && !self.begun && requests > 0 && !busy;
        (self.moved, self.requests, self.begun) = (moved, requests, partial);
        if alive || begins {
            self.quiet = Duration::ZERO;
            return Found::Fine;
        }
        self.quiet += self.limits.tick;
        let dawdles = requests == 0 || self.closing || partial;
        let limit = match (busy, dawdles) {
            (true, _) => self.limits.stall,
            (false, true) => self.pressed(self.limits.headers, fullness),
            (false, false) => self.pressed(self.limits.idle, fullness),
        };
        if self.quiet < limit {
            return Found::Fine;
        }
        if busy || dawdles {
            return Found::Stuck;
        }
        self.closing();
        Found::Idle
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
        activity.leaves();
        self.closing();
    }

    /// Whether a part of a request has come whose rest may still come.
    pub(super) fn awaits_rest(&self, activity: &Activity) -> bool {
        !self.multiplexed && activity.has_part_of_request()
    }

    /// The connection is being closed in good order: from now on it has [`Limits::farewell`] of quiet.
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

/// A stream that leaves marks.
pub(super) struct Watched<IO> {
    pub(super) io: IO,
    pub(super) session: Arc<super::server::Session>,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() != before {
            self.session.activity.moved();
            self.session.activity.partial.store(true, Relaxed);
        }
        result
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if result.is_ready() {
            self.session.activity.moved();
        }
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if result.is_ready() {
            self.session.activity.moved();
        }
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(5);

    fn limits() -> Limits {
        Limits {
            tick: TICK,
            headers: TICK * 2,
            idle: TICK * 4,
            stall: TICK * 3,
            ..Limits::default()
        }
    }

    /// How many ticks until something other than `Fine` is found, and what.
    fn until(watch: &mut Watch, activity: &Activity) -> (u32, Found) {
        for tick in 1..100 {
            match watch.look(activity, 0) {
                Found::Fine => {}
                found => return (tick, found),
            }
        }
        (100, Found::Fine)
    }

    #[test]
    fn a_silent_or_dribbling_client_gets_the_headers_limit() {
        let activity = Activity::default();
        assert_eq!(until(&mut Watch::new(limits(), false), &activity), (2, Found::Stuck));
        let mut watch = Watch::new(limits(), false);
        for _ in 0..1 {
            activity.moved();
            assert_eq!(watch.look(&activity, 0), Found::Fine);
        }
        activity.moved();
        assert_eq!(watch.look(&activity, 0), Found::Stuck);
    }

    #[test]
    fn an_idle_connection_closes_in_order_and_a_half_request_does_not_keep_it() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), false);
        activity.request(Instant::now());
        activity.answered();
        assert_eq!(watch.look(&activity, 0), Found::Fine);
        assert_eq!(until(&mut watch, &activity), (4, Found::Idle));
        assert_eq!(until(&mut watch, &activity), (2, Found::Stuck));

        let mut watch = Watch::new(limits(), false);
        activity.request(Instant::now());
        activity.answered();
        assert_eq!(watch.look(&activity, 0), Found::Fine);
        for _ in 0..3 {
            assert_eq!(watch.look(&activity, 0), Found::Fine);
        }
        // The first tick finds that it has begun: it has its whole time from there.
        activity.partial.store(true, Relaxed);
        assert_eq!(until(&mut watch, &activity), (3, Found::Stuck));

        let mut multiplexed = Watch::new(limits(), true);
        activity.request(Instant::now());
        activity.answered();
        assert_eq!(multiplexed.look(&activity, 0), Found::Fine);
        activity.partial.store(true, Relaxed);
        assert_eq!(until(&mut multiplexed, &activity), (4, Found::Idle));
    }

    #[test]
    fn a_request_may_take_its_time_while_something_moves() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), false);
        activity.request(Instant::now());
        for _ in 0..50 {
            activity.moved();
            assert_eq!(watch.look(&activity, 0), Found::Fine);
        }
        assert_eq!(until(&mut watch, &activity), (3, Found::Stuck));
    }

    #[test]
    fn waiting_for_a_back_end_is_not_the_clients_doing() {
        let activity = Activity::default();
        let mut watch = Watch::new(limits(), false);
        activity.request(Instant::now());
        activity.waits();
        assert_eq!(until(&mut watch, &activity), (100, Found::Fine));
        activity.goes_on();
        activity.answered();
        activity.waited();
        assert_eq!(
            until(&mut watch, &activity),
            (3, Found::Stuck),
            "now the client does not read"
        );
    }

    #[test]
    fn where_there_are_many_those_that_were_idle_for_longest_go_first() {
        let ticks = |fullness: u8, partial: bool| {
            let (activity, mut watch) = (
                Activity::default(),
                Watch::new(
                    Limits {
                        idle: TICK * 20,
                        headers: TICK * 4,
                        ..limits()
                    },
                    false,
                ),
            );
            if !partial {
                activity.request(Instant::now());
                activity.answered();
                assert_eq!(watch.look(&activity, fullness), Found::Fine);
            }
            (1..100)
                .find(|_| watch.look(&activity, fullness) != Found::Fine)
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
        activity.request(Instant::now());
        activity.answered();
        for _ in 0..4 {
            assert_eq!(watch.look(&activity, 0), Found::Fine);
        }
        watch.closing();
        let farewell = limits().farewell;
        assert_eq!(watch.tick(), farewell / 2);
        assert_eq!(
            until(&mut watch, &activity),
            (2, Found::Stuck),
            "one to two seconds, not fifteen"
        );
        // What is being answered is not cut.
        activity.request(Instant::now());
        activity.waits();
        assert_eq!(until(&mut watch, &activity), (100, Found::Fine));
    }
}
