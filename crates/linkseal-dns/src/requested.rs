//! Records that the platform requests of one customer ([`RequestedRecord`]). Reported only, never a gate.

use std::net::IpAddr;

use linkseal_domain::Text;
use linkseal_domain::record::RequestedRecord;

use crate::lookup::{Answer, Data, Kind, normal, plain};
use crate::near_miss;
use crate::query::Queries;
use crate::record_report::{Purpose, RecordReport, RecordStatus};

/// Checks one record.
pub(crate) async fn check(queries: &Queries<'_>, wanted: &RequestedRecord) -> RecordReport {
    let (host, value) = (normal(&wanted.host), wanted.value.trim());
    let type_name = wanted.kind.trim().to_ascii_uppercase();
    let report = RecordReport::new(&type_name, Purpose::Domain, &host, vec![value.to_owned()]);
    let Some(kind) = Kind::parse(&type_name) else {
        return report.is(
            RecordStatus::NotChecked,
            Text::new(
                format!("{type_name} records are not checked."),
                format!("{type_name}-Einträge werden nicht geprüft."),
            ),
        );
    };
    let answer = match queries.get(&host, kind).await {
        Ok(answer) => answer,
        Err(e) => {
            let as_text = match kind {
                Kind::Cname => near_miss::target_as_text(queries, &host, &normal(value)).await,
                _ => None,
            };
            return report.without(queries, kind, &e).await.near(as_text);
        }
    };
    let report = report.found(shown(&answer, kind, value), answer.ttl());
    if answer.records.iter().any(|r| is(&r.data, value)) {
        return report;
    }
    if kind == Kind::Cname {
        let found = report.found.first().cloned().unwrap_or_default();
        return report.points_elsewhere(&plain(&found), &normal(value));
    }
    if report.found.is_empty() {
        // Other texts at the name are unrelated: the record is missing, not wrong.
        let absent = crate::lookup::LookupError::NoData { ttl: answer.ttl() };
        return report.without(queries, kind, &absent).await;
    }
    let quoted = kind == Kind::Txt && report.found.iter().any(|f| words(f) == words(value));
    report
        .is(
            RecordStatus::Wrong,
            Text::new(
                format!("Change the record {host} {type_name} to {value}."),
                format!("Ändern Sie den DNS-Eintrag {host} {type_name} auf {value}."),
            ),
        )
        .also(quoted.then(near_miss::quotation_marks))
}

/// The values to show; of TXT records only those with the wanted tag.
fn shown(answer: &Answer, kind: Kind, value: &str) -> Vec<String> {
    let tag = |t: &str| {
        t.trim_matches('"')
            .split_once('=')
            .map(|(tag, _)| tag.trim().to_ascii_lowercase())
    };
    let related = |d: &Data| kind != Kind::Txt || (tag(value).is_some() && tag(&d.to_string()) == tag(value));
    answer
        .records
        .iter()
        .map(|r| &r.data)
        .filter(|d| related(d) || is(d, value))
        .map(ToString::to_string)
        .collect()
}

/// Whether a record has a value, as people write it.
fn is(data: &Data, value: &str) -> bool {
    match data {
        Data::Address(ip) => value.parse::<IpAddr>().is_ok_and(|v| v == *ip),
        Data::Name(name) => *name == normal(value),
        Data::Mx { preference, exchange } => {
            let mut parts = value.split_whitespace();
            parts.next().and_then(|p| p.parse::<u16>().ok()) == Some(*preference)
                && parts.next().map(normal).as_ref() == Some(exchange)
        }
        Data::Caa { .. } => words(&data.to_string()) == words(value),
        // Quotation marks belong to zone files; as part of the value they make it a different one.
        Data::Txt(text) => !text.contains('"') && words(text) == words(value),
    }
}

/// A text without quotation marks and with single spaces: forms and zone files differ in both.
fn words(text: &str) -> String {
    text.replace('"', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    const HOST: &str = "verify.customer.example";

    #[tokio::test]
    async fn each_type_is_compared_by_its_own_rules() {
        for (kind, value, found, verdict) in [
            ("TXT", "\"token=abc\"", vec!["other", "token=abc"], RecordStatus::Ok),
            ("TXT", "token=abc", vec!["token=old"], RecordStatus::Wrong),
            ("TXT", "token=abc", vec!["\"token=abc\""], RecordStatus::Wrong),
            ("TXT", "\"token=a\" \"b c\"", vec!["token=a b c"], RecordStatus::Ok),
            ("TXT", "token=abc", vec!["v=spf1 -all"], RecordStatus::Missing),
            ("txt", "token=abc", vec![], RecordStatus::Missing),
            (
                "CNAME",
                "Target.Platform.example.",
                vec!["target.platform.example"],
                RecordStatus::Ok,
            ),
            (
                "CNAME",
                "target.platform.example",
                vec!["other.example"],
                RecordStatus::Wrong,
            ),
            ("A", "192.0.2.1", vec!["192.0.2.2", "192.0.2.1"], RecordStatus::Ok),
            ("A", "192.0.2.1", vec!["192.0.2.2"], RecordStatus::Wrong),
            ("AAAA", "2001:DB8:0::1", vec!["2001:db8::1"], RecordStatus::Ok),
            (
                "MX",
                "10  mx.platform.example.",
                vec!["10 mx.platform.example"],
                RecordStatus::Ok,
            ),
            (
                "MX",
                "10 mx.platform.example",
                vec!["20 mx.platform.example"],
                RecordStatus::Wrong,
            ),
            (
                "CAA",
                "0 issue \"ca.example\"",
                vec!["0 issue ca.example"],
                RecordStatus::Ok,
            ),
            (
                "NS",
                "ns1.platform.example",
                vec!["ns1.platform.example"],
                RecordStatus::Ok,
            ),
            ("SRV", "0 0 1 x.example", vec![], RecordStatus::NotChecked),
        ] {
            let script = Script::new();
            for f in &found {
                script.add(HOST, Kind::parse(kind).unwrap(), f);
            }
            let wanted = RequestedRecord {
                kind: kind.into(),
                host: "Verify.customer.example.".into(),
                value: value.into(),
            };
            let report = script.with_queries(async |queries| check(queries, &wanted).await).await;
            assert_eq!(report.verdict, verdict, "{kind} {value} {found:?}: {}", report.hint.en);
            assert_eq!((report.host.as_str(), report.purpose), (HOST, Purpose::Domain));
        }
    }
}
