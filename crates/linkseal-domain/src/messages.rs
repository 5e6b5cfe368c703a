//! What a domain's owner reads: a sentence for each reason, in English and German.
//!
//! What may stand in braces is filled in from the record; a test holds the two languages together
//! by the placeholders used.

use std::net::IpAddr;

use linkseal_base::clock::Timestamp;

use super::DomainRecord;
use super::language::Language;
use super::pointing::{Pointing, is_platforms_caa};
use super::ssl::{FailureKind, Preflight, Reason, State, Wish};

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
    /// The edge's public addresses, for names that can have no CNAME. Empty: not configured.
    pub addresses: &'a [IpAddr],
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
    filled(template(record, context, language), record, context, language)
}

fn filled(template: &str, record: &DomainRecord, context: Context<'_>, language: Language) -> String {
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
        "name" => Some(record.name.to_unicode().into_owned()),
        "target" => Some(context.target.to_owned()),
        "addresses" => Some(join(context.addresses)),
        "ca" => Some(facts.ca.clone().unwrap_or_else(|| context.ca.to_owned())),
        "ca_id" => Some(context.ca_id.unwrap_or(context.ca).to_owned()),
        "found" => Some(facts.found.clone().unwrap_or_else(|| nowhere(language).to_owned())),
        "points" => Some(points(facts.found.as_deref(), language)),
        "provider" => facts.provider.clone(),
        // A CAA record at the name itself goes before all others.
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
        "renew_at" => time(ssl.renewal_planned()),
        "not_after" => time(ssl.certificate.as_ref().map(|c| c.not_after)),
        "cause" => Some(
            facts
                .cause
                .map_or_else(|| interrupted(language), |c| cause(c, language))
                .to_owned(),
        ),
        "fix" => Some(
            [
                filled(fix(record, context, language), record, context, language),
                seen_from_here(record, language).to_owned(),
            ]
            .join(" ")
            .trim_end()
            .to_owned(),
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

/// Where a name that has left points now.
fn points(found: Option<&str>, language: Language) -> String {
    match (found, language) {
        (Some(found), Language::En) => format!("now points to {found}"),
        (None, Language::En) => "now points to nothing".to_owned(),
        (Some(found), Language::De) => format!("zeigt jetzt auf {found}"),
        (None, Language::De) => "hat keinen DNS-Eintrag mehr".to_owned(),
    }
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
        Unusable => (
            "the CA issued a certificate that cannot be used",
            "die CA stellte ein unbrauchbares Zertifikat aus",
        ),
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

/// What its owner, or the operator, can do about what keeps a certificate from coming, as a sentence
/// of its own. What a look at DNS found is said as for a domain without a certificate.
fn fix(record: &DomainRecord, context: Context<'_>, language: Language) -> &'static str {
    let facts = &record.ssl.facts;
    let found_by_look = match facts.cause.filter(|_| record.ssl.reason == Reason::RenewalFailing) {
        Some(FailureKind::CaDns) if facts.zone.is_some() => Some(Reason::DnsError),
        Some(FailureKind::Connection) if facts.found.is_some() => Some(Reason::StrayAaaa),
        Some(FailureKind::Caa) if facts.host.is_some() => Some(Reason::CaaForbids),
        _ => None,
    };
    match (found_by_look, facts.cause) {
        (Some(reason), _) => pick(of_record(reason, record, context), language),
        (None, Some(cause)) => of_cause(cause, language),
        (None, None) => "",
    }
}

fn of_cause(kind: FailureKind, language: Language) -> &'static str {
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
        Unreachable | Stuck | Unusable => (
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
        Wish::Wanted if ssl.reason == Reason::NeverRequested && ssl.facts.not_seen => (
            "DNS cannot be checked reliably from here at the moment (not your fault); {name} is checked again at {next_attempt}.",
            "DNS lässt sich von hier aus gerade nicht zuverlässig prüfen (kein Fehler bei Ihnen); {name} wird um {next_attempt} erneut geprüft.",
        ),
        Wish::Wanted if ssl.reason == Reason::NeverRequested && record.dns.https => (
            "{name} points to the right place; the certificate will be ordered automatically in a moment, from {next_attempt} on.",
            "{name} zeigt auf das richtige Ziel; das Zertifikat wird gleich automatisch bestellt, ab {next_attempt}.",
        ),
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

fn template(record: &DomainRecord, context: Context<'_>, language: Language) -> &'static str {
    let text = set_aside(record).unwrap_or_else(|| of_record(record.ssl.reason, record, context));
    pick(text, language)
}

fn pick((en, de): (&'static str, &'static str), language: Language) -> &'static str {
    match language {
        Language::En => en,
        Language::De => de,
    }
}

/// The sentence for a reason, by what the record's owner can change: a name that can have no CNAME is
/// asked for none, and a CAA record of the platform's is not the customer's to change.
fn of_record(reason: Reason, record: &DomainRecord, context: Context<'_>) -> (&'static str, &'static str) {
    let name = record.name.as_str();
    let pointing = Pointing::of(name, context.target, !context.addresses.is_empty());
    let host = record.ssl.facts.host.as_deref();
    match (reason, pointing) {
        (Reason::CaaForbids, _) if host.is_some_and(|h| is_platforms_caa(h, name, context.target)) => (
            "The CAA record at {host} is the platform's and forbids certificates: contact support.",
            "Der CAA-Eintrag bei {host} gehört der Plattform und verbietet Zertifikate: Bitte wenden Sie sich an den Support.",
        ),
        (Reason::DnsMissing | Reason::DnsElsewhere | Reason::Moved, Pointing::Target) => (
            "Create A and AAAA records of {name} with the public addresses of this edge.",
            "Legen Sie A- und AAAA-Einträge von {name} mit den öffentlichen Adressen dieses Servers an.",
        ),
        (Reason::DnsMissing, Pointing::Addresses) => (
            "Set the A and AAAA records of {name} to {addresses}, then verify.",
            "Setzen Sie die A- und AAAA-Einträge von {name} auf {addresses} und überprüfen Sie dann die Domain.",
        ),
        (Reason::DnsMissing, Pointing::Alias) => (
            "Create an ALIAS record (CNAME flattening) of {name} to {target}, then verify; if your DNS provider has none, use a subdomain.",
            "Legen Sie für {name} einen ALIAS-Eintrag (CNAME-Flattening) auf {target} an und überprüfen Sie dann die Domain; bietet Ihr DNS-Anbieter keinen, nutzen Sie eine Subdomain.",
        ),
        (Reason::DnsElsewhere, Pointing::Addresses) => (
            "{name} points to {found}; set its A and AAAA records to {addresses} only.",
            "{name} zeigt auf {found}; setzen Sie die A- und AAAA-Einträge auf genau diese Adressen: {addresses}.",
        ),
        (Reason::DnsElsewhere, Pointing::Alias) => (
            "{name} points to {found}; change it to an ALIAS record (CNAME flattening) to {target}, or use a subdomain.",
            "{name} zeigt auf {found}; ändern Sie den Eintrag auf einen ALIAS (CNAME-Flattening) auf {target}, oder nutzen Sie eine Subdomain.",
        ),
        (Reason::Moved, Pointing::Addresses) => (
            "{name} {points}; set its A and AAAA records back to {addresses} before {not_after}.",
            "{name} {points}; bitte setzen Sie die A- und AAAA-Einträge bis {not_after} wieder auf {addresses}.",
        ),
        (Reason::Moved, Pointing::Alias) => (
            "{name} {points}; set it back to an ALIAS record to {target} before {not_after}.",
            "{name} {points}; bitte bis {not_after} wieder einen ALIAS-Eintrag auf {target} anlegen.",
        ),
        _ => of_reason(reason),
    }
}

fn join(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
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
            "{name} {points}; set it back to CNAME {target} before {not_after}.",
            "{name} {points}; bitte bis {not_after} wieder CNAME {target} eintragen.",
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
            "Delete the AAAA record {found} of {host}.",
            "Löschen Sie den AAAA-Eintrag {found} von {host}.",
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
    use crate::DomainName;
    use crate::record::Origin;
    use crate::ssl::{CertificateInfo, Facts, LastError};

    const T: Timestamp = Timestamp::from_secs(1_795_305_600);
    const CONTEXT: Context<'_> = Context {
        target: "track.platform.example",
        addresses: &[],
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
    fn what_is_about_to_be_ordered_says_what_the_last_look_found() {
        let mut record = full(Reason::NeverRequested);
        let says = |record: &DomainRecord| message(record, CONTEXT);
        assert!(says(&record).en.contains("once links.customer.example points to"));
        record.dns.https = true;
        assert!(
            says(&record)
                .en
                .starts_with("links.customer.example points to the right place;")
        );
        assert!(
            says(&record)
                .de
                .starts_with("links.customer.example zeigt auf das richtige Ziel;")
        );
        record.dns.https = false;
        record.happens(super::super::ssl::SslEvent::LookFailed, T);
        record.ssl.certificate = None;
        assert!(says(&record).en.contains("(not your fault)") && !says(&record).en.contains("ordered"));
        // The next look that is believed ends that.
        record.happens(
            super::super::ssl::SslEvent::DnsChecked(crate::record::DnsVerdict::Right),
            T,
        );
        assert!(!record.ssl.facts.not_seen);
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
    fn a_name_that_can_have_no_cname_is_asked_for_none() {
        let addresses = ["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for name in ["customer.example", CONTEXT.target] {
            for reason in [Reason::DnsMissing, Reason::DnsElsewhere, Reason::Moved] {
                for addresses in [&addresses[..], &[]] {
                    let mut record = full(reason);
                    record.name = DomainName::parse(name).unwrap();
                    let text = message(&record, Context { addresses, ..CONTEXT });
                    for sentence in [&text.en, &text.de] {
                        assert!(!sentence.contains(['{', '}', '…']), "{sentence}");
                        assert!(
                            !sentence
                                .replace("CNAME flattening", "")
                                .replace("CNAME-Flattening", "")
                                .contains("CNAME"),
                            "{sentence}"
                        );
                        assert_eq!(
                            sentence.contains("203.0.113.1, 2001:db8::1"),
                            !addresses.is_empty(),
                            "{sentence}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_renewal_that_dns_keeps_from_coming_says_what_a_first_certificate_would() {
        let mut record = full(Reason::RenewalFailing);
        record.ssl.facts = Facts {
            found: Some("2001:db8::9".into()),
            host: Some("t.customer.example".into()),
            cause: Some(FailureKind::Connection),
            ..Facts::default()
        };
        let says = |record: &DomainRecord| message(record, CONTEXT).en;
        assert!(says(&record).ends_with("Delete the AAAA record 2001:db8::9 of t.customer.example."));
        record.ssl.facts.cause = Some(FailureKind::Caa);
        assert!(says(&record).ends_with("Add this record at t.customer.example: CAA 0 issue \"ca.example\"."));
        record.ssl.facts.host = Some("track.platform.example".into());
        assert!(says(&record).ends_with("is the platform's and forbids certificates: contact support."));
        record.ssl.facts = Facts {
            zone: Some("customer.example".into()),
            error: Some("SERVFAIL".into()),
            cause: Some(FailureKind::CaDns),
            ..Facts::default()
        };
        assert!(says(&record).ends_with("The DNS servers of customer.example fail (SERVFAIL): ask your DNS provider."));
    }

    #[test]
    fn a_missed_preflight_is_told_with_the_failure_that_follows_and_no_longer_after_a_success() {
        use crate::ssl::{Failure, SslEvent};
        let mut record = full(Reason::NeverRequested);
        let certificate = record.ssl.certificate.take().map(|c| CertificateInfo {
            not_after: T + std::time::Duration::from_secs(90 * 86_400),
            ..c
        });
        let missed = Preflight {
            at: T,
            through: None,
            miss: Some("127.0.0.1: Connection refused".to_owned()),
        };
        let failure = Failure {
            kind: FailureKind::Connection,
            error: record.ssl.last_error.clone().unwrap(),
            retry_after: None,
        };
        // As an order goes: looked at, tried from here, queued, made, and refused by the CA.
        for event in [
            SslEvent::DnsChecked(crate::record::DnsVerdict::Right),
            SslEvent::Preflight(missed),
            SslEvent::Queued { eta: None },
            SslEvent::OrderStarted {
                ca: "ca.example".into(),
            },
            SslEvent::Validating,
            SslEvent::Failed {
                failure,
                backoff: std::time::Duration::from_secs(60),
            },
        ] {
            record.happens(event, T);
        }
        let text = message(&record, CONTEXT);
        assert_eq!(record.ssl.reason, Reason::ValidationFailed);
        assert!(
            text.en.ends_with("It does not get here from our side either."),
            "{}",
            text.en
        );
        assert!(
            text.de.ends_with("Auch von uns aus kommt die Anfrage nicht an."),
            "{}",
            text.de
        );
        record.happens(SslEvent::Issued(certificate.unwrap()), T);
        assert_eq!(record.ssl.facts.preflight, None);
        assert!(!message(&record, CONTEXT).en.contains("our side"));
    }

    #[test]
    fn what_is_missing_leaves_no_gap() {
        let mut record = full(Reason::Moved);
        record.ssl.facts = Facts::default();
        assert!(message(&record, CONTEXT).en.contains("now points to nothing"));
    }
}
