//! Who goes first: every decision between tenants, zones and priorities is made in this room.
//!
//! There are four bottlenecks on the way from a registration to a certificate, and each has one
//! rule:
//!
//! 1. **Taking up what is due** ([`fast_lane`]). The scheduler takes up due domains in order of time,
//!    so a single new domain would wait behind an import of thousands. New domains of a *small
//!    tenant* are taken up before them.
//! 2. **Places for checks** ([`lanes`]). DNS checks, pre-flights, reports and renewal information have
//!    a bounded number of places. Priorities above reserve some of them, and each owner (tenant,
//!    zone, token) gets a share.
//! 3. **Order slots** ([`queue`]). Priorities first, and within one priority tenants take turns.
//! 4. **The CA's rate limits** ([`turns`]). An order that finds a bucket empty gets a turn: a time at
//!    which a token will be its own. Small tenants wait in a queue of their own in front of the same
//!    bucket (`BudgetTake::small_tenant`), so that a bulk import cannot push their turns back by days. A
//!    domain keeps its turn until it uses it or gives it up.
//!
//! All of them go by the same two definitions:
//!
//! - **Tenant** ([`Fairness::tenant_of`]). Domains that the platform registers without a tenant belong
//!   to the platform: together they are one tenant, not one each. Exceptions, which count by
//!   themselves, are the edge's own names and the few domains in the fast lane.
//! - **Small tenant** ([`Fairness::is_small`]). A tenant with at most ten domains that wait for a
//!   certificate; for domains without a tenant, those in the fast lane.

mod fast_lane;
pub(crate) mod lanes;
pub mod queue;
mod turns;
pub(crate) mod urgency;

use std::sync::Arc;

use linkseal_domain::DomainRecord;
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, State};
use linkseal_store::{BudgetTake, StoreError};

use self::fast_lane::FastLane;
use self::lanes::Owner;
use crate::core::Core;

/// A tenant with at most this many domains that wait for a certificate is small.
const SMALL: u64 = 10;

/// Decides who is a tenant, and who is a small one.
pub(crate) struct Fairness {
    core: Arc<Core>,
    pub(crate) fast_lane: FastLane,
}

impl Fairness {
    pub(crate) fn new(core: Arc<Core>) -> Arc<Self> {
        Arc::new(Self {
            core,
            fast_lane: FastLane::new(),
        })
    }

    /// The tenant whose share the work on a domain counts against; empty for the platform.
    pub(crate) fn tenant_of(&self, record: &DomainRecord) -> String {
        if !has_no_tenant(record) || record.origin == Origin::Edge || self.fast_lane.contains(&record.name) {
            record.tenant.clone()
        } else {
            String::new()
        }
    }

    /// The owners whose shares a check of a domain counts against.
    pub(crate) fn owners(&self, record: &DomainRecord) -> Vec<Owner> {
        let zone = registered_domain(record.name.as_str());
        vec![Owner::Tenant(self.tenant_of(record).into()), Owner::Zone(zone.into())]
    }

    /// Whether a domain goes before bulk work: its tenant is small, or it has none and is in the fast
    /// lane.
    pub(crate) async fn is_small(&self, record: &DomainRecord) -> Result<bool, StoreError> {
        if has_no_tenant(record) {
            return Ok(record.origin == Origin::Edge || self.fast_lane.contains(&record.name));
        }
        let counts = self.core.store.counts(Some(&record.tenant)).await?;
        let waits = |reason: Reason| reason.state() == State::Pending || reason == Reason::NeverRequested;
        let waiting: u64 = counts.iter().filter(|c| waits(c.reason)).map(|c| c.domains).sum();
        Ok(waiting <= SMALL)
    }

    /// Marks takes of a small tenant, which then waits in the queue for small tenants if a bucket is
    /// empty.
    pub(crate) async fn mark_small(
        &self,
        mut takes: Vec<BudgetTake>,
        record: &DomainRecord,
    ) -> Result<Vec<BudgetTake>, StoreError> {
        if !takes.is_empty() {
            let small = self.is_small(record).await?;
            takes.iter_mut().for_each(|take| take.small_tenant = small);
        }
        Ok(takes)
    }
}

fn has_no_tenant(record: &DomainRecord) -> bool {
    record.tenant == record.name.as_str()
}
