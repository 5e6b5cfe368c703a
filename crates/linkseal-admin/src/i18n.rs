//! Texts for values in English and German: states, reasons, verdicts, events, errors, times.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_control::OperatorError;
use linkseal_dns::{Purpose, RecordStatus};
use linkseal_domain::messages::minute;
use linkseal_domain::ssl::{Reason, State};
use linkseal_domain::{Language, NameError};
use linkseal_event::EventType;
use linkseal_event::verdict::Class;
use maud::{Markup, html};

/// A path with the language as a parameter.
pub(crate) fn with_language(path: &str, language: Language) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}lang={}", language.tag())
}

/// A state, for its badge.
pub(crate) fn state(state: State, l: Language) -> &'static str {
    match state {
        State::Issued => l.pick("SSL issued", "SSL ausgestellt"),
        State::Pending => l.pick("SSL pending", "SSL ausstehend"),
        State::Unknown => l.pick("SSL unknown", "SSL unbekannt"),
    }
}

/// A reason in a few words, for lists; [`linkseal_domain::messages`] has the full sentence.
pub(crate) fn reason(reason: Reason, l: Language) -> &'static str {
    let (en, de) = match reason {
        Reason::Ok => ("Certificate valid", "Zertifikat gültig"),
        Reason::Renewing => ("Being renewed", "Wird erneuert"),
        Reason::RenewalFailing => ("Renewal failing", "Erneuerung fehlgeschlagen"),
        Reason::Moved => ("No longer points here", "Zeigt nicht mehr hierher"),
        Reason::Queued => ("Queued", "In der Warteschlange"),
        Reason::Ordering => ("Being ordered", "Wird bestellt"),
        Reason::Validating => ("Being validated by the CA", "Prüfung durch die CA läuft"),
        Reason::RetryScheduled => ("Retry scheduled", "Neuer Versuch geplant"),
        Reason::ValidationFailed => ("Validation failed", "Prüfung durch die CA fehlgeschlagen"),
        Reason::RateLimited => ("CA rate limit reached", "Limit der CA erreicht"),
        Reason::CaUnreachable => ("CA unreachable", "CA nicht erreichbar"),
        Reason::NeverRequested => ("Not requested yet", "Noch nicht angefordert"),
        Reason::DnsMissing => ("DNS record missing", "DNS-Eintrag fehlt"),
        Reason::DnsElsewhere => ("Points elsewhere", "Zeigt auf ein anderes Ziel"),
        Reason::Proxied => ("Behind a proxy", "Hinter einem Proxy"),
        Reason::StrayAaaa => ("Conflicting AAAA record", "Falscher AAAA-Eintrag"),
        Reason::CaaForbids => ("Blocked by a CAA record", "Durch CAA-Eintrag gesperrt"),
        Reason::DnsError => ("DNS server error", "Fehler der DNS-Server"),
        Reason::Denied => ("Not enabled", "Nicht freigeschaltet"),
        Reason::Paused => ("Paused", "Pausiert"),
        Reason::GivenUp => ("Stopped after many attempts", "Nach vielen Versuchen beendet"),
        Reason::Expired => ("Expired", "Abgelaufen"),
    };
    l.pick(en, de)
}

/// The verdict on a DNS record.
pub(crate) fn verdict(status: RecordStatus, l: Language) -> &'static str {
    let (en, de) = match status {
        RecordStatus::Ok => ("Correct", "Korrekt"),
        RecordStatus::Warning => ("Works, with a warning", "Funktioniert, mit Hinweis"),
        RecordStatus::Missing => ("Missing", "Fehlt"),
        RecordStatus::Wrong => ("Incorrect", "Falsch"),
        RecordStatus::Extra => ("Remove", "Bitte löschen"),
        RecordStatus::Error => ("Lookup failed", "Abfrage fehlgeschlagen"),
        RecordStatus::NotChecked => ("Not checked", "Nicht geprüft"),
    };
    l.pick(en, de)
}

/// What DNS records are for.
pub(crate) fn purpose(purpose: Purpose, l: Language) -> &'static str {
    let (en, de) = match purpose {
        Purpose::Https => ("For HTTPS", "Für HTTPS"),
        Purpose::Mail => (
            "For e-mail (not required for HTTPS)",
            "Für E-Mail (für HTTPS nicht erforderlich)",
        ),
        Purpose::Domain => (
            "Also requested (not required for HTTPS)",
            "Zusätzlich gewünscht (für HTTPS nicht erforderlich)",
        ),
    };
    l.pick(en, de)
}

/// An event, for the list of recent events.
pub(crate) fn event(kind: EventType, l: Language) -> &'static str {
    let (en, de) = match kind {
        EventType::Open => ("Open", "Öffnung"),
        EventType::Click => ("Click", "Klick"),
        EventType::Redirect => ("Redirect", "Weiterleitung"),
        EventType::Unsubscribe => ("Unsubscribed", "Abgemeldet"),
        EventType::Upstream => ("Request to the back end", "Anfrage an das Backend"),
        EventType::VerdictCorrected => ("Classification corrected", "Einstufung korrigiert"),
        EventType::SslIssued => ("Certificate issued", "Zertifikat ausgestellt"),
        EventType::SslRenewed => ("Certificate renewed", "Zertifikat erneuert"),
        EventType::SslFailed => ("Order failed", "Bestellung fehlgeschlagen"),
        EventType::SslExpiring => ("Certificate expires soon", "Zertifikat läuft bald ab"),
        EventType::SslExpired => ("Certificate expired", "Zertifikat abgelaufen"),
        EventType::SslMoved => ("No longer points here", "Zeigt nicht mehr hierher"),
    };
    l.pick(en, de)
}

/// The class of an event: who caused it.
pub(crate) fn class(class: Class, l: Language) -> &'static str {
    let (en, de) = match class {
        Class::Human => ("a person", "Person"),
        Class::Proxy => ("a mail provider, for a person", "E-Mail-Anbieter, für eine Person"),
        Class::Unknown => ("unclear", "nicht eindeutig"),
        Class::Prefetch => ("prefetched by software", "automatisch vorab geladen"),
        Class::Scanner => ("a security scanner", "Sicherheitsscanner"),
    };
    l.pick(en, de)
}

/// Why a text is not a valid domain name, for the visitor who typed it.
pub(crate) fn name_error(error: NameError, l: Language) -> String {
    let german = match &error {
        NameError::NotHostOnly(host) => {
            &format!("Bitte geben Sie nur den Hostnamen ein, ohne https://, Port und Pfad: {host}")
        }
        NameError::Character(c) => {
            &format!("Der Name enthält das Zeichen {c}, das in Domainnamen nicht erlaubt ist. Bitte entfernen Sie es.")
        }
        NameError::PublicSuffix(name) => &format!(
            "{name} ist eine öffentliche Domainendung. Bitte geben Sie eine Domain unterhalb dieser Endung ein."
        ),
        NameError::Empty => "Bitte geben Sie einen Hostnamen ein, zum Beispiel links.kunde.example.",
        NameError::TooLong => "Der Name ist länger als 253 Zeichen.",
        NameError::LabelTooLong => "Ein Abschnitt zwischen zwei Punkten ist länger als 63 Zeichen.",
        NameError::EmptyLabel => "Ein Abschnitt zwischen zwei Punkten ist leer.",
        NameError::BadLabel => {
            "Erlaubt sind Buchstaben, Ziffern und Bindestriche; kein Abschnitt darf mit einem Bindestrich beginnen oder enden."
        }
        NameError::Wildcard => "Platzhalter (*) sind nicht möglich: Ein Zertifikat gilt für genau einen Namen.",
        NameError::Address => {
            "Das ist eine IP-Adresse. Bitte geben Sie einen Hostnamen ein, zum Beispiel links.kunde.example."
        }
        NameError::SingleLabel => "Bitte geben Sie den vollständigen Hostnamen ein, zum Beispiel links.kunde.example.",
        NameError::Idna => "Das ist kein gültiger internationalisierter Domainname (IDN).",
    };
    l.pick(sentence(&error.to_string()), german.to_owned())
}

/// Why an action failed, for the visitor who requested it.
pub(crate) fn operator_error(error: &OperatorError, l: Language) -> String {
    let german = match error {
        OperatorError::Name(error) => return name_error(error.clone(), l),
        OperatorError::NotFound => "Die Domain ist nicht eingetragen.".to_owned(),
        OperatorError::OtherTenant => "Die Domain gehört einem anderen Mandanten.".to_owned(),
        OperatorError::NotYourTenant(tenant) => {
            format!("Mit diesem Token können Sie nur Domains des Mandanten „{tenant}“ eintragen.")
        }
        OperatorError::TenantFull { tenant, most } => format!(
            "Der Mandant „{tenant}“ hat bereits {most} Domains; mehr sind mit diesem Token nicht möglich. Löschen Sie nicht mehr benötigte Domains oder wenden Sie sich an den Betreiber der Plattform."
        ),
        OperatorError::Frozen => {
            "Alle Bestellungen sind derzeit angehalten. Bis zur Freigabe wird nichts bestellt.".to_owned()
        }
        OperatorError::NotForYou => {
            "Diese Domain gehört einem anderen Mandanten. Bitte wenden Sie sich an den Betreiber der Plattform.".to_owned()
        }
        OperatorError::NotShown(name, record) => format!(
            "Bevor {name} mit diesem Token eingetragen werden kann, muss der Inhaber der Domain das mit einem DNS-Eintrag bestätigen: Host {}, Typ TXT, Wert {}. Lassen Sie diesen Eintrag anlegen und tragen Sie die Domain dann erneut ein.",
            record.host, record.value
        ),
        OperatorError::NotAnswered { host, error } => format!(
            "Der DNS-Eintrag des Inhabers konnte nicht abgefragt werden; es wurde nichts eingetragen. Die DNS-Server von {host} haben keine brauchbare Antwort geliefert ({error}). Bitte versuchen Sie es später erneut."
        ),
        OperatorError::SetAside(..) => {
            "Die Domain ist pausiert oder stillgelegt; es wird kein Zertifikat bestellt. Bitte aktivieren Sie die Domain zuerst wieder."
                .to_owned()
        }
        OperatorError::OwnName => "Das ist der eigene Name der Plattform; er kann nicht entfernt werden.".to_owned(),
        OperatorError::IssueOff => "Es werden keine Zertifikate bestellt (acme.issue ist \"off\").".to_owned(),
        OperatorError::Busy => {
            "Für dieses Token, diesen Mandanten oder diese Zone laufen bereits zu viele DNS-Abfragen. Bitte versuchen Sie es in einigen Sekunden erneut.".to_owned()
        }
        OperatorError::Store(_) => {
            "Der Speicher ist derzeit nicht erreichbar; es wurde nichts geändert. Bitte versuchen Sie es später erneut."
                .to_owned()
        }
        // Errors about values, which exist in English only.
        other => sentence(&other.to_string()),
    };
    let english = match error {
        OperatorError::OtherTenant => "The domain belongs to another tenant.".to_owned(),
        OperatorError::Frozen => {
            "All orders are frozen at the moment. Nothing is ordered until they are unfrozen.".to_owned()
        }
        OperatorError::Store(_) => {
            "The store is unavailable at the moment; nothing was changed. Please try again later.".to_owned()
        }
        other => sentence(&other.to_string()),
    };
    l.pick(english, german)
}

/// An error text as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    // A domain name keeps its case.
    let is_name = text
        .split(' ')
        .next()
        .is_some_and(|word| word.trim_end_matches('.').contains('.'));
    let first: String = match chars.next() {
        Some(first) if is_name => first.to_string(),
        first => first.into_iter().flat_map(char::to_uppercase).collect(),
    };
    let end = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// A time to the minute, as in the messages.
pub(crate) fn time(t: Timestamp, l: Language) -> Markup {
    html! { time datetime=(t) { (minute(t, l)) } }
}

/// A time to the second, for events in quick succession.
pub(crate) fn second(t: Timestamp, l: Language) -> Markup {
    let seconds = t.as_secs().rem_euclid(60);
    let text = minute(t, l);
    let text = text.strip_suffix(" UTC").unwrap_or(&text);
    html! { time datetime=(t) { (text) ":" (format!("{seconds:02}")) " UTC" } }
}

/// A date.
pub(crate) fn day(t: Timestamp, l: Language) -> Markup {
    let text = minute(t, l);
    // 2026-11-22 and 22.11.2026 have the same length.
    html! { time datetime=(t) { (text.get(..10).unwrap_or(&text)) } }
}

/// A duration in its largest whole unit, or hours and minutes: `3 h`, `7 d`, `90 s`.
pub(crate) fn span(span: Duration, l: Language) -> String {
    let seconds = span.as_secs();
    let days = l.pick("d", "Tage");
    match seconds {
        s if s >= 86_400 && s.is_multiple_of(86_400) => format!("{} {days}", s / 86_400),
        s if s >= 3_600 && s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s >= 60 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s if s >= 3_600 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        s => format!("{s} s"),
    }
}

/// A number with thousands separators.
pub(crate) fn count(number: impl Into<u64>, l: Language) -> String {
    let digits = number.into().to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push_str(l.pick(",", "."));
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_distinct_text_in_both_languages() {
        for (i, &one) in Reason::ALL.iter().enumerate() {
            for l in Language::ALL {
                assert!(!reason(one, l).is_empty());
                let others = Reason::ALL.iter().skip(i + 1);
                assert!(others.map(|&o| reason(o, l)).all(|o| o != reason(one, l)), "{one:?}");
            }
        }
    }

    #[test]
    fn numbers_and_durations() {
        assert_eq!(count(7_u64, Language::En), "7");
        assert_eq!(count(1_234_567_u64, Language::En), "1,234,567");
        assert_eq!(count(100_000_u64, Language::De), "100.000");
        for (seconds, text) in [
            (90, "90 s"),
            (60, "1 min"),
            (10_800, "3 h"),
            (604_800, "7 d"),
            (5_700, "95 min"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds), Language::En), text);
        }
        assert_eq!(span(Duration::from_secs(3_661), Language::En), "1 h 1 min");
        assert_eq!(span(Duration::from_secs(604_800), Language::De), "7 Tage");
    }

    #[test]
    fn dates_are_written_as_the_language_writes_them() {
        let t = Timestamp::parse_rfc3339("2027-01-27T18:24:05Z").unwrap();
        let html = |text: &str| format!("<time datetime=\"{t}\">{text}</time>");
        for (l, minute, to_second, date) in [
            (
                Language::En,
                "2027-01-27 18:24 UTC",
                "2027-01-27 18:24:05 UTC",
                "2027-01-27",
            ),
            (
                Language::De,
                "27.01.2027, 18:24 UTC",
                "27.01.2027, 18:24:05 UTC",
                "27.01.2027",
            ),
        ] {
            assert_eq!(time(t, l).into_string(), html(minute));
            assert_eq!(second(t, l).into_string(), html(to_second));
            assert_eq!(day(t, l).into_string(), html(date));
        }
    }

    #[test]
    fn errors_are_sentences() {
        assert_eq!(
            name_error(NameError::TooLong, Language::En),
            "The name is longer than 253 characters."
        );
        let off = operator_error(&OperatorError::IssueOff, Language::De);
        assert!(off.starts_with("Es werden keine"), "{off}");
    }
}
