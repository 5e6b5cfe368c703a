//! Seen from outside: every issued domain is connected to now and then, where its DNS leads, and
//! the certificate that is presented is compared with the one held. What is found is told (metrics,
//! timeline, the domain's `probe`) and changes no state: a middlebox of ours, a port that is closed,
//! another server in front are for people to mend.
//!
//! In a fleet one node does it for all. It is spread over `edge.probe`, and starts over with a restart.

mod handshake;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use linkseal_domain::cert::certificate::chain_from_pem;
use linkseal_domain::record::{Probe, ProbeResult};
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_net::address::is_public;
use linkseal_store::{DomainQuery, StoreError};

use self::handshake::{Found, Prober};
use super::{Control, Edit};

/// How domains are probed.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// In what time each of them is probed once.
    pub every: Duration,
    /// Where to connect instead of where DNS leads. `None`: where it leads.
    pub address: Option<SocketAddr>,
    /// The port of HTTPS as clients see it.
    pub port: u16,
    /// The edge's public addresses, as configured: probed though they may be private.
    pub own: Vec<IpAddr>,
}

/// Handshakes at once.
pub(super) const CONCURRENT: usize = 16;
/// Domains taken up at once: a small part of all, so that probes are spread over the interval.
const PAGE: usize = 50;
const PARTS: usize = 20;
/// Addresses of a name that are looked at.
const ADDRESSES: usize = 4;
/// Sleep while there is nothing to probe, or another node does it.
const IDLE: Duration = Duration::from_secs(60);
/// Shortest sleep between two pages, and after the store failed.
const SHORTEST: Duration = Duration::from_secs(1);
/// The lease under which they are made.
const LEASE: &str = "probe";

/// Causes that are told in a round, one line each; of more, only the number is.
const CAUSES: usize = 8;

/// How far the present round is.
#[derive(Default)]
struct Round {
    after: Option<DomainName>,
    probed: usize,
    /// Those that failed in this round, and those of the last one that were not probed again yet.
    failing: HashSet<DomainName>,
    failed: HashSet<DomainName>,
    /// What new failures were told of in this round.
    causes: HashSet<(ProbeResult, Option<String>)>,
}

impl Round {
    /// One word for all: where this node cannot reach its own public address, all of them fail.
    fn ends(&mut self) {
        // What was failing and is not among them any more has left.
        self.failing = std::mem::take(&mut self.failed);
        self.after = None;
        self.causes.clear();
        if !self.failing.is_empty() {
            tracing::warn!(
                failing = self.failing.len(),
                of = self.probed,
                "issued domains do not present their certificate where their DNS leads; each says more in its timeline. If this \
                 node cannot reach its own public address, set edge.probe_address"
            );
        }
        self.probed = 0;
    }

    /// Takes in what a probe came to; returns how many domains fail as far as it is known.
    fn takes(&mut self, probed: Probed) -> usize {
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
                    "a probe found something new; others that fail for the same cause are not listed here"
                );
            }
        }
        self.failing.len()
    }
}

/// What the probe of a domain came to.
struct Probed {
    name: DomainName,
    failed: bool,
    /// How it fails, if it did not the last time or in another way.
    news: Option<Found>,
}

impl Probed {
    fn is_well(record: &DomainRecord) -> Self {
        Self {
            name: record.name.clone(),
            failed: false,
            news: None,
        }
    }
}

impl Control {
    /// Probes for ever.
    pub(super) async fn run_probes(self) {
        let prober = match Prober::new() {
            Ok(prober) => prober,
            Err(error) => return tracing::error!(%error, "issued domains cannot be probed"),
        };
        let mut round = Round::default();
        loop {
            let settings = self.inner.settings.load().probe.clone();
            let pause = match settings {
                None => IDLE,
                Some(settings) => match self.probe_some(&prober, &settings, &mut round).await {
                    Ok(pause) => pause,
                    Err(error) => {
                        tracing::error!(%error, "issued domains cannot be probed now");
                        SHORTEST
                    }
                },
            };
            self.inner.clock.sleep(pause).await;
        }
    }

    /// Probes a page of domains; returns when the next one's turn is.
    async fn probe_some(
        &self,
        prober: &Prober,
        settings: &ProbeSettings,
        round: &mut Round,
    ) -> Result<Duration, StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let counts = store.counts(None).await?;
        let issued = counts.iter().filter(|c| c.reason.state() == State::Issued);
        let issued = usize::try_from(issued.map(|c| c.domains).sum::<u64>()).unwrap_or(usize::MAX);
        if issued == 0 {
            return Ok(IDLE);
        }
        let limit = (issued / PARTS).clamp(1, PAGE);
        let pause = settings.every.mul_f64(limit as f64 / issued as f64).max(SHORTEST);
        let lease = store.acquire_lease(LEASE, &self.inner.node, pause * 2 + IDLE, now);
        if lease.await?.is_none() {
            return Ok(IDLE);
        }
        let query = DomainQuery {
            state: Some(State::Issued),
            after: round.after.take(),
            limit,
            ..DomainQuery::default()
        };
        let page = store.list(&query).await?;
        let Some(last) = page.last() else {
            round.ends();
            self.note_failing(round.failing.len());
            return Ok(SHORTEST);
        };
        round.after = Some(last.name.clone());
        let probes: Vec<_> = page.iter().map(|r| self.probe(prober, settings, r)).collect();
        let mut probes = stream::iter(probes).buffer_unordered(CONCURRENT);
        while let Some(probed) = probes.next().await {
            self.note_failing(round.takes(probed?));
        }
        Ok(pause)
    }

    fn note_failing(&self, failing: usize) {
        let failing = i64::try_from(failing).unwrap_or(i64::MAX);
        self.inner.metrics.probe_failing.set(failing);
    }

    /// Probes one domain and writes down what was found.
    async fn probe(
        &self,
        prober: &Prober,
        settings: &ProbeSettings,
        record: &DomainRecord,
    ) -> Result<Probed, StoreError> {
        // One that has left is looked at by its DNS; one that is retired may leave.
        if record.ssl.reason == Reason::Moved || record.retired.is_some() {
            return Ok(Probed::is_well(record));
        }
        let Some((result, detail)) = self.presented(prober, settings, record).await? else {
            return Ok(Probed::is_well(record));
        };
        self.inner.metrics.probes.with_label_values(&[result.as_str()]).inc();
        let failed = result != ProbeResult::Ok;
        if record.probe.as_ref().is_some_and(|p| p.result == result) {
            let known = Probed::is_well(record);
            return Ok(Probed { failed, ..known });
        }
        self.change::<StoreError>(&record.name, None, |draft| {
            let first = draft.record.probe.is_none();
            draft.record.probe = Some(Probe {
                result,
                since: draft.now(),
                detail: detail.clone(),
            });
            match (failed, first) {
                (true, _) => draft.tells("probe_failed", detail.clone()),
                (false, false) => draft.tells("probe_ok", None),
                (false, true) => draft,
            };
            Edit::Store
        })
        .await?;
        let name = record.name.clone();
        let news = failed.then_some((result, detail));
        Ok(Probed { name, failed, news })
    }

    /// What is presented for a domain; the first that is wrong, where it has several addresses.
    /// `None`: nothing is held, or there is no address that may be connected to.
    async fn presented(
        &self,
        prober: &Prober,
        settings: &ProbeSettings,
        record: &DomainRecord,
    ) -> Result<Option<Found>, StoreError> {
        let stored = self.inner.store.certificate(&record.name).await?;
        let Some(chain) = stored.and_then(|s| chain_from_pem(&s.chain_pem).ok()) else {
            return Ok(None);
        };
        let Some(held) = chain.first() else { return Ok(None) };
        let mut found = None;
        for address in self.addresses(settings, &record.name).await {
            let now = self.inner.clock.now();
            let presented = prober.probe(&record.name, address, held, now).await;
            let right = presented.0 == ProbeResult::Ok;
            found = Some(presented);
            if !right {
                break;
            }
        }
        Ok(found)
    }

    /// Where to connect: never into a private network that the configuration does not name.
    async fn addresses(&self, settings: &ProbeSettings, name: &DomainName) -> Vec<SocketAddr> {
        if let Some(address) = settings.address {
            return vec![address];
        }
        let resolved = self.tools().checker.addresses(name).await;
        let allowed = |ip: &IpAddr| is_public(*ip) || settings.own.contains(ip);
        let allowed = resolved.into_iter().filter(allowed).take(ADDRESSES);
        allowed.map(|ip| SocketAddr::new(ip, settings.port)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_fails_is_counted_from_the_first_probe_on_and_a_cause_is_told_once() {
        let mut round = Round::default();
        for n in 0..14 {
            assert_eq!(round.takes(probed(&format!("links.c{n}.example"), true)), n + 1);
        }
        assert_eq!(round.causes.len(), 1);
        round.ends();
        assert_eq!(round.failing.len(), 14, "known until they are probed again");
        assert_eq!(round.takes(probed("links.c0.example", false)), 13);
        assert_eq!(round.takes(probed("links.c1.example", true)), 13);
        round.ends();
        assert_eq!(round.failing.len(), 1, "the others are not issued any more");
    }
}
