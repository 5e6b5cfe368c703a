//! The rows of the record that points here: the CNAME or addresses, and AAAA records to remove.

use std::net::IpAddr;

use linkseal_base::random;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::pointing::Pointing;
use linkseal_domain::{DomainName, Text};

use crate::check::{Checker, Finding};
use crate::lookup::{Kind, LookupError, zone_of};
use crate::near_miss;
use crate::query::Queries;
use crate::record_report::{self, Purpose, RecordReport, RecordStatus};

impl Checker {
    /// The CNAME, or the addresses of an apex, and AAAA records to remove.
    pub(super) async fn pointing_records(
        &self,
        queries: &Queries<'_>,
        name: &DomainName,
        finding: &Finding,
    ) -> Vec<RecordReport> {
        let target = &self.settings.target;
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = target.addresses.iter().partition(|ip| ip.is_ipv4());
        let (family, addresses) = if v4.is_empty() { ("AAAA", v6) } else { ("A", v4) };
        let pointing = Pointing::of(name.as_str(), target.names.name.as_str(), !addresses.is_empty());
        let (kind, expected) = match pointing {
            Pointing::Cname | Pointing::Alias => ("CNAME", vec![target.names.name.to_string()]),
            Pointing::Addresses | Pointing::Target => (family, addresses.iter().map(ToString::to_string).collect()),
        };
        let entry = RecordReport::new(kind, Purpose::Https, name.as_str(), expected);
        let entry = entry.found(finding.found(), finding.ttl);
        let mut entries = Vec::new();
        match &finding.pointing {
            DnsVerdict::Right | DnsVerdict::CaaForbids { .. } => entries.push(match &finding.stale {
                Some(stale) if !stale.caa => RecordReport {
                    visible_by: stale.until,
                    ..entry
                }
                .is(RecordStatus::Ok, record_report::still_cached(stale.until)),
                _ => entry,
            }),
            DnsVerdict::Missing if pointing != Pointing::Cname => {
                entries.push(without_cname(entry, RecordStatus::Missing, pointing, &target.addresses))
            }
            DnsVerdict::Missing => {
                // Asked again, from the memo: NXDOMAIN means that the record may be at a wrong name.
                let error = queries.get(name.as_str(), Kind::Cname).await.err();
                let absent = LookupError::NoData { ttl: finding.ttl };
                let error = error.filter(|e| e.is_absent()).unwrap_or(absent);
                let as_text = near_miss::target_as_text(queries, name.as_str(), target.names.name.as_str()).await;
                let in_the_way = match (&as_text, &error) {
                    (None, LookupError::NoData { .. }) => near_miss::in_the_way(queries, name.as_str()).await,
                    _ => None,
                };
                let entry = entry.without(queries, Kind::Cname, &error).await;
                entries.push(entry.near(as_text).also(in_the_way));
            }
            DnsVerdict::Elsewhere { .. } if pointing != Pointing::Cname => {
                entries.push(without_cname(entry, RecordStatus::Wrong, pointing, &target.addresses));
            }
            DnsVerdict::Elsewhere { found } => {
                let wildcard = wildcard(queries, name, finding).await;
                entries.push(entry.points_elsewhere(found, target.names.name.as_str()).also(wildcard));
            }
            DnsVerdict::Proxied { provider } => entries.push(entry.is(
                RecordStatus::Wrong,
                Text::new(
                    format!("Turn off the {provider} proxy for {name} (\"DNS only\")."),
                    format!("Schalten Sie den Proxy von {provider} für {name} aus („Nur DNS“)."),
                ),
            )),
            // The customer cannot edit another party's zone, but can change the record that points there.
            DnsVerdict::StrayAaaa { found, host } if zone_of(host) != zone_of(name.as_str()) => {
                let entry = match pointing {
                    Pointing::Cname => entry.points_elsewhere(&finding.found().join(", "), target.names.name.as_str()),
                    _ => without_cname(entry, RecordStatus::Wrong, pointing, &target.addresses),
                };
                entries.push(entry.also(Some(Text::new(
                    format!("{host} has the AAAA record {found}, which points elsewhere."),
                    format!("{host} hat den AAAA-Eintrag {found}, der auf einen anderen Server zeigt."),
                ))));
            }
            DnsVerdict::StrayAaaa { .. } => {
                entries.push(entry);
                entries.push(stray_record(finding));
            }
            DnsVerdict::Error { zone, error } => {
                entries.push(entry.is(RecordStatus::Error, record_report::servers_fail(zone, error)))
            }
        }
        entries
    }
}

/// The row of a name that cannot have a CNAME.
fn without_cname(entry: RecordReport, verdict: RecordStatus, pointing: Pointing, addresses: &[IpAddr]) -> RecordReport {
    let (host, wanted) = (entry.host.clone(), entry.expected.join(", "));
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let all = all.join(", ");
    let hint = match pointing {
        Pointing::Cname | Pointing::Alias => Text::new(
            format!(
                "{host} is the top of its zone and cannot have a CNAME. Use a subdomain, or an ALIAS record (CNAME flattening) that points to {wanted}."
            ),
            format!(
                "{host} ist die Hauptdomain und kann keinen CNAME haben. Verwenden Sie eine Subdomain oder einen ALIAS-Eintrag (CNAME-Flattening) auf {wanted}."
            ),
        ),
        Pointing::Addresses => Text::new(
            format!("Set the A and AAAA records of {host} to exactly these addresses: {all}."),
            format!("Setzen Sie die A- und AAAA-Einträge von {host} auf genau diese Adressen: {all}."),
        ),
        Pointing::Target => Text::new(
            format!("Create A and AAAA records for {host} with the public addresses of this server."),
            format!("Legen Sie für {host} A- und AAAA-Einträge mit den öffentlichen Adressen dieses Servers an."),
        ),
    };
    entry.is(verdict, hint)
}

/// The row of the AAAA records to remove, at the name that has them.
fn stray_record(finding: &Finding) -> RecordReport {
    let (host, strays) = (&finding.end, &finding.strays);
    let named: Vec<String> = strays.iter().map(ToString::to_string).collect();
    let named = named.join(", ");
    let (records, entries) = match strays.len() {
        1 => ("record", "den AAAA-Eintrag"),
        _ => ("records", "die AAAA-Einträge"),
    };
    let entry = RecordReport::new("AAAA", Purpose::Https, host, Vec::new()).found(strays, finding.ttl);
    entry.is(
        RecordStatus::Extra,
        Text::new(
            format!("Delete the AAAA {records} {named} of {host}."),
            format!("Löschen Sie bei {host} {entries} {named}."),
        ),
    )
}

/// The sentence for a wildcard that answers for the name: its owner would search for a record that
/// does not exist. A random label shows whether there is one.
async fn wildcard(queries: &Queries<'_>, name: &DomainName, finding: &Finding) -> Option<Text> {
    let (_, parent) = name.as_str().split_once('.')?;
    let unused = format!("x{}.{parent}", hex::encode(random::bytes::<8>()));
    let kind = if finding.chain.is_empty() { Kind::A } else { Kind::Cname };
    let answer = queries.get(&unused, kind).await.ok()?;
    let found: Vec<String> = answer.records.iter().map(|r| r.data.to_string()).collect();
    found.iter().any(|f| finding.found().contains(f)).then(|| {
        Text::new(
            format!("The wildcard record *.{parent} answers for this name: create a record for {name}, which takes precedence."),
            format!("Für diesen Namen antwortet der Wildcard-Eintrag *.{parent}: Legen Sie für {name} einen eigenen DNS-Eintrag an, er hat Vorrang."),
        )
    })
}
