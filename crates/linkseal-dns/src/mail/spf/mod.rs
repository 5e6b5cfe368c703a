//! SPF at the sending domain (RFC 7208): one record that includes the platform's and needs at most
//! ten look-ups. Reported only, never a gate.

mod draft;
mod repair;
mod term;
mod walk;

use futures_util::future::join;
use linkseal_domain::Text;

use self::draft::{Draft, suggest};
use self::term::{Kind as Term, terms};
use self::walk::{MAX_LOOKUPS, MAX_VOIDS, Walk, is_record, printable, walk};
use crate::lookup::{LookupError, normal, zone_of};
use crate::mail::published::{Published, published};
use crate::near_miss::Family;
use crate::query::Queries;
use crate::record_report::{self, Purpose, RecordReport, RecordStatus};

/// Checks the SPF record of `domain` for an include of `include`.
pub(crate) async fn check(queries: &Queries<'_>, domain: &str, include: &str) -> RecordReport {
    let include = normal(include);
    let fresh = Draft::read(&[], &include).text();
    let ours = format!("v=spf1 include:{include}");
    let (published, ours) = join(
        published(queries, domain, Family::Spf, is_record),
        walk(queries, domain, &ours, &include),
    )
    .await;
    let Published { texts, near, ttl } = match published {
        Ok(published) => published,
        Err(e) if e.is_absent() => Published {
            ttl: e.negative_ttl(),
            ..Published::default()
        },
        Err(e) => return report(domain, Some(fresh)).failed(&e),
    };
    let texts: Vec<String> = texts.iter().map(|text| printable(text)).collect();
    if texts.is_empty() {
        let create = Text::new(
            format!("Create the DNS record {domain} TXT \"{fresh}\"."),
            format!("Legen Sie den DNS-Eintrag {domain} TXT \"{fresh}\" an."),
        );
        let report = report(domain, Some(fresh)).found(&texts, ttl);
        return report.is(RecordStatus::Missing, create).near(near);
    }
    // While our own record cannot be evaluated, no change could make theirs correct.
    if ours.is_ignored() || ours.failed.is_some() {
        let failed = ours.failed.as_ref().map(|(name, error)| format!("{name}: {error}"));
        tracing::warn!(
            include,
            failed,
            "the platform's own SPF record has an error or cannot be read; customers' SPF records are not checked (check dns.spf_include)"
        );
        return report(domain, Some(fresh))
            .found(&texts, ttl)
            .is(RecordStatus::NotChecked, ours_fails(&include));
    }
    let followed = match texts.as_slice() {
        [record] => walk(queries, domain, record, &include).await,
        _ => Walk::default(),
    };
    let reason = match reason(&texts, &followed, domain, &include) {
        Ok(reason) => reason,
        Err((name, error)) => {
            let shown = texts.first().filter(|_| followed.included).cloned().unwrap_or(fresh);
            return report(domain, Some(shown))
                .found(&texts, ttl)
                .is(RecordStatus::Error, servers_fail(domain, &name, &error));
        }
    };
    let Some((verdict, reason)) = reason else {
        return report(domain, texts.first().cloned()).found(&texts, ttl);
    };
    let suggestion = suggest(queries, domain, &texts, &include).await;
    let replace = suggestion.record.as_ref().map(|record| {
        Text::new(
            format!("Replace the existing content with \"{record}\"."),
            format!("Ersetzen Sie den vorhandenen Inhalt durch \"{record}\"."),
        )
    });
    let report = report(domain, suggestion.record).found(&texts, ttl);
    report.is(verdict, reason.and(replace).and(suggestion.notes))
}

/// What is wrong with the records; `Ok(None)`: nothing. `Err`: the name whose look-up failed.
fn reason(
    texts: &[String],
    walk: &Walk,
    domain: &str,
    include: &str,
) -> Result<Option<(RecordStatus, Text)>, (String, LookupError)> {
    let [record] = texts else {
        let n = texts.len();
        return Ok(Some((
            RecordStatus::Wrong,
            Text::new(
                format!("{domain} has {n} SPF records, but only one is allowed."),
                format!("{domain} hat {n} SPF-Einträge, erlaubt ist nur einer."),
            ),
        )));
    };
    let terms = terms(record);
    let wrong = |en: String, de: String| Ok(Some((RecordStatus::Wrong, Text::new(en, de))));
    if let Some(Err(term)) = terms.iter().find(|t| t.is_err()) {
        return wrong(
            format!("\"{term}\" is not valid in an SPF record, so receivers ignore the whole record."),
            format!("\"{term}\" ist in einem SPF-Eintrag ungültig; Empfänger ignorieren deshalb den ganzen Eintrag."),
        );
    }
    if walk.lookups > MAX_LOOKUPS {
        return wrong(
            format!("The SPF record of {domain} needs more than {MAX_LOOKUPS} DNS lookups, so receivers ignore it."),
            format!(
                "Der SPF-Eintrag von {domain} benötigt mehr als {MAX_LOOKUPS} DNS-Abfragen; Empfänger ignorieren ihn deshalb."
            ),
        );
    }
    if let Some(broken) = &walk.broken {
        return wrong(
            format!(
                "The SPF record of {domain} refers to {broken}, which does not have exactly one valid SPF record, so receivers ignore the whole record."
            ),
            format!(
                "Der SPF-Eintrag von {domain} verweist auf {broken}. Dort gibt es keinen eindeutigen gültigen SPF-Eintrag; Empfänger ignorieren deshalb den ganzen Eintrag."
            ),
        );
    }
    if let Some(crowded) = &walk.crowded {
        return wrong(
            format!(
                "The SPF record of {domain} refers to {crowded}, which has more than 10 mail servers, so receivers ignore it."
            ),
            format!(
                "Der SPF-Eintrag von {domain} verweist auf {crowded} mit mehr als 10 Mailservern; Empfänger ignorieren ihn deshalb."
            ),
        );
    }
    if walk.voids.len() > MAX_VOIDS {
        let voids = walk.voids.join(", ");
        return wrong(
            format!(
                "The SPF record of {domain} refers to names that do not exist: {voids}. Receivers ignore a record with more than {MAX_VOIDS} such names."
            ),
            format!(
                "Der SPF-Eintrag von {domain} verweist auf Namen, die es nicht gibt: {voids}. Empfänger ignorieren einen Eintrag mit mehr als {MAX_VOIDS} solchen Namen."
            ),
        );
    }
    if let Some(failed) = &walk.failed {
        return Err(failed.clone());
    }
    if !walk.included {
        return wrong(
            format!("Add include:{include} to the SPF record of {domain}."),
            format!("Fügen Sie dem SPF-Eintrag von {domain} include:{include} hinzu."),
        );
    }
    // The first `all` counts; without a qualifier it is `+all`.
    let end = terms.iter().flatten().find(|t| t.kind == Term::All);
    Ok(end.filter(|t| !t.text.starts_with(['-', '~', '?'])).map(|t| {
        let hint = Text::new(
            format!(
                "The SPF record of {domain} has {}, which lets anyone send mail as {domain}.",
                t.text
            ),
            format!(
                "Der SPF-Eintrag von {domain} enthält {}; damit darf jeder als {domain} senden.",
                t.text
            ),
        );
        (RecordStatus::Warning, hint)
    }))
}

fn report(domain: &str, expected: Option<String>) -> RecordReport {
    RecordReport::new("TXT", Purpose::Mail, domain, expected.into_iter().collect())
}

fn ours_fails(include: &str) -> Text {
    Text::new(
        format!(
            "This record cannot be checked at the moment because our own record {include} has an error. Leave yours unchanged."
        ),
        format!(
            "Dieser Eintrag lässt sich derzeit nicht prüfen, weil unser eigener Eintrag {include} einen Fehler hat. Lassen Sie Ihren Eintrag unverändert."
        ),
    )
}

/// The sentence for an include whose DNS servers fail; it often belongs to another company.
fn servers_fail(domain: &str, name: &str, error: &LookupError) -> Text {
    let zone = zone_of(name);
    if zone == zone_of(domain) {
        return record_report::servers_fail(zone, &error.to_string());
    }
    Text::new(
        format!(
            "The DNS servers of {zone} fail ({error}), and the SPF record of {domain} refers to them ({name}). Contact that service, or remove it from the record if you no longer use it."
        ),
        format!(
            "Die DNS-Server von {zone} antworten nicht korrekt ({error}), und der SPF-Eintrag von {domain} verweist auf sie ({name}). Wenden Sie sich an diesen Dienst oder entfernen Sie ihn aus dem Eintrag, wenn Sie ihn nicht mehr nutzen."
        ),
    )
}

#[cfg(test)]
mod tests;
