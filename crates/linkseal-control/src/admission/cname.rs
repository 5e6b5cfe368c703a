//! Admission by DNS (policy `cname`): a name whose DNS points here is admitted and kept as long as it
//! does.
//!
//! Any client decides how many names are sent, and the owner of a wildcard that points here decides
//! how many of them are right. So everything is bounded: the names and checks below one registered
//! domain, the checks and new names of this node and of each client network, concurrent checks, and
//! cached answers. A name beyond a bound is refused without a check and leaves nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_base::clock::Timestamp;
use linkseal_dns::Finding;
use linkseal_domain::admission::{Admitted, ClientNetwork};
use linkseal_domain::dns::{DnsSummary, DnsVerdict};
use linkseal_domain::name::registered_domain;
use linkseal_domain::record::Origin;
use linkseal_domain::registry::Entry;
use linkseal_domain::ssl::SslEvent;
use linkseal_domain::{DomainName, DomainRecord};
use moka::future::Cache as AnswerCache;
use moka::sync::Cache;

use super::Admission;
use super::cname_names::CnameNames;
use super::network_shares::{ConcurrencyShares, RateShares};
use crate::core::rate::Bucket;
use crate::core::settings::CnameSettings;
use crate::core::{Issue, Limit};

/// Cached answers at most.
const CACHED_ANSWERS: u64 = 10_000;
/// Registered domains whose checks are counted; one that is evicted starts from zero.
const COUNTED_DOMAINS: u64 = 10_000;
/// How long the count of a registered domain is kept after its last check.
const COUNTED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a failed check is cached, so that failing name servers are not flooded.
const FAILURE_TTL: Duration = Duration::from_secs(5);

/// The bounds on checks, and the answers they gave.
pub(super) struct CnameChecks {
    answers: AnswerCache<DomainName, Answer>,
    /// Checks below each registered domain.
    below: Cache<String, Arc<Bucket>>,
    checks: RateShares,
    admission_rate: RateShares,
    concurrent: ConcurrencyShares,
}

/// An answer and how long it is cached.
#[derive(Clone)]
struct Answer {
    admitted: Admitted,
    ttl: Duration,
}

/// Why there was no check.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// The registered domain has as many names as it may.
    Full,
    /// A rate or concurrency limit is reached.
    Busy,
}

impl CnameChecks {
    pub(super) fn new() -> Self {
        Self {
            answers: AnswerCache::builder()
                .max_capacity(CACHED_ANSWERS)
                .expire_after(Expiry)
                .build(),
            below: Cache::builder()
                .max_capacity(COUNTED_DOMAINS)
                .time_to_idle(COUNTED_FOR)
                .build(),
            checks: RateShares::new(),
            admission_rate: RateShares::new(),
            concurrent: ConcurrencyShares::new(),
        }
    }

    /// Counts a check, if it may be made now.
    fn admit(
        &self,
        names: &CnameNames,
        registered: &str,
        asking: ClientNetwork,
        settings: &CnameSettings,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let places = settings.per_registered_domain;
        if names.is_full(registered, places) {
            return Err(Refused::Full);
        }
        // A network over its share must not use up the checks of a registered domain.
        if !self.admission_rate.has(settings.admission_rate, asking, now)
            || !self.checks.has(settings.lookups, asking, now)
        {
            return Err(Refused::Busy);
        }
        let below = self.below.get_with_by_ref(registered, Arc::default);
        let per_domain = Limit {
            count: places,
            per: settings.negative_ttl,
        };
        if below.take(per_domain, now) && self.checks.take(settings.lookups, asking, now) {
            Ok(())
        } else {
            Err(Refused::Busy)
        }
    }
}

impl Admission {
    /// Admits a name whose DNS points here; its order is due then.
    pub(super) async fn admit_by_cname(
        self: &Arc<Self>,
        name: &DomainName,
        asking: ClientNetwork,
        settings: &CnameSettings,
    ) -> Admitted {
        let registered = registered_domain(name.as_str());
        let in_front = name.label_count().saturating_sub(registered.split('.').count());
        // Where nothing is ordered, there is no use in a new name. A public suffix belongs to no customer.
        if in_front > settings.max_labels
            || self.core.settings().issue == Issue::Off
            || psl::domain_str(name.as_str()).is_none()
        {
            return self.counted("no", Admitted::No);
        }
        // The number of names below a registered domain is known only once all are loaded.
        if !self.core.registry.is_loaded() {
            return self.counted("limited", Admitted::Unreachable);
        }
        // Another handshake for the name was faster.
        if let Some(entry) = self.core.registry.get(name.as_str()) {
            return Admitted::Yes(entry);
        }
        let check = Box::pin(self.check_cname(name, registered, asking, settings));
        match self.cname_checks.answers.try_get_with_by_ref(name, check).await {
            Ok(answer) => answer.admitted,
            Err(why) => {
                let admitted = match *why {
                    Refused::Full => Admitted::No,
                    Refused::Busy => Admitted::Unreachable,
                };
                self.counted("limited", admitted)
            }
        }
    }

    async fn check_cname(
        self: &Arc<Self>,
        name: &DomainName,
        registered: &str,
        asking: ClientNetwork,
        settings: &CnameSettings,
    ) -> Result<Answer, Refused> {
        let checks = &self.cname_checks;
        let _turn = checks
            .concurrent
            .turn(settings.max_concurrent_lookups, asking)
            .ok_or(Refused::Busy)?;
        checks.admit(&self.cname_names, registered, asking, settings, self.core.clock.now())?;
        let finding = self.core.checker().https(name).await;
        let answer = |result, admitted, ttl| {
            Ok(Answer {
                admitted: self.counted(result, admitted),
                ttl,
            })
        };
        match &finding.pointing {
            DnsVerdict::Right => {}
            DnsVerdict::Error { .. } => return answer("unreachable", Admitted::Unreachable, FAILURE_TTL),
            _ => return answer("no", Admitted::No, settings.negative_ttl),
        }
        // The handshake may be cancelled at any moment, but a stored name must also be counted and
        // published: this runs to completion in a task of its own.
        let (this, name, settings) = (Arc::clone(self), name.clone(), settings.clone());
        let keeping = self
            .core
            .tasks
            .spawn(async move { this.keep_by_cname(&name, asking, &finding, &settings).await });
        match keeping.await {
            // From now on the registry has the name.
            Ok(Ok(Some(entry))) => answer("yes", Admitted::Yes(entry), Duration::ZERO),
            Ok(Err(refused)) => Err(refused),
            Ok(Ok(None)) | Err(_) => answer("unreachable", Admitted::Unreachable, FAILURE_TTL),
        }
    }

    /// Stores a name that points here; `None` if the store fails.
    async fn keep_by_cname(
        &self,
        name: &DomainName,
        asking: ClientNetwork,
        finding: &Finding,
        settings: &CnameSettings,
    ) -> Result<Option<Arc<Entry>>, Refused> {
        let now = self.core.clock.now();
        let registered = registered_domain(name.as_str());
        let place = self
            .cname_names
            .reserve(registered, name, settings.per_registered_domain);
        let place = place.ok_or(Refused::Full)?;
        if !self
            .cname_checks
            .admission_rate
            .take(settings.admission_rate, asking, now)
        {
            return Err(Refused::Busy);
        }
        match self.add(record_of(name, finding, now), "its DNS points here").await {
            Ok(entry) => {
                place.keep();
                Ok(Some(entry))
            }
            Err(error) => {
                self.core.store_failed("store admitted names", Some(name), &error);
                Ok(None)
            }
        }
    }

    fn counted(&self, result: &str, admitted: Admitted) -> Admitted {
        self.core.metrics.cname.with_label_values(&[result]).inc();
        admitted
    }
}

/// The record of a name that points here: its order is due, unless CAA forbids it.
fn record_of(name: &DomainName, finding: &Finding, now: Timestamp) -> DomainRecord {
    let mut record = DomainRecord::new(name.clone(), None, Origin::Cname, now);
    let https = finding.verdict == DnsVerdict::Right;
    record.dns = DnsSummary {
        checked: Some(now),
        https,
        verified: false,
    };
    let event = if https {
        SslEvent::Wanted
    } else {
        SslEvent::DnsChecked(finding.verdict.clone())
    };
    record.apply(event, now);
    record
}

struct Expiry;

impl moka::Expiry<DomainName, Answer> for Expiry {
    fn expire_after_create(&self, _: &DomainName, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.ttl)
    }
}

#[cfg(test)]
mod tests;
