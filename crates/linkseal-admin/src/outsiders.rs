//! What a report on DNS shows to those who are not the platform's own people. The edge may ask a
//! resolver that knows internal names; their addresses are not for a tenant to find out.

use std::net::IpAddr;

use linkseal_dns::DnsReport;
use linkseal_net::address::is_public;

/// Stands where an address stood.
const HIDDEN: &str = "(a private address)";

/// Hides private addresses, those aside that are asked for.
pub(super) fn hide_private(report: &mut DnsReport) {
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
