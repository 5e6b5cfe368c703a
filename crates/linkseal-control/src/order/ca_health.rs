//! CAs that fail, that hold orders back, or that cannot be used until something here is fixed.
//!
//! A CA that fails for several orders in a row is out of use for a growing time; then a single order
//! tries it. That and hold-backs are in the store, so that a restart changes nothing and every node
//! knows; reasons on this side are in memory ([`Standstills`]).

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::ssl::{Failure, FailureKind};
use linkseal_issuer::IssueError;
use linkseal_store::{AuditEntry, Lease, LeaseKey, Owner, StoreError};
use tokio::sync::Mutex;

use super::standstill::Standstills;
use crate::core::ca::held_back;
use crate::core::change::until_no_conflict;
use crate::core::log_limit::{CA_INTERVAL, LogLimit};
use crate::core::{ConfiguredCa, Core};
use crate::rules::{self, Blame, TRIAL_RETRY};

/// How long one order may try a CA that was out of use before another one may: longer than all deadlines of an order
/// together.
const TRIAL_LEASE: Duration = Duration::from_secs(300);

/// What this node knows about the CAs besides their configuration.
pub(crate) struct CaHealth {
    core: Arc<Core>,
    /// Orders of this node that end together change a CA's stored state one after the other, so that only other nodes
    /// are in their way.
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
        now: Timestamp,
    ) -> Result<Result<Option<Lease>, Timestamp>, StoreError> {
        let store = &self.core.store;
        let trouble = store.ca_trouble(ca.directory()).await?;
        if trouble.as_ref().is_none_or(|t| t.out_until.is_none()) {
            return Ok(Ok(None));
        }
        if let Some(until) = rules::out_until(trouble.as_ref(), now) {
            return Ok(Err(until));
        }
        // With an owner of its own: two orders of this node must not share the lease.
        let key = LeaseKey::task(format!("ca/{}", ca.directory()));
        let fence = store.acquire_lease(&key, Owner::unique(), TRIAL_LEASE).await?;
        let trial = fence.map(|fence| Lease { key, fence });
        Ok(trial.map(Some).ok_or(now + TRIAL_RETRY))
    }

    /// Releases the lease of a trial, if the order was one.
    pub(super) async fn end_trial(&self, trial: Option<Lease>) -> Result<(), StoreError> {
        match trial {
            Some(lease) => self.core.store.release_lease(&lease).await,
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
        let (store, directory) = (&self.core.store, ca.directory());
        self.standstills.end(directory);
        let _judging = self.judging.lock().await;
        let ended = until_no_conflict(|| async {
            let Some(before) = store.ca_trouble(directory).await? else {
                return Ok(false);
            };
            store.change_ca_trouble(directory, Some(&before), None).await?;
            Ok(true)
        });
        if ended.await? {
            tracing::info!(ca = directory, "CA back in use");
        }
        Ok(())
    }

    async fn fails(&self, ca: &ConfiguredCa, failure: &Failure) -> Result<(), StoreError> {
        let (store, directory) = (&self.core.store, ca.directory());
        let _judging = self.judging.lock().await;
        let noted = until_no_conflict(|| async {
            let (before, now) = (store.ca_trouble(directory).await?, self.core.clock.now());
            let after = rules::one_more(before.clone(), directory, failure, now, random::unit());
            if let Some(after) = &after {
                store.change_ca_trouble(directory, before.as_ref(), Some(after)).await?;
            }
            Ok(after)
        });
        if let Some((why, until)) = noted.await?.and_then(|after| Some((after.why, after.out_until?))) {
            tracing::warn!(ca = directory, %until, error = why, "CA keeps failing; out of use for now");
        }
        Ok(())
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
        let store = &self.core.store;
        let _judging = self.judging.lock().await;
        // A hold-back that was changed or released since it was read is read again: a release must not be undone.
        until_no_conflict(|| async {
            let before = store.held_back(directory).await?;
            let said = held_back(before, self.core.clock.now());
            let until = said.map_or(until, |said| said.max(until));
            if said == Some(until) {
                return Ok(());
            }
            store.hold_back(directory, until, before).await
        })
        .await
    }

    /// Ends whatever keeps orders from a CA, by an operator.
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
        core.store.hold_back(CA, bench.clock.now(), Some(until)).await.unwrap();
        assert_eq!(state().await.limit_reason, None);
    }

    /// CAs as two nodes see them, whose orders end at the same time.
    async fn two() -> [Bench; 2] {
        let a = Bench::new().await;
        let b = a.beside().await;
        [a, b]
    }

    #[tokio::test]
    async fn of_hold_backs_noted_at_once_the_longest_counts() {
        let nodes = two().await;
        let until = |minutes: u64| nodes[0].clock.now() + Duration::from_secs(60 * minutes);
        let untils: Vec<_> = (1..=40).map(|n| until(n * 7 % 41)).collect();
        let note = |(until, node): (&Timestamp, &Bench)| {
            let (orders, until) = (Arc::clone(&node.control.orders), *until);
            async move { orders.health.hold_back(CA, until).await }
        };
        let notes = untils.iter().zip(nodes.iter().cycle()).map(note);
        for noted in futures_util::future::join_all(notes).await {
            noted.unwrap();
        }
        let store = &nodes[0].store;
        assert_eq!(store.held_back(CA).await.unwrap(), untils.iter().copied().max());
        // After a release, what was noted before counts no more.
        let audit = nodes[0].audit("release", &name("orders.example"));
        store.release_ca(CA, audit).await.unwrap();
        note((&untils[2], &nodes[1])).await.unwrap();
        assert_eq!(store.held_back(CA).await.unwrap(), Some(untils[2]));
    }

    #[tokio::test]
    async fn failures_that_end_at_once_are_all_counted() {
        let nodes = two().await;
        let unreachable = failure(FailureKind::Unreachable, "connection refused");
        let fail = |node: &Bench| {
            let (control, failure) = (node.control.clone(), unreachable.clone());
            async move { control.orders.health.fails(control.core.cas().first(), &failure).await }
        };
        let failures = nodes.iter().map(fail);
        for counted in futures_util::future::join_all(failures).await {
            counted.unwrap();
        }
        let store = &nodes[0].store;
        assert_eq!(store.ca_trouble(CA).await.unwrap().unwrap().failures, 2);
        let control = &nodes[0].control;
        control.orders.health.works(control.core.cas().first()).await.unwrap();
        assert_eq!(store.ca_trouble(CA).await.unwrap(), None);
    }
}
