//! An event handed to the journal, for callers that wait until it is durable.

use std::future::poll_fn;
use std::task::{Context, Poll};

use uuid::Uuid;

use super::batch::Outcome;
use super::pending::Pending;

/// Proof that an event was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the event.
    pub id: Uuid,
}

/// The journal did not take an event; the loss is counted and logged. The request must still be
/// served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event was not written to the journal")]
pub struct Lost;

/// An event handed to the journal. Poll it ([`Appending::poll_written`], [`Appending::written`]) or drop it
/// at once: other events recorded in the same turn of the runtime may be waiting for it. It is small and
/// may be dropped at any time; the event is written all the same.
#[must_use = "the answer waits for the configured durability"]
pub struct Appending {
    /// `None` when the event was refused, or only counted as a repetition.
    pending: Option<Pending>,
}

/// Futures of responses hold it inline.
const _: () = assert!(size_of::<Appending>() <= 32);

impl Appending {
    pub(super) fn new(pending: Option<Pending>) -> Self {
        Self { pending }
    }

    /// Nothing to wait for: the event was only counted.
    pub(crate) fn none() -> Self {
        Self { pending: None }
    }

    /// The id of the event; `None` when it was not taken.
    pub(crate) fn id(&self) -> Option<Uuid> {
        self.pending.as_ref().map(|p| p.id)
    }

    /// Whether [`Appending::written`] returns without waiting.
    pub fn is_settled(&self) -> bool {
        self.pending.as_ref().is_none_or(|p| !p.waits)
    }

    /// Returns when the event has reached the configured durability, after two seconds at most. An
    /// event that its producer keeps ([`super::Journal::begin_synced`]) is waited for as long as the
    /// disk takes.
    ///
    /// # Errors
    /// [`Lost`] when the disk is full, broken or does not respond, or the queue is full.
    pub async fn written(mut self) -> Result<Receipt, Lost> {
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// [`Appending::written`] for futures that hold it. Allocates nothing but the place of a waker.
    ///
    /// # Errors
    /// As for [`Appending::written`].
    pub fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receipt, Lost>> {
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(Err(Lost));
        };
        let receipt = Receipt { id: pending.id };
        if !pending.waits {
            return Poll::Ready(Ok(receipt));
        }
        pending.poll(cx).map(|outcome| match outcome {
            Outcome::Written => Ok(receipt),
            Outcome::Lost | Outcome::Overdue => Err(Lost),
        })
    }
}
