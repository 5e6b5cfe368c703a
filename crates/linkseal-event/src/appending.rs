//! An event that was handed to the journal, for those who wait until it has survived.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use uuid::Uuid;

use super::queue::{Batch, Outcome, Queue};

/// An event that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub id: Uuid,
}

/// The journal did not take an event; it is counted and logged. The request must still be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event was not written to the journal")]
pub struct Lost;

/// An event that was handed to the journal. Wait for it or drop it at once: other events of this
/// turn may go with it.
#[must_use = "the answer waits for what was configured"]
pub struct Appending {
    /// `None`: it was not taken, or only counted.
    place: Option<Place>,
}

/// Where an event is.
pub(super) struct Place {
    id: Uuid,
    queue: Arc<Queue>,
    batch: Arc<Batch>,
    /// Its number in the batch.
    number: usize,
    /// Whether it opened the batch, and so hands it over.
    leads: bool,
    /// Whether the answer waits for it.
    waits: bool,
}

impl Place {
    pub(super) fn new(id: Uuid, queue: Arc<Queue>, batch: Arc<Batch>, number: usize, leads: bool, waits: bool) -> Self {
        Self {
            id,
            queue,
            batch,
            number,
            leads,
            waits,
        }
    }
}

impl Appending {
    pub(super) fn new(place: Option<Place>) -> Self {
        Self { place }
    }

    /// There is nothing to wait for: the event was counted.
    pub(super) fn none() -> Self {
        Self { place: None }
    }

    /// Which event it will be. `None`: it was not taken.
    pub(super) fn id(&self) -> Option<Uuid> {
        self.place.as_ref().map(|p| p.id)
    }

    /// Whether there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        self.place.as_ref().is_none_or(|p| !p.waits)
    }

    /// Returns when the event has survived what was configured, two seconds later at most; an
    /// event that its maker keeps ([`super::Journal::begin_synced`]) is waited for as long as the
    /// disk takes.
    ///
    /// # Errors
    /// [`Lost`] when it has not: the disk is full, broken or does not answer, or the queue is full.
    pub async fn written(self) -> Result<Receipt, Lost> {
        let Some(place) = &self.place else { return Err(Lost) };
        let receipt = Receipt { id: place.id };
        if !place.waits {
            return Ok(receipt);
        }
        if place.leads && !place.batch.kept {
            // What else is ready in this turn of the runtime goes along.
            tokio::task::yield_now().await;
            place.queue.hand_over(&place.batch);
        }
        match place.outcome().await {
            Outcome::Written => Ok(receipt),
            Outcome::Lost | Outcome::Overdue => Err(Lost),
        }
    }
}

impl Place {
    async fn outcome(&self) -> Outcome {
        let mut timer: Option<Pin<Box<tokio::time::Sleep>>> = None;
        let mut again = false;
        poll_fn(|cx| {
            if self.leads {
                self.batch.lead(cx.waker());
            } else {
                self.batch.follow(self.number, cx.waker(), again);
                again = true;
            }
            if let Some(outcome) = self.batch.outcome() {
                return Poll::Ready(outcome);
            }
            // One timer is enough for a batch, while its leader is there.
            if !self.batch.kept && (self.leads || self.batch.is_leaderless()) {
                let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.queue.patience())));
                if timer.as_mut().poll(cx).is_ready() {
                    let cause = Some("the disk does not answer");
                    self.batch.lose(Outcome::Overdue, &self.queue.losses, cause);
                    return Poll::Ready(self.batch.outcome().unwrap_or(Outcome::Overdue));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.leads {
            self.queue.hand_over(&self.batch);
            self.batch.leave();
        }
    }
}
