//! Watches the system's clock. When it is set, times that were stored by the old one may stand far
//! in the future: every record is looked through, and what no rule can have meant counts as come.
//! The same after a start, when no one knows by which clock they were stored, and now and then,
//! for the sake of other nodes' clocks.

use std::time::Duration;

use linkseal_base::clock::{Timestamp, WOBBLE};
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::SslEvent;
use linkseal_store::DomainQuery;

use super::{Control, Draft, Edit};

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(15);
/// How often all records are looked through at least.
const ALL: Duration = Duration::from_secs(6 * 3600);

/// By how much the time of day was set between two looks, in milliseconds: what it went on beyond
/// the steady clock. Zero: by no more than NTP and two readings make of it.
fn set_by((wall, steady): (Timestamp, Duration), (wall_now, steady_now): (Timestamp, Duration)) -> i64 {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let by = wall_now
        .as_millis()
        .saturating_sub(wall.as_millis())
        .saturating_sub(ms(steady_now.saturating_sub(steady)));
    if by.saturating_abs() > ms(WOBBLE) { by } else { 0 }
}

impl Control {
    /// Watches for ever.
    pub(super) async fn watch_clock(self) {
        let clock = &self.inner.clock;
        let mut seen = (clock.now(), clock.uptime());
        let mut due = Duration::ZERO;
        loop {
            if seen.1 >= due {
                self.keep_all_within_reach().await;
                due = clock.uptime() + ALL;
            }
            clock.sleep(LOOK).await;
            let now = (clock.now(), clock.uptime());
            let by = set_by(seen, now);
            seen = now;
            if by != 0 {
                tracing::warn!(
                    seconds = by / 1000,
                    "the system's clock was set, or the machine slept; check that it keeps its time by NTP"
                );
                // What was wrong with a CA may have been our clock.
                if self.inner.standstills.forget(None) {
                    self.release_what_waits_for_us();
                }
                self.inner.wake.notify_one();
                due = Duration::ZERO;
            }
        }
    }

    async fn keep_all_within_reach(&self) {
        let mut found = 0u64;
        let edit = |draft: &mut Draft| {
            if !draft.record.ssl.is_beyond_reach(draft.now()) {
                return Edit::Nothing;
            }
            let (name, at) = (&draft.record.name, draft.record.ssl.next_attempt);
            tracing::debug!(domain = %name, next_attempt = ?at, "a stored time is farther off than its rule allows; it counts as come");
            found += 1;
            draft.happens(SslEvent::Tick);
            Edit::Store
        };
        let is_meant = |record: &DomainRecord, now| record.ssl.is_beyond_reach(now);
        self.change_all(
            "bring stored times within reach",
            DomainQuery::default(),
            is_meant,
            edit,
        )
        .await;
        // One line for all: a clock that was ahead has written every one of them.
        if found > 0 {
            tracing::info!(
                domains = found,
                "stored times were farther off than their rules allow; they count as come"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told_from_time_that_goes_by() {
        let (t0, minute) = (Timestamp::from_secs(1_795_305_600), Duration::from_secs(60));
        let seen = (t0, minute);
        assert_eq!(set_by(seen, (t0 + minute * 60, minute * 61)), 0);
        assert_eq!(set_by(seen, (t0 + minute, minute + minute / 2)), 0, "NTP slews");
        assert_eq!(set_by(seen, (t0.minus(minute * 60), minute)), -3_600_000);
        assert_eq!(set_by(seen, (t0 + minute * 60, minute)), 3_600_000);
    }
}
