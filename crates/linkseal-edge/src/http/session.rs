//! What the requests of one connection share, and how long they may wait for its client.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::activity::Activity;
use super::context::Context;
use crate::Connection;
use crate::fair::FairPlace;

/// Bodies that a connection may wait for at once before it has had an answer.
const BODIES_AT_FIRST: u32 = 32;
/// How often the connection's task is let run to bring what it has read already: over HTTP/1.1 a body
/// is read once it was asked for.
const YIELDS: usize = 8;

/// One connection.
pub(super) struct Session {
    pub(super) context: Arc<Context>,
    pub(super) connection: Connection,
    pub(super) activity: Rc<Activity>,
}

impl Session {
    /// Whether it holds a place of the reserve: then it is answered from memory or told to retry.
    pub(super) fn is_brief(&self) -> bool {
        self.connection.presence.is_brief()
    }

    /// How close the edge is to what it has room for, in percent; from 90 on, idle connections have less
    /// time. HTTP/1.1 connections that are idle need little memory.
    pub(super) fn fullness(&self) -> u8 {
        let connections = self.context.connections.fullness();
        if self.connection.is_h2() {
            connections.max(self.context.memory_used.load(Ordering::Relaxed))
        } else {
            connections
        }
    }

    /// Room to wait for the body of a request. `None`: too many requests wait, of all clients, of this
    /// client's network, or on this connection while it has had no answer yet.
    pub(super) fn wait_for_client(&self) -> Option<BodyWait> {
        if self.is_brief() {
            return None;
        }
        let place = self.context.bodies.try_enter(self.connection.client.ip())?;
        let before = self.activity.body_wait_began();
        let wait = BodyWait {
            activity: Rc::clone(&self.activity),
            place,
        };
        (before < BODIES_AT_FIRST || self.activity.has_answered()).then_some(wait)
    }
}

/// A request waits for its body, until this is dropped.
pub(super) struct BodyWait {
    activity: Rc<Activity>,
    place: FairPlace,
}

impl BodyWait {
    /// Resolves when the place goes to another network.
    pub(super) async fn taken_away(&self) {
        self.place.taken_away().await;
    }
}

impl Drop for BodyWait {
    fn drop(&mut self) {
        self.activity.body_wait_ended();
    }
}

/// What has arrived already: the future's output if it does not have to wait for the client.
pub(super) async fn if_arrived<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    for _ in 0..YIELDS {
        if let Poll::Ready(output) = futures_util::poll!(future.as_mut()) {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}
