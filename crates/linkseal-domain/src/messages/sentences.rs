//! The sentences themselves, each in English and German. `{…}` is filled in by the parent module.

use std::net::IpAddr;

use super::Context;
use crate::DomainRecord;
use crate::pointing::{Pointing, is_platforms_caa};
use crate::ssl::{FailureKind, Intent, Reason, State};

/// English and German.
pub(super) type Sentence = (&'static str, &'static str);

/// The sentence for a domain's present state.
pub(super) fn of(record: &DomainRecord, context: Context<'_>) -> Sentence {
    set_aside(record).unwrap_or_else(|| of_record(record.ssl.reason, record, context))
}

/// What overrides the reason: nothing is renewed or ordered, or an order is scheduled.
fn set_aside(record: &DomainRecord) -> Option<Sentence> {
    let ssl = &record.ssl;
    let (issued, ran_out) = (ssl.state() == State::Issued, ssl.certificate.is_some());
    let text = match record.intent() {
        Intent::Paused if issued => (
            "Paused since {since}: the certificate is NOT renewed and expires on {not_after}. Contact support.",
            "Pausiert seit {since}: Das Zertifikat wird NICHT erneuert und läuft am {not_after} ab. Wenden Sie sich an den Support.",
        ),
        Intent::Paused if ran_out => (
            "Paused since {since}: the certificate was not renewed and expired on {not_after}; links are broken. Contact support.",
            "Pausiert seit {since}: Das Zertifikat wurde nicht erneuert und ist am {not_after} abgelaufen; Links funktionieren nicht. Wenden Sie sich an den Support.",
        ),
        Intent::Retired if issued => (
            "Retired on {retired}: the certificate is valid until {not_after} and is not renewed.",
            "Stillgelegt am {retired}: Das Zertifikat gilt bis {not_after} und wird nicht erneuert.",
        ),
        Intent::Retired if ran_out => (
            "Retired on {retired}: the certificate expired on {not_after}. Add the domain again to use it.",
            "Stillgelegt am {retired}: Das Zertifikat ist am {not_after} abgelaufen. Fügen Sie die Domain erneut hinzu, um sie zu nutzen.",
        ),
        Intent::Retired => (
            "Retired on {retired}: no certificate is ordered. Add the domain again to use it.",
            "Stillgelegt am {retired}: Es wird kein Zertifikat bestellt. Fügen Sie die Domain erneut hinzu, um sie zu nutzen.",
        ),
        Intent::Wanted if ssl.next_attempt.is_none() => return None,
        Intent::Wanted if ssl.reason == Reason::NeverRequested && ssl.facts.unverified => (
            "DNS cannot be checked reliably at the moment; the problem is on our side. Next check of {name}: {next_attempt}.",
            "DNS lässt sich derzeit nicht zuverlässig prüfen; die Ursache liegt bei uns. Nächste Prüfung von {name}: {next_attempt}.",
        ),
        Intent::Wanted if ssl.reason == Reason::NeverRequested && record.dns.https => (
            "{name} points to the right target. The certificate will be ordered automatically, starting {next_attempt}.",
            "{name} zeigt auf das richtige Ziel. Das Zertifikat wird ab {next_attempt} automatisch bestellt.",
        ),
        Intent::Wanted if ssl.reason == Reason::NeverRequested => (
            "The certificate will be ordered automatically once {name} points to {target}, on {next_attempt} at the earliest.",
            "Sobald {name} auf {target} zeigt, wird das Zertifikat automatisch bestellt, frühestens am {next_attempt}.",
        ),
        Intent::Wanted if ssl.reason == Reason::Expired => (
            "The certificate expired on {not_after}; links are broken. A new one will be ordered automatically, starting {next_attempt}.",
            "Das Zertifikat ist am {not_after} abgelaufen; Links funktionieren nicht. Ab {next_attempt} wird automatisch ein neues bestellt.",
        ),
        Intent::Wanted if ssl.reason == Reason::Paused => (
            "All orders have been on hold since {stopped}. This domain continues automatically once they resume.",
            "Alle Bestellungen sind seit {stopped} angehalten. Sobald sie fortgesetzt werden, geht es für diese Domain automatisch weiter.",
        ),
        Intent::Paused => of_reason(Reason::Paused),
        Intent::Wanted => return None,
    };
    Some(text)
}

/// The sentence for a reason, adapted to what the owner can change: a name that cannot have a CNAME
/// is not asked for one, and the customer cannot change the platform's CAA record.
pub(super) fn of_record(reason: Reason, record: &DomainRecord, context: Context<'_>) -> Sentence {
    let name = record.name.as_str();
    let pointing = Pointing::of(name, context.target, !context.addresses.is_empty());
    let host = record.ssl.facts.host.as_deref();
    match (reason, pointing) {
        (Reason::CaaForbids, _) if host.is_some_and(|h| is_platforms_caa(h, name, context.target)) => (
            "The CAA record at {host} belongs to the platform and forbids the certificate. Contact support.",
            "Der CAA-Eintrag bei {host} gehört zur Plattform und verbietet das Zertifikat. Wenden Sie sich an den Support.",
        ),
        (Reason::DnsMissing | Reason::DnsElsewhere | Reason::Moved, Pointing::Target) => (
            "Create A and AAAA records for {name} with the public addresses of this server.",
            "Legen Sie für {name} A- und AAAA-Einträge mit den öffentlichen Adressen dieses Servers an.",
        ),
        (Reason::DnsMissing, Pointing::Addresses) => (
            "Set the A and AAAA records of {name} to {addresses}, then verify the domain.",
            "Setzen Sie die A- und AAAA-Einträge von {name} auf {addresses} und überprüfen Sie dann die Domain.",
        ),
        (Reason::DnsMissing, Pointing::Alias) => (
            "Create an ALIAS record (CNAME flattening) for {name} that points to {target}, then verify the domain. If your DNS provider does not offer ALIAS records, use a subdomain.",
            "Legen Sie für {name} einen ALIAS-Eintrag (CNAME-Flattening) auf {target} an und überprüfen Sie dann die Domain. Wenn Ihr DNS-Anbieter keine ALIAS-Einträge anbietet, verwenden Sie eine Subdomain.",
        ),
        (Reason::DnsElsewhere, Pointing::Addresses) => (
            "{name} points to {found}. Set its A and AAAA records to exactly these addresses: {addresses}.",
            "{name} zeigt auf {found}. Setzen Sie die A- und AAAA-Einträge auf genau diese Adressen: {addresses}.",
        ),
        (Reason::DnsElsewhere, Pointing::Alias) => (
            "{name} points to {found}. Replace the record with an ALIAS record (CNAME flattening) that points to {target}, or use a subdomain.",
            "{name} zeigt auf {found}. Ersetzen Sie den Eintrag durch einen ALIAS-Eintrag (CNAME-Flattening) auf {target} oder verwenden Sie eine Subdomain.",
        ),
        (Reason::Moved, Pointing::Addresses) => (
            "{name} {points}. Set its A and AAAA records back to {addresses} before {not_after}.",
            "{name} {points}. Setzen Sie die A- und AAAA-Einträge bis {not_after} wieder auf {addresses}.",
        ),
        (Reason::Moved, Pointing::Alias) => (
            "{name} {points}. Restore the ALIAS record that points to {target} before {not_after}.",
            "{name} {points}. Stellen Sie den ALIAS-Eintrag auf {target} bis {not_after} wieder her.",
        ),
        _ => of_reason(reason),
    }
}

fn of_reason(reason: Reason) -> Sentence {
    match reason {
        Reason::Ok => (
            "The certificate is valid and will be renewed automatically on {renew_at}.",
            "Das Zertifikat ist gültig und wird am {renew_at} automatisch erneuert.",
        ),
        Reason::Renewing => (
            "The certificate is valid until {not_after}; the renewal is in progress.",
            "Das Zertifikat gilt bis {not_after}; die Erneuerung läuft.",
        ),
        Reason::RenewalFailing => (
            "The certificate is valid until {not_after}, but its renewal is failing. {fix}",
            "Das Zertifikat gilt bis {not_after}, aber die Erneuerung schlägt fehl. {fix}",
        ),
        Reason::Moved => (
            "{name} {points}. Restore the record {name} CNAME {target} before {not_after}.",
            "{name} {points}. Stellen Sie den DNS-Eintrag {name} CNAME {target} bis {not_after} wieder her.",
        ),
        Reason::Queued => (
            "DNS is set up correctly. The certificate is expected by {eta}.",
            "Die DNS-Einträge stimmen. Das Zertifikat kommt voraussichtlich bis {eta}.",
        ),
        Reason::Ordering => (
            "The certificate is being ordered. You do not need to do anything.",
            "Das Zertifikat wird gerade bestellt. Sie müssen nichts tun.",
        ),
        Reason::Validating => (
            "{ca} is verifying {name}. Do not change its DNS records now.",
            "{ca} prüft gerade {name}. Ändern Sie die DNS-Einträge jetzt nicht.",
        ),
        Reason::RetryScheduled => (
            "The last attempt failed: {cause}. Next automatic attempt: {next_attempt}.",
            "Der letzte Versuch ist fehlgeschlagen: {cause}. Nächster automatischer Versuch: {next_attempt}.",
        ),
        Reason::ValidationFailed => (
            "{ca} could not verify {name}: {detail}. {fix}",
            "{ca} konnte {name} nicht prüfen: {detail}. {fix}",
        ),
        Reason::RateLimited => (
            "A limit of {ca} has been reached. The order continues on {next_attempt}; verifying again does not speed it up.",
            "Ein Limit von {ca} ist erreicht. Die Bestellung geht am {next_attempt} weiter; erneutes Überprüfen beschleunigt sie nicht.",
        ),
        Reason::CaUnreachable => (
            "{ca} cannot be reached; the problem is not on your side. Next attempt: {next_attempt}.",
            "{ca} ist nicht erreichbar; das liegt nicht an Ihnen. Nächster Versuch: {next_attempt}.",
        ),
        Reason::NeverRequested => (
            "No certificate has been requested yet. Verify the domain to request one.",
            "Es wurde noch kein Zertifikat angefordert. Überprüfen Sie die Domain, um eines anzufordern.",
        ),
        Reason::DnsMissing => (
            "Create the DNS record {name} CNAME {target}, then verify the domain.",
            "Legen Sie den DNS-Eintrag {name} CNAME {target} an und überprüfen Sie dann die Domain.",
        ),
        Reason::DnsElsewhere => (
            "{name} points to {found}. Change the record to CNAME {target}.",
            "{name} zeigt auf {found}. Ändern Sie den DNS-Eintrag auf CNAME {target}.",
        ),
        Reason::Proxied => (
            "Turn off the {provider} proxy for {name} (\"DNS only\").",
            "Schalten Sie den Proxy von {provider} für {name} aus („Nur DNS“).",
        ),
        Reason::StrayAaaa => (
            "Delete the AAAA record {found} of {host}.",
            "Löschen Sie bei {host} den AAAA-Eintrag {found}.",
        ),
        Reason::CaaForbids => (
            "Add this record at {host}: CAA 0 issue \"{ca_id}\".",
            "Fügen Sie bei {host} diesen DNS-Eintrag hinzu: CAA 0 issue \"{ca_id}\".",
        ),
        Reason::DnsError => (
            "The DNS servers of {zone} fail ({error}). Contact your DNS provider.",
            "Die DNS-Server von {zone} antworten nicht korrekt ({error}). Wenden Sie sich an Ihren DNS-Anbieter.",
        ),
        Reason::Denied => (
            "This domain is not enabled for your account. Contact support.",
            "Diese Domain ist für Ihr Konto nicht freigeschaltet. Wenden Sie sich an den Support.",
        ),
        Reason::Paused => (
            "Certificate orders have been paused since {since}. Contact support.",
            "Die Zertifikatsbestellung ist seit {since} pausiert. Wenden Sie sich an den Support.",
        ),
        Reason::GivenUp => (
            "Stopped after {attempts} failed attempts. {fix} Then verify the domain again.",
            "Nach {attempts} fehlgeschlagenen Versuchen beendet. {fix} Überprüfen Sie danach die Domain erneut.",
        ),
        Reason::Expired => (
            "The certificate expired on {not_after}; links are broken. Verify the domain now.",
            "Das Zertifikat ist am {not_after} abgelaufen; Links funktionieren nicht. Überprüfen Sie jetzt die Domain.",
        ),
    }
}

/// What the owner or the operator can do about the obstacle, as a sentence of its own. An obstacle
/// that a DNS check found is described as for a domain without a certificate.
pub(super) fn fix(record: &DomainRecord, context: Context<'_>) -> Sentence {
    let facts = &record.ssl.facts;
    let found_in_dns = match facts.cause.filter(|_| record.ssl.reason == Reason::RenewalFailing) {
        Some(FailureKind::CaDns) if facts.zone.is_some() => Some(Reason::DnsError),
        Some(FailureKind::Connection) if facts.found.is_some() => Some(Reason::StrayAaaa),
        Some(FailureKind::Caa) if facts.host.is_some() => Some(Reason::CaaForbids),
        _ => None,
    };
    match (found_in_dns, facts.cause) {
        (Some(reason), _) => of_record(reason, record, context),
        (None, Some(cause)) => fix_of(cause),
        (None, None) => ("", ""),
    }
}

fn fix_of(kind: FailureKind) -> Sentence {
    match kind {
        FailureKind::Connection => (
            "Make sure that port 80 of {name} is reachable from everywhere.",
            "Stellen Sie sicher, dass Port 80 von {name} aus allen Netzen erreichbar ist.",
        ),
        FailureKind::WrongAnswer => (
            "Remove proxies and redirects in front of {name}.",
            "Entfernen Sie Proxys und Weiterleitungen vor {name}.",
        ),
        FailureKind::CaDns => (
            "Check the DNS servers and DNSSEC of {name}.",
            "Prüfen Sie die DNS-Server und DNSSEC von {name}.",
        ),
        FailureKind::Caa => (
            "Allow the certificate authority in the CAA record of {name}.",
            "Erlauben Sie die Zertifizierungsstelle im CAA-Eintrag von {name}.",
        ),
        FailureKind::Rejected => (
            "The certificate authority does not issue certificates for {name}. Contact support.",
            "Die Zertifizierungsstelle stellt für {name} keine Zertifikate aus. Wenden Sie sich an den Support.",
        ),
        FailureKind::NameLimit | FailureKind::AccountLimit => (
            "A limit of the certificate authority has been reached. Please wait.",
            "Ein Limit der Zertifizierungsstelle ist erreicht. Bitte warten Sie.",
        ),
        FailureKind::Unreachable | FailureKind::Stuck | FailureKind::Unusable => (
            "The certificate authority has a problem. You do not need to change anything.",
            "Bei der Zertifizierungsstelle gibt es eine Störung. Sie müssen nichts ändern.",
        ),
        FailureKind::Refused | FailureKind::Internal => ("Contact support.", "Wenden Sie sich an den Support."),
        FailureKind::Clock => (
            "The clock of our server is wrong. You do not need to change anything.",
            "Die Uhr unseres Servers geht falsch. Sie müssen nichts ändern.",
        ),
        FailureKind::Trust | FailureKind::Account => (
            "We have to fix this on our side. You do not need to change anything.",
            "Die Ursache liegt bei uns; wir beheben sie. Sie müssen nichts ändern.",
        ),
    }
}

/// What the preflight adds to the advice after a failed validation: whether to search at the name itself
/// or between it and the CA.
pub(super) fn own_request(record: &DomainRecord) -> Sentence {
    let facts = &record.ssl.facts;
    let is_connectivity = matches!(facts.cause, Some(FailureKind::Connection | FailureKind::WrongAnswer));
    match &facts.preflight {
        Some(tried) if is_connectivity && tried.miss.is_some() => (
            "Our own test request does not arrive either.",
            "Auch unsere eigene Testanfrage kommt nicht an.",
        ),
        Some(_) if is_connectivity => (
            "Our own test request arrives: check whether a firewall blocks some networks.",
            "Unsere eigene Testanfrage kommt an: Prüfen Sie, ob eine Firewall nur bestimmte Netze durchlässt.",
        ),
        _ => ("", ""),
    }
}

/// What went wrong, as a clause. `None`: the attempt was interrupted.
pub(super) fn cause(kind: Option<FailureKind>) -> Sentence {
    let Some(kind) = kind else {
        return ("it was interrupted", "er wurde unterbrochen");
    };
    match kind {
        FailureKind::Connection => (
            "the certificate authority could not connect",
            "die Zertifizierungsstelle konnte keine Verbindung aufbauen",
        ),
        FailureKind::WrongAnswer => (
            "the certificate authority reached another server",
            "die Zertifizierungsstelle hat einen anderen Server erreicht",
        ),
        FailureKind::CaDns => ("DNS lookups failed", "DNS-Abfragen sind fehlgeschlagen"),
        FailureKind::Caa => ("a CAA record forbids it", "ein CAA-Eintrag verbietet es"),
        FailureKind::Rejected => (
            "the certificate authority does not issue for this name",
            "die Zertifizierungsstelle stellt für diesen Namen keine Zertifikate aus",
        ),
        FailureKind::NameLimit | FailureKind::AccountLimit => (
            "a limit of the certificate authority has been reached",
            "ein Limit der Zertifizierungsstelle ist erreicht",
        ),
        FailureKind::Unreachable => (
            "the certificate authority did not respond",
            "die Zertifizierungsstelle hat nicht geantwortet",
        ),
        FailureKind::Stuck => (
            "the certificate authority did not finish in time",
            "die Zertifizierungsstelle ist nicht rechtzeitig fertig geworden",
        ),
        FailureKind::Refused => (
            "the certificate authority rejected the request",
            "die Zertifizierungsstelle hat die Anfrage abgelehnt",
        ),
        FailureKind::Unusable => (
            "the certificate authority issued an unusable certificate",
            "die Zertifizierungsstelle hat ein unbrauchbares Zertifikat ausgestellt",
        ),
        FailureKind::Internal => ("an error on our side", "ein Fehler auf unserer Seite"),
        FailureKind::Clock => (
            "the clock of our server is wrong",
            "die Uhr unseres Servers geht falsch",
        ),
        FailureKind::Trust => (
            "our server does not trust the server of the certificate authority",
            "unser Server vertraut dem Server der Zertifizierungsstelle nicht",
        ),
        FailureKind::Account => (
            "our account with the certificate authority needs attention",
            "mit unserem Konto bei der Zertifizierungsstelle gibt es ein Problem",
        ),
    }
}

/// Where a name that used to point here points now.
pub(super) fn points(found: Option<&str>) -> (String, String) {
    match found {
        Some(found) => (format!("now points to {found}"), format!("zeigt jetzt auf {found}")),
        None => (
            "no longer has a DNS record".to_owned(),
            "hat keinen DNS-Eintrag mehr".to_owned(),
        ),
    }
}

pub(super) fn join(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
