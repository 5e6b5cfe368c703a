//! The check before every order: does the name point here, and may our CA issue for it?
//!
//! The recursive resolvers are asked first. If the record is wrong according to them, the zone's
//! authoritative servers are asked too, whose answer counts: a resolver may cache for hours what the
//! customer has just fixed. A failure (SERVFAIL, DNSSEC) stands, because the CA would see it too.

mod cdn;
mod cname_chain;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::fault::Fault;
use linkseal_domain::DomainName;
use linkseal_domain::dns::DnsVerdict;
use tokio::time::{Instant, timeout};

use self::cname_chain::{Alias, Trace, error, trace};
pub use self::cname_chain::{Target, is_synthesized};
use crate::caa::{self, CaIdentity, Caa};
use crate::lookup::{Answer, Kind, Lookup, plain};
use crate::mail::dkim::Dkim;
use crate::mail::dmarc::DmarcWanted;
use crate::metrics::Metrics;
use crate::query::{Queries, QueryMemo};

/// Time limit of one check (docs/specification.md §7).
pub(crate) const CHECK_TIME: Duration = Duration::from_secs(10);
/// Sockets to budget for a check: questions for A and AAAA, for CAA at three levels, or for the
/// addresses of a zone's three servers.
pub const SOCKETS_OF_CHECK: usize = 3;
/// The part of [`CHECK_TIME`] that is reserved to find out whose fault a failure is.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// What customers' zones have to contain.
#[derive(Clone, Debug)]
pub struct CheckerSettings {
    pub target: Target,
    /// The name that a sending domain's SPF record must include. `None`: SPF is not checked.
    pub spf_include: Option<String>,
    /// The DKIM keys to publish.
    pub dkim: Vec<Dkim>,
    /// The least strict DMARC policy allowed. `None`: DMARC is not checked.
    pub dmarc: Option<DmarcWanted>,
}

/// Checks names. Each check and report opens sockets ([`SOCKETS_OF_CHECK`],
/// [`SOCKETS_OF_REPORT`](crate::SOCKETS_OF_REPORT)): the caller limits how many run at once, and
/// decides whose turn it is.
pub struct Checker {
    pub(crate) settings: CheckerSettings,
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) clock: Clock,
    cas: ArcSwap<Vec<CaIdentity>>,
    metrics: Metrics,
    /// Time limit of the questions of one check.
    time: Duration,
}

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whether the name points here, CAA included.
    pub verdict: DnsVerdict,
    /// The CNAMEs from the name to the edge's name, or to the end of the chain.
    pub(crate) chain: Vec<Alias>,
    /// IPv4 addresses at the end of the chain; not asked for if the chain reaches the edge's name.
    pub(crate) a: Vec<Ipv4Addr>,
    /// IPv6 addresses, likewise.
    pub(crate) aaaa: Vec<Ipv6Addr>,
    /// The end of the chain, which has these addresses.
    pub(crate) end: String,
    /// The addresses to remove, if the others point here.
    pub(crate) strays: Vec<IpAddr>,
    /// TTL of what was found, or of its absence, in seconds. `None`: not known.
    pub(crate) ttl: Option<u32>,
    /// The result for CAA; also [`Caa::NotJudged`] if the name does not point here.
    pub(crate) caa: Caa,
    /// The older answer that resolvers still have. `None`: the verdict is theirs.
    pub(crate) stale: Option<Stale>,
    /// The verdict before CAA.
    pub pointing: DnsVerdict,
    /// Whose fault an error is: ours if the resolvers do not answer for the edge's own name
    /// either. `None`: the verdict is not an error.
    pub fault: Option<Fault>,
}

/// An older answer that caches still have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// Its values; empty if it is negative.
    pub(crate) found: Vec<String>,
    /// When the last cache drops it. `None`: not known.
    pub(crate) until: Option<Timestamp>,
    /// Whether the CAA records are old, not where the name points.
    pub(crate) caa: bool,
}

impl Checker {
    /// CAA is not judged until [`Checker::set_cas`] names the CAs.
    pub fn new(settings: CheckerSettings, lookup: Arc<dyn Lookup>, clock: Clock, metrics: Metrics) -> Self {
        Self {
            settings,
            lookup,
            clock,
            cas: ArcSwap::default(),
            metrics,
            time: CHECK_TIME.saturating_sub(PROBE_TIME),
        }
    }

    /// Where names have to point.
    pub fn target(&self) -> &Target {
        &self.settings.target
    }

    /// The name of our preferred CA in CAA records. `None`: not known yet.
    pub fn caa_identity(&self) -> Option<String> {
        self.cas().iter().flat_map(|ca| &ca.identities).next().cloned()
    }

    /// Sets the CAs that issue for us, the preferred one first. A CA whose directory is not known yet
    /// has no identities.
    pub fn set_cas(&self, cas: Vec<CaIdentity>) {
        self.cas.store(Arc::new(cas));
    }

    /// Whether a name points here and one of our CAs may issue for it: the check before every order.
    pub async fn https(&self, name: &DomainName) -> Finding {
        let memo = QueryMemo::default();
        self.https_with(&self.queries(&memo), name).await
    }

    /// Whether a name points here according to the resolvers, with fewer questions than
    /// [`Checker::https`]: for names that are not registered. `None`: DNS fails.
    pub async fn points_here(&self, name: &DomainName) -> Option<bool> {
        let memo = QueryMemo::default();
        match trace(&self.queries(&memo), name, &self.settings.target).await.verdict {
            DnsVerdict::Right => Some(true),
            DnsVerdict::Error { .. } => None,
            _ => Some(false),
        }
    }

    /// The addresses that the resolvers return for a name, as clients get them. Empty: none, or no
    /// answer.
    pub async fn addresses(&self, name: &DomainName) -> Vec<IpAddr> {
        let ask = |kind| timeout(self.time, self.lookup.lookup(name.as_str(), kind));
        let (a, aaaa) = join(ask(Kind::A), ask(Kind::Aaaa)).await;
        let of = |answer| match answer {
            Ok(Ok(answer)) => Answer::addresses(&answer),
            _ => Vec::new(),
        };
        [of(a), of(aaaa)].concat()
    }

    /// Whether CAA allows one CA to issue for a name, which can be the edge's own: a record there
    /// applies to every customer whose name has none.
    pub async fn caa(&self, name: &DomainName, ca: &CaIdentity) -> Caa {
        let memo = QueryMemo::default();
        caa::check(&self.queries(&memo), name.as_str(), std::slice::from_ref(ca)).await
    }

    pub(crate) fn queries<'a>(&'a self, memo: &'a QueryMemo) -> Queries<'a> {
        Queries::new(self.lookup.as_ref(), memo, Instant::now() + self.time)
    }

    pub(crate) fn cas(&self) -> Arc<Vec<CaIdentity>> {
        self.cas.load_full()
    }

    pub(crate) async fn https_with(&self, queries: &Queries<'_>, name: &DomainName) -> Finding {
        let first = self.check_once(queries, name).await;
        let finding = match first.verdict {
            DnsVerdict::Right => first,
            DnsVerdict::Error { .. } => {
                let fault = match first.fault {
                    Some(known) => known,
                    None => self.fault(&first).await,
                };
                Finding {
                    fault: Some(fault),
                    ..first
                }
            }
            _ => prefer(first, self.check_once(&queries.fresh(), name).await, self.clock.now()),
        };
        self.metrics.count(&finding.verdict, finding.fault == Some(Fault::Ours));
        tracing::debug!(%name, verdict = %finding.verdict, fault = ?finding.fault, stale = finding.stale.is_some(), "dns checked");
        finding
    }

    /// Whose fault a failure is. The zone of the edge's own name is known to be served: if that name
    /// cannot be resolved either, our access to DNS is broken, not the customer's zone.
    async fn fault(&self, finding: &Finding) -> Fault {
        let target = self.settings.target.names.name.as_str();
        // Resolvers follow a CNAME for CAA too, so the edge's own zone may be the one that fails.
        let caa = matches!(finding.caa, Caa::Error { .. }) && !finding.chain.is_empty();
        let answers = async |kind| match timeout(PROBE_TIME, self.lookup.lookup(target, kind)).await {
            Ok(Ok(_)) => true,
            Ok(Err(e)) => e.is_absent(),
            Err(_) => false,
        };
        let (a, caa) = join(answers(Kind::A), async { !caa || answers(Kind::Caa).await }).await;
        if a && caa { Fault::CustomerDns } else { Fault::Ours }
    }

    async fn check_once(&self, queries: &Queries<'_>, name: &DomainName) -> Finding {
        let Trace {
            verdict,
            chain,
            a,
            aaaa,
            end,
            strays,
            ttl,
            fault,
        } = trace(queries, name, &self.settings.target).await;
        let mut finding = Finding {
            verdict: verdict.clone(),
            chain,
            a,
            aaaa,
            end,
            strays,
            ttl,
            caa: Caa::NotJudged,
            stale: None,
            pointing: verdict,
            fault,
        };
        if finding.verdict == DnsVerdict::Right {
            finding.caa = caa::check(queries, name.as_str(), &self.cas()).await;
            match &finding.caa {
                Caa::Forbids { host, .. } => finding.verdict = DnsVerdict::CaaForbids { host: host.clone() },
                Caa::Error { zone, error: e } => finding.verdict = error(zone, e),
                Caa::NotJudged | Caa::Allows { .. } => {}
            }
        }
        finding
    }
}

/// The newer of two findings, with the older one as [`Stale`]; the older one if the newer one failed.
fn prefer(cached: Finding, newer: Finding, now: Timestamp) -> Finding {
    if newer.verdict == cached.verdict || matches!(newer.verdict, DnsVerdict::Error { .. }) {
        return cached;
    }
    let (found, ttl, caa) = match &cached.caa {
        Caa::Forbids { found, ttl, .. } => (found.clone(), *ttl, true),
        _ => (cached.found(), cached.ttl, false),
    };
    let stale = Stale {
        found,
        until: ttl.map(|s| now + Duration::from_secs(s.into())),
        caa,
    };
    Finding {
        stale: Some(stale),
        ..newer
    }
}

impl Finding {
    /// The values at the name itself: the CNAME's target, or the addresses.
    pub(crate) fn found(&self) -> Vec<String> {
        match self.chain.first() {
            Some(first) => vec![plain(&first.to)],
            None => self
                .a
                .iter()
                .map(ToString::to_string)
                .chain(self.aaaa.iter().map(ToString::to_string))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests;
