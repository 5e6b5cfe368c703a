//! The places in which DNS is looked at (see [`super::lanes`] for who gets one).
//!
//! A look that is answered takes milliseconds; one at name servers that do not answer takes ten
//! seconds and costs nothing but a socket. So there are two kinds of places: a few for a second at
//! most, and many for what is still silent then. A name that was silent the last time begins there.
//! However many zones are dead, the next name's look begins within a second or two.
//!
//! Reports for people are looks too, up to a dozen questions each; they have places of their own, so
//! that reading takes none from orders.

use std::pin::pin;
use std::time::Duration;

use linkseal_domain::DomainRecord;
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::FailureKind;
use tokio::time::timeout;

use super::Control;
use super::input::{Actor, OperatorError};
use super::lanes::{Lanes, Owner, Place};
use super::queue::Priority;

/// Looks at once, for [`SLICE`] each.
const QUICK: usize = 64;
/// Looks at once that are silent: what the quick places hand on in the nine seconds that a look can
/// still take.
const SILENT: usize = 576;
/// Looks at once, quick and silent ones.
pub(super) const AT_ONCE: usize = QUICK + SILENT;
/// How long a look has a quick place.
const SLICE: Duration = Duration::from_secs(1);
/// Reports at once.
pub(super) const REPORTS: usize = 32;
/// How long a report waits for a place: together with its ten seconds, what people wait.
const REPORT_WAIT: Duration = Duration::from_secs(5);
/// The part of the places that each priority leaves to the one above it.
const RESERVED: usize = 16;

/// All places for looks.
pub(super) struct Looks {
    quick: Lanes,
    silent: Lanes,
    reports: Lanes,
}

/// A place for one look.
pub(super) struct LookPlace {
    place: Place,
    silent: Lanes,
    priority: Priority,
    owners: Vec<Owner>,
}

impl Looks {
    pub(super) fn new() -> Self {
        let lanes = |places| Lanes::new(places, places / RESERVED);
        Self {
            quick: lanes(QUICK),
            silent: lanes(SILENT),
            reports: lanes(REPORTS),
        }
    }

    /// Waits for a place for a look whose answer someone waits for.
    pub(super) async fn for_people(&self, priority: Priority, owners: Vec<Owner>) -> Place {
        self.reports.enter(priority, owners).await
    }

    /// Waits for a place. `silent`: whether the zone did not answer the last time.
    pub(super) async fn enter(&self, priority: Priority, owners: Vec<Owner>, silent: bool) -> LookPlace {
        let lanes = if silent { &self.silent } else { &self.quick };
        LookPlace {
            place: lanes.enter(priority, owners.clone()).await,
            silent: self.silent.clone(),
            priority,
            owners,
        }
    }

    /// How many wait for a place among those that are not silent.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.quick.waiting()
    }
}

impl LookPlace {
    /// Looks, in this place and, when that takes long, in one for the silent.
    pub(super) async fn spend<T>(self, look: impl Future<Output = T>) -> T {
        let mut look = pin!(look);
        if let Ok(found) = timeout(SLICE, &mut look).await {
            return found;
        }
        // Where there is none, it stays where it is.
        let silent = self.silent.try_enter(self.priority, &self.owners);
        let _place = silent.unwrap_or(self.place);
        look.await
    }
}

/// The owners of a name's looks, besides its tenant.
fn zone(record: &DomainRecord) -> Owner {
    Owner::Zone(registered_domain(record.name.as_str()).into())
}

/// Whether the last look found a zone that does not answer.
pub(super) fn was_silent(record: &DomainRecord) -> bool {
    record.ssl.wrong_checks > 0 && record.ssl.facts.cause == Some(FailureKind::CaDns)
}

impl Control {
    /// Whose share the work on a domain counts against. A domain without a tenant of its own is the
    /// platform's, like all others of them; only one that has just been registered by itself, and
    /// the edge's own names, count for themselves.
    pub(super) fn tenant_of(&self, record: &DomainRecord) -> String {
        let (name, tenant) = (record.name.as_str(), record.tenant.as_str());
        if tenant != name || record.origin == Origin::Edge || self.inner.newcomers.is_one(&record.name) {
            tenant.to_owned()
        } else {
            String::new()
        }
    }

    /// Whose shares a look at a domain counts against.
    pub(super) fn owners(&self, record: &DomainRecord) -> Vec<Owner> {
        vec![Owner::Tenant(self.tenant_of(record).into()), zone(record)]
    }

    /// A place for a report that someone asks for.
    pub(super) async fn report_place(&self, record: &DomainRecord, actor: &Actor) -> Result<Place, OperatorError> {
        let mut owners = self.owners(record);
        owners.push(Owner::Token(actor.who.as_str().into()));
        let place = self.inner.looks.for_people(Priority::Verify, owners);
        timeout(REPORT_WAIT, place).await.map_err(|_| OperatorError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;

    fn tenant(n: usize) -> Vec<Owner> {
        vec![Owner::Tenant(format!("t{n}").into())]
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_are_silent_the_next_look_begins_soon() {
        let looks = Looks::new();
        let all = async |names: usize, tenant_of: fn(usize) -> usize| {
            let looks = &looks;
            let silent = (0..names).map(|n| async move {
                let place = looks.enter(Priority::Bulk, tenant(tenant_of(n)), false).await;
                place.spend(sleep(Duration::from_secs(10))).await;
            });
            let newcomer = async {
                sleep(Duration::from_millis(100)).await;
                let begun = Instant::now();
                looks
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
        assert_eq!(
            waited,
            Duration::ZERO,
            "another tenant's names are none of its business"
        );
        let waited = all(50, |n| n).await;
        assert_eq!(waited, Duration::ZERO);
        // Each of them has an owner of its own: first come, first served, but for a second each.
        let waited = all(600, |n| n).await;
        assert!(waited < Duration::from_secs(12), "{waited:?}");
    }
}
