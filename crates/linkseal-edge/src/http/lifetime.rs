//! How a connection is driven and how it ends: its tick, a drain, making way for another.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::session::Session;
use super::timeouts::{Verdict, Watch};
use crate::waitable::Waitable;

/// A connection of hyper, which can be told to end after the requests at hand.
pub(super) trait Closable: Future<Output = hyper::Result<()>> {
    fn close(self: Pin<&mut Self>);
}

/// Why a connection is no longer driven.
pub(super) enum Driven {
    Ended(hyper::Result<()>),
    /// Nothing is in flight in either direction, and nothing has come for a while.
    AtRest,
}

/// How a wait for the next request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// Something has come, or the connection is to end: it has to be driven.
    Wanted,
    /// It was idle for too long: close gracefully.
    Idle,
    /// The client has sent nothing at all: close now.
    Stuck,
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// It is to end, but requests that have come, or are in flight, are answered.
    Leaving,
    Closing,
}

/// What is known of a connection from its begin to its end.
pub(super) struct Lifetime {
    session: Rc<Session>,
    watch: Watch,
    drain: CancellationToken,
    stage: Stage,
    /// When the watch last looked, or the connection began to end.
    looked: Instant,
}

impl Lifetime {
    pub(super) fn new(session: &Rc<Session>, drain: CancellationToken) -> Self {
        let timeouts = Arc::clone(&session.context.timeouts);
        let watch = Watch::new(timeouts, session.connection.is_h2());
        Self {
            session: Rc::clone(session),
            watch,
            drain,
            stage: Stage::Open,
            looked: Instant::now(),
        }
    }

    /// Runs the connection, its tick and its end.
    pub(super) async fn drive(&mut self, mut connection: Pin<&mut impl Closable>) -> Driven {
        let (session, watch) = (&self.session, &mut self.watch);
        let mut drained = pin!(self.drain.cancelled());
        let mut evicted = pin!(session.connection.presence.evicted());
        let mut passes = watch.tick(&session.activity);
        let mut next = pin!(sleep(passes));
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => return Driven::Ended(result),
                () = &mut drained, if self.stage == Stage::Open => {
                    self.stage = Stage::Leaving;
                    self.looked = Instant::now();
                    passes = watch.leave(&session.activity);
                }
                () = &mut evicted, if self.stage == Stage::Open => {
                    self.stage = Stage::Leaving;
                    self.looked = Instant::now();
                    passes = watch.make_way(&session.activity);
                }
                () = &mut next => {
                    let displaced = session.connection.presence.is_displaced();
                    if self.stage == Stage::Leaving {
                        // Its place has gone to another client: requests in progress end here.
                        if displaced && session.connection.presence.is_busy() {
                            return Driven::Ended(Ok(()));
                        }
                        self.stage = Stage::Closing;
                        // What has come was read before this: the connection goes first above. A part of
                        // a request has the rest of its time; its answer ends the connection.
                        if displaced || !watch.awaits_rest(&session.activity) {
                            connection.as_mut().close();
                        }
                    } else {
                        match watch.look(&session.activity, passed(&mut self.looked), session.fullness()) {
                            Verdict::Fine if self.stage == Stage::Open && watch.is_at_rest(&session.activity) => {
                                return Driven::AtRest;
                            }
                            Verdict::Fine => {}
                            Verdict::Idle => connection.as_mut().close(),
                            Verdict::Stuck => return Driven::Ended(Ok(())),
                        }
                    }
                    passes = watch.tick(&session.activity);
                }
            }
            next.as_mut().reset(Instant::now() + passes);
        }
    }

    /// Waits for the next request of a connection that is at rest.
    pub(super) async fn wait(&mut self, io: &impl Waitable) -> Waited {
        let (session, watch) = (&self.session, &mut self.watch);
        let mut drained = pin!(self.drain.cancelled());
        let mut evicted = pin!(session.connection.presence.evicted());
        let mut next = pin!(sleep(watch.long_tick()));
        poll_fn(|cx| {
            if io.poll_readable(cx).is_ready()
                || drained.as_mut().poll(cx).is_ready()
                || evicted.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Waited::Wanted);
            }
            while next.as_mut().poll(cx).is_ready() {
                match watch.look(&session.activity, passed(&mut self.looked), session.fullness()) {
                    Verdict::Fine => next.as_mut().reset(Instant::now() + watch.long_tick()),
                    Verdict::Idle => return Poll::Ready(Waited::Idle),
                    Verdict::Stuck => return Poll::Ready(Waited::Stuck),
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The time since the last look: however often a wait was interrupted in between, all of it counts.
fn passed(looked: &mut Instant) -> Duration {
    let now = Instant::now();
    now.duration_since(std::mem::replace(looked, now))
}
