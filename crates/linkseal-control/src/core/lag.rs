//! How far behind the store this node is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A node that is further behind takes up no work.
const SMALL: Duration = Duration::from_secs(10);

/// When this node had last applied every change. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lag {
    /// Milliseconds of the process's uptime. `None`: there are no changes of others.
    caught_up: Option<Arc<AtomicU64>>,
}

impl Lag {
    /// `follows`: whether there are changes of others.
    pub(crate) fn new(follows: bool) -> Self {
        Self {
            caught_up: follows.then(Arc::default),
        }
    }

    /// Everything that was stored at `asked` ([`linkseal_base::clock::Clock::uptime`]) has been applied.
    pub(crate) fn caught_up(&self, asked: Duration) {
        if let Some(caught_up) = &self.caught_up {
            caught_up.fetch_max(u64::try_from(asked.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Whether it knows what others have done up to a moment ago, so that it may take up work. Not before it has
    /// followed the changes once.
    pub(crate) fn is_small(&self, uptime: Duration) -> bool {
        let Some(caught_up) = &self.caught_up else { return true };
        caught_up.load(Ordering::Relaxed) > 0 && self.at(uptime) < SMALL
    }

    /// For how long there may have been changes that this node does not know. After a start: since the start.
    pub(crate) fn at(&self, uptime: Duration) -> Duration {
        let since = |caught_up: &Arc<AtomicU64>| Duration::from_millis(caught_up.load(Ordering::Relaxed));
        self.caught_up
            .as_ref()
            .map_or(Duration::ZERO, |caught_up| uptime.saturating_sub(since(caught_up)))
    }
}
