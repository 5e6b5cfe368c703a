//! One record of a report: where it stands, what it should hold, what it holds, what to change.

use std::net::IpAddr;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::Text;
use serde::Serialize;

use crate::lookup::{Kind, LookupError, is_name, normal, zone_of};
use crate::near_miss::NearMiss;
use crate::query::Queries;

/// How many values found are shown: zones hold anything, people read a few.
const MAX_FOUND: usize = 8;
/// How many characters of an expected value are shown: whole, for it is copied, but not endless,
/// for the SPF record to come is made from the one there.
const MAX_EXPECTED: usize = 4096;
/// How many characters of a found value are shown; a DKIM key of 4096 bits has about 750.
const MAX_VALUE: usize = 1024;

/// What a record's check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// As asked for.
    Ok,
    /// Not there.
    Missing,
    /// There, with another value.
    Wrong,
    /// There, with another value that works nevertheless.
    Warning,
    /// There, and has to go.
    Extra,
    /// The servers gave no usable answer.
    Error,
    /// Not checked, or not possible at the moment.
    NotChecked,
}

impl RecordStatus {
    /// Whether it is known what stands there.
    pub fn is_known(self) -> bool {
        !matches!(self, Self::Error | Self::NotChecked)
    }

    /// Whether nothing has to be done.
    pub fn is_fine(self) -> bool {
        matches!(self, Self::Ok | Self::NotChecked)
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Without it there is no HTTPS.
    Https,
    /// For mail: reported, never a gate.
    Mail,
    /// Asked for with this domain: reported, never a gate.
    Domain,
}

/// One record of a report (docs/specification.md §7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct RecordReport {
    /// Its type, such as `CNAME`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The full name it stands at.
    pub host: String,
    /// The same as most providers' forms want it: relative to the zone, `@` for its top.
    pub host_short: String,
    /// What it should hold.
    pub expected: Vec<String>,
    /// What it holds, shortened where long.
    pub found: Vec<String>,
    /// What came of it.
    pub verdict: RecordStatus,
    /// For how many seconds caches may keep the answer, or its absence; null if that is not known.
    pub ttl: Option<u32>,
    /// When a change made now is visible everywhere; for a correct record, when the last cache has
    /// dropped an older one. Null if that is not known, or already the case.
    pub visible_by: Option<Timestamp>,
    /// What to change.
    pub hint: Text,
}

impl RecordReport {
    /// A row that says that the record is right, until more is known.
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

    /// The same row with a further sentence.
    pub(crate) fn also(self, more: Option<Text>) -> Self {
        Self {
            hint: self.hint.and(more),
            ..self
        }
    }

    /// The row of a missing record, showing the one that was meant to be it.
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
        // A semicolon or a final full stop is not the sentence's.
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

    /// The row of an alias that leads elsewhere.
    pub(crate) fn leads_elsewhere(self, found: &str, target: &str) -> Self {
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
            // Some providers append the zone, others what the record stands at.
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

/// The sentence about servers that fail for [`DnsVerdict::Error`](linkseal_domain::dns::DnsVerdict).
pub(crate) fn servers_fail(zone: &str, error: &str) -> Text {
    Text::new(
        format!("The DNS servers of {zone} fail ({error}). Contact your DNS provider."),
        format!("Die DNS-Server von {zone} antworten nicht korrekt ({error}). Wenden Sie sich an Ihren DNS-Anbieter."),
    )
}

/// A newer look at a record instead of an older one, unless it only failed.
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

/// The sentence about a record that is right, while caches still hold an older one.
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

/// Where a record stands that was entered with the zone's name twice, a common slip: forms add
/// the zone to what is typed. Only when the right name does not exist at all, else a wildcard
/// would look like it.
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
    // Names that are easily typed instead; only where they lead to the very target.
    for at in slips(host) {
        if let Ok(answer) = queries.get(&at, kind).await
            && answer.names().any(|n| n == wanted)
        {
            return Some(at);
        }
    }
    None
}

/// A host as it is misspelt: `_links`, `www.links`, `link`, a label twice, or one left out.
fn slips(host: &str) -> Vec<String> {
    let Some((first, rest)) = host.split_once('.') else {
        return Vec::new();
    };
    let plural = match first.strip_suffix('s') {
        Some(singular) if !singular.is_empty() => singular.to_owned(),
        _ => format!("{first}s"),
    };
    let mut slips = vec![format!("_{host}"), format!("www.{host}"), format!("{plural}.{rest}")];
    // Below a label of its own, that is typed twice or not at all.
    if let (Some((label, zone)), false) = (rest.split_once('.'), zone_of(host) == rest) {
        slips.push(format!("{first}.{label}.{rest}"));
        slips.push(format!("{first}.{zone}"));
    }
    slips
}

/// The host relative to its zone's top, which the public suffix list tells.
pub(crate) fn short(host: &str) -> String {
    let zone = zone_of(host);
    match host.strip_suffix(zone) {
        Some("") | None => "@".to_owned(),
        Some(rest) => rest.trim_end_matches('.').to_owned(),
    }
}

/// A value as it is shown: printable, and not endless.
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
    fn hosts_as_forms_want_them() {
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
