//! One record of a report: where it stands, what it should hold, what it holds, what to change.

use std::net::IpAddr;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::lookup::{Kind, LookupError, is_name, normal, zone_of};
use super::near_miss::NearMiss;
use super::query::Queries;

/// How many values found are shown: zones hold anything, people read a few.
const MAX_FOUND: usize = 8;
/// How many characters of an expected value are shown: whole, for it is copied, but not endless,
/// for the SPF record to come is made from the one there.
const MAX_EXPECTED: usize = 4096;
/// How many characters of a found value are shown; a DKIM key of 4096 bits has about 750.
const MAX_VALUE: usize = 1024;

/// What a record's check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// Not looked at, or not possible from here now.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Without it there is no HTTPS.
    Https,
    /// For mail: reported, never a gate.
    Mail,
    /// Asked for with this domain: reported, never a gate.
    Domain,
}

/// A sentence in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Hint {
    /// English.
    pub en: String,
    /// German.
    pub de: String,
}

impl Hint {
    pub(super) fn new(en: impl Into<String>, de: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            de: de.into(),
        }
    }

    /// The same with a further sentence.
    pub(super) fn and(mut self, more: Option<Self>) -> Self {
        if let Some(more) = more {
            self.en = format!("{} {}", self.en, more.en);
            self.de = format!("{} {}", self.de, more.de);
        }
        self
    }
}

/// One record of a report (contract, section 7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// How many seconds caches may keep what was found, absence included. `None`: not known.
    pub ttl: Option<u32>,
    /// When a change made now is seen everywhere; for a right record, when the last cache has let
    /// go of an older one. `None`: not known, or now.
    pub visible_by: Option<Timestamp>,
    /// What to change.
    pub hint: Hint,
}

impl RecordReport {
    /// A row that says that the record is right, until more is known.
    pub(super) fn new(kind: &str, purpose: Purpose, host: &str, expected: Vec<String>) -> Self {
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
            hint: Hint::new("This record is right.", "Dieser Eintrag stimmt."),
        }
    }

    pub(super) fn found(mut self, found: impl IntoIterator<Item = impl ToString>, ttl: Option<u32>) -> Self {
        self.found = found
            .into_iter()
            .take(MAX_FOUND)
            .map(|f| shown(&f.to_string(), MAX_VALUE))
            .collect();
        self.ttl = ttl;
        self
    }

    pub(super) fn is(mut self, verdict: RecordStatus, hint: Hint) -> Self {
        self.verdict = verdict;
        self.hint = hint;
        self
    }

    /// The same row with a further sentence.
    pub(super) fn also(self, more: Option<Hint>) -> Self {
        Self {
            hint: self.hint.and(more),
            ..self
        }
    }

    /// The row of a missing record, showing the one that was meant to be it.
    pub(super) fn near(self, miss: Option<NearMiss>) -> Self {
        let Some(NearMiss { found, hint }) = miss.filter(|_| self.verdict == RecordStatus::Missing) else {
            return self;
        };
        let ttl = self.ttl;
        self.found([found], ttl).also(Some(hint))
    }

    /// The row of a record that does not exist, or whose servers fail.
    pub(super) async fn without(self, look: &Queries<'_>, kind: Kind, error: &LookupError) -> Self {
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
        let hint = Hint::new(
            format!("Create the record {} {} {value}.", self.host, self.kind),
            format!("Legen Sie den Eintrag {} {} {value} an.", self.host, self.kind),
        );
        let misplaced = misplaced(look, &self.host, kind, &wanted, error).await.map(|at| {
            let short = &self.host_short;
            Hint::new(
                format!("It was entered as {at}: enter only {short} as the host, the provider adds the rest."),
                format!(
                    "Er wurde als {at} eingetragen: Geben Sie als Host nur {short} ein, den Rest ergänzt der Anbieter."
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
    pub(super) fn failed(self, error: &LookupError) -> Self {
        let zone = zone_of(&self.host).to_owned();
        self.is(RecordStatus::Error, servers_fail(&zone, &error.to_string()))
    }

    /// The row of an alias that leads elsewhere.
    pub(super) fn leads_elsewhere(self, found: &str, target: &str) -> Self {
        let host = self.host.clone();
        if !is_name(&found.to_ascii_lowercase()) && found.parse::<IpAddr>().is_err() && !found.contains(", ") {
            return self.is(
                RecordStatus::Wrong,
                Hint::new(
                    format!("{host} points to \"{found}\", which is no host name: enter only {target} as the target, without https://, slashes, blanks, commas or other words."),
                    format!("{host} zeigt auf \"{found}\", das ist kein Hostname: Geben Sie als Ziel nur {target} ein, ohne https://, Schrägstriche, Leerzeichen, Kommas oder weitere Wörter."),
                ),
            );
        }
        let hint = Hint::new(
            format!("{host} points to {found}; change it to CNAME {target}."),
            format!("{host} zeigt auf {found}; ändern Sie den Eintrag auf CNAME {target}."),
        );
        let doubled = found
            .strip_prefix(target)
            .and_then(|r| r.strip_prefix('.'))
            // Some providers append the zone, others what the record stands at.
            .is_some_and(|r| r == host || host.strip_suffix(r).is_some_and(|rest| rest.ends_with('.')));
        let dot = doubled.then(|| {
            Hint::new(
                format!("The provider added its own zone: enter the target with a final dot, {target}."),
                format!(
                    "Der Anbieter hat die eigene Zone angehängt: Geben Sie das Ziel mit Punkt am Ende ein: {target}."
                ),
            )
        });
        self.is(RecordStatus::Wrong, hint.and(dot))
    }
}

/// The sentence about servers that fail (messages.md, `dns_error`).
pub(super) fn servers_fail(zone: &str, error: &str) -> Hint {
    Hint::new(
        format!("The DNS servers of {zone} fail ({error}): ask your DNS provider."),
        format!("Die DNS-Server von {zone} antworten fehlerhaft ({error}): Bitte fragen Sie Ihren DNS-Anbieter."),
    )
}

/// A newer look at a record instead of an older one, unless it only failed.
pub(super) fn prefer(cached: RecordReport, newer: RecordReport, now: Timestamp) -> RecordReport {
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
pub(super) fn still_cached(until: Option<Timestamp>) -> Hint {
    match until {
        Some(t) => Hint::new(
            format!("This record is right; the last resolvers see it by {t}."),
            format!("Dieser Eintrag stimmt; spätestens um {t} sehen ihn alle Resolver."),
        ),
        None => Hint::new(
            "This record is right; some resolvers do not see it yet.",
            "Dieser Eintrag stimmt; manche Resolver sehen ihn noch nicht.",
        ),
    }
}

/// Where a record stands that was entered with the zone's name twice, a common slip: forms add
/// the zone to what is typed. Only when the right name does not exist at all, else a wildcard
/// would look like it.
async fn misplaced(look: &Queries<'_>, host: &str, kind: Kind, wanted: &str, error: &LookupError) -> Option<String> {
    if !matches!(error, LookupError::NxDomain { .. }) {
        return None;
    }
    let at = format!("{host}.{}", zone_of(host));
    if look.get(&at, kind).await.is_ok() {
        return Some(at);
    }
    if kind != Kind::Cname {
        return None;
    }
    // Names that are easily typed instead; only where they lead to the very target.
    for at in slips(host) {
        if let Ok(answer) = look.get(&at, kind).await
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
pub(super) fn short(host: &str) -> String {
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
