//! The DNS records of a domain: expected values, what was found, and what to change.

use linkseal_dns::{ProviderHelp, Purpose, RecordReport, RecordStatus};
use linkseal_domain::ssl::State as SslState;
use linkseal_domain::{Language, Text};
use maud::{Markup, html};

use super::icons;
use super::layout::copy;
use super::visitor::Visitor;
use crate::i18n;
use crate::view::DnsView;

/// The report of a DNS check.
pub(super) fn report(visitor: &Visitor, report: &DnsView<'_>) -> Markup {
    let l = visitor.lang;
    let mut needed = report.records.iter().filter(|r| r.purpose == Purpose::Https);
    let not_known = !report.https && needed.any(|r| r.verdict == RecordStatus::NotChecked);
    let summary = match (report.https, report.verified) {
        (true, true) => l.pick("All records are correct.", "Alle Einträge sind korrekt."),
        (true, false) => l.pick(
            "The records for HTTPS are correct. Other requested records are still missing.",
            "Die Einträge für HTTPS sind korrekt. Andere gewünschte Einträge fehlen noch.",
        ),
        (false, _) if not_known => l.pick(
            "DNS cannot be checked at the moment. Your records may well be correct.",
            "DNS kann derzeit nicht abgefragt werden. Das sagt nichts über Ihre Einträge aus.",
        ),
        (false, _) if report.ssl.state == SslState::Issued => l.pick(
            "There is a certificate, but records have to be changed so that HTTPS keeps working.",
            "Ein Zertifikat ist vorhanden. Damit HTTPS weiterhin funktioniert, müssen Sie aber Einträge ändern.",
        ),
        (false, _) => l.pick(
            "Some records have to be changed before HTTPS can work.",
            "Damit HTTPS funktioniert, müssen Sie noch Einträge ändern.",
        ),
    };
    html! {
        section.card #records aria-labelledby="records-title" {
            div.heading {
                h2 #records-title { (l.pick("DNS records", "DNS-Einträge")) }
                span.muted.small { (l.pick("checked", "geprüft")) " " (i18n::time(report.checked, l)) }
            }
            p.alert.good[report.verified].note[report.https && !report.verified].info[not_known] role="status" { (summary) }
            // A preflight that arrives directly needs no mention.
            @if let Some(preflight) = report.preflight.as_ref().filter(|p| !p.arrives || p.through.is_some()) {
                p.alert.note { (visitor.text(&preflight.message)) }
            }
            @if let Some(provider) = report.provider.filter(|_| !report.verified) { (provider_help(provider, l)) }
            @for purpose in [Purpose::Https, Purpose::Mail, Purpose::Domain] {
                @let of = report.records.iter().filter(|r| r.purpose == purpose).collect::<Vec<_>>();
                @if !of.is_empty() {
                    h3 { (i18n::purpose(purpose, l)) }
                    @for record in of { (row(visitor, record)) }
                }
            }
        }
    }
}

/// The steps at the DNS provider.
fn provider_help(provider: &ProviderHelp, l: Language) -> Markup {
    html! {
        div.alert.info {
            strong { (l.pick("Your DNS provider:", "Ihr DNS-Anbieter:")) " " (provider.name) }
            span { (hint(&provider.steps, l)) }
            a href=(provider.url) target="_blank" rel="noopener noreferrer" {
                (l.pick("Open ", "")) (provider.name) (l.pick("", " öffnen"))
                span.sr-only { " (" (l.pick("in a new window", "in einem neuen Fenster")) ")" }
            }
        }
    }
}

fn row(visitor: &Visitor, record: &RecordReport) -> Markup {
    let l = visitor.lang;
    let fine = record.verdict.is_fine();
    html! {
        article.record.bad[is_bad(record.verdict)] {
            div.heading {
                strong.mono { (record.kind) " " (record.host) }
                (verdict(record.verdict, l))
            }
            p { (hint(&record.hint, l)) }
            // Correct records are collapsed.
            @if fine {
                details { summary { (l.pick("Details", "Details")) } (fields(visitor, record)) }
            } @else {
                (fields(visitor, record))
            }
        }
    }
}

fn fields(visitor: &Visitor, record: &RecordReport) -> Markup {
    let l = visitor.lang;
    html! {
        dl.fields {
            dt { (l.pick("Type", "Typ")) }
            dd { code { (record.kind) } }
            dt { (l.pick("Host", "Host")) }
            dd {
                div { code { (record.host_short) } (copy(visitor, &record.host_short, l.pick("host", "Host"))) }
                @if record.host_short != record.host {
                    span.muted.small { (l.pick("full name:", "vollständig:")) " " (record.host) }
                }
            }
            @if !record.expected.is_empty() {
                dt { (l.pick("Value", "Wert")) }
                dd {
                    @for value in &record.expected {
                        div { code { (value) } (copy(visitor, value, l.pick("value", "Wert"))) }
                    }
                }
            }
            dt { (l.pick("Found", "Gefunden")) }
            dd {
                @for value in &record.found { div { code { (value) } } }
                @if record.found.is_empty() {
                    span.muted { @if record.verdict.is_known() { (l.pick("nothing", "kein Eintrag")) } @else { "?" } }
                }
            }
            @if let Some(t) = record.visible_by {
                dt {
                    @if record.verdict.is_fine() {
                        (l.pick("Visible everywhere", "Überall sichtbar"))
                    } @else {
                        (l.pick("A change made now is visible everywhere", "Änderungen sind überall sichtbar"))
                    }
                }
                dd { (l.pick("by", "spätestens")) " " (i18n::time(t, l)) }
            }
            @if let Some(ttl) = record.ttl {
                dt { "TTL" }
                dd { (ttl) " s" }
            }
        }
    }
}

fn verdict(status: RecordStatus, l: Language) -> Markup {
    html! {
        span.badge.ok[status == RecordStatus::Ok].pending[status == RecordStatus::Warning].bad[is_bad(status)] {
            @match status {
                RecordStatus::Ok => (icons::check()),
                RecordStatus::NotChecked => (icons::circle()),
                RecordStatus::Warning => (icons::exclaim()),
                _ => (icons::cross()),
            }
            (i18n::verdict(status, l))
        }
    }
}

/// Whether it has to be changed.
fn is_bad(status: RecordStatus) -> bool {
    !status.is_fine() && status != RecordStatus::Warning
}

fn hint(hint: &Text, l: Language) -> &str {
    l.pick(&hint.en, &hint.de)
}
