//! The places for DNS checks (who gets one: `fairness::lanes`).
//!
//! A check that is answered takes milliseconds; one at name servers that do not answer takes ten
//! seconds and costs only sockets. So there are two sets of places: a few for one second at most, and
//! many for checks that are still unanswered after it. A name that was unanswered last time starts in
//! the second set. However many zones are dead, the next name's check starts within a second or two.
//!
//! Reports for people are checks too, with up to a dozen queries each. They have places of their own,
//! so that reading them takes none from orders.

use std::pin::pin;
use std::time::Duration;

use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::FailureKind;
use tokio::time::timeout;

use crate::core::Priority;
use crate::fairness::lanes::{Lanes, Owner, Place};

/// Concurrent checks, for [`SLICE`] each.
const QUICK: usize = 64;
/// Concurrent checks without an answer so far: what the quick places hand over in the nine seconds
/// that a check can still take.
const SILENT: usize = 576;
/// Concurrent checks in both sets of places.
pub(crate) const CONCURRENT_CHECKS: usize = QUICK + SILENT;
/// How long a check has a quick place.
const SLICE: Duration = Duration::from_secs(1);
/// Concurrent reports.
pub(crate) const CONCURRENT_REPORTS: usize = 32;
/// One in this many places is left by each priority to the next higher one.
const RESERVED: usize = 16;

/// All places for DNS checks.
pub(crate) struct CheckPlaces {
    quick: Lanes,
    silent: Lanes,
    reports: Lanes,
}

/// A place for one check.
pub(crate) struct CheckPlace {
    place: Place,
    silent: Lanes,
    priority: Priority,
    owners: Vec<Owner>,
}

impl CheckPlaces {
    pub(super) fn new() -> Self {
        let lanes = |places| Lanes::new(places, places / RESERVED);
        Self {
            quick: lanes(QUICK),
            silent: lanes(SILENT),
            reports: lanes(CONCURRENT_REPORTS),
        }
    }

    /// Waits up to `wait` for a place for a check whose answer a person waits for.
    pub(crate) async fn enter_for_report(&self, owners: Vec<Owner>, wait: Duration) -> Option<Place> {
        timeout(wait, self.reports.enter(Priority::Verify, owners)).await.ok()
    }

    /// Waits for a place. `silent`: whether the zone did not answer last time.
    pub(crate) async fn enter(&self, priority: Priority, owners: Vec<Owner>, silent: bool) -> CheckPlace {
        let lanes = if silent { &self.silent } else { &self.quick };
        CheckPlace {
            place: lanes.enter(priority, owners.clone()).await,
            silent: self.silent.clone(),
            priority,
            owners,
        }
    }

    /// How many checks wait for a quick place.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.quick.waiting()
    }
}

impl CheckPlace {
    /// Runs the check in this place and, if it takes long, in one of the silent places.
    pub(crate) async fn spend<T>(self, check: impl Future<Output = T>) -> T {
        let mut check = pin!(check);
        if let Ok(found) = timeout(SLICE, &mut check).await {
            return found;
        }
        // If there is none, it stays where it is.
        let silent = self.silent.try_enter(self.priority, &self.owners);
        let _place = silent.unwrap_or(self.place);
        check.await
    }
}

/// Whether the last check found a zone that does not answer.
pub(crate) fn was_silent(record: &DomainRecord) -> bool {
    record.ssl.wrong_checks > 0 && record.ssl.facts.cause == Some(FailureKind::CaDns)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    fn tenant(n: usize) -> Vec<Owner> {
        vec![Owner::Tenant(format!("t{n}").into())]
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_zones_are_silent_the_next_check_starts_soon() {
        let places = CheckPlaces::new();
        let all = async |names: usize, tenant_of: fn(usize) -> usize| {
            let places = &places;
            let silent = (0..names).map(|n| async move {
                let place = places.enter(Priority::Bulk, tenant(tenant_of(n)), false).await;
                place.spend(sleep(Duration::from_secs(10))).await;
            });
            let newcomer = async {
                sleep(Duration::from_millis(100)).await;
                let begun = Instant::now();
                places
                    .enter(Priority::Bulk, tenant(usize::MAX), false)
                    .await
                    .spend(async {})
                    .await;
                begun.elapsed()
            };
            let (_, waited) = futures_util::join!(futures_util::future::join_all(silent), newcomer);
            waited
        };
        let waited = all(600, |_| 0).await;
        assert_eq!(waited, Duration::ZERO, "the names of another tenant do not delay it");
        let waited = all(50, |n| n).await;
        assert_eq!(waited, Duration::ZERO);
        // Each has an owner of its own: first come, first served, but for one second each.
        let waited = all(600, |n| n).await;
        assert!(waited < Duration::from_secs(12), "{waited:?}");
    }
}
