//! Watches the system's clock. After it was set, times stored before may lie far in the future: all
//! records are searched, and times beyond what their rules allow count as reached. The same happens
//! after a start, because the clock may have been set meanwhile (the loader looks at all records anyway, and
//! says whether it is necessary), and at intervals, because the clocks of other nodes may be wrong.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::{Timestamp, WOBBLE};
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::SslEvent;

use crate::core::{Core, Draft, Edit};
use crate::operator::Operator;

/// How often the clock is checked.
const INTERVAL: Duration = Duration::from_secs(15);
/// How often all records are searched at least.
const SEARCH_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Watches until shutdown.
pub(crate) async fn watch(core: Arc<Core>, operator: Arc<Operator>) {
    let clock = &core.clock;
    let mut seen = (clock.now(), clock.uptime());
    let mut due = clock.uptime() + SEARCH_INTERVAL;
    loop {
        if seen.1 >= due {
            bring_all_within_reach(&core).await;
            due = clock.uptime() + SEARCH_INTERVAL;
        }
        clock.sleep(INTERVAL).await;
        let now = (clock.now(), clock.uptime());
        let by = set_by(seen, now);
        seen = now;
        if by != 0 {
            tracing::warn!(
                seconds = by / 1000,
                "system clock was set, or the machine was suspended; rechecking all stored times (check NTP)"
            );
            // What looked like a fault between us and a CA may have been our clock.
            operator.end_standstills();
            core.wake.notify_one();
            due = Duration::ZERO;
        }
    }
}

/// By how much the wall clock was set between two readings, in milliseconds: its progress beyond that of
/// the monotonic clock. Zero within what NTP and two readings account for.
fn set_by((wall, steady): (Timestamp, Duration), (wall_now, steady_now): (Timestamp, Duration)) -> i64 {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let by = wall_now
        .as_millis()
        .saturating_sub(wall.as_millis())
        .saturating_sub(ms(steady_now.saturating_sub(steady)));
    if by.saturating_abs() > ms(WOBBLE) { by } else { 0 }
}

pub(super) async fn bring_all_within_reach(core: &Arc<Core>) {
    let mut found = 0u64;
    let edit = |draft: &mut Draft| {
        if !draft.record.ssl.is_beyond_reach(draft.now()) {
            return Edit::Nothing;
        }
        let (name, at) = (&draft.record.name, draft.record.ssl.next_attempt);
        tracing::debug!(domain = %name, next_attempt = ?at, "stored time beyond its bounds; counts as reached");
        found += 1;
        draft.apply(SslEvent::Tick);
        Edit::Store
    };
    let is_beyond = |record: &DomainRecord, now| record.ssl.is_beyond_reach(now);
    core.change_all(
        "bring stored times within their bounds",
        core.all_pages(),
        is_beyond,
        edit,
    )
    .await;
    // A single line: a clock that was ahead has written every one of them.
    if found > 0 {
        tracing::info!(
            domains = found,
            "stored times beyond their bounds; they count as reached"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_told_from_the_passage_of_time() {
        let (t0, minute) = (Timestamp::from_secs(1_795_305_600), Duration::from_secs(60));
        let seen = (t0, minute);
        assert_eq!(set_by(seen, (t0 + minute * 60, minute * 61)), 0);
        assert_eq!(set_by(seen, (t0 + minute, minute + minute / 2)), 0, "NTP slews");
        assert_eq!(set_by(seen, (t0.minus(minute * 60), minute)), -3_600_000);
        assert_eq!(set_by(seen, (t0 + minute * 60, minute)), 3_600_000);
    }
}
