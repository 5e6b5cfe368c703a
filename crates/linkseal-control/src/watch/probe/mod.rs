//! Probes from outside: every issued domain is connected to at intervals, at the addresses in its DNS, and
//! the certificate presented is compared with the stored one. The result is reported (metrics, timeline,
//! the domain's `probe`) and changes no state: a middlebox, a closed port or another server in front has
//! to be fixed by people.
//!
//! In a fleet one node probes for all. A round is spread over `edge.probe_interval` and starts over after
//! a restart.

mod handshake;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use linkseal_domain::cert::certificate::chain_from_pem;
use linkseal_domain::record::{Probe, ProbeResult};
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_net::address::is_public;
use linkseal_store::{DomainQuery, LeaseKey, StoreError};

use self::handshake::{Found, Prober};
use crate::core::settings::ProbeSettings;
use crate::core::{Core, Edit};

/// Concurrent handshakes.
pub(crate) const CONCURRENT: usize = 16;
/// Domains probed together: a small part of all, so that probes are spread over the interval.
const PAGE: usize = 50;
const PARTS: usize = 20;
/// Addresses of a name that are probed.
const ADDRESSES: usize = 4;
/// Sleep while there is nothing to probe, or another node probes, and after the store failed.
const IDLE: Duration = Duration::from_secs(60);
/// Shortest sleep between two pages.
const SHORTEST: Duration = Duration::from_secs(1);
/// The lease of the node that probes.
const LEASE: &str = "probe";

/// New causes logged in a round, one line each.
const CAUSES: usize = 8;

/// The progress of the current round.
#[derive(Default)]
struct Round {
    after: Option<DomainName>,
    probed: usize,
    /// Domains that failed in this round, or in the last one and were not probed again yet.
    failing: HashSet<DomainName>,
    /// Domains that failed in this round.
    failed: HashSet<DomainName>,
    /// Causes logged in this round.
    causes: HashSet<(ProbeResult, Option<String>)>,
}

impl Round {
    /// Logs one line for all failures: if this node cannot reach its own public address, every domain
    /// fails.
    fn end(&mut self) {
        // A domain that failed before and was not probed in this round is not issued any more.
        self.failing = std::mem::take(&mut self.failed);
        self.after = None;
        self.causes.clear();
        if !self.failing.is_empty() {
            tracing::warn!(
                failing = self.failing.len(),
                of = self.probed,
                "issued domains do not present their certificate at the addresses in their DNS; see their timelines (if this \
                 node cannot reach its own public address, set edge.probe_address)"
            );
        }
        self.probed = 0;
    }

    /// Takes in the result of a probe; returns how many domains are known to fail.
    fn note(&mut self, probed: Probed) -> usize {
        self.probed += 1;
        if probed.failed {
            self.failing.insert(probed.name.clone());
            self.failed.insert(probed.name.clone());
        } else {
            self.failing.remove(&probed.name);
        }
        if let Some((result, detail)) = probed.news {
            let known = self.causes.len();
            if known < CAUSES && self.causes.insert((result, detail.clone())) {
                tracing::warn!(
                    domain = %probed.name,
                    result = result.as_str(),
                    detail,
                    "probe failed; other domains with the same cause are not logged"
                );
            }
        }
        self.failing.len()
    }
}

/// The result of probing one domain.
struct Probed {
    name: DomainName,
    failed: bool,
    /// The failure, unless it was the same last time.
    news: Option<Found>,
}

impl Probed {
    fn well(record: &DomainRecord) -> Self {
        Self {
            name: record.name.clone(),
            failed: false,
            news: None,
        }
    }
}

/// Probes issued domains.
pub(crate) struct Probes(pub(crate) Arc<Core>);

impl Probes {
    /// Probes until shutdown.
    pub(crate) async fn run(self) {
        let prober = match Prober::new() {
            Ok(prober) => prober,
            Err(error) => return tracing::error!(%error, "probes disabled: TLS client cannot be created"),
        };
        let mut round = Round::default();
        loop {
            let pause = self.next_page(&prober, &mut round).await;
            self.0.clock.sleep(pause).await;
        }
    }

    /// Probes a page of domains, if probes are configured; returns how long to sleep before the next one.
    async fn next_page(&self, prober: &Prober, round: &mut Round) -> Duration {
        let Some(settings) = self.0.settings().probe.clone() else {
            return IDLE;
        };
        match self.probe_some(prober, &settings, round).await {
            Ok(pause) => pause,
            Err(error) => {
                self.0.store_failed("probe issued domains", None, &error);
                IDLE
            }
        }
    }

    /// Probes a page of domains; returns how long to sleep before the next one.
    async fn probe_some(
        &self,
        prober: &Prober,
        settings: &ProbeSettings,
        round: &mut Round,
    ) -> Result<Duration, StoreError> {
        let store = &self.0.store;
        let counts = store.counts(None).await?;
        let issued = counts.iter().filter(|c| c.reason.state() == State::Issued);
        let issued = usize::try_from(issued.map(|c| c.domains).sum::<u64>()).unwrap_or(usize::MAX);
        if issued == 0 {
            return Ok(IDLE);
        }
        let limit = (issued / PARTS).clamp(1, PAGE);
        let pause = settings.every.mul_f64(limit as f64 / issued as f64).max(SHORTEST);
        let key = LeaseKey::task(LEASE);
        let lease = store.acquire_lease(&key, self.0.owner, pause * 2 + IDLE);
        if lease.await?.is_none() {
            return Ok(IDLE);
        }
        let query = DomainQuery {
            state: Some(State::Issued),
            after: round.after.clone(),
            limit,
            ..DomainQuery::default()
        };
        let page = store.list(&query).await?;
        let Some(last) = page.last() else {
            round.end();
            self.note_failing(round.failing.len());
            return Ok(SHORTEST);
        };
        round.after = Some(last.name.clone());
        let probes: Vec<_> = page.iter().map(|r| self.probe(prober, settings, r)).collect();
        let mut probes = stream::iter(probes).buffer_unordered(CONCURRENT);
        while let Some(probed) = probes.next().await {
            self.note_failing(round.note(probed?));
        }
        Ok(pause)
    }

    fn note_failing(&self, failing: usize) {
        let failing = i64::try_from(failing).unwrap_or(i64::MAX);
        self.0.metrics.probe_failing.set(failing);
    }

    /// Probes one domain and records a change of its result.
    async fn probe(
        &self,
        prober: &Prober,
        settings: &ProbeSettings,
        record: &DomainRecord,
    ) -> Result<Probed, StoreError> {
        // The DNS check covers a domain that has moved away; a retired one may move away.
        if record.ssl.reason == Reason::Moved || record.retired.is_some() {
            return Ok(Probed::well(record));
        }
        let Some((result, detail)) = self.presented(prober, settings, record).await? else {
            return Ok(Probed::well(record));
        };
        self.0.metrics.probes.with_label_values(&[result.as_str()]).inc();
        let failed = result != ProbeResult::Ok;
        if record.probe.as_ref().is_some_and(|p| p.result == result) {
            let known = Probed::well(record);
            return Ok(Probed { failed, ..known });
        }
        self.0
            .change::<StoreError>(&record.name, None, |draft| {
                let first = draft.record.probe.is_none();
                draft.record.probe = Some(Probe {
                    result,
                    since: draft.now(),
                    detail: detail.clone(),
                });
                match (failed, first) {
                    (true, _) => draft.log("probe_failed", detail.clone()),
                    (false, false) => draft.log("probe_ok", None),
                    (false, true) => draft,
                };
                Edit::Store
            })
            .await?;
        let name = record.name.clone();
        let news = failed.then_some((result, detail));
        Ok(Probed { name, failed, news })
    }

    /// The certificate presented for a domain: the first wrong one if it has several addresses. `None`
    /// without a stored certificate, or without an address that may be connected to.
    async fn presented(
        &self,
        prober: &Prober,
        settings: &ProbeSettings,
        record: &DomainRecord,
    ) -> Result<Option<Found>, StoreError> {
        let stored = self.0.store.certificate(&record.name).await?;
        let Some(chain) = stored.and_then(|s| chain_from_pem(&s.chain_pem).ok()) else {
            return Ok(None);
        };
        let Some(expected) = chain.first() else { return Ok(None) };
        let mut found = None;
        for address in self.addresses(settings, &record.name).await {
            let now = self.0.clock.now();
            let presented = prober.probe(&record.name, address, expected, now).await;
            let right = presented.0 == ProbeResult::Ok;
            found = Some(presented);
            if !right {
                break;
            }
        }
        Ok(found)
    }

    /// Where to connect: never to a private address that is not configured.
    async fn addresses(&self, settings: &ProbeSettings, name: &DomainName) -> Vec<SocketAddr> {
        if let Some(address) = settings.address {
            return vec![address];
        }
        let resolved = self.0.checker().addresses(name).await;
        let allowed = |ip: &IpAddr| is_public(*ip) || settings.own.contains(ip);
        let allowed = resolved.into_iter().filter(allowed).take(ADDRESSES);
        allowed.map(|ip| SocketAddr::new(ip, settings.port)).collect()
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;
    use linkseal_store::testing;
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::core::Settings;
    use crate::tests::Bench;

    fn probed(name: &str, failed: bool) -> Probed {
        let refused = || {
            (
                ProbeResult::Unreachable,
                Some("203.0.113.1:443: Connection refused".to_owned()),
            )
        };
        Probed {
            name: DomainName::parse(name).unwrap(),
            failed,
            news: failed.then(refused),
        }
    }

    #[test]
    fn failures_count_from_the_first_probe_on_and_a_cause_is_logged_once() {
        let mut round = Round::default();
        for n in 0..14 {
            assert_eq!(round.note(probed(&format!("links.c{n}.example"), true)), n + 1);
        }
        assert_eq!(round.causes.len(), 1);
        round.end();
        assert_eq!(round.failing.len(), 14, "known until they are probed again");
        assert_eq!(round.note(probed("links.c0.example", false)), 13);
        assert_eq!(round.note(probed("links.c1.example", true)), 13);
        round.end();
        assert_eq!(round.failing.len(), 1, "the others are not issued any more");
    }

    #[tokio::test]
    async fn a_store_that_fails_is_one_line_in_the_log_and_a_long_pause() {
        let bench = Bench::new().await;
        let core = &bench.control.core;
        let settings = Settings {
            probe: Some(ProbeSettings {
                every: Duration::from_secs(3_600),
                address: None,
                port: 443,
                own: Vec::new(),
            }),
            ..core.settings().as_ref().clone()
        };
        core.reload(settings, core.cas().as_ref().clone(), core.checker());
        let (probes, prober) = (Probes(Arc::clone(core)), Prober::new().unwrap());
        testing::add(&bench.store, "links.customer.example", "acme", Reason::Ok).await;
        bench.sql("ALTER TABLE domains RENAME TO away");
        let written = Written::default();
        let _logs = written.capture(LevelFilter::INFO);
        let mut round = Round::default();
        for _ in 0..20 {
            assert_eq!(probes.next_page(&prober, &mut round).await, IDLE);
        }
        let text = written.text();
        assert_eq!(text.matches("ERROR").count(), 1, "{text}");
    }

    #[tokio::test]
    async fn a_round_continues_where_it_was_when_the_store_failed() {
        let bench = Bench::new().await;
        for n in 0..3 {
            testing::add(&bench.store, &format!("links.c{n}.example"), "acme", Reason::Ok).await;
        }
        let (probes, prober) = (Probes(Arc::clone(&bench.control.core)), Prober::new().unwrap());
        let settings = ProbeSettings {
            every: Duration::from_secs(3_600),
            address: None,
            port: 443,
            own: Vec::new(),
        };
        let mut round = Round::default();
        probes.probe_some(&prober, &settings, &mut round).await.unwrap();
        bench.sql("ALTER TABLE domains RENAME TO away");
        assert!(probes.probe_some(&prober, &settings, &mut round).await.is_err());
        bench.sql("ALTER TABLE away RENAME TO domains");
        for _ in 0..2 {
            probes.probe_some(&prober, &settings, &mut round).await.unwrap();
        }
        assert_eq!(round.after, Some(crate::tests::name("links.c2.example")));
        assert_eq!(round.probed, 3, "each once");
    }
}
