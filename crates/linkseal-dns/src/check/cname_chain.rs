//! Where a name points: its CNAME chain, then its addresses, compared with the edge's.
//!
//! The chain is followed here, one CNAME question a hop: a chain that passes through the edge's
//! name is right even if the edge's own addresses cannot be resolved, which is not the customer's fault.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::future::join;
use linkseal_base::fault::Fault;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::{DomainName, EdgeNames};

use crate::check::cdn;
use crate::lookup::{Answer, Kind, LookupError, is_name, plain, zone_of};
use crate::query::Queries;

/// CNAMEs that are followed; CAs stop at 8 to 16.
const MAX_CHAIN: usize = 10;
/// Wrong addresses named in a verdict.
const MAX_NAMED: usize = 4;

/// Where customers' names have to point.
#[derive(Clone, Debug)]
pub struct Target {
    pub names: EdgeNames,
    /// Public addresses of the edge, for apex names; if empty, those that edge.name resolves to.
    pub addresses: Vec<IpAddr>,
}

/// One hop of a CNAME chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) from: String,
    pub(crate) to: String,
}

/// Where a name points, before CAA.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) verdict: DnsVerdict,
    pub(crate) chain: Vec<Alias>,
    pub(crate) a: Vec<Ipv4Addr>,
    pub(crate) aaaa: Vec<Ipv6Addr>,
    /// The end of the chain: the name that has these addresses.
    pub(crate) end: String,
    /// The addresses to remove, if the others point here.
    pub(crate) strays: Vec<IpAddr>,
    /// TTL of what was found at the name, in seconds.
    pub(crate) ttl: Option<u32>,
    /// Whose fault an error is, if that is already known.
    pub(crate) fault: Option<Fault>,
}

/// Follows a name and compares the end of its chain with the edge.
pub(crate) async fn trace(queries: &Queries<'_>, name: &DomainName, target: &Target) -> Trace {
    let mut trace = Trace {
        verdict: DnsVerdict::Right,
        chain: Vec::new(),
        a: Vec::new(),
        aaaa: Vec::new(),
        end: name.to_string(),
        strays: Vec::new(),
        ttl: None,
        fault: None,
    };
    trace.verdict = match follow(queries, name.as_str(), target, &mut trace).await {
        Err(verdict) => verdict,
        Ok(end) => {
            trace.end.clone_from(&end);
            addresses(queries, &end, name, target, &mut trace).await
        }
    };
    trace
}

/// Follows the CNAMEs to the last name. `Err`: the verdict, if it does not depend on addresses.
async fn follow(queries: &Queries<'_>, name: &str, target: &Target, trace: &mut Trace) -> Result<String, DnsVerdict> {
    let mut current = name.to_owned();
    loop {
        match queries.get(&current, Kind::Cname).await {
            Ok(answer) => {
                let Some(to) = answer.names().next().map(str::to_owned) else {
                    return Ok(current);
                };
                trace.ttl = trace.ttl.or(answer.ttl());
                let is_loop = to == name || trace.chain.iter().any(|a| a.from == to);
                trace.chain.push(Alias {
                    from: current,
                    to: to.clone(),
                });
                if target.names.contains(&to) {
                    return Err(DnsVerdict::Right);
                }
                // A zone can contain a target such as `https://…`, but no server can be asked for it.
                if is_loop || trace.chain.len() > MAX_CHAIN || !is_name(&to) {
                    return Err(elsewhere(trace));
                }
                current = to;
            }
            Err(e) if e.is_absent() => {
                trace.ttl = trace.ttl.or(e.negative_ttl());
                // A name without a CNAME may have addresses; one that does not exist has none.
                if matches!(e, LookupError::NxDomain { .. }) {
                    return Err(if trace.chain.is_empty() {
                        DnsVerdict::Missing
                    } else {
                        dangling(trace)
                    });
                }
                return Ok(current);
            }
            Err(LookupError::Loop) => return Err(elsewhere(trace)),
            Err(e) => return Err(error(&current, &e)),
        }
    }
}

/// Compares the addresses at the chain's end with the edge's.
async fn addresses(
    queries: &Queries<'_>,
    end: &str,
    name: &DomainName,
    target: &Target,
    trace: &mut Trace,
) -> DnsVerdict {
    let (a, aaaa) = join(queries.get(end, Kind::A), queries.get(end, Kind::Aaaa)).await;
    let found = [ips(&a), ips(&aaaa)].concat();
    if found.is_empty() {
        // CAs need the addresses of one family only, so a failure counts only if none were found.
        let failed = [&a, &aaaa]
            .into_iter()
            .filter_map(|r| r.as_ref().err())
            .find(|e| !e.is_absent());
        return match failed {
            Some(e) => error(end, e),
            None if trace.chain.is_empty() => DnsVerdict::Missing,
            None => dangling(trace),
        };
    }
    for ip in &found {
        match ip {
            IpAddr::V4(ip) => trace.a.push(*ip),
            IpAddr::V6(ip) => trace.aaaa.push(*ip),
        }
    }
    if trace.chain.is_empty() {
        trace.ttl = [&a, &aaaa]
            .into_iter()
            .filter_map(|r| r.as_ref().ok().and_then(Answer::ttl))
            .max();
    }
    // The edge's own name points to the edge by definition, unless its addresses are configured.
    if target.addresses.is_empty() && target.names.contains(name.as_str()) {
        return DnsVerdict::Right;
    }
    let foreign: Vec<IpAddr> = found
        .iter()
        .copied()
        .filter(|ip| !target.addresses.contains(ip))
        .collect();
    if foreign.is_empty() {
        return DnsVerdict::Right;
    }
    let own = own_addresses(queries, target).await;
    let is_foreign = |ip: &IpAddr| !own.found.contains(ip);
    let foreign: Vec<IpAddr> = foreign.into_iter().filter(is_foreign).collect();
    let Some(first) = foreign.first() else {
        return DnsVerdict::Right;
    };
    // A proxy replaces all addresses of a name; beside one of ours it is a second record.
    if foreign.len() == found.len()
        && let Some(provider) = cdn::provider(&foreign, targets(trace))
    {
        return DnsVerdict::Proxied {
            provider: provider.to_owned(),
        };
    }
    // The edge's own addresses are not known, so the customer is not blamed.
    let unknown = foreign.iter().find_map(|ip| own.unknown(*ip));
    if let Some(e) = unknown.filter(|_| target.addresses.is_empty()) {
        trace.fault = Some(Fault::Ours);
        return error(target.names.name.as_str(), e);
    }
    if foreign.iter().all(IpAddr::is_ipv6) && !trace.a.is_empty() {
        trace.strays.clone_from(&foreign);
        return DnsVerdict::StrayAaaa {
            found: *first,
            host: end.to_owned(),
        };
    }
    if trace.chain.is_empty() {
        let named: Vec<String> = foreign.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        return DnsVerdict::Elsewhere {
            found: named.join(", "),
        };
    }
    elsewhere(trace)
}

/// What edge.name resolves to.
struct Own {
    found: Vec<IpAddr>,
    a: Option<LookupError>,
    aaaa: Option<LookupError>,
}

impl Own {
    /// The failure because of which an address cannot be compared with the edge's. `None`: it can.
    fn unknown(&self, ip: IpAddr) -> Option<&LookupError> {
        let error = if ip.is_ipv6() { &self.aaaa } else { &self.a };
        // The absence of one family is conclusive only if there are addresses of the other.
        error.as_ref().filter(|e| !e.is_absent() || self.found.is_empty())
    }
}

async fn own_addresses(queries: &Queries<'_>, target: &Target) -> Own {
    let (a, aaaa) = join(
        queries.get(target.names.name.as_str(), Kind::A),
        queries.get(target.names.name.as_str(), Kind::Aaaa),
    )
    .await;
    Own {
        found: [ips(&a), ips(&aaaa)].concat(),
        a: a.err(),
        aaaa: aaaa.err(),
    }
}

/// The addresses in an answer, except those that a DNS64 resolver synthesizes (RFC 6147): no zone
/// has these.
fn ips(answer: &Result<Answer, LookupError>) -> Vec<IpAddr> {
    let found = answer.as_ref().map(Answer::addresses).unwrap_or_default();
    found.into_iter().filter(|ip| !is_synthesized(*ip)).collect()
}

/// Whether an address lies in 64:ff9b::/96 (RFC 6052 §2.1).
pub fn is_synthesized(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.segments().starts_with(&[0x64, 0xff9b, 0, 0, 0, 0]))
}

fn targets(trace: &Trace) -> impl Iterator<Item = &str> {
    trace.chain.iter().map(|a| a.to.as_str())
}

/// The verdict on a chain whose end has no addresses.
fn dangling(trace: &Trace) -> DnsVerdict {
    match cdn::provider(&[], targets(trace)) {
        Some(provider) => DnsVerdict::Proxied {
            provider: provider.to_owned(),
        },
        None => elsewhere(trace),
    }
}

fn elsewhere(trace: &Trace) -> DnsVerdict {
    DnsVerdict::Elsewhere {
        found: trace.chain.first().map(|a| plain(&a.to)).unwrap_or_default(),
    }
}

pub(crate) fn error(name: &str, error: &LookupError) -> DnsVerdict {
    DnsVerdict::Error {
        zone: zone_of(name).to_owned(),
        error: error.to_string(),
    }
}
