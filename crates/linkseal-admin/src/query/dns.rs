//! What callers other than the platform's own see of a DNS report. The edge may use a resolver that
//! knows internal names, whose addresses must not be disclosed to a tenant.

use std::net::IpAddr;

use linkseal_dns::DnsReport;
use linkseal_net::address::is_public;

use crate::scope::Scope;

/// Replaces an address.
const HIDDEN: &str = "(a private address)";

/// Hides private addresses from a limited scope, except for expected ones.
pub(crate) fn redact(report: &mut DnsReport, scope: &Scope) {
    if *scope == Scope::All {
        return;
    }
    let asked: Vec<String> = report.records.iter().flat_map(|r| r.expected.clone()).collect();
    for row in &mut report.records {
        for found in &mut row.found {
            let private = found.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip));
            if private && !asked.contains(found) {
                let address = std::mem::replace(found, HIDDEN.to_owned());
                row.hint.en = row.hint.en.replace(&address, HIDDEN);
                row.hint.de = row.hint.de.replace(&address, HIDDEN);
            }
        }
    }
}
