//! The urgency of work in progress, which may rise while it waits for a place.

use tokio::sync::watch;

use crate::core::Priority;

/// The urgency of the work on a name: what was asked for, but at least the `floor`.
pub(crate) struct Urgency {
    asked: watch::Receiver<Priority>,
    /// What the name's certificate requires by itself.
    pub(crate) floor: Priority,
}

impl Urgency {
    /// The priority asked for by now.
    pub(crate) fn asked(&self) -> Priority {
        *self.asked.borrow()
    }

    /// Waits for a place at the present urgency; when that rises, it goes on waiting among the names
    /// of the higher one.
    pub(crate) async fn enter<F: Future>(&mut self, enter: impl Fn(Priority) -> F) -> F::Output {
        loop {
            let asked = *self.asked.borrow_and_update();
            tokio::select! {
                biased;
                place = enter(asked.max(self.floor)) => return place,
                Ok(()) = self.asked.changed() => {}
            }
        }
    }
}

/// An urgency that never rises.
impl From<Priority> for Urgency {
    fn from(priority: Priority) -> Self {
        watch::channel(priority).1.into()
    }
}

impl From<watch::Receiver<Priority>> for Urgency {
    fn from(asked: watch::Receiver<Priority>) -> Self {
        let floor = Priority::Bulk;
        Self { asked, floor }
    }
}
