//! The check before every order: does the name point here, and may our CA issue for it?
//!
//! Asked are the recursive resolvers first. When what they say is wrong, the zone's own servers
//! are asked behind them: a resolver may hold for hours what the customer has just repaired. The
//! newer answer counts. Failures (SERVFAIL, DNSSEC) are not second-guessed, for the CA would meet
//! them too.

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

/// The time one check has in all (docs/specification.md §7).
pub(crate) const CHECK_TIME: Duration = Duration::from_secs(10);
/// Sockets that a check has open at most: questions for A, AAAA and CAA side by side, or for the
/// addresses of a zone's three servers.
pub const SOCKETS_OF_CHECK: usize = 3;
/// The part of it kept for finding out whose fault a failure is.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// What the platform asks its customers' zones for.
#[derive(Clone, Debug)]
pub struct CheckerSettings {
    /// Where names have to lead.
    pub target: Target,
    /// The name that a sending domain's SPF record must include. `None`: SPF is not checked.
    pub spf_include: Option<String>,
    /// The DKIM keys asked for.
    pub dkim: Vec<Dkim>,
    /// The DMARC policy asked for. `None`: DMARC is not checked.
    pub dmarc: Option<DmarcWanted>,
}

/// Checks names. Cheap to share behind an `Arc`. Each check has a handful of sockets open: the caller
/// bounds how many run at once, and knows whose turn it is.
pub struct Checker {
    pub(crate) settings: CheckerSettings,
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) clock: Clock,
    cas: ArcSwap<Vec<CaIdentity>>,
    metrics: Metrics,
    /// The time one check's questions have.
    time: Duration,
}

/// What a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whether the name points here, CAA included.
    pub verdict: DnsVerdict,
    /// The CNAMEs from the name on, up to the edge's name if it is met.
    pub(crate) chain: Vec<Alias>,
    /// IPv4 addresses at the chain's end; not asked for when the chain meets the edge's name.
    pub(crate) a: Vec<Ipv4Addr>,
    /// IPv6 addresses, likewise.
    pub(crate) aaaa: Vec<Ipv6Addr>,
    /// The chain's end, which has these addresses.
    pub(crate) end: String,
    /// Those of the addresses that have to go, where the others point here.
    pub(crate) strays: Vec<IpAddr>,
    /// How many seconds caches may keep what was found, absence included. `None`: not known.
    pub(crate) ttl: Option<u32>,
    /// What CAA says; [`Caa::NotJudged`] too when the name does not point here.
    pub(crate) caa: Caa,
    /// What the resolvers still hold instead. `None`: they agree with the zone's own servers.
    pub(crate) stale: Option<Stale>,
    /// The verdict before CAA.
    pub leads: DnsVerdict,
    /// Whose fault an error is: ours when the resolvers do not answer for the edge's own name
    /// either. `None`: the verdict is no error.
    pub fault: Option<Fault>,
}

/// An older answer that caches still hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// What it says; empty when it says that there is nothing.
    pub(crate) found: Vec<String>,
    /// When the last cache has let go of it. `None`: not known.
    pub(crate) until: Option<Timestamp>,
    /// Whether it is the CAA records that are old, not where the name leads.
    pub(crate) caa: bool,
}

impl Checker {
    /// A checker; CAA is not judged until [`Checker::set_cas`] names the CAs.
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

    /// Where names have to lead.
    pub fn target(&self) -> &Target {
        &self.settings.target
    }

    /// How CAA records are to name our CA. `None`: no CA is known yet.
    pub fn caa_identity(&self) -> Option<String> {
        self.cas().iter().flat_map(|ca| &ca.identities).next().cloned()
    }

    /// Tells which CAs may be ordered from, first choice first, and when that changes. One whose
    /// directory is not known yet has no identities.
    pub fn set_cas(&self, cas: Vec<CaIdentity>) {
        self.cas.store(Arc::new(cas));
    }

    /// Whether a name points here and one of our CAs may issue for it: the check before every order.
    pub async fn https(&self, name: &DomainName) -> Finding {
        let memo = QueryMemo::default();
        self.https_with(&self.queries(&memo), name).await
    }

    /// Whether a name points here by what the resolvers say; fewer questions than [`Checker::https`]
    /// asks, for names that no one has added. `None`: they do not say.
    pub async fn leads_here(&self, name: &DomainName) -> Option<bool> {
        let memo = QueryMemo::default();
        match trace(&self.queries(&memo), name, &self.settings.target).await.verdict {
            DnsVerdict::Right => Some(true),
            DnsVerdict::Error { .. } => None,
            _ => Some(false),
        }
    }

    /// The addresses that clients get for a name, as the resolvers have them. Empty: none, or they
    /// do not answer.
    pub async fn addresses(&self, name: &DomainName) -> Vec<IpAddr> {
        let ask = |kind| timeout(self.time, self.lookup.lookup(name.as_str(), kind));
        let (a, aaaa) = join(ask(Kind::A), ask(Kind::Aaaa)).await;
        let of = |answer| match answer {
            Ok(Ok(answer)) => Answer::addresses(&answer),
            _ => Vec::new(),
        };
        [of(a), of(aaaa)].concat()
    }

    /// What CAA says about a name and one CA. Of the edge's own name too: a record there speaks for
    /// every customer whose name has none.
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
        tracing::debug!(%name, verdict = ?finding.verdict, fault = ?finding.fault, stale = finding.stale.is_some(), "dns checked");
        finding
    }

    /// Whose fault a failure is. The edge's own name is one whose zone is known to be served: where
    /// not even that can be asked for, the way to DNS is broken, not the customer's zone.
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
            leads: verdict,
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

/// The newer of two findings, unless it only failed; what caches still hold is noted in it.
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
    /// What stands at the name itself: the CNAME's target, or the addresses.
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
