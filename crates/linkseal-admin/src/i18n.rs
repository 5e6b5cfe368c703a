//! The words of the pages that stand for a value: a state, a reason, a verdict, an event, a time.

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

/// What the badge says.
pub(crate) fn state(state: State, l: Language) -> &'static str {
    match state {
        State::Issued => l.pick("SSL issued", "SSL ausgestellt"),
        State::Pending => l.pick("SSL pending", "SSL ausstehend"),
        State::Unknown => l.pick("SSL unknown", "SSL unbekannt"),
    }
}

/// A reason in a few words, for lists; the whole sentence is in [`linkseal_domain::messages`].
pub(crate) fn reason(reason: Reason, l: Language) -> &'static str {
    let (en, de) = match reason {
        Reason::Ok => ("Secured", "Gesichert"),
        Reason::Renewing => ("Renewal is running", "Erneuerung läuft"),
        Reason::RenewalFailing => ("Renewal fails", "Erneuerung scheitert"),
        Reason::Moved => ("Points elsewhere now", "Zeigt nicht mehr hierher"),
        Reason::Queued => ("Waits for its turn", "Wartet auf die Ausstellung"),
        Reason::Ordering => ("Being ordered", "Wird bestellt"),
        Reason::Validating => ("The CA is checking", "Die CA prüft gerade"),
        Reason::RetryScheduled => ("Next try is planned", "Nächster Versuch geplant"),
        Reason::ValidationFailed => ("The CA’s check failed", "Prüfung der CA gescheitert"),
        Reason::RateLimited => ("A limit of the CA", "Limit der CA erreicht"),
        Reason::CaUnreachable => ("CA not reachable", "CA nicht erreichbar"),
        Reason::NeverRequested => ("Not requested yet", "Noch nicht angefordert"),
        Reason::DnsMissing => ("DNS record missing", "DNS-Eintrag fehlt"),
        Reason::DnsElsewhere => ("Points elsewhere", "Zeigt woandershin"),
        Reason::Proxied => ("Behind a proxy", "Hinter einem Proxy"),
        Reason::StrayAaaa => ("Stray AAAA record", "Störender AAAA-Eintrag"),
        Reason::CaaForbids => ("CAA forbids it", "CAA verbietet es"),
        Reason::DnsError => ("DNS servers fail", "DNS-Server gestört"),
        Reason::Denied => ("Not enabled", "Nicht freigeschaltet"),
        Reason::Paused => ("Paused", "Angehalten"),
        Reason::GivenUp => ("Stopped after many tries", "Nach vielen Versuchen beendet"),
        Reason::Expired => ("Expired", "Abgelaufen"),
    };
    l.pick(en, de)
}

/// What a record's check came to.
pub(crate) fn verdict(word: RecordStatus, l: Language) -> &'static str {
    let (en, de) = match word {
        RecordStatus::Ok => ("Right", "Stimmt"),
        RecordStatus::Warning => ("Works, with a warning", "Geht, mit Warnung"),
        RecordStatus::Missing => ("Missing", "Fehlt"),
        RecordStatus::Wrong => ("Wrong", "Falsch"),
        RecordStatus::Extra => ("Has to go", "Muss weg"),
        RecordStatus::Error => ("Cannot be read", "Nicht lesbar"),
        RecordStatus::NotChecked => ("Not checked", "Nicht geprüft"),
    };
    l.pick(en, de)
}

/// What records are asked for.
pub(crate) fn purpose(purpose: Purpose, l: Language) -> &'static str {
    let (en, de) = match purpose {
        Purpose::Https => ("For HTTPS", "Für HTTPS"),
        Purpose::Mail => (
            "For e-mail (does not hold up HTTPS)",
            "Für E-Mail (hält HTTPS nicht auf)",
        ),
        Purpose::Domain => (
            "Also asked for (does not hold up HTTPS)",
            "Außerdem gewünscht (hält HTTPS nicht auf)",
        ),
    };
    l.pick(en, de)
}

/// What happened, as the list of last events says it.
pub(crate) fn event(kind: EventType, l: Language) -> &'static str {
    let (en, de) = match kind {
        EventType::Open => ("Open", "Öffnung"),
        EventType::Click => ("Click", "Klick"),
        EventType::Redirect => ("Redirect", "Weiterleitung"),
        EventType::Unsubscribe => ("Unsubscribed", "Abgemeldet"),
        EventType::Upstream => ("Request to the back end", "Anfrage ans Backend"),
        EventType::VerdictCorrected => ("Verdict corrected", "Urteil berichtigt"),
        EventType::SslIssued => ("Certificate issued", "Zertifikat ausgestellt"),
        EventType::SslRenewed => ("Certificate renewed", "Zertifikat erneuert"),
        EventType::SslFailed => ("Order failed", "Bestellung gescheitert"),
        EventType::SslExpiring => ("Certificate runs out", "Zertifikat läuft ab"),
        EventType::SslExpired => ("Certificate expired", "Zertifikat abgelaufen"),
        EventType::SslMoved => ("Points elsewhere now", "Zeigt nicht mehr hierher"),
    };
    l.pick(en, de)
}

/// Who did it.
pub(crate) fn class(class: Class, l: Language) -> &'static str {
    let (en, de) = match class {
        Class::Human => ("a person", "ein Mensch"),
        Class::Proxy => ("a mail provider, for a person", "ein Mailanbieter, für einen Menschen"),
        Class::Unknown => ("not clear", "nicht eindeutig"),
        Class::Prefetch => ("fetched ahead by a program", "im Voraus geladen von einem Programm"),
        Class::Scanner => ("a security scanner", "ein Sicherheitsscanner"),
    };
    l.pick(en, de)
}

/// Why a text is no name, for anyone who typed it.
pub(crate) fn name_error(error: NameError, l: Language) -> String {
    let german = match &error {
        NameError::NotHostOnly(host) => {
            &format!("Geben Sie nur den Hostnamen ein, ohne https://, Port und Pfad: {host}")
        }
        NameError::Character(c) => {
            &format!("Der Name enthält das Zeichen {c}, das in Domains nicht vorkommt; entfernen Sie es.")
        }
        NameError::PublicSuffix(name) => &format!(
            "{name} ist eine öffentliche Endung, unter der andere ihre Domains anmelden; geben Sie einen Namen darunter ein."
        ),
        NameError::Empty => "Der Name ist leer; geben Sie einen Hostnamen wie links.kunde.example ein.",
        NameError::TooLong => "Der Name ist länger als 253 Zeichen.",
        NameError::LabelTooLong => "Ein Teil zwischen den Punkten ist länger als 63 Zeichen.",
        NameError::EmptyLabel => "Ein Teil zwischen den Punkten ist leer.",
        NameError::BadLabel => {
            "Zwischen den Punkten stehen Buchstaben, Ziffern und, nicht am Anfang oder Ende, Bindestriche."
        }
        NameError::Wildcard => "Platzhalter sind nicht möglich: Ein Zertifikat gilt für einen genauen Namen.",
        NameError::Address => "Das ist eine IP-Adresse; geben Sie einen Hostnamen wie links.kunde.example ein.",
        NameError::SingleLabel => {
            "Der Name hat nur einen Teil; geben Sie einen vollen Hostnamen wie links.kunde.example ein."
        }
        NameError::Idna => "Der Name ist kein gültiger internationalisierter Name (IDNA).",
    };
    l.pick(sentence(&error.to_string()), german.to_owned())
}

/// Why something was not done, for anyone who pressed the button.
pub(crate) fn operator_error(error: &OperatorError, l: Language) -> String {
    let german = match error {
        OperatorError::Name(error) => return name_error(error.clone(), l),
        OperatorError::NotFound => "Die Domain ist nicht eingetragen.".to_owned(),
        OperatorError::OtherTenant => "Die Domain gehört einem anderen Mandanten.".to_owned(),
        OperatorError::NotYourTenant(tenant) => {
            format!("Dieses Token trägt nur Domains des Mandanten \"{tenant}\" ein.")
        }
        OperatorError::TenantFull { tenant, most } => format!(
            "Der Mandant „{tenant}“ hat {most} Domains; mehr kann dieses Token nicht eintragen. Löschen Sie Domains, die Sie nicht mehr brauchen, oder wenden Sie sich an den Betreiber der Plattform."
        ),
        OperatorError::Frozen => {
            "Alle Bestellungen sind gerade angehalten; bis das aufgehoben wird, wird nichts bestellt.".to_owned()
        }
        OperatorError::NotForYou => {
            "Diesen Namen hat ein anderer Mandant; bitte wenden Sie sich an den Betreiber der Plattform.".to_owned()
        }
        OperatorError::NotShown(name, record) => format!(
            "{name} kann mit diesem Token eingetragen werden, sobald der Inhaber das mit einem DNS-Eintrag bestätigt: Host {}, Typ TXT, Wert {}. Lassen Sie den Eintrag anlegen und tragen Sie die Domain dann erneut ein.",
            record.host, record.value
        ),
        OperatorError::NotAnswered { host, error } => format!(
            "Der Eintrag des Inhabers konnte nicht abgefragt werden; es wurde nichts eingetragen. Die DNS-Server von {host} haben nicht brauchbar geantwortet ({error}). Bitte versuchen Sie es später erneut."
        ),
        OperatorError::SetAside(..) => {
            "Die Domain ist pausiert oder stillgelegt; es wird kein Zertifikat bestellt. Bitte setzen Sie sie zuerst fort."
                .to_owned()
        }
        OperatorError::OwnName => "Das ist der eigene Name der Plattform; er bleibt.".to_owned(),
        OperatorError::IssueOff => "Es werden keine Zertifikate bestellt (acme.issue steht auf \"off\").".to_owned(),
        OperatorError::Busy => {
            "Für dieses Token, diesen Mandanten oder diese Zone laufen schon zu viele DNS-Abfragen. Bitte versuchen Sie es in einigen Sekunden erneut.".to_owned()
        }
        OperatorError::Store(_) => {
            "Der Speicher antwortet gerade nicht; es wurde nichts geändert. Bitte versuchen Sie es gleich noch einmal."
                .to_owned()
        }
        // Said by what checks the values, in English only.
        other => sentence(&other.to_string()),
    };
    let english = match error {
        OperatorError::OtherTenant => "The domain belongs to another tenant.".to_owned(),
        OperatorError::Frozen => {
            "All orders are frozen at the moment; nothing is ordered until that is lifted.".to_owned()
        }
        OperatorError::Store(_) => {
            "The store does not answer at the moment; nothing was changed. Please try again soon.".to_owned()
        }
        other => sentence(&other.to_string()),
    };
    l.pick(english, german)
}

/// An error's words as a sentence of their own.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    // A name is written as it is.
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

/// A moment, to the minute, as the sentences have it.
pub(crate) fn time(t: Timestamp) -> Markup {
    html! { time datetime=(t) { (minute(t)) } }
}

/// A moment, to the second, for what follows closely on something else.
pub(crate) fn second(t: Timestamp) -> Markup {
    let seconds = t.as_secs().rem_euclid(60);
    let text = minute(t);
    let text = text.strip_suffix(" UTC").unwrap_or(&text);
    html! { time datetime=(t) { (text) ":" (format!("{seconds:02}")) " UTC" } }
}

/// A day, for lists.
pub(crate) fn day(t: Timestamp) -> Markup {
    let text = minute(t);
    html! { time datetime=(t) { (text.get(..10).unwrap_or(&text)) } }
}

/// A span in its largest whole unit or two: `3 h`, `7 d`, `90 s`.
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

/// A count with its thousands set apart.
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
    fn every_reason_is_said_in_both_languages_and_differently() {
        for (i, &one) in Reason::ALL.iter().enumerate() {
            for l in Language::ALL {
                assert!(!reason(one, l).is_empty());
                let others = Reason::ALL.iter().skip(i + 1);
                assert!(others.map(|&o| reason(o, l)).all(|o| o != reason(one, l)), "{one:?}");
            }
        }
    }

    #[test]
    fn numbers_and_spans_are_read_at_a_glance() {
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
    fn errors_are_sentences() {
        assert_eq!(
            name_error(NameError::TooLong, Language::En),
            "The name is longer than 253 characters."
        );
        let off = operator_error(&OperatorError::IssueOff, Language::De);
        assert!(off.starts_with("Es werden keine"), "{off}");
    }
}
