//! The CAs, in the order of the configuration, and which of them an order goes to.
//!
//! One order uses one CA: the first that is in use, has not said to wait, has budget left, and
//! neither refuses the name nor is forbidden to issue for it. A CA that fails by itself for several
//! orders in a row is out of use for a growing time; then one order tries it, and it comes back.
//! All of that is in the store, so a restart changes nothing and every node knows.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_dns::{CaIdentity, Caa};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Failure, FailureKind, Slot, SslStatus};
use linkseal_domain::{DomainName, DomainRecord, reach};
use linkseal_issuer::{IssueError, Issuer};
use linkseal_store::{BudgetAnswer, BudgetTake, CaTrouble, Fence, StoreError};

use super::rules::{self, Gate};
use super::{Control, Issue, Limits};

/// Orders in a row that fail by the CA's fault before it is out of use: one may be bad luck.
const FAILURES: u32 = 3;
/// First time out of use, about as long as one domain waits after one failure; doubles.
const OUT_FIRST: Duration = Duration::from_secs(120);
/// Longest time out of use: one order an hour finds out that it is back.
const OUT_MAX: Duration = Duration::from_secs(3_600);
/// Longest time out of use that its own word may make.
const OUT_SAID_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Jitter of these times.
const JITTER: f64 = 0.1;
/// How long an order may try a CA that was out of use, until another may; as long as its own lease.
const TRIAL: Duration = super::order::ORDER_LEASE;
/// When to look again whether that trial has gone well.
pub const TRIAL_RETRY: Duration = Duration::from_secs(30);
/// How long what the directories say of CAA is used, and when one that cannot be read is read again.
const IDENTITY_FRESH: Duration = Duration::from_secs(3_600);
const IDENTITY_RETRY: Duration = Duration::from_secs(60);

/// A CA with our account there, and what it allows.
pub struct ConfiguredCa {
    /// Orders there.
    pub issuer: Arc<Issuer>,
    /// Its limits, mirrored, so that they are never run into.
    pub limits: Limits,
    /// As CAA records see it; empty until its directory was read.
    identity: ArcSwap<CaIdentity>,
}

impl ConfiguredCa {
    /// A CA; nothing is asked of it yet.
    pub fn new(issuer: Issuer, limits: Limits) -> Self {
        Self {
            issuer: Arc::new(issuer),
            limits,
            identity: ArcSwap::default(),
        }
    }

    /// Its directory URL, by which all records name it.
    pub fn directory(&self) -> &str {
        self.issuer.directory()
    }

    /// As CAA records see it; without identities until its directory was read.
    pub fn identity(&self) -> Arc<CaIdentity> {
        self.identity.load_full()
    }

    /// What every order takes from its limits.
    pub(super) fn account_budget(&self) -> BudgetTake {
        rules::account_budget(self.directory(), &self.limits)
    }

    /// Reads its directory. Tells whether that could be read, now or before; `unread` is told of
    /// what stood in the way.
    async fn identify(&self, unread: impl Fn(&Self, &Failure)) -> bool {
        match self.issuer.identity().await {
            Ok(identity) => {
                self.identity.store(Arc::new(CaIdentity {
                    identities: identity.domains,
                    account_uri: identity.account,
                }));
                true
            }
            Err(failure) => {
                tracing::debug!(ca = self.directory(), detail = %failure.error.detail, "the CA's directory cannot be read");
                unread(self, &failure);
                false
            }
        }
    }
}

/// The CAs in their order; there is always one.
#[derive(Clone)]
pub struct CaPool {
    first: Arc<ConfiguredCa>,
    others: Vec<Arc<ConfiguredCa>>,
}

impl CaPool {
    /// The first choice and those to go to when it fails.
    pub fn new(first: ConfiguredCa, others: Vec<ConfiguredCa>) -> Self {
        Self {
            first: Arc::new(first),
            others: others.into_iter().map(Arc::new).collect(),
        }
    }

    /// The first choice.
    pub fn first(&self) -> &Arc<ConfiguredCa> {
        &self.first
    }

    /// All, first choice first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ConfiguredCa>> + Clone {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The CA with this directory. `None`: it is not configured (any more).
    pub fn find(&self, directory: &str) -> Option<&Arc<ConfiguredCa>> {
        self.iter().find(|a| a.directory() == directory)
    }

    /// Those that an order for a name may go to: all but those that keep refusing it, unless all do.
    fn willing<'a>(&'a self, record: &'a DomainRecord, now: Timestamp) -> Vec<&'a Arc<ConfiguredCa>> {
        let willing = self.iter().filter(|a| !record.ssl.is_refused_by(a.directory(), now));
        let willing: Vec<_> = willing.collect();
        if willing.is_empty() {
            self.iter().collect()
        } else {
            willing
        }
    }
}

/// Where an order goes.
pub(super) enum Choice {
    /// To this CA; its limits have been taken from.
    At(Chosen),
    /// Nowhere for now.
    Wait(Wait),
    /// Nowhere: CAA records at `host` forbid every CA there is.
    Forbidden {
        /// Where they stand.
        host: String,
    },
}

/// The CA of one order.
pub(super) struct Chosen {
    pub(super) authority: Arc<ConfiguredCa>,
    /// Whether the order is open there already.
    pub(super) resumes: bool,
    /// The certificate it replaces, by its ARI id. `None`: none that the CA knows.
    pub(super) replaces: Option<String>,
    /// The lease under which this one order tries a CA that was out of use. `None`: it is in use.
    trial: Option<Fence>,
}

/// Why no order is made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Until when.
    pub(super) until: Timestamp,
    /// The CA whose wait it is, by its host name.
    pub(super) ca: String,
    /// What for.
    pub(super) cause: Cause,
    /// The turn it was given where a limit is used up. `None`: it waits for something else.
    pub(super) turn: Option<BudgetTake>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A limit of the CA on this name.
    Name,
    /// A limit of the CA on all orders.
    Account,
    /// The CA is out of use.
    Outage,
    /// Something that is ours to put right.
    Ours(FailureKind),
}

impl Control {
    /// Chooses the CA of an order and takes from its limits.
    /// `plain`: the order is not to name what it replaces.
    pub(super) async fn choose(&self, record: &DomainRecord, plain: bool) -> Result<Choice, StoreError> {
        let (name, now) = (&record.name, self.inner.clock.now());
        let authorities = self.tools().authorities.clone();
        let open = self.inner.store.order(name).await?.filter(|o| o.url.is_some());
        if let Some(authority) = open.as_ref().and_then(|o| authorities.find(&o.ca)) {
            // Its CA has counted it already, so no limit holds it; only an outage does.
            if self.stands_still(authority, now).is_none()
                && let Ok(trial) = self.entry(authority, name, now).await?
            {
                let chosen = Chosen::new(authority, record, plain);
                return Ok(Choice::At(Chosen {
                    resumes: true,
                    trial,
                    ..chosen
                }));
            }
        }
        let mut wait: Option<Wait> = None;
        let mut forbidden = None;
        for authority in authorities.willing(record, now) {
            if let Some(host) = self.forbidden_at(authority, &authorities, record).await {
                forbidden.get_or_insert(host);
                continue;
            }
            match self.admit_at(authority, record, plain, now).await? {
                Ok(chosen) => {
                    self.give_up_turn(wait).await?;
                    return Ok(Choice::At(chosen));
                }
                Err(found) => {
                    let (sooner, later) = match wait {
                        Some(before) if before.until <= found.until => (before, Some(found)),
                        before => (found, before),
                    };
                    wait = Some(sooner);
                    self.give_up_turn(later).await?;
                }
            }
        }
        Ok(wait.map_or_else(
            || Choice::Forbidden {
                host: forbidden.unwrap_or_else(|| name.to_string()),
            },
            Choice::Wait,
        ))
    }

    /// Takes from a CA's limits for an order, unless there is something to wait for.
    async fn admit_at(
        &self,
        authority: &Arc<ConfiguredCa>,
        record: &DomainRecord,
        plain: bool,
        now: Timestamp,
    ) -> Result<Result<Chosen, Wait>, StoreError> {
        let store = &self.inner.store;
        let wait = |until, cause| {
            let ca = authority.issuer.host().to_owned();
            let turn = None;
            Ok(Err(Wait { until, ca, cause, turn }))
        };
        let chosen = Chosen::new(authority, record, plain);
        if let Some((until, kind)) = self.stands_still(authority, now) {
            return wait(until, Cause::Ours(kind));
        }
        if let Some(until) = self.held_back(authority.directory(), now).await? {
            return wait(until, Cause::Account);
        }
        let takes = match rules::gate(
            (&record.name, &record.ssl),
            authority.directory(),
            &authority.limits,
            None,
            chosen.replaces.is_some(),
            now,
        ) {
            Gate::Wait(until) => return wait(until, Cause::Name),
            Gate::Take(takes) => self.in_its_line(takes, record).await?,
        };
        let trial = match self.entry(authority, &record.name, now).await? {
            Ok(trial) => trial,
            Err(until) => return wait(until, Cause::Outage),
        };
        match store.take_budgets(&takes, now).await? {
            BudgetAnswer::Taken => Ok(Ok(Chosen { trial, ..chosen })),
            BudgetAnswer::Exhausted { key, until } => {
                self.end_trial(authority, trial).await?;
                let of_all = key == authority.account_budget().key;
                Ok(Err(Wait {
                    until,
                    ca: authority.issuer.host().to_owned(),
                    cause: if of_all { Cause::Account } else { Cause::Name },
                    turn: takes.iter().find(|take| take.key == key).map(BudgetTake::slot),
                }))
            }
        }
    }

    /// Who has a turn in a line already keeps it, whatever has brought it here before its time: a later
    /// one in the same line is given back, and so is one that it had in another.
    pub(super) async fn in_its_turn(&self, record: &DomainRecord, wait: Wait) -> Result<Wait, StoreError> {
        let (Some(turn), Some(new)) = (self.turn_ahead(&record.ssl), &wait.turn) else {
            return Ok(wait);
        };
        if turn.queue != new.key {
            self.leave_line(&record.name, &record.ssl).await?;
            return Ok(wait);
        }
        self.give_up_turn(Some(wait.clone())).await?;
        let until = turn.at;
        Ok(Wait { until, ..wait })
    }

    /// Gives back the turn that a domain has in a line and does not come for.
    pub(super) async fn leave_line(&self, name: &DomainName, ssl: &SslStatus) -> Result<(), StoreError> {
        let Some(turn) = self.turn_ahead(ssl) else {
            return Ok(());
        };
        let tools = self.tools();
        let all = tools.authorities.iter();
        let takes = all.flat_map(|a| rules::budgets((name, ssl), a.directory(), &a.limits));
        let turns = takes.flat_map(|take| {
            [false, true].map(|small_tenant| {
                BudgetTake {
                    small_tenant,
                    ..take.clone()
                }
                .slot()
            })
        });
        // Of a CA that is configured no more, none is kept.
        let left: Vec<_> = turns.filter(|t| t.key == turn.queue).take(1).collect();
        if left.is_empty() {
            return Ok(());
        }
        self.inner.store.return_budgets(&left, self.inner.clock.now()).await
    }

    fn turn_ahead<'a>(&self, ssl: &'a SslStatus) -> Option<&'a Slot> {
        let now = self.inner.clock.now();
        ssl.slot.as_ref().filter(|turn| turn.at.is_ahead(now, reach::LINE))
    }

    /// Leaves a turn at a CA to others: the order goes elsewhere, or waits for a sooner one.
    pub(super) async fn give_up_turn(&self, wait: Option<Wait>) -> Result<(), StoreError> {
        let turns: Vec<_> = wait.and_then(|wait| wait.turn).into_iter().collect();
        if turns.is_empty() {
            return Ok(());
        }
        self.inner.store.return_budgets(&turns, self.inner.clock.now()).await
    }

    /// Who finds no budget left stands in the short line, if it goes past what waits in bulk.
    pub(super) async fn in_its_line(
        &self,
        mut takes: Vec<BudgetTake>,
        record: &DomainRecord,
    ) -> Result<Vec<BudgetTake>, StoreError> {
        if !takes.is_empty() {
            let few = self.goes_past(record).await?;
            takes.iter_mut().for_each(|take| take.small_tenant = few);
        }
        Ok(takes)
    }

    /// Lets an order to a CA: freely while it is in use (`Ok(None)`), as the one that tries it
    /// after an outage (`Ok(Some(_))`), or not before a time (`Err`).
    async fn entry(
        &self,
        authority: &ConfiguredCa,
        name: &DomainName,
        now: Timestamp,
    ) -> Result<Result<Option<Fence>, Timestamp>, StoreError> {
        let store = &self.inner.store;
        let trouble = store.ca_trouble(authority.directory()).await?;
        if trouble.as_ref().is_none_or(|t| t.out_until.is_none()) {
            return Ok(Ok(None));
        }
        if let Some(until) = rules::out_until(trouble.as_ref(), now) {
            return Ok(Err(until));
        }
        // Not the node's alone, which would get it twice.
        let owner = format!("{}/{name}", self.inner.node);
        let trial = store.acquire_lease(&trial_lease(authority), &owner, TRIAL, now).await?;
        Ok(trial.map(Some).ok_or(now + TRIAL_RETRY))
    }

    async fn end_trial(&self, authority: &ConfiguredCa, trial: Option<Fence>) -> Result<(), StoreError> {
        match trial {
            Some(fence) => self.inner.store.release_lease(&trial_lease(authority), fence).await,
            None => Ok(()),
        }
    }

    /// Where CAA records stand that forbid this CA. `None`: they do not, or that cannot be said.
    /// With one CA only, the check before the order was queued has said it.
    async fn forbidden_at(&self, authority: &ConfiguredCa, all: &CaPool, record: &DomainRecord) -> Option<String> {
        if all.others.is_empty() || record.origin == Origin::Edge {
            return None;
        }
        match self.tools().checker.caa(&record.name, &authority.identity()).await {
            Caa::Forbids { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Learns from an order's end how its CA does, and lets others try it.
    pub(super) async fn judge<T>(&self, chosen: &Chosen, end: &Result<T, IssueError>) -> Result<(), StoreError> {
        let authority = &chosen.authority;
        if end.is_ok() && authority.identity().account_uri.is_none() {
            // There is an account now, which CAA records can name.
            self.inner.identities.notify_one();
        }
        let result = match end {
            Ok(_) => self.works(authority).await,
            Err(IssueError::Failed { failure, .. }) => match Blame::of(failure.kind) {
                Blame::Ca => self.fails(authority, failure).await,
                Blame::Others => self.works(authority).await,
                Blame::Us => {
                    if failure.kind != FailureKind::Internal {
                        let steady = self.inner.clock.uptime();
                        self.inner
                            .standstills
                            .note(authority.directory(), failure.kind, &failure.error.detail, steady);
                    }
                    Ok(())
                }
            },
            Err(_) => Ok(()),
        };
        self.end_trial(authority, chosen.trial).await.and(result)
    }

    async fn works(&self, authority: &ConfiguredCa) -> Result<(), StoreError> {
        self.inner.standstills.works(authority.directory());
        let _judging = self.inner.judging.lock().await;
        if self.inner.store.ca_trouble(authority.directory()).await?.is_some() {
            self.inner.store.end_ca_trouble(authority.directory()).await?;
            tracing::info!(ca = authority.directory(), "the CA works again");
        }
        Ok(())
    }

    async fn fails(&self, authority: &ConfiguredCa, failure: &Failure) -> Result<(), StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let _judging = self.inner.judging.lock().await;
        let before = store.ca_trouble(authority.directory()).await?;
        let Some(after) = one_more(before, authority.directory(), failure, now, random::unit()) else {
            return Ok(());
        };
        if let Some(until) = after.out_until {
            tracing::warn!(ca = authority.directory(), %until, why = after.why, "the CA keeps failing; it is out of use until then");
        }
        store.put_ca_trouble(&after).await
    }

    /// Whether an order that this CA did not make, for a reason of its own, may go to another one at
    /// once. Not to one that refuses the name too: that would go round and round.
    pub(super) async fn may_go_elsewhere(&self, chosen: &Chosen, record: &DomainRecord) -> Result<bool, StoreError> {
        let now = self.inner.clock.now();
        let authorities = self.tools().authorities.clone();
        let here = chosen.authority.directory();
        let stays = !record.ssl.is_refused_by(here, now)
            && self.held_back(here, now).await?.is_none()
            && self.out_until(here, now).await?.is_none();
        if stays {
            return Ok(false);
        }
        for there in authorities.iter().map(|a| a.directory()) {
            if there != here
                && !record.ssl.is_refused_by(there, now)
                && self.held_back(there, now).await?.is_none()
                && self.out_until(there, now).await?.is_none()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Until when a CA is out of use. `None`: it is in use, or may be tried.
    pub(super) async fn out_until(&self, directory: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let trouble = self.inner.store.ca_trouble(directory).await?;
        Ok(rules::out_until(trouble.as_ref(), now))
    }

    /// Until when a CA wants no orders at all. `None`: it takes them.
    pub(super) async fn held_back(&self, directory: &str, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(rules::held_back(self.inner.store.held_back(directory, now).await?, now))
    }

    /// Notes that a CA wants no orders at all until then, or longer if it has said so before.
    pub(super) async fn note_hold_back(&self, directory: &str, until: Timestamp) -> Result<(), StoreError> {
        // A release between reading and writing must not be undone.
        let _judging = self.inner.judging.lock().await;
        let before = self.held_back(directory, self.inner.clock.now()).await?;
        let until = before.map_or(until, |before| before.max(until));
        self.inner.store.hold_back(directory, until).await
    }

    /// Until when nothing is ordered from a CA for a reason that is ours, and which.
    pub(super) fn stands_still(&self, authority: &ConfiguredCa, now: Timestamp) -> Option<(Timestamp, FailureKind)> {
        let steady = self.inner.clock.uptime();
        let (left, kind) = self.inner.standstills.left(authority.directory(), steady)?;
        Some((now + left, kind))
    }

    /// Says that a CA's directory cannot be read, not too often.
    fn complain_unread(&self, authority: &ConfiguredCa, failure: &Failure) {
        self.complain(
            authority,
            failure,
            "the CA's directory cannot be read; CAA is left to the CA",
        );
    }

    /// Warns of what is wrong with a CA, or between it and us: once for each CA and cause in a
    /// while, not for every domain. Tells whether it did.
    pub(super) fn complain(&self, authority: &ConfiguredCa, failure: &Failure, what: &str) -> bool {
        let (ca, detail) = (authority.directory(), failure.error.detail.as_str());
        let cause = failure.kind.as_str();
        let Some(unsaid) = self.inner.complaints.due(ca, cause, self.inner.clock.uptime()) else {
            return false;
        };
        if failure.kind.is_ours() {
            tracing::error!(ca, cause, detail, unsaid, "{what}");
        } else {
            tracing::warn!(ca, cause, detail, unsaid, "{what}");
        }
        true
    }

    /// Reads for ever, at intervals, how CAA records name the CAs, and tells the checker. A CA that
    /// cannot be read blocks nothing: CAA is not judged for it.
    pub(super) async fn keep_identities(self) {
        loop {
            if self.inner.settings.load().issue == Issue::Off {
                self.inner.identities.notified().await;
                continue;
            }
            let tools = self.tools();
            let all = futures_util::future::join_all(
                tools
                    .authorities
                    .iter()
                    .map(|a| a.identify(|a, failure| self.complain_unread(a, failure))),
            );
            let known = all.await.into_iter().all(|known| known);
            let identities = tools.authorities.iter().map(|a| a.identity().as_ref().clone());
            tools.checker.set_cas(identities.collect());
            self.inner.identified.notify_one();
            let wait = if known { IDENTITY_FRESH } else { IDENTITY_RETRY };
            tokio::select! {
                () = self.inner.identities.notified() => {}
                () = self.inner.clock.sleep(wait) => {}
            }
        }
    }
}

impl Chosen {
    fn new(authority: &Arc<ConfiguredCa>, record: &DomainRecord, plain: bool) -> Self {
        let replaces = rules::replaces(&record.ssl, authority.directory()).filter(|_| !plain);
        Self {
            authority: Arc::clone(authority),
            resumes: false,
            replaces: replaces.map(str::to_owned),
            trial: None,
        }
    }
}

/// Whose fault a failed order was, as far as its CA is concerned.
pub enum Blame {
    /// The CA's: it would fail for others too.
    Ca,
    /// The customer's, or a limit's: the CA works.
    Others,
    /// Ours: it says nothing about the CA.
    Us,
}

impl Blame {
    /// Whose fault this kind is.
    pub fn of(kind: FailureKind) -> Self {
        use FailureKind::*;
        match kind {
            Unreachable | Stuck | Refused | Unusable => Self::Ca,
            Connection | WrongAnswer | CaDns | Caa | Rejected | NameLimit | AccountLimit => Self::Others,
            Internal | Clock | Trust | Account => Self::Us,
        }
    }
}

fn trial_lease(authority: &ConfiguredCa) -> String {
    format!("ca/{}", authority.directory())
}

/// The troubles with a CA after one more order failed by its fault. `None`: it is out of use, and
/// the order had begun before. `unit`, in `0.0..1.0`, is the jitter.
pub fn one_more(
    before: Option<CaTrouble>,
    directory: &str,
    failure: &Failure,
    now: Timestamp,
    unit: f64,
) -> Option<CaTrouble> {
    let mut trouble = before.unwrap_or_else(|| CaTrouble {
        directory: directory.to_owned(),
        failures: 0,
        outages: 0,
        out_until: None,
        since: now,
        why: String::new(),
    });
    if rules::out_until(Some(&trouble), now).is_some() {
        return None;
    }
    trouble.failures = trouble.failures.saturating_add(1);
    trouble.why.clone_from(&failure.error.detail);
    if trouble.failures >= FAILURES {
        let span = OUT_FIRST.saturating_mul(1 << trouble.outages.min(10)).min(OUT_MAX);
        trouble.outages = trouble.outages.saturating_add(1);
        let until = now + random::jittered(span, JITTER, unit);
        // A CA that says when it is back knows best, within reason.
        let said = failure.retry_after.map(|at| at.min(now + OUT_SAID_MAX));
        trouble.out_until = Some(said.map_or(until, |at| at.max(until)));
    }
    Some(trouble)
}

#[cfg(test)]
mod tests {
    use linkseal_domain::ssl::LastError;

    use super::super::tests::{Bench, CA, name};
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);

    fn failure(kind: FailureKind) -> Failure {
        Failure {
            kind,
            error: LastError {
                kind: "about:blank".into(),
                detail: "no answer".into(),
                at: NOW,
                subproblems: Vec::new(),
            },
            retry_after: None,
        }
    }

    #[test]
    fn a_ca_that_keeps_failing_is_out_for_a_growing_time() {
        let one = |before, now| one_more(before, "https://ca.example/dir", &failure(FailureKind::Stuck), now, 0.5);
        let first = one(None, NOW).unwrap();
        assert_eq!((first.failures, first.out_until, first.since), (1, None, NOW));
        let second = one(Some(first), NOW + OUT_FIRST).unwrap();
        assert_eq!(second.out_until, None);
        let mut trouble = one(Some(second), NOW).unwrap();
        assert_eq!((trouble.out_until, trouble.since), (Some(NOW + OUT_FIRST), NOW));
        assert_eq!(trouble.why, "no answer");
        assert_eq!(one(Some(trouble.clone()), NOW), None, "orders under way add nothing");
        let mut spans = Vec::new();
        for _ in 0..7 {
            let now = trouble.out_until.unwrap();
            trouble = one(Some(trouble), now).unwrap();
            spans.push(trouble.out_until.unwrap().saturating_since(now));
        }
        assert_eq!(spans[..2], [OUT_FIRST * 2, OUT_FIRST * 4]);
        assert_eq!(spans[6], OUT_MAX);
        let said = |span| {
            let busy = Failure {
                retry_after: Some(NOW + span),
                ..failure(FailureKind::Unreachable)
            };
            let two = CaTrouble {
                failures: FAILURES - 1,
                outages: 0,
                out_until: None,
                ..trouble.clone()
            };
            let after = one_more(Some(two), "https://ca.example/dir", &busy, NOW, 0.5);
            after.unwrap().out_until.unwrap().saturating_since(NOW)
        };
        assert_eq!(said(OUT_FIRST * 3), OUT_FIRST * 3);
        assert_eq!(said(OUT_FIRST / 2), OUT_FIRST);
        assert_eq!(said(OUT_SAID_MAX * 9), OUT_SAID_MAX);
    }

    #[test]
    fn a_customers_fault_is_not_the_cas() {
        use FailureKind::*;
        for kind in [Connection, WrongAnswer, CaDns, Caa, Rejected, NameLimit, AccountLimit] {
            assert!(matches!(Blame::of(kind), Blame::Others), "{kind:?}");
        }
        for kind in [Unreachable, Stuck, Refused] {
            assert!(matches!(Blame::of(kind), Blame::Ca), "{kind:?}");
        }
        assert!(matches!(Blame::of(Internal), Blame::Us));
    }

    #[tokio::test]
    async fn a_release_is_not_undone_by_what_was_read_before_it() {
        let bench = Bench::new().await;
        let (control, now) = (&bench.control, bench.clock.now());
        let (long, short) = (now + Duration::from_secs(7_200), now + Duration::from_secs(600));
        bench.store.hold_back(CA, long).await.unwrap();
        let judging = control.inner.judging.lock().await;
        let mut noting = Box::pin(control.note_hold_back(CA, short));
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
        assert_eq!(control.held_back(CA, now).await.unwrap(), Some(short));
        control.note_hold_back(CA, now + Duration::from_secs(60)).await.unwrap();
        assert_eq!(
            control.held_back(CA, now).await.unwrap(),
            Some(short),
            "the longer one counts"
        );
    }
}
