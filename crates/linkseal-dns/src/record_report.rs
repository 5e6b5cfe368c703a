//! One record of a report: its host, the expected and the published values, what to change.

use std::net::IpAddr;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::Text;
use serde::Serialize;

use crate::lookup::{Kind, LookupError, is_name, normal, zone_of};
use crate::near_miss::NearMiss;
use crate::query::Queries;

/// Published values that are shown: a zone may have any number, people read a few.
const MAX_FOUND: usize = 8;
/// Characters shown of an expected value. People copy it, so it must be complete in practice; the
/// limit is for suggested SPF records, which contain what the customer's zone has.
const MAX_EXPECTED: usize = 4096;
/// Characters shown of a published value; a DKIM key of 4096 bits has about 750.
const MAX_VALUE: usize = 1024;

/// The result of a record's check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// Published as requested.
    Ok,
    /// Not published.
    Missing,
    /// Published with a different value.
    Wrong,
    /// Published with a different value that works.
    Warning,
    /// Published, but has to be removed.
    Extra,
    /// The DNS servers gave no usable answer.
    Error,
    /// Not checked, or cannot be checked at the moment.
    NotChecked,
}

impl RecordStatus {
    /// Whether the published values are known.
    pub fn is_known(self) -> bool {
        !matches!(self, Self::Error | Self::NotChecked)
    }

    /// Whether no change is needed.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Ok | Self::NotChecked)
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Required for HTTPS.
    Https,
    /// For mail; HTTPS does not depend on it.
    Mail,
    /// Requested for this domain; HTTPS does not depend on it.
    Domain,
}

/// One record of a report (docs/specification.md §7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RecordReport {
    /// The type, such as `CNAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The purpose.
    pub purpose: Purpose,
    /// The full host name.
    pub host: String,
    /// The host as most DNS providers' forms expect it: relative to the zone, `@` for the zone itself.
    pub host_short: String,
    /// The expected values.
    pub expected: Vec<String>,
    /// The published values, shortened if they are long.
    pub found: Vec<String>,
    /// The result of the check.
    pub verdict: RecordStatus,
    /// The TTL of the records, or of their absence, in seconds; null if it is not known.
    pub ttl: Option<u32>,
    /// When a change made now is visible everywhere; for a correct record, when the last cache drops
    /// an older one. Null if that time is not known, or already past.
    pub visible_by: Option<Timestamp>,
    /// What to change.
    pub hint: Text,
}

impl RecordReport {
    /// A row for a correct record; the methods below change it.
    pub(crate) fn new(kind: &str, purpose: Purpose, host: &str, expected: Vec<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            purpose,
            host: host.to_owned(),
            host_short: short(host),
            expected: expected.iter().map(|e| shown(e, MAX_EXPECTED)).collect(),
            found: Vec::new(),
            verdict: RecordStatus::Ok,
            ttl: None,
            visible_by: None,
            hint: Text::new("This record is correct.", "Dieser Eintrag ist korrekt."),
        }
    }

    pub(crate) fn found(mut self, found: impl IntoIterator<Item = impl ToString>, ttl: Option<u32>) -> Self {
        self.found = found
            .into_iter()
            .take(MAX_FOUND)
            .map(|f| shown(&f.to_string(), MAX_VALUE))
            .collect();
        self.ttl = ttl;
        self
    }

    pub(crate) fn is(mut self, verdict: RecordStatus, hint: Text) -> Self {
        self.verdict = verdict;
        self.hint = hint;
        self
    }

    /// Adds a sentence to the hint.
    pub(crate) fn also(self, more: Option<Text>) -> Self {
        Self {
            hint: self.hint.and(more),
            ..self
        }
    }

    /// Shows a near miss in the row of a missing record.
    pub(crate) fn near(self, miss: Option<NearMiss>) -> Self {
        let Some(NearMiss { found, hint }) = miss.filter(|_| self.verdict == RecordStatus::Missing) else {
            return self;
        };
        let ttl = self.ttl;
        self.found([found], ttl).also(Some(hint))
    }

    /// The row of a record that does not exist, or whose servers fail.
    pub(crate) async fn without(self, queries: &Queries<'_>, kind: Kind, error: &LookupError) -> Self {
        if !error.is_absent() {
            return self.failed(error);
        }
        let value = self.expected.first().cloned().unwrap_or_default();
        let wanted = normal(&value);
        // Quotation marks separate a final semicolon or full stop from the sentence's.
        let value = if kind == Kind::Txt {
            format!("\"{value}\"")
        } else {
            value
        };
        let hint = Text::new(
            format!("Create the DNS record {} {} {value}.", self.host, self.kind),
            format!("Legen Sie den DNS-Eintrag {} {} {value} an.", self.host, self.kind),
        );
        let misplaced = misplaced(queries, &self.host, kind, &wanted, error).await.map(|at| {
            let short = &self.host_short;
            Text::new(
                format!("It was created as {at}: enter only {short} as the host; your DNS provider adds the rest."),
                format!(
                    "Er wurde als {at} angelegt: Geben Sie als Host nur {short} ein, den Rest ergänzt Ihr DNS-Anbieter."
                ),
            )
        });
        Self {
            ttl: error.negative_ttl(),
            ..self
        }
        .is(RecordStatus::Missing, hint.and(misplaced))
    }

    /// The row of a record whose servers fail.
    pub(crate) fn failed(self, error: &LookupError) -> Self {
        let zone = zone_of(&self.host).to_owned();
        self.is(RecordStatus::Error, servers_fail(&zone, &error.to_string()))
    }

    /// The row of an alias that points elsewhere.
    pub(crate) fn points_elsewhere(self, found: &str, target: &str) -> Self {
        let host = self.host.clone();
        if !is_name(&found.to_ascii_lowercase()) && found.parse::<IpAddr>().is_err() && !found.contains(", ") {
            return self.is(
                RecordStatus::Wrong,
                Text::new(
                    format!("{host} points to \"{found}\", which is not a host name: enter only {target} as the target, without https://, slashes, spaces, commas or other text."),
                    format!("{host} zeigt auf \"{found}\". Das ist kein Hostname: Geben Sie als Ziel nur {target} ein, ohne https://, Schrägstriche, Leerzeichen, Kommas oder weiteren Text."),
                ),
            );
        }
        let hint = Text::new(
            format!("{host} points to {found}. Change the record to CNAME {target}."),
            format!("{host} zeigt auf {found}. Ändern Sie den DNS-Eintrag auf CNAME {target}."),
        );
        let doubled = found
            .strip_prefix(target)
            .and_then(|r| r.strip_prefix('.'))
            // Some providers append the zone, others the full name of the record.
            .is_some_and(|r| r == host || host.strip_suffix(r).is_some_and(|rest| rest.ends_with('.')));
        let dot = doubled.then(|| {
            Text::new(
                format!("Your DNS provider appended your domain: enter the target with a dot at the end, {target}."),
                format!(
                    "Ihr DNS-Anbieter hat Ihre Domain angehängt: Geben Sie das Ziel mit Punkt am Ende ein: {target}."
                ),
            )
        });
        self.is(RecordStatus::Wrong, hint.and(dot))
    }
}

/// The sentence for DNS servers that fail, also for [`DnsVerdict::Error`](linkseal_domain::dns::DnsVerdict).
pub(crate) fn servers_fail(zone: &str, error: &str) -> Text {
    Text::new(
        format!("The DNS servers of {zone} fail ({error}). Contact your DNS provider."),
        format!("Die DNS-Server von {zone} antworten nicht korrekt ({error}). Wenden Sie sich an Ihren DNS-Anbieter."),
    )
}

/// The newer of two checks of a record; the older one if the newer one failed.
pub(crate) fn prefer(cached: RecordReport, newer: RecordReport, now: Timestamp) -> RecordReport {
    match newer.verdict {
        RecordStatus::Ok => {
            let until = cached.ttl.map(|s| now + Duration::from_secs(s.into()));
            RecordReport {
                visible_by: until,
                ..newer
            }
            .is(RecordStatus::Ok, still_cached(until))
        }
        RecordStatus::Error | RecordStatus::NotChecked => cached,
        RecordStatus::Missing | RecordStatus::Wrong | RecordStatus::Warning | RecordStatus::Extra => newer,
    }
}

/// The sentence for a correct record while caches still have an older one.
pub(crate) fn still_cached(until: Option<Timestamp>) -> Text {
    match until {
        Some(t) => Text::new(
            format!("This record is correct; all resolvers will see it by {t}."),
            format!("Dieser Eintrag ist korrekt; bis spätestens {t} kennen ihn alle DNS-Server."),
        ),
        None => Text::new(
            "This record is correct; some resolvers do not see it yet.",
            "Dieser Eintrag ist korrekt; manche DNS-Server kennen ihn noch nicht.",
        ),
    }
}

/// The wrong name at which a missing record was created. The common error is the zone's name twice,
/// because forms append it to what is typed. Checked only if the right name does not exist at all;
/// otherwise a wildcard could be taken for it.
async fn misplaced(queries: &Queries<'_>, host: &str, kind: Kind, wanted: &str, error: &LookupError) -> Option<String> {
    if !matches!(error, LookupError::NxDomain { .. }) {
        return None;
    }
    let at = format!("{host}.{}", zone_of(host));
    if queries.get(&at, kind).await.is_ok() {
        return Some(at);
    }
    if kind != Kind::Cname {
        return None;
    }
    // Common misspellings of the name; only if they point to the expected target.
    for at in slips(host) {
        if let Ok(answer) = queries.get(&at, kind).await
            && answer.names().any(|n| n == wanted)
        {
            return Some(at);
        }
    }
    None
}

/// Common misspellings of a host: `_links`, `www.links`, `link`, a label twice, or one left out.
fn slips(host: &str) -> Vec<String> {
    let Some((first, rest)) = host.split_once('.') else {
        return Vec::new();
    };
    let plural = match first.strip_suffix('s') {
        Some(singular) if !singular.is_empty() => singular.to_owned(),
        _ => format!("{first}s"),
    };
    let mut slips = vec![format!("_{host}"), format!("www.{host}"), format!("{plural}.{rest}")];
    // Between the first label and the zone, a label is typed twice or left out.
    if let (Some((label, zone)), false) = (rest.split_once('.'), zone_of(host) == rest) {
        slips.push(format!("{first}.{label}.{rest}"));
        slips.push(format!("{first}.{zone}"));
    }
    slips
}

/// The host relative to its zone, which follows from the public suffix list.
pub(crate) fn short(host: &str) -> String {
    let zone = zone_of(host);
    match host.strip_suffix(zone) {
        Some("") | None => "@".to_owned(),
        Some(rest) => rest.trim_end_matches('.').to_owned(),
    }
}

/// A value as it is shown: printable, and at most `max` characters.
fn shown(value: &str, max: usize) -> String {
    let mut printable = value.chars().filter(|c| !c.is_control());
    let mut kept: String = printable.by_ref().take(max).collect();
    if printable.next().is_some() {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_shortened_as_providers_forms_expect_them() {
        for (host, short_is) in [
            ("links.customer.example", "links"),
            ("a.b.customer.co.uk", "a.b"),
            ("customer.co.uk", "@"),
            ("customer.example", "@"),
            ("ps1._domainkey.customer.example", "ps1._domainkey"),
            ("_dmarc.mail.customer.example", "_dmarc.mail"),
        ] {
            assert_eq!(short(host), short_is, "{host}");
        }
    }

    #[test]
    fn values_are_shown_printable_and_short() {
        assert_eq!(shown("a\u{1b}[31mb\n", 10), "a[31mb");
        assert_eq!(shown(&"ä".repeat(9), 9).chars().count(), 9);
        assert_eq!(shown(&"ä".repeat(12), 9).chars().count(), 10);
    }
}
