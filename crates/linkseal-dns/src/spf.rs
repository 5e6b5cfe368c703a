//! SPF at the sending domain (RFC 7208): one record, the platform's include in it, at most ten
//! look-ups in all. Reported only, never a gate.

use futures_util::future::join;

use super::lookup::{Kind, LookupError, normal, zone_of};
use super::near_miss::{self, Family, NearMiss};
use super::query::Queries;
use super::record_report::{self, Hint, Purpose, RecordReport, RecordStatus};
use super::spf_draft::{Draft, suggest};
use super::spf_term::{Kind as Term, terms};
use super::spf_walk::{MAX_LOOKUPS, MAX_VOIDS, Walk, is_record, printable, walk};

/// Checks the SPF record of `domain` for an include of `include`.
pub(super) async fn check(look: &Queries<'_>, domain: &str, include: &str) -> RecordReport {
    let include = normal(include);
    let fresh = Draft::read(&[], &include).text();
    let ours = format!("v=spf1 include:{include}");
    let (published, ours) = join(published(look, domain), walk(look, domain, &ours, &include)).await;
    let Published { texts, near, ttl } = match published {
        Ok(published) => published,
        Err(e) if e.is_absent() => Published {
            ttl: e.negative_ttl(),
            ..Published::default()
        },
        Err(e) => return row(domain, Some(fresh)).failed(&e),
    };
    if texts.is_empty() {
        let create = Hint::new(
            format!("Create the record {domain} TXT \"{fresh}\"."),
            format!("Legen Sie den Eintrag {domain} TXT \"{fresh}\" an."),
        );
        let row = row(domain, Some(fresh)).found(&texts, ttl);
        return row.is(RecordStatus::Missing, create).near(near);
    }
    // While our own record cannot be followed, no advice would make theirs right.
    if ours.is_ignored() || ours.failed.is_some() {
        tracing::warn!(include, failed = ?ours.failed, "the SPF record of spf_include has an error or cannot be looked up");
        return row(domain, Some(fresh))
            .found(&texts, ttl)
            .is(RecordStatus::NotChecked, ours_fails(&include));
    }
    let followed = match texts.as_slice() {
        [record] => walk(look, domain, record, &include).await,
        _ => Walk::default(),
    };
    let reason = match reason(&texts, &followed, domain, &include) {
        Ok(reason) => reason,
        Err((name, error)) => {
            let shown = texts.first().filter(|_| followed.included).cloned().unwrap_or(fresh);
            return row(domain, Some(shown))
                .found(&texts, ttl)
                .is(RecordStatus::Error, servers_fail(domain, &name, &error));
        }
    };
    let Some((verdict, reason)) = reason else {
        return row(domain, texts.first().cloned()).found(&texts, ttl);
    };
    let suggestion = suggest(look, domain, &texts, &include).await;
    let replace = suggestion.record.as_ref().map(|record| {
        Hint::new(
            format!("Replace what is there with \"{record}\"."),
            format!("Ersetzen Sie, was dort steht, durch \"{record}\"."),
        )
    });
    let row = row(domain, suggestion.record).found(&texts, ttl);
    row.is(verdict, reason.and(replace).and(suggestion.notes))
}

/// What is wrong with the records. `Ok(None)`: nothing; an error: the name whose servers do not say.
fn reason(
    texts: &[String],
    walk: &Walk,
    domain: &str,
    include: &str,
) -> Result<Option<(RecordStatus, Hint)>, (String, LookupError)> {
    let [record] = texts else {
        let n = texts.len();
        return Ok(Some((
            RecordStatus::Wrong,
            Hint::new(
                format!("{domain} has {n} SPF records, one is allowed."),
                format!("{domain} hat {n} SPF-Einträge, erlaubt ist einer."),
            ),
        )));
    };
    let terms = terms(record);
    let wrong = |en: String, de: String| Ok(Some((RecordStatus::Wrong, Hint::new(en, de))));
    if let Some(Err(term)) = terms.iter().find(|t| t.is_err()) {
        return wrong(
            format!("\"{term}\" is not valid in an SPF record, so receivers ignore all of it."),
            format!("\"{term}\" ist in einem SPF-Eintrag nicht erlaubt, Empfänger ignorieren ihn daher ganz."),
        );
    }
    if walk.lookups > MAX_LOOKUPS {
        return wrong(
            format!("The SPF record of {domain} needs more than {MAX_LOOKUPS} DNS look-ups, so receivers ignore it."),
            format!(
                "Der SPF-Eintrag von {domain} braucht mehr als {MAX_LOOKUPS} DNS-Abfragen, Empfänger ignorieren ihn daher."
            ),
        );
    }
    if let Some(broken) = &walk.broken {
        return wrong(
            format!(
                "The SPF record of {domain} refers to {broken}, which has no single valid SPF record, so receivers ignore it all."
            ),
            format!(
                "Der SPF-Eintrag von {domain} verweist auf {broken}, das keinen eindeutigen gültigen SPF-Eintrag hat, Empfänger ignorieren daher alles."
            ),
        );
    }
    if let Some(crowded) = &walk.crowded {
        return wrong(
            format!(
                "The SPF record of {domain} refers to the mail hosts of {crowded}, which are more than 10, so receivers ignore it."
            ),
            format!(
                "Der SPF-Eintrag von {domain} verweist auf die Mailserver von {crowded}, das sind mehr als 10, Empfänger ignorieren ihn daher."
            ),
        );
    }
    if walk.voids.len() > MAX_VOIDS {
        let voids = walk.voids.join(", ");
        return wrong(
            format!(
                "The SPF record of {domain} refers to {voids}, which do not exist; receivers ignore a record with more than {MAX_VOIDS} such names."
            ),
            format!(
                "Der SPF-Eintrag von {domain} verweist auf {voids}, die es nicht gibt; Empfänger ignorieren einen Eintrag mit mehr als {MAX_VOIDS} solchen Namen."
            ),
        );
    }
    if let Some(failed) = &walk.failed {
        return Err(failed.clone());
    }
    if !walk.included {
        return wrong(
            format!("Add include:{include} to the SPF record of {domain}."),
            format!("Ergänzen Sie include:{include} im SPF-Eintrag von {domain}."),
        );
    }
    // The first `all` counts; without a sign it is `+all`.
    let end = terms.iter().flatten().find(|t| t.kind == Term::All);
    Ok(end.filter(|t| !t.text.starts_with(['-', '~', '?'])).map(|t| {
        let hint = Hint::new(
            format!(
                "The SPF record of {domain} has {}, which lets anybody send as {domain}.",
                t.text
            ),
            format!(
                "Der SPF-Eintrag von {domain} enthält {}, damit darf jeder als {domain} senden.",
                t.text
            ),
        );
        (RecordStatus::Warning, hint)
    }))
}

fn row(domain: &str, expected: Option<String>) -> RecordReport {
    RecordReport::new("TXT", Purpose::Mail, domain, expected.into_iter().collect())
}

fn ours_fails(include: &str) -> Hint {
    Hint::new(
        format!(
            "This record cannot be checked now, because our own record {include} has an error (not your fault): leave yours as it is."
        ),
        format!(
            "Dieser Eintrag kann gerade nicht geprüft werden, weil unser eigener Eintrag {include} einen Fehler hat (kein Fehler bei Ihnen): Lassen Sie Ihren, wie er ist."
        ),
    )
}

/// The sentence about an include whose servers fail: often another company's.
fn servers_fail(domain: &str, name: &str, error: &LookupError) -> Hint {
    let zone = zone_of(name);
    if zone == zone_of(domain) {
        return record_report::servers_fail(zone, &error.to_string());
    }
    Hint::new(
        format!(
            "The DNS servers of {zone} fail ({error}), to which the SPF record of {domain} refers ({name}): ask the service that you include there, or remove it if you no longer use it."
        ),
        format!(
            "Die DNS-Server von {zone} antworten fehlerhaft ({error}), darauf verweist der SPF-Eintrag von {domain} ({name}): Fragen Sie den eingebundenen Dienst, oder entfernen Sie die Angabe, wenn Sie ihn nicht mehr nutzen."
        ),
    )
}

/// What a name's TXT records hold of SPF.
#[derive(Default)]
struct Published {
    /// The SPF records (RFC 7208 §4.5).
    texts: Vec<String>,
    /// A record that is meant as one. `None`: there is none, or a real one.
    near: Option<NearMiss>,
    /// How long caches keep them, in seconds.
    ttl: Option<u32>,
}

async fn published(look: &Queries<'_>, name: &str) -> Result<Published, LookupError> {
    let answer = look.get(name, Kind::Txt).await?;
    let texts: Vec<String> = answer.texts().filter(|t| is_record(t)).map(printable).collect();
    let near = texts.is_empty().then(|| near_miss::among(answer.texts(), Family::Spf));
    Ok(Published {
        texts,
        near: near.flatten(),
        ttl: answer.ttl(),
    })
}

#[cfg(test)]
#[path = "spf_tests.rs"]
mod tests;
