//! CAs that fail, that hold orders back, or that cannot be used until something here is fixed.
//!
//! A CA that fails for several orders in a row is out of use for a growing time; then a single order
//! tries it. That and hold-backs are in the store, so that a restart changes nothing and every node
//! knows; reasons on this side are in memory ([`Standstills`]).

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::DomainName;
use linkseal_domain::ssl::{Failure, FailureKind};
use linkseal_issuer::IssueError;
use linkseal_store::{AuditEntry, Fence, StoreError};
use tokio::sync::{Mutex, MutexGuard};

use super::standstill::Standstills;
use crate::core::log_limit::{CA_INTERVAL, LogLimit};
use crate::core::{ConfiguredCa, Core};
use crate::rules::{self, Blame, TRIAL_RETRY};

/// How long one order may try a CA that was out of use before another one may; as long as its own lease.
const TRIAL_LEASE: Duration = super::run::ORDER_LEASE;

/// What this node knows about the CAs besides their configuration.
pub(crate) struct CaHealth {
    core: Arc<Core>,
    /// One read-modify-write of a CA's stored state at a time.
    judging: Mutex<()>,
    /// CAs that cannot be used until something here is fixed.
    standstills: Standstills,
    /// CAs that refuse all orders by a rate limit: the shortest wait grows while they do.
    throttles: Standstills,
    log: LogLimit,
}

impl CaHealth {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            judging: Mutex::new(()),
            standstills: Standstills::default(),
            throttles: Standstills::default(),
            log: LogLimit::every(CA_INTERVAL),
        }
    }

    /// Until when nothing is ordered from a CA for a reason on this side, and which.
    pub(crate) fn stands_still(&self, ca: &ConfiguredCa, now: Timestamp) -> Option<(Timestamp, FailureKind)> {
        let (left, kind) = self.standstills.left(ca.directory(), self.core.clock.uptime())?;
        Some((now + left, kind))
    }

    /// What has to be fixed here before a CA can be used.
    pub(crate) fn standstill_reason(&self, ca: &ConfiguredCa) -> Option<String> {
        self.standstills.why(ca.directory())
    }

    /// Lets all CAs be tried again: the reason on this side may be gone. Returns whether any stood still.
    pub(crate) fn end_standstills(&self) -> bool {
        self.standstills.forget(None)
    }

    /// Admits an order to a CA: freely while it is in use (`Ok(None)`), as the trial after an outage
    /// (`Ok(Some(_))`), or not before a time (`Err`).
    pub(super) async fn admit(
        &self,
        ca: &ConfiguredCa,
        name: &DomainName,
        now: Timestamp,
    ) -> Result<Result<Option<Fence>, Timestamp>, StoreError> {
        let store = &self.core.store;
        let trouble = store.ca_trouble(ca.directory()).await?;
        if trouble.as_ref().is_none_or(|t| t.out_until.is_none()) {
            return Ok(Ok(None));
        }
        if let Some(until) = rules::out_until(trouble.as_ref(), now) {
            return Ok(Err(until));
        }
        // With the name in it: two orders of this node must not share the lease.
        let owner = format!("{}/{name}", self.core.node);
        let trial = store.acquire_lease(&trial_lease(ca), &owner, TRIAL_LEASE, now).await?;
        Ok(trial.map(Some).ok_or(now + TRIAL_RETRY))
    }

    /// Releases the lease of a trial, if the order was one.
    pub(super) async fn end_trial(&self, ca: &ConfiguredCa, trial: Option<Fence>) -> Result<(), StoreError> {
        match trial {
            Some(fence) => self.core.store.release_lease(&trial_lease(ca), fence).await,
            None => Ok(()),
        }
    }

    /// How often standstills were ended; an order remembers it as it begins.
    pub(super) fn endings(&self) -> u64 {
        self.standstills.endings()
    }

    /// Learns from the end of an order how its CA is. `since`: [`CaHealth::endings`] as it began.
    pub(super) async fn judge<T>(
        &self,
        ca: &ConfiguredCa,
        end: &Result<T, IssueError>,
        since: u64,
    ) -> Result<(), StoreError> {
        match end {
            Ok(_) => self.works(ca).await,
            Err(IssueError::Failed { failure, .. }) => match Blame::of(failure.kind) {
                Blame::Ca => self.fails(ca, failure).await,
                Blame::Others => self.works(ca).await,
                Blame::Us => {
                    if failure.kind != FailureKind::Internal {
                        let uptime = self.core.clock.uptime();
                        self.standstills
                            .note(ca.directory(), failure.kind, &failure.error.detail, uptime, since);
                    }
                    Ok(())
                }
            },
            Err(_) => Ok(()),
        }
    }

    async fn works(&self, ca: &ConfiguredCa) -> Result<(), StoreError> {
        self.standstills.end(ca.directory());
        let _judging = self.judging.lock().await;
        if self.core.store.ca_trouble(ca.directory()).await?.is_some() {
            self.core.store.end_ca_trouble(ca.directory()).await?;
            tracing::info!(ca = ca.directory(), "CA back in use");
        }
        Ok(())
    }

    async fn fails(&self, ca: &ConfiguredCa, failure: &Failure) -> Result<(), StoreError> {
        let (store, now) = (&self.core.store, self.core.clock.now());
        let _judging = self.judging.lock().await;
        let before = store.ca_trouble(ca.directory()).await?;
        let Some(after) = rules::one_more(before, ca.directory(), failure, now, random::unit()) else {
            return Ok(());
        };
        if let Some(until) = after.out_until {
            tracing::warn!(ca = ca.directory(), %until, error = after.why, "CA keeps failing; out of use for now");
        }
        store.put_ca_trouble(&after).await
    }

    /// The CA's error text of the rate limit on all orders that was noted last; `None` after an order
    /// succeeded, and after a restart.
    pub(crate) fn throttle_reason(&self, ca: &ConfiguredCa) -> Option<String> {
        self.throttles.why(ca.directory())
    }

    /// An order succeeded: the CA's rate limits admit orders again.
    pub(super) fn end_throttle(&self, ca: &ConfiguredCa) {
        self.throttles.end(ca.directory());
    }

    /// Notes a rate limit on all orders. Some CAs name a time in the past, so the wait has a minimum
    /// that grows while the limit lasts.
    pub(super) async fn throttle(
        &self,
        ca: &ConfiguredCa,
        failure: &Failure,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let (directory, uptime) = (ca.directory(), self.core.clock.uptime());
        self.throttles.note(
            directory,
            failure.kind,
            &failure.error.detail,
            uptime,
            self.throttles.endings(),
        );
        let shortest = self.throttles.left(directory, uptime);
        let shortest = shortest.map_or(until, |(left, _)| self.core.clock.now() + left);
        self.hold_back(directory, until.max(shortest)).await
    }

    /// Stores that a CA accepts no orders at all until this time, or later if it has said so before.
    async fn hold_back(&self, directory: &str, until: Timestamp) -> Result<(), StoreError> {
        // A release between reading and writing must not be undone.
        let _judging = self.judging.lock().await;
        let before = self.core.held_back(directory, self.core.clock.now()).await?;
        let until = before.map_or(until, |before| before.max(until));
        self.core.store.hold_back(directory, until).await
    }

    /// Keeps an order that ends meanwhile from writing back what it read before a [`Self::release`].
    pub(crate) async fn lock(&self) -> MutexGuard<'_, ()> {
        self.judging.lock().await
    }

    /// Ends whatever keeps orders from a CA, by an operator; call it under [`Self::lock`].
    pub(crate) async fn release(&self, ca: &ConfiguredCa, audit: AuditEntry) -> Result<(), StoreError> {
        self.core.store.release_ca(ca.directory(), audit).await?;
        self.standstills.forget(Some(ca.directory()));
        self.throttles.end(ca.directory());
        Ok(())
    }

    /// Logs what is wrong with a CA, or between it and us: once for each CA, message and cause in a while,
    /// not for every domain. Returns whether it did.
    pub(super) fn warn(&self, ca: &ConfiguredCa, failure: &Failure, message: &'static str) -> bool {
        let (directory, error) = (ca.directory(), failure.error.detail.as_str());
        let cause = failure.kind.as_str();
        let subject = format!("{directory} {message}");
        let Some(suppressed) = self.log.due(&subject, cause, self.core.clock.uptime()) else {
            return false;
        };
        if failure.kind.is_ours() {
            tracing::error!(ca = directory, cause, error, suppressed, "{message}");
        } else {
            tracing::warn!(ca = directory, cause, error, suppressed, "{message}");
        }
        true
    }
}

fn trial_lease(ca: &ConfiguredCa) -> String {
    format!("ca/{}", ca.directory())
}

#[cfg(test)]
mod tests {
    use linkseal_domain::ssl::LastError;

    use crate::report::Standing;
    use crate::tests::{Bench, CA, name};

    use super::*;

    fn failure(kind: FailureKind, detail: &str) -> Failure {
        Failure {
            kind,
            error: LastError {
                kind: format!("urn:linkseal:error:{}", kind.as_str()),
                detail: detail.to_owned(),
                at: Timestamp::default(),
                subproblems: Vec::new(),
            },
            retry_after: None,
        }
    }

    #[tokio::test]
    async fn an_unreadable_directory_does_not_suppress_the_line_about_orders() {
        let bench = Bench::new().await;
        let (health, cas) = (&bench.control.orders.health, bench.control.core.cas());
        let unreachable = failure(FailureKind::Unreachable, "connection refused");
        assert!(health.warn(cas.first(), &unreachable, "CA directory unreadable"));
        assert!(health.warn(cas.first(), &unreachable, "orders at the CA fail"));
        for message in ["CA directory unreadable", "orders at the CA fail"] {
            assert!(
                !health.warn(cas.first(), &unreachable, message),
                "once for each message"
            );
        }
    }

    #[tokio::test]
    async fn the_overview_says_why_a_ca_is_held_back() {
        let bench = Bench::new().await;
        let (core, health) = (&bench.control.core, &bench.control.orders.health);
        let (cas, until) = (core.cas(), bench.clock.now() + Duration::from_secs(3_600));
        let limited = failure(FailureKind::AccountLimit, "too many new orders");
        health.throttle(cas.first(), &limited, until).await.unwrap();
        let state = async || bench.control.report().overview().await.unwrap().authorities.remove(0);
        let held = state().await;
        assert_eq!(held.standing, Standing::HeldBack(until));
        assert_eq!(held.limit_reason.as_deref(), Some("too many new orders"));
        health.end_throttle(cas.first());
        core.store.hold_back(CA, bench.clock.now()).await.unwrap();
        assert_eq!(state().await.limit_reason, None);
    }

    #[tokio::test]
    async fn a_release_is_not_undone_by_an_older_read() {
        let bench = Bench::new().await;
        let (control, now) = (&bench.control, bench.clock.now());
        let (core, health) = (&control.core, &control.orders.health);
        let (long, short) = (now + Duration::from_secs(7_200), now + Duration::from_secs(600));
        bench.store.hold_back(CA, long).await.unwrap();
        let judging = health.judging.lock().await;
        let mut noting = Box::pin(health.hold_back(CA, short));
        for _ in 0..100 {
            assert!(
                futures_util::poll!(&mut noting).is_pending(),
                "it waits for the release"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let audit = bench.audit("release", &name("orders.example"));
        bench.store.release_ca(CA, audit).await.unwrap();
        drop(judging);
        noting.await.unwrap();
        assert_eq!(core.held_back(CA, now).await.unwrap(), Some(short));
        health.hold_back(CA, now + Duration::from_secs(60)).await.unwrap();
        assert_eq!(
            core.held_back(CA, now).await.unwrap(),
            Some(short),
            "the longer one counts"
        );
    }
}
