//! The DNS step of a due domain: does the name point here, does its challenge arrive, is that to be
//! believed? What was found is stored in one step with the fact that the order is queued: a crash in
//! between would leave a name that is never taken up again.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_base::random;
use linkseal_domain::DomainRecord;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Preflight, SslEvent};
use linkseal_store::{Fence, StoreError};

use super::Schedule;
use super::prepare::put_off;
use crate::checks::dns::{self, SILENCE_ALLOWED, SPREAD};
use crate::checks::places::CheckPlace;
use crate::checks::preflight::note_preflight;
use crate::core::freeze::note_freeze;
use crate::core::{Draft, Edit};
use crate::fairness::urgency::Urgency;
use crate::rules;

/// A DNS check not older than this is not repeated: "verify" may have just made it.
const DNS_FRESH: Duration = Duration::from_secs(30);
/// When to check again after our own resolvers failed.
const OUR_DNS_RETRY: Duration = Duration::from_secs(60);
/// When to check a failing zone again while nothing is to be ordered: first, and longest.
const FAILING_ZONE_RETRY: Duration = Duration::from_secs(3600);
const FAILING_ZONE_RETRY_MAX: Duration = Duration::from_secs(86_400);

/// What is known of the name's DNS.
enum Dns {
    /// It was right a moment ago and is not checked again.
    RightAlready,
    Checked(DnsVerdict),
}

impl Dns {
    fn points_here(&self) -> bool {
        matches!(self, Self::RightAlready | Self::Checked(DnsVerdict::Right))
    }

    /// The proxy in front of the name.
    fn proxy<'a>(&'a self, record: &'a DomainRecord) -> Option<&'a str> {
        match self {
            Self::RightAlready => record.ssl.facts.arrives_through(),
            Self::Checked(DnsVerdict::Proxied { provider }) => Some(provider),
            Self::Checked(_) => None,
        }
    }
}

/// What follows once DNS is right.
struct Order {
    /// Whether the domain needs an order; otherwise the check was all that was wanted.
    needed: bool,
    /// The event of a freeze in force, instead of the queued one.
    frozen: Option<SslEvent>,
    queued: SslEvent,
}

impl Order {
    fn apply(&self, draft: &mut Draft) {
        match &self.frozen {
            Some(frozen) => note_freeze(draft, frozen),
            None => drop(draft.apply(self.queued.clone())),
        }
    }

    /// Whether the order goes into the queue, if nothing else prevents it.
    fn goes_on(&self) -> bool {
        self.needed && self.frozen.is_none()
    }
}

impl Schedule {
    /// Checks the name and stores what was found; returns whether its order is to be queued.
    pub(super) async fn dns_step(
        &self,
        record: &DomainRecord,
        fence: Fence,
        urgency: &mut Urgency,
        place: CheckPlace,
    ) -> Result<bool, StoreError> {
        let now = self.core.clock.now();
        let order = Order {
            needed: rules::needs_order(&record.ssl, now),
            frozen: self.core.frozen().await?.map(|_| self.core.freeze_event()),
            queued: SslEvent::Queued {
                eta: Some(self.eta(self.is_exempt(record), now).await?),
            },
        };
        if record.origin == Origin::Edge {
            return self.own_name_step(record, fence, &order).await;
        }
        let Some(dns) = self.check_dns(record, fence, &order, place).await? else {
            return Ok(false);
        };
        let tried = self.try_preflight(record, fence, &dns, &order, urgency).await?;
        if self.is_suppressed(record, &dns, tried.as_ref()) {
            let until = self.checks.mass_failure.recheck_at();
            self.check_failed(record, fence, until).await?;
            return Ok(false);
        }
        self.store_outcome(record, fence, &dns, tried, &order).await
    }

    /// The edge's own name is what the others point to: its DNS is not checked.
    async fn own_name_step(&self, record: &DomainRecord, fence: Fence, order: &Order) -> Result<bool, StoreError> {
        self.core
            .transition(&record.name, fence, |draft| {
                let before = draft.record.clone();
                dns::note_right(&self.core, draft);
                if order.needed {
                    order.apply(draft);
                }
                store_if_changed(&before, draft)
            })
            .await?;
        Ok(order.goes_on())
    }

    /// Checks DNS, unless it was right a moment ago. `None` if the outcome is not to be recorded: the
    /// domain is put off then.
    async fn check_dns(
        &self,
        record: &DomainRecord,
        fence: Fence,
        order: &Order,
        place: CheckPlace,
    ) -> Result<Option<Dns>, StoreError> {
        let (name, now) = (&record.name, self.core.clock.now());
        let fresh = record.dns.checked.is_some_and(|t| t.is_within(DNS_FRESH, now));
        if fresh && record.dns.https {
            return Ok(Some(Dns::RightAlready));
        }
        let checker = self.core.checker();
        let finding = place.spend(checker.https(name)).await;
        if finding.fault == Some(Fault::Ours) {
            // A failure of our own resolvers says nothing about the domain.
            self.checks.resolvers_failed(name, &finding.verdict);
            self.check_failed(record, fence, now + OUR_DNS_RETRY).await?;
            return Ok(None);
        }
        let recheck = self.core.settings().recheck;
        let is_news = record.still_points_here || silence(record, recheck, now) >= SILENCE_ALLOWED;
        if !order.needed && !is_news && matches!(finding.verdict, DnsVerdict::Error { .. }) {
            // Name servers fail now and then; it matters only once a renewal depends on them.
            let wait = random::jitter(failing_zone_retry(record, recheck, now), SPREAD);
            self.postpone(name, fence, now + wait).await?;
            return Ok(None);
        }
        Ok(Some(Dns::Checked(finding.verdict)))
    }

    /// Makes a pre-flight where its result matters: behind a proxy, and before an order.
    async fn try_preflight(
        &self,
        record: &DomainRecord,
        fence: Fence,
        dns: &Dns,
        order: &Order,
        urgency: &mut Urgency,
    ) -> Result<Option<Preflight>, StoreError> {
        let proxy = dns.proxy(record);
        if proxy.is_none() && !(dns.points_here() && order.needed) {
            return Ok(None);
        }
        self.checks.preflights.run(record, proxy, Some(fence), urgency).await
    }

    /// Whether the mass-failure guard suppresses the outcome.
    fn is_suppressed(&self, record: &DomainRecord, dns: &Dns, tried: Option<&Preflight>) -> bool {
        if matches!(dns, Dns::RightAlready) {
            return false;
        }
        let proxy = dns.proxy(record);
        let arrives = proxy.is_some()
            && match tried {
                Some(tried) => tried.miss.is_none(),
                None => record.ssl.facts.arrives_through() == proxy,
            };
        self.checks
            .mass_failure
            .suppresses_check(record, dns.points_here() || arrives)
    }

    async fn store_outcome(
        &self,
        record: &DomainRecord,
        fence: Fence,
        dns: &Dns,
        tried: Option<Preflight>,
        order: &Order,
    ) -> Result<bool, StoreError> {
        let now = self.core.clock.now();
        let changed = self
            .core
            .transition(&record.name, fence, |draft| {
                let before = draft.record.clone();
                let preflight = note_preflight(draft, tried.clone());
                match dns {
                    Dns::Checked(verdict) => dns::note_dns(&self.core, draft, verdict, None),
                    Dns::RightAlready => dns::note_right(&self.core, draft),
                }
                if preflight.is_some() {
                    draft.log("preflight", preflight);
                }
                if draft.record.dns.https && order.needed {
                    match draft.record.ssl.rests_until(draft.now()) {
                        None => order.apply(draft),
                        Some(until) => drop(draft.apply(SslEvent::Postponed { until })),
                    }
                }
                store_if_changed(&before, draft)
            })
            .await?;
        let may_order = |record: DomainRecord| record.dns.https && record.ssl.rests_until(now).is_none();
        Ok(order.goes_on() && changed.is_some_and(may_order))
    }

    /// A check that said nothing about the domain: it is checked again at `until`.
    async fn check_failed(&self, record: &DomainRecord, fence: Fence, until: Timestamp) -> Result<(), StoreError> {
        self.core
            .transition(&record.name, fence, |draft| {
                draft.apply(SslEvent::DnsCheckFailed);
                put_off(draft, &SslEvent::Postponed { until }, until);
                Edit::Store
            })
            .await?;
        Ok(())
    }
}

fn store_if_changed(before: &DomainRecord, draft: &Draft) -> Edit<StoreError> {
    if draft.record == *before {
        Edit::Nothing
    } else {
        Edit::Store
    }
}

/// How long to leave a failing zone alone: as long as it has failed already. `recheck` is the regular
/// interval between checks.
fn failing_zone_retry(record: &DomainRecord, recheck: Duration, now: Timestamp) -> Duration {
    silence(record, recheck, now).clamp(FAILING_ZONE_RETRY, FAILING_ZONE_RETRY_MAX)
}

/// How long a zone has not answered, counted from the check that it should have answered.
fn silence(record: &DomainRecord, recheck: Duration, now: Timestamp) -> Duration {
    let last = record.dns.checked.map_or(Duration::ZERO, |at| now.saturating_since(at));
    last.saturating_sub(recheck)
}
