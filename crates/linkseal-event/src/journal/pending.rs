//! An event in the queue, as its request holds it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use uuid::Uuid;

use super::batch::{Batch, Outcome};

/// An event in the queue, as its request holds it.
pub(super) struct Pending {
    pub(super) id: Uuid,
    batch: Arc<Batch>,
    /// Its place in the batch.
    place: u32,
    stage: Stage,
    /// Whether the answer waits for it.
    pub(super) waits: bool,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It opened the batch, and therefore submits it. It has not been polled.
    Opened,
    /// It submits the batch when it is polled next.
    Submits,
    /// It waits for the outcome, and has not been polled since.
    Begun,
    /// The batch holds its waker.
    Waits,
    /// It has had its outcome.
    Finished,
}

impl Pending {
    /// `opened`: it opened the batch, and has to submit it.
    pub(super) fn new(id: Uuid, batch: Arc<Batch>, place: u32, opened: bool, waits: bool) -> Self {
        Self {
            id,
            batch,
            place,
            stage: if opened { Stage::Opened } else { Stage::Begun },
            waits,
        }
    }

    /// The outcome of its batch.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if self.stage == Stage::Opened {
            self.stage = Stage::Submits;
            // Events of other tasks that are ready in this turn join the batch: the runtime polls this one
            // again after them, and after those that they spawn.
            if pin!(tokio::task::yield_now()).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        if self.stage == Stage::Submits {
            self.stage = Stage::Begun;
            self.batch.submit();
        }
        let known = self.batch.outcome();
        let outcome = known.or_else(|| self.batch.wait(self.place, cx.waker(), self.stage == Stage::Waits));
        match outcome {
            Some(outcome) => {
                self.stage = Stage::Finished;
                self.batch.wake_rest();
                Poll::Ready(outcome)
            }
            None => {
                self.stage = Stage::Waits;
                Poll::Pending
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        match self.stage {
            Stage::Opened | Stage::Submits => self.batch.submit(),
            // If it was to wake the others, it does so now.
            Stage::Waits => self.batch.leave(self.place),
            Stage::Begun | Stage::Finished => {}
        }
    }
}
