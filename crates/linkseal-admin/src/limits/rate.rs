//! A rate with a burst (GCRA).

use std::time::Duration;

use linkseal_base::clock::Timestamp;

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// The most at once.
    pub(crate) burst: u32,
    /// The time after which one more is allowed.
    pub(crate) one_per: Duration,
}

/// What was used up of a [`Rate`]: the time from which on all of it is available again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used(Timestamp);

impl Used {
    /// When the next one is allowed; `None` if it is allowed now.
    pub(crate) fn until(self, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        // Capped at the whole burst, so that a clock that was set back does not lock callers out.
        let used = self.0.min(now + rate.one_per * rate.burst);
        let free = used.minus(rate.one_per * rate.burst.saturating_sub(1));
        (free > now).then_some(free)
    }

    pub(crate) fn take(&mut self, rate: Rate, now: Timestamp) {
        self.0 = self.0.min(now + rate.one_per * rate.burst).max(now) + rate.one_per;
    }

    pub(crate) fn is_full_again(self, now: Timestamp) -> bool {
        self.0 <= now
    }
}
