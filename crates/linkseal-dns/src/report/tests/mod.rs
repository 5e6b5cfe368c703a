//! Reports on scripted DNS.

mod agreement;
mod caa;
mod pointing;
mod whole;

use std::sync::Arc;

use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_domain::messages::{self, Context};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, SslEvent};
use prometheus::Registry;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::check::CheckerSettings;
use crate::check::Target;
use crate::lookup::LookupError;
use crate::metrics::Metrics;
use crate::testing::DnsServer;
use crate::testing::{NEGATIVE_TTL, Script};
use crate::{CaIdentity, Resolver, ResolverSettings};

const NAME: &str = "links.customer.example";
const EDGE: &str = "track.platform.example";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn checker(lookup: Arc<dyn crate::Lookup>, addresses: &[&str]) -> Checker {
    let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let settings = CheckerSettings {
        target: Target {
            names: name(EDGE).into(),
            addresses,
        },
        spf_include: Some("spf.platform.example".into()),
        dkim: vec![Dkim {
            selector: "ps1".into(),
            cname: "ps1.dkim.platform.example".into(),
        }],
        dmarc: Some(DmarcWanted::Present),
    };
    let checker = Checker::new(settings, lookup, Clock::system(), Metrics::register(&Registry::new()));
    checker.set_cas(vec![CaIdentity {
        identities: vec!["ca.example".into()],
        account_uri: None,
    }]);
    checker
}

fn record(text: &str, sending: Option<&str>) -> DomainRecord {
    let mut record = DomainRecord::new(name(text), None, Origin::Registered, Timestamp::from_secs(0));
    record.sending_domain = sending.map(name);
    record
}

fn rows(report: &DnsReport) -> Vec<(&str, &str, RecordStatus)> {
    report
        .records
        .iter()
        .map(|r| (r.kind.as_str(), r.host.as_str(), r.verdict))
        .collect()
}
