//! Checks of a name against scripted DNS.

mod caa;
mod cost;
mod fault;
mod freshness;
mod pointing;

use linkseal_domain::EdgeNames;
use prometheus::Registry;

use super::*;
use crate::check::cname_chain::Target;
use crate::lookup::LookupError;
use crate::testing::{NEGATIVE_TTL, Script, TTL};
use crate::{Resolver, ResolverSettings};

const NAME: &str = "links.customer.example";
const EDGE: &str = "track.platform.example";
const OLD: &str = "old.platform.example";
/// The edge's configured address, and one edge.name resolves to.
const OURS: [&str; 2] = ["203.0.113.1", "2001:db8::1"];

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn checker(script: Script, addresses: &[&str]) -> (Checker, Registry) {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let target = Target {
        names: EdgeNames {
            name: name(EDGE),
            aliases: vec![name(OLD)],
        },
        addresses,
    };
    let settings = CheckerSettings {
        target,
        spf_include: None,
        dkim: Vec::new(),
        dmarc: None,
    };
    let registry = Registry::new();
    let metrics = Metrics::register(&registry);
    (
        Checker::new(settings, Arc::new(script), Clock::system(), metrics),
        registry,
    )
}

fn script(records: &[(&str, Kind, &str)]) -> Script {
    let script = Script::new();
    for (name, kind, value) in records {
        script.add(name, *kind, value);
    }
    script
}

fn ca() -> CaIdentity {
    CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    }
}

fn elsewhere(found: &str) -> DnsVerdict {
    DnsVerdict::Elsewhere { found: found.into() }
}

fn proxied(provider: &str) -> DnsVerdict {
    DnsVerdict::Proxied {
        provider: provider.into(),
    }
}
