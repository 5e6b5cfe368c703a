//! The parts of the API's answers that the commands read, and their texts for people. With --json each answer
//! is printed whole.

use linkseal_domain::DomainName;
use linkseal_domain::ssl::State;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::output;

#[derive(Deserialize)]
pub(super) struct Domain {
    pub(super) name: String,
    /// In Unicode; an older server does not send it.
    pub(super) unicode_name: Option<String>,
    pub(super) tenant: String,
    pub(super) https_ready: bool,
    pub(super) paused: bool,
    /// Since when, if it is retired; an older server does not send it.
    pub(super) retired: Option<String>,
    pub(super) ssl: Ssl,
}

#[derive(Deserialize)]
pub(super) struct Ssl {
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) message: Option<Sentence>,
    pub(super) not_after: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) next_attempt: Option<String>,
    pub(super) last_error: Option<LastError>,
}

#[derive(Deserialize)]
pub(super) struct Sentence {
    pub(super) en: String,
}

#[derive(Deserialize)]
pub(super) struct LastError {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) detail: String,
}

#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) domains: Vec<Value>,
    pub(super) next: Option<String>,
    pub(super) counts: Value,
}

#[derive(Deserialize)]
pub(super) struct Report {
    pub(super) https: bool,
    pub(super) verified: bool,
    pub(super) records: Vec<Record>,
    /// The pre-flight check, if it was made; an older server does not send it.
    pub(super) preflight: Option<Preflight>,
    /// The freeze, if orders are frozen; an older server does not send it.
    pub(super) freeze: Option<Freeze>,
    pub(super) ssl: Ssl,
}

#[derive(Deserialize)]
pub(in crate::cli) struct Freeze {
    pub(super) since: String,
    pub(super) note: Option<String>,
    pub(super) by: Option<String>,
}

/// Whether a CA's challenge request arrives at the edge.
#[derive(Deserialize)]
pub(super) struct Preflight {
    pub(super) arrives: bool,
    pub(super) through: Option<String>,
    pub(super) message: Sentence,
}

#[derive(Deserialize)]
pub(super) struct Record {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) host: String,
    pub(super) expected: Vec<String>,
    pub(super) found: Vec<String>,
    pub(super) verdict: String,
    pub(super) hint: Option<Sentence>,
}

/// The verdict on a correct record.
const RIGHT: &str = "ok";

impl Domain {
    /// The name in Unicode, followed by its A-labels if they differ.
    pub(super) fn shown(&self) -> String {
        match &self.unicode_name {
            Some(unicode) if *unicode != self.name => format!("{unicode} ({})", self.name),
            _ => self.name.clone(),
        }
    }

    /// The reason of its state, and whether it is retired or paused: a valid certificate is `ok` even if it will
    /// not be renewed.
    pub(super) fn reason(&self) -> String {
        let reason = self.ssl.reason.as_str();
        match (self.retired.is_some(), self.paused) {
            (true, _) => format!("{reason}, retired"),
            (false, true) if reason != "paused" => format!("{reason}, paused"),
            _ => reason.to_owned(),
        }
    }
}

impl Ssl {
    /// Whether there is no certificate and no order is planned, as for a paused or a retired domain.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Unknown.as_str() && self.next_attempt.is_none()
    }

    pub(super) fn word(&self) -> String {
        format!("{} ({})", self.state, self.reason)
    }

    pub(super) fn rows(&self) -> Vec<[String; 2]> {
        let error = self.last_error.as_ref().map(|e| format!("{} ({})", e.detail, e.kind));
        let all = [
            ("SSL:", Some(self.word())),
            ("", self.message.as_ref().map(|m| m.en.clone())),
            ("issuer:", self.issuer.clone()),
            ("valid until:", self.not_after.clone()),
            ("next attempt:", self.next_attempt.clone()),
            ("last error:", error),
        ];
        all.into_iter()
            .filter_map(|(name, value)| value.map(|v| [name.to_owned(), v]))
            .collect()
    }
}

/// Verdicts on records whose content is not known.
const NOT_KNOWN: [&str; 2] = ["error", "not_checked"];

impl Report {
    /// Whether no record has to be changed.
    pub(super) fn is_right(&self) -> bool {
        self.https && self.verified
    }
}

impl Freeze {
    /// Since when, by whom and why; a tenant's token is not shown the last two.
    pub(in crate::cli) fn sentence(&self) -> String {
        let by = self.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let note = self.note.as_ref().map_or(".".to_owned(), |note| format!(": {note}"));
        format!("All orders have been frozen since {}{by}{note}", self.since)
    }
}

impl Record {
    pub(super) fn is_wrong(&self) -> bool {
        self.verdict != RIGHT
    }
}

/// The state, and the records to change.
pub(super) fn describe(name: &DomainName, report: &Report) -> String {
    let mut out = format!("{}: {}\n", name.with_ascii(), report.ssl.word());
    if let Some(message) = &report.ssl.message {
        out.push_str(&format!("{}\n", message.en));
    }
    if let Some(error) = &report.ssl.last_error {
        out.push_str(&format!("last error: {} ({})\n", error.detail, error.kind));
    }
    if let Some(tried) = report.preflight.as_ref().filter(|p| !p.arrives || p.through.is_some()) {
        out.push_str(&format!("{}\n", tried.message.en));
    }
    if report.is_right() {
        return out;
    }
    if report.https {
        out.push_str("HTTPS works. These other records are not correct yet:\n");
    }
    let list = |values: &[String]| {
        if values.is_empty() {
            "nothing".to_owned()
        } else {
            values.join(", ")
        }
    };
    let wrong = || report.records.iter().filter(|r| r.is_wrong());
    let rows: Vec<_> = wrong()
        .map(|r| {
            [
                r.kind.clone(),
                r.host.clone(),
                list(&r.expected),
                if r.found.is_empty() && NOT_KNOWN.contains(&r.verdict.as_str()) {
                    "?".to_owned()
                } else {
                    list(&r.found)
                },
                r.verdict.clone(),
            ]
        })
        .collect();
    out.push_str(&output::table(
        Some(["TYPE", "HOST", "EXPECTED", "FOUND", "VERDICT"]),
        &rows,
    ));
    for record in wrong() {
        // The hint may be the domain's message, printed above.
        let is_new = |hint: &&Sentence| report.ssl.message.as_ref().is_none_or(|m| m.en != hint.en);
        if let Some(hint) = record.hint.as_ref().filter(is_new) {
            out.push_str(&format!("{} {}: {}\n", record.kind, record.host, hint.en));
        }
    }
    out
}
