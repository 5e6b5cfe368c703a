//! The DNS records of a domain: what to enter where, what is there, what to change.

use linkseal_dns::{Hint, ProviderHelp, Purpose, RecordReport, RecordStatus};
use linkseal_domain::Language;
use linkseal_domain::ssl::State as SslState;
use maud::{Markup, html};

use super::icons;
use super::layout::copy;
use super::visitor::Visitor;
use crate::i18n;
use crate::view::DnsView;

/// What was found, with what to do about it.
pub(super) fn report(visitor: &Visitor, report: &DnsView<'_>) -> Markup {
    let l = visitor.lang;
    let mut needed = report.records.iter().filter(|r| r.purpose == Purpose::Https);
    let not_known = !report.https && needed.any(|r| r.verdict == RecordStatus::NotChecked);
    let summary = match (report.https, report.verified) {
        (true, true) => l.pick("Everything is as it should be.", "Alles ist, wie es sein soll."),
        (true, false) => l.pick(
            "What HTTPS needs is right. Something else that was asked for is missing.",
            "Was HTTPS braucht, stimmt. Etwas anderes, das gewünscht ist, fehlt noch.",
        ),
        (false, _) if not_known => l.pick(
            "DNS cannot be looked at from here at the moment; this says nothing about your records.",
            "DNS kann von hier aus gerade nicht abgefragt werden; über Ihre Einträge sagt das nichts.",
        ),
        (false, _) if report.ssl.state == SslState::Issued => l.pick(
            "A certificate is held, but something has to be changed so that HTTPS goes on working.",
            "Ein Zertifikat ist vorhanden; damit HTTPS weiter funktioniert, ist aber etwas zu ändern.",
        ),
        (false, _) => l.pick(
            "Something has to be changed before HTTPS can work.",
            "Bevor HTTPS funktionieren kann, ist etwas zu ändern.",
        ),
    };
    html! {
        section.card #records aria-labelledby="records-title" {
            div.heading {
                h2 #records-title { (l.pick("DNS records", "DNS-Einträge")) }
                span.muted.small { (l.pick("looked at", "geprüft")) " " (i18n::time(report.checked)) }
            }
            p.alert.good[report.verified].note[report.https && !report.verified].info[not_known] role="status" { (summary) }
            // That it arrives is of interest only while it matters.
            @if let Some(preflight) = report.preflight.as_ref().filter(|p| !p.arrives || p.through.is_some()) {
                p.alert.note { (visitor.text(&preflight.message)) }
            }
            @if let Some(provider) = report.provider.filter(|_| !report.verified) { (help(provider, l)) }
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

/// Where to click at the zone's host.
fn help(provider: &ProviderHelp, l: Language) -> Markup {
    html! {
        div.alert.info {
            strong { (l.pick("Your DNS is at", "Ihr DNS liegt bei")) " " (provider.name) }
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
            // What is right needs no reading.
            @if fine {
                details { summary { (l.pick("Details", "Einzelheiten")) } (fields(visitor, record)) }
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
                    span.muted.small { (l.pick("in full:", "vollständig:")) " " (record.host) }
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
                    span.muted { @if record.verdict.is_known() { (l.pick("nothing", "nichts")) } @else { "?" } }
                }
            }
            @if let Some(t) = record.visible_by {
                dt {
                    @if record.verdict.is_fine() {
                        (l.pick("Visible everywhere", "Überall sichtbar"))
                    } @else {
                        (l.pick("A change made now is visible everywhere", "Eine Änderung jetzt ist überall sichtbar"))
                    }
                }
                dd { (l.pick("by", "spätestens")) " " (i18n::time(t)) }
            }
            @if let Some(ttl) = record.ttl {
                dt { "TTL" }
                dd { (ttl) " s" }
            }
        }
    }
}

fn verdict(word: RecordStatus, l: Language) -> Markup {
    html! {
        span.badge.ok[word == RecordStatus::Ok].pending[word == RecordStatus::Warning].bad[is_bad(word)] {
            @match word {
                RecordStatus::Ok => (icons::check()),
                RecordStatus::NotChecked => (icons::circle()),
                RecordStatus::Warning => (icons::exclaim()),
                _ => (icons::cross()),
            }
            (i18n::verdict(word, l))
        }
    }
}

/// Whether it has to be changed.
fn is_bad(word: RecordStatus) -> bool {
    !word.is_fine() && word != RecordStatus::Warning
}

fn hint(hint: &Hint, l: Language) -> &str {
    l.pick(&hint.en, &hint.de)
}
