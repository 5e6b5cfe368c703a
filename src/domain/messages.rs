//! What a domain's owner reads: a sentence for each reason, in English and German.
//!
//! What may stand in braces is filled in from the record; a test holds the two languages together
//! by the placeholders used.

use super::DomainRecord;
use super::language::Language;
use super::ssl::{FailureKind, Preflight, Reason, State, Wish};
use crate::clock::Timestamp;

/// A text in both languages.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Text {
    /// English.
    pub en: String,
    /// German.
    pub de: String,
}

impl Text {
    /// The text in one language.
    pub fn in_language(&self, language: Language) -> &str {
        match language {
            Language::En => &self.en,
            Language::De => &self.de,
        }
    }
}

/// What a sentence needs to know beside the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The CNAME target to tell people: edge.name.
    pub target: &'a str,
    /// The CA's CAA identity, such as `letsencrypt.org`. `None`: not known; its host name is shown.
    pub ca_id: Option<&'a str>,
    /// The CA's host name, for states in which no order has named one yet.
    pub ca: &'a str,
}

/// The sentence for a domain's present state.
pub fn message(record: &DomainRecord, context: Context<'_>) -> Text {
    Text {
        en: sentence(record, context, Language::En),
        de: sentence(record, context, Language::De),
    }
}

fn sentence(record: &DomainRecord, context: Context<'_>, language: Language) -> String {
    let template = template(record, language);
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        let (key, after) = tail.split_once('}').unwrap_or((tail, ""));
        out.push_str(before);
        out.push_str(&fill(key, record, context, language));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The value of one placeholder; an ellipsis where something is not known.
fn fill(key: &str, record: &DomainRecord, context: Context<'_>, language: Language) -> String {
    let ssl = &record.ssl;
    let facts = &ssl.facts;
    let time = |t: Option<Timestamp>| t.map(minute);
    let value = match key {
        "name" => Some(record.name.to_string()),
        "target" => Some(context.target.to_owned()),
        "ca" => Some(facts.ca.clone().unwrap_or_else(|| context.ca.to_owned())),
        "ca_id" => Some(context.ca_id.unwrap_or(context.ca).to_owned()),
        "found" => Some(facts.found.clone().unwrap_or_else(|| nowhere(language).to_owned())),
        "provider" => facts.provider.clone(),
        // A record at the name itself goes before all others.
        "host" => Some(facts.host.clone().unwrap_or_else(|| record.name.to_string())),
        "zone" => facts.zone.clone(),
        "error" => facts.error.clone(),
        "detail" => ssl
            .last_error
            .as_ref()
            .map(|e| e.detail.trim_end_matches('.').to_owned()),
        "attempts" => Some(ssl.attempts.to_string()),
        "since" => time(Some(record.paused.unwrap_or(ssl.since))),
        "stopped" => time(Some(ssl.since)),
        "retired" => time(record.retired),
        "eta" => time(ssl.eta.or(ssl.next_attempt)),
        "next_attempt" => time(ssl.next_attempt),
        "renew_at" => time(ssl.certificate.as_ref().map(|c| c.renew_at)),
        "not_after" => time(ssl.certificate.as_ref().map(|c| c.not_after)),
        "cause" => Some(
            facts
                .cause
                .map_or_else(|| interrupted(language), |c| cause(c, language))
                .to_owned(),
        ),
        "fix" => Some(
            [
                facts.cause.map_or("", |c| fix(c, language)),
                seen_from_here(record, language),
            ]
            .join(" ")
            .trim_end()
            .replace("{name}", record.name.as_str()),
        ),
        _ => None,
    };
    value.unwrap_or_else(|| "…".to_owned())
}

/// What a look from here adds to a validation that failed: whether to search at the name, or
/// between it and the CA.
fn seen_from_here(record: &DomainRecord, language: Language) -> &'static str {
    let facts = &record.ssl.facts;
    let about_the_way = matches!(facts.cause, Some(FailureKind::Connection | FailureKind::WrongAnswer));
    let (Some(tried), true) = (&facts.preflight, about_the_way) else {
        return "";
    };
    match (tried.miss.is_some(), language) {
        (true, Language::En) => "It does not get here from our side either.",
        (true, Language::De) => "Auch von uns aus kommt die Anfrage nicht an.",
        (false, Language::En) => "From our side it does get here: look for a firewall that lets only some networks in.",
        (false, Language::De) => {
            "Von uns aus kommt die Anfrage an: Bitte nach einer Firewall suchen, die nur manche Netze durchlässt."
        }
    }
}

/// What came of fetching the challenge's URL from here.
pub fn preflight(found: &Preflight) -> Text {
    let (en, de) = match (&found.miss, &found.through) {
        (Some(miss), _) => (
            format!("From our side the CA's challenge does not get here: {miss}."),
            format!("Von uns aus kommt die Prüfanfrage der CA nicht an: {miss}."),
        ),
        (None, Some(provider)) => (
            format!(
                "The CA's challenge gets here through the {provider} proxy. \"DNS only\" is safer: a setting there can stop renewals."
            ),
            format!(
                "Die Prüfanfrage der CA kommt durch den {provider}-Proxy an. „Nur DNS“ ist sicherer: Eine Einstellung dort kann Erneuerungen verhindern."
            ),
        ),
        (None, None) => (
            "The CA's challenge gets here.".to_owned(),
            "Die Prüfanfrage der CA kommt an.".to_owned(),
        ),
    };
    Text { en, de }
}

/// `2026-11-22 09:30 UTC`: to the minute, as people plan.
pub fn minute(t: Timestamp) -> String {
    let t = t.to_datetime();
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} UTC",
        t.year(),
        u8::from(t.month()),
        t.day(),
        t.hour(),
        t.minute()
    )
}

fn nowhere(language: Language) -> &'static str {
    match language {
        Language::En => "nothing",
        Language::De => "nichts",
    }
}

/// What went wrong where nothing did, as part of a sentence.
fn interrupted(language: Language) -> &'static str {
    match language {
        Language::En => "it was interrupted",
        Language::De => "er wurde unterbrochen",
    }
}

/// What went wrong, as part of a sentence.
fn cause(kind: FailureKind, language: Language) -> &'static str {
    use FailureKind::*;
    let (en, de) = match kind {
        Connection => ("the CA could not connect", "die CA konnte keine Verbindung aufbauen"),
        WrongAnswer => (
            "the CA got another server's answer",
            "die CA erhielt die Antwort eines anderen Servers",
        ),
        CaDns => ("DNS look-ups failed", "DNS-Abfragen schlugen fehl"),
        Caa => ("a CAA record forbids it", "ein CAA-Eintrag verbietet es"),
        Rejected => (
            "the CA does not issue for this name",
            "die CA stellt für diesen Namen nicht aus",
        ),
        NameLimit | AccountLimit => ("a limit of the CA", "ein Limit der CA"),
        Unreachable => ("the CA does not answer", "die CA antwortet nicht"),
        Stuck => ("the CA did not finish in time", "die CA wurde nicht rechtzeitig fertig"),
        Refused => ("the CA refused the request", "die CA lehnte die Anfrage ab"),
        Internal => ("a failure on our side", "ein Fehler auf unserer Seite"),
        Clock => ("the clock here is wrong", "die Uhr hier geht falsch"),
        Trust => (
            "the server of the CA is not trusted here",
            "dem Server der CA wird hier nicht vertraut",
        ),
        Account => (
            "our account at the CA needs attention",
            "unser Konto bei der CA braucht Aufmerksamkeit",
        ),
    };
    match language {
        Language::En => en,
        Language::De => de,
    }
}

/// What its owner, or the operator, can do about it, as a sentence of its own.
fn fix(kind: FailureKind, language: Language) -> &'static str {
    use FailureKind::*;
    let (en, de) = match kind {
        Connection => (
            "Make sure that port 80 of {name} is reachable from everywhere.",
            "Bitte sicherstellen, dass Port 80 von {name} von überall erreichbar ist.",
        ),
        WrongAnswer => (
            "Remove proxies and redirects in front of {name}.",
            "Bitte Proxys und Weiterleitungen vor {name} entfernen.",
        ),
        CaDns => (
            "Check the DNS servers and DNSSEC of {name}.",
            "Bitte DNS-Server und DNSSEC von {name} prüfen.",
        ),
        Caa => (
            "Allow the CA in the CAA record of {name}.",
            "Bitte die CA im CAA-Eintrag von {name} erlauben.",
        ),
        Rejected => (
            "The CA does not issue for {name}: contact support.",
            "Die CA stellt für {name} nicht aus: Bitte an den Support wenden.",
        ),
        NameLimit | AccountLimit => (
            "A limit of the CA is reached; please wait.",
            "Ein Limit der CA ist erreicht; bitte warten.",
        ),
        Unreachable | Stuck => (
            "The CA has a problem (not your fault); please wait.",
            "Die CA hat eine Störung (kein Fehler bei Ihnen); bitte warten.",
        ),
        Refused | Internal => ("Contact support.", "Bitte an den Support wenden."),
        Clock => (
            "The clock here is wrong (not your fault); please wait.",
            "Die Uhr hier geht falsch (kein Fehler bei Ihnen); bitte warten.",
        ),
        Trust | Account => (
            "Something has to be put right on our side (not your fault); please wait.",
            "Auf unserer Seite ist etwas zu beheben (kein Fehler bei Ihnen); bitte warten.",
        ),
    };
    match language {
        Language::En => en,
        Language::De => de,
    }
}

/// What goes over the reason: that nothing is renewed or ordered, or that an order is planned.
fn set_aside(record: &DomainRecord) -> Option<(&'static str, &'static str)> {
    let ssl = &record.ssl;
    let (issued, ran_out) = (ssl.state() == State::Issued, ssl.certificate.is_some());
    let text = match record.wish() {
        Wish::Paused if issued => (
            "Paused since {since}: the certificate will NOT be renewed and is valid until {not_after}; contact support.",
            "Pausiert seit {since}: Das Zertifikat wird NICHT erneuert und gilt bis {not_after}; bitte wenden Sie sich an den Support.",
        ),
        Wish::Paused if ran_out => (
            "Paused since {since}: the certificate expired on {not_after} and was not renewed; links fail. Contact support.",
            "Pausiert seit {since}: Das Zertifikat ist am {not_after} abgelaufen und wurde nicht erneuert; Links sind gestört. Bitte wenden Sie sich an den Support.",
        ),
        Wish::Retired if issued => (
            "Retired on {retired}: served until {not_after}, not renewed.",
            "Stillgelegt am {retired}: Das Zertifikat gilt noch bis {not_after} und wird nicht erneuert.",
        ),
        Wish::Retired if ran_out => (
            "Retired on {retired}: the certificate expired on {not_after}. To use the domain again, add it again.",
            "Stillgelegt am {retired}: Das Zertifikat ist am {not_after} abgelaufen. Um die Domain wieder zu nutzen, fügen Sie sie erneut hinzu.",
        ),
        Wish::Retired => (
            "Retired on {retired}: no certificate is ordered. To use the domain again, add it again.",
            "Stillgelegt am {retired}: Es wird kein Zertifikat bestellt. Um die Domain wieder zu nutzen, fügen Sie sie erneut hinzu.",
        ),
        Wish::Wanted if ssl.next_attempt.is_none() => return None,
        Wish::Wanted if ssl.reason == Reason::NeverRequested => (
            "The certificate will be ordered automatically in a moment, from {next_attempt} on, once {name} points to {target}.",
            "Das Zertifikat wird gleich automatisch bestellt, ab {next_attempt}, sobald {name} auf {target} zeigt.",
        ),
        Wish::Wanted if ssl.reason == Reason::Expired => (
            "The certificate expired on {not_after}; links fail. A new one will be ordered automatically from {next_attempt} on.",
            "Das Zertifikat ist am {not_after} abgelaufen; Links sind gestört. Ab {next_attempt} wird automatisch ein neues bestellt.",
        ),
        Wish::Wanted if ssl.reason == Reason::Paused => (
            "All orders have been stopped since {stopped}; this domain goes on by itself afterwards.",
            "Alle Bestellungen sind seit {stopped} angehalten; diese Domain geht danach von selbst weiter.",
        ),
        Wish::Paused => of_reason(Reason::Paused),
        Wish::Wanted => return None,
    };
    Some(text)
}

fn template(record: &DomainRecord, language: Language) -> &'static str {
    let (en, de) = set_aside(record).unwrap_or_else(|| of_reason(record.ssl.reason));
    match language {
        Language::En => en,
        Language::De => de,
    }
}

fn of_reason(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::Ok => (
            "Secured; renews automatically on {renew_at}.",
            "Gesichert; wird am {renew_at} automatisch erneuert.",
        ),
        Reason::Renewing => (
            "Secured until {not_after}; renewal is running.",
            "Gesichert bis {not_after}; die Erneuerung läuft.",
        ),
        Reason::RenewalFailing => (
            "Secured until {not_after}, but renewal fails: {fix}",
            "Gesichert bis {not_after}, aber die Erneuerung scheitert: {fix}",
        ),
        Reason::Moved => (
            "{name} now points to {found}; set it back to CNAME {target} before {not_after}.",
            "{name} zeigt jetzt auf {found}; bitte bis {not_after} wieder CNAME {target} eintragen.",
        ),
        Reason::Queued => (
            "DNS is right; the certificate is expected by {eta}.",
            "DNS stimmt; das Zertifikat kommt voraussichtlich bis {eta}.",
        ),
        Reason::Ordering => (
            "The certificate is being ordered; please wait.",
            "Das Zertifikat wird gerade bestellt; bitte warten.",
        ),
        Reason::Validating => (
            "{ca} is checking {name}; leave DNS unchanged.",
            "{ca} prüft gerade {name}; bitte DNS nicht ändern.",
        ),
        Reason::RetryScheduled => (
            "The last attempt failed ({cause}); next automatic attempt at {next_attempt}.",
            "Der letzte Versuch schlug fehl ({cause}); nächster automatischer Versuch um {next_attempt}.",
        ),
        Reason::ValidationFailed => (
            "{ca} could not validate {name}: {detail}. {fix}",
            "{ca} konnte {name} nicht bestätigen: {detail}. {fix}",
        ),
        Reason::RateLimited => (
            "A limit of {ca} is reached; it goes on at {next_attempt}, verifying again won't speed it up.",
            "Ein Limit von {ca} ist erreicht; es geht um {next_attempt} weiter, erneutes Überprüfen beschleunigt nichts.",
        ),
        Reason::CaUnreachable => (
            "{ca} cannot be reached (not your fault); next attempt at {next_attempt}.",
            "{ca} ist nicht erreichbar (kein Fehler bei Ihnen); nächster Versuch um {next_attempt}.",
        ),
        Reason::NeverRequested => (
            "No certificate has been requested yet: verify the domain.",
            "Es wurde noch kein Zertifikat angefordert: Bitte überprüfen Sie die Domain.",
        ),
        Reason::DnsMissing => (
            "Create the record {name} CNAME {target}, then verify.",
            "Legen Sie den Eintrag {name} CNAME {target} an und überprüfen Sie dann die Domain.",
        ),
        Reason::DnsElsewhere => (
            "{name} points to {found}; change it to CNAME {target}.",
            "{name} zeigt auf {found}; ändern Sie den Eintrag auf CNAME {target}.",
        ),
        Reason::Proxied => (
            "Switch off the {provider} proxy for {name} (\"DNS only\").",
            "Schalten Sie den {provider}-Proxy für {name} aus („nur DNS“).",
        ),
        Reason::StrayAaaa => (
            "Delete the AAAA record {found} of {name}.",
            "Löschen Sie den AAAA-Eintrag {found} von {name}.",
        ),
        Reason::CaaForbids => (
            "Add this record at {host}: CAA 0 issue \"{ca_id}\".",
            "Ergänzen Sie bei {host} den Eintrag CAA 0 issue \"{ca_id}\".",
        ),
        Reason::DnsError => (
            "The DNS servers of {zone} fail ({error}): ask your DNS provider.",
            "Die DNS-Server von {zone} antworten fehlerhaft ({error}): Bitte fragen Sie Ihren DNS-Anbieter.",
        ),
        Reason::Denied => (
            "This domain is not enabled for your account: contact support.",
            "Diese Domain ist in Ihrem Konto nicht freigeschaltet: Bitte wenden Sie sich an den Support.",
        ),
        Reason::Paused => (
            "Issuance was paused at {since}: contact support.",
            "Die Ausstellung wurde am {since} angehalten: Bitte wenden Sie sich an den Support.",
        ),
        Reason::GivenUp => (
            "Stopped after {attempts} attempts: {fix} Then verify again.",
            "Nach {attempts} Versuchen beendet: {fix} Danach bitte erneut überprüfen.",
        ),
        Reason::Expired => (
            "The certificate expired on {not_after}; links fail. Verify now.",
            "Das Zertifikat ist am {not_after} abgelaufen; Links sind gestört. Bitte jetzt überprüfen.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DomainName;
    use crate::domain::record::Origin;
    use crate::domain::ssl::{CertificateInfo, Facts, LastError};

    const T: Timestamp = Timestamp::from_secs(1_795_305_600);
    const CONTEXT: Context<'_> = Context {
        target: "track.platform.example",
        ca_id: Some("ca.example"),
        ca: "acme.ca.example",
    };

    fn full(reason: Reason) -> DomainRecord {
        let mut record = DomainRecord::new(
            DomainName::parse("links.customer.example").unwrap(),
            None,
            Origin::Registered,
            T,
        );
        let text = || Some("x.example".to_owned());
        record.ssl.reason = reason;
        record.ssl.facts = Facts {
            found: text(),
            provider: text(),
            host: text(),
            zone: text(),
            error: text(),
            ca: text(),
            cause: Some(FailureKind::Connection),
            ..Facts::default()
        };
        record.ssl.next_attempt = Some(T);
        record.ssl.last_error = Some(LastError {
            kind: "urn:x".into(),
            detail: "Connection refused.".into(),
            at: T,
            subproblems: vec![],
        });
        record.ssl.certificate = Some(CertificateInfo {
            not_before: T,
            not_after: T,
            obtained: None,
            issuer: "x".into(),
            serial: "x".into(),
            sans: vec![],
            ca: "x".into(),
            ari_id: None,
            renew_at: T,
            ari_check_at: None,
        });
        record
    }

    #[test]
    fn every_placeholder_of_every_reason_is_filled_in_both_languages() {
        for &reason in Reason::ALL {
            let text = message(&full(reason), CONTEXT);
            for sentence in [&text.en, &text.de] {
                assert!(!sentence.contains(['{', '}', '…']), "{reason:?}: {sentence}");
            }
            assert_ne!(text.en, text.de);
        }
    }

    #[test]
    fn sentences_say_what_to_change() {
        let says = |reason| message(&full(reason), CONTEXT);
        assert_eq!(
            says(Reason::DnsMissing).en,
            "Create the record links.customer.example CNAME track.platform.example, then verify."
        );
        assert_eq!(
            says(Reason::ValidationFailed).en,
            "x.example could not validate links.customer.example: Connection refused. Make sure that port 80 of links.customer.example is reachable from everywhere."
        );
        assert_eq!(
            says(Reason::Ok).de,
            "Gesichert; wird am 2026-11-22 00:00 UTC automatisch erneuert."
        );
    }

    #[test]
    fn what_is_set_aside_says_that_it_is_not_renewed() {
        let all = [Reason::Ok, Reason::Paused, Reason::Expired, Reason::NeverRequested];
        for reason in all {
            for certificate in [true, false] {
                for (paused, retired) in [(Some(T), None), (None, Some(T)), (Some(T), Some(T))] {
                    let mut record = full(reason);
                    (record.paused, record.retired) = (paused, retired);
                    if !certificate && reason != Reason::Ok {
                        record.ssl.certificate = None;
                    }
                    let text = message(&record, CONTEXT);
                    for sentence in [&text.en, &text.de] {
                        assert!(!sentence.contains(['{', '}', '…']), "{reason:?}: {sentence}");
                    }
                    assert!(
                        !text.en.contains("automatically") && !text.en.contains("Verify"),
                        "{}",
                        text.en
                    );
                }
            }
        }
        let mut record = full(Reason::Ok);
        record.paused = Some(T);
        assert!(message(&record, CONTEXT).en.contains("will NOT be renewed"));
        // Just registered: it comes by itself.
        assert!(
            message(&full(Reason::NeverRequested), CONTEXT)
                .en
                .contains("automatically in a moment")
        );
    }

    #[test]
    fn a_failed_validation_says_what_is_seen_from_here() {
        let says = |miss: Option<&str>| {
            let mut record = full(Reason::ValidationFailed);
            record.ssl.facts.preflight = Some(Preflight {
                at: T,
                through: None,
                miss: miss.map(str::to_owned),
            });
            message(&record, CONTEXT)
        };
        let (missed, arrived) = (says(Some("refused")), says(None));
        assert!(
            missed
                .en
                .ends_with("from everywhere. It does not get here from our side either.")
        );
        assert!(
            arrived.de.ends_with("die nur manche Netze durchlässt."),
            "{}",
            arrived.de
        );
        let mut refused = full(Reason::RenewalFailing);
        refused.ssl.facts.cause = Some(FailureKind::Caa);
        assert!(!message(&refused, CONTEXT).en.contains("our side"));
    }

    #[test]
    fn what_is_missing_leaves_no_gap() {
        let mut record = full(Reason::Moved);
        record.ssl.facts = Facts::default();
        assert!(message(&record, CONTEXT).en.contains("now points to nothing"));
    }
}
