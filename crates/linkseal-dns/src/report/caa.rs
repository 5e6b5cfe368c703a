//! The rows of CAA records: what allows our CA to issue, and what forbids it.

use linkseal_domain::pointing::is_platforms_caa;
use linkseal_domain::{DomainName, Text};

use crate::caa::{Caa, Flaw};
use crate::check::{Checker, Finding};
use crate::query::Queries;
use crate::record_report::{self, Purpose, RecordReport, RecordStatus};

impl Checker {
    /// The CAA rows; none if the CA is not known, because then no value can be requested.
    pub(super) async fn caa_records(
        &self,
        queries: &Queries<'_>,
        name: &DomainName,
        finding: &Finding,
    ) -> Vec<RecordReport> {
        let cas = self.cas();
        let Some(identity) = self.caa_identity() else {
            return Vec::new();
        };
        let expected = format!("0 issue \"{identity}\"");
        let entry = |host: &str| RecordReport::new("CAA", Purpose::Https, host, vec![expected.clone()]);
        // The check before an order skips CAA if the name points elsewhere; the report does not.
        let caa = match &finding.caa {
            Caa::NotJudged => crate::caa::check(queries, name.as_str(), &cas).await,
            known => known.clone(),
        };
        let entry = match caa {
            Caa::NotJudged => return Vec::new(),
            Caa::Allows { found, .. } if found.is_empty() => entry(name.as_str()).is(
                RecordStatus::Ok,
                Text::new(
                    "No CAA record restricts certificates.",
                    "Kein CAA-Eintrag schränkt die Ausstellung von Zertifikaten ein.",
                ),
            ),
            Caa::Allows { found, doubtful } => {
                let entry = entry(name.as_str()).found(found, None);
                match &finding.stale {
                    _ if doubtful => entry.is(
                        RecordStatus::Warning,
                        Text::new(
                            format!("Some certificate authorities reject this spelling. Write it as CAA {expected}."),
                            format!("Manche Zertifizierungsstellen lehnen diese Schreibweise ab. Schreiben Sie CAA {expected}."),
                        ),
                    ),
                    Some(stale) if stale.caa => RecordReport {
                        visible_by: stale.until,
                        ..entry
                    }
                    .is(RecordStatus::Ok, record_report::still_cached(stale.until)),
                    _ => entry,
                }
            }
            Caa::Forbids { host, found, ttl, .. } if self.is_ours(&host, name) => entry(&host)
                .found(found, ttl)
                .is(RecordStatus::Wrong, ours_forbids(&host)),
            Caa::Forbids {
                host,
                found,
                critical,
                granted,
                near,
                ttl,
            } => {
                let mut entries = Vec::new();
                if !granted {
                    let hint = add_caa(&host, &expected, near);
                    entries.push(entry(&host).found(found, ttl).is(RecordStatus::Wrong, hint));
                }
                if !critical.is_empty() {
                    let entry = RecordReport::new("CAA", Purpose::Https, &host, Vec::new());
                    let hint = delete_critical(&host, &critical);
                    entries.push(entry.found(critical, ttl).is(RecordStatus::Extra, hint));
                }
                return entries;
            }
            Caa::Error { zone, error } => entry(name.as_str()).is(
                RecordStatus::Error,
                record_report::servers_fail(&zone, &error.to_string()),
            ),
        };
        vec![entry]
    }

    /// Whether records at `host`, which apply to `name` through an alias, are the platform's.
    fn is_ours(&self, host: &str, name: &DomainName) -> bool {
        is_platforms_caa(host, name.as_str(), self.settings.target.names.name.as_str())
    }
}

fn ours_forbids(host: &str) -> Text {
    Text::new(
        format!("The CAA record at {host} belongs to the platform and forbids the certificate. Contact support."),
        format!(
            "Der CAA-Eintrag bei {host} gehört zur Plattform und verbietet das Zertifikat. Wenden Sie sich an den Support."
        ),
    )
}

fn delete_critical(host: &str, critical: &[String]) -> Text {
    let named = critical.join(", ");
    Text::new(
        format!(
            "Delete this record at {host}: CAA {named}. It is marked critical (128) and the certificate authority does not know it, so it refuses every certificate."
        ),
        format!(
            "Löschen Sie bei {host} diesen Eintrag: CAA {named}. Er ist als kritisch markiert (128) und der Zertifizierungsstelle unbekannt; deshalb lehnt sie jedes Zertifikat ab."
        ),
    )
}

/// Which record to add, and what is wrong with a similar one.
fn add_caa(host: &str, expected: &str, near: Option<(String, Flaw)>) -> Text {
    let add = Text::new(
        format!("Add this record at {host}: CAA {expected}."),
        format!("Fügen Sie bei {host} diesen DNS-Eintrag hinzu: CAA {expected}."),
    );
    let Some((record, flaw)) = near else {
        return add;
    };
    let (en, de) = match flaw {
        Flaw::Spelling => (
            "contains characters that do not belong there (quotation marks, a dot at the end or https://)",
            "enthält Zeichen, die dort nicht hingehören (Anführungszeichen, einen Punkt am Ende oder https://)",
        ),
        Flaw::Parameters => (
            "has an invalid or duplicate parameter",
            "hat einen ungültigen oder doppelten Parameter",
        ),
        Flaw::Account => (
            "allows only a different account (accounturi)",
            "erlaubt nur ein anderes Konto (accounturi)",
        ),
        Flaw::Method => (
            "does not allow the method http-01 (validationmethods)",
            "erlaubt die Methode http-01 nicht (validationmethods)",
        ),
    };
    add.and(Some(Text::new(
        format!("The existing record CAA {record} {en}."),
        format!("Der vorhandene Eintrag CAA {record} {de}."),
    )))
}
