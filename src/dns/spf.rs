//! SPF at the sending domain (RFC 7208): one record, the platform's include in it, at most ten
//! look-ups in all. Reported only, never a gate.

use super::look::Look;
use super::lookup::{Kind, LookupError, normal};
use super::row::{Hint, Purpose, RecordReport, Word};

/// The look-ups a receiver makes before it gives up (RFC 7208 §4.6.4).
const MAX_LOOKUPS: usize = 10;

/// Checks the SPF record of `domain` for an include of `include`.
pub(super) async fn check(look: &Look<'_>, domain: &str, include: &str) -> RecordReport {
    let include = normal(include);
    let records = match records(look, domain).await {
        Ok(records) => records,
        Err(e) if e.is_absent() => (Vec::new(), e.negative_ttl()),
        Err(e) => return row(domain, suggested(&[], &include)).failed(&e),
    };
    let (texts, ttl) = records;
    let expected = suggested(&texts, &include);
    let [record] = texts.as_slice() else {
        let row = row(domain, expected.clone()).found(&texts, ttl);
        return if texts.is_empty() {
            row.is(
                Word::Missing,
                Hint::new(
                    format!("Create the record {domain} TXT \"{expected}\"."),
                    format!("Legen Sie den Eintrag {domain} TXT \"{expected}\" an."),
                ),
            )
        } else {
            row.is(
                Word::Wrong,
                Hint::new(
                    format!(
                        "{domain} has {} SPF records, one is allowed: replace them by \"{expected}\".",
                        texts.len()
                    ),
                    format!(
                        "{domain} hat {} SPF-Einträge, erlaubt ist einer: Ersetzen Sie sie durch \"{expected}\".",
                        texts.len()
                    ),
                ),
            )
        };
    };
    let walk = walk(look, record, &include).await;
    let row = row(
        domain,
        if walk.included {
            record.clone()
        } else {
            expected.clone()
        },
    )
    .found([record], ttl);
    judge(row, &walk, domain, &include, &expected)
}

fn judge(row: RecordReport, walk: &Walk, domain: &str, include: &str, expected: &str) -> RecordReport {
    if !walk.included && walk.failed.is_none() {
        return row.is(
            Word::Wrong,
            Hint::new(
                format!("Add include:{include} to the SPF record of {domain}: \"{expected}\"."),
                format!("Ergänzen Sie include:{include} im SPF-Eintrag von {domain}: \"{expected}\"."),
            ),
        );
    }
    if walk.lookups > MAX_LOOKUPS {
        return row.is(
            Word::Wrong,
            Hint::new(
                format!("The SPF record of {domain} needs more than {MAX_LOOKUPS} DNS look-ups, so receivers ignore it: remove includes that are no longer used."),
                format!("Der SPF-Eintrag von {domain} braucht mehr als {MAX_LOOKUPS} DNS-Abfragen, Empfänger ignorieren ihn daher: Entfernen Sie nicht mehr benötigte include-Angaben."),
            ),
        );
    }
    if let Some(broken) = &walk.broken {
        return row.is(
            Word::Wrong,
            Hint::new(
                format!("The SPF record of {domain} includes {broken}, which has no single SPF record, so receivers ignore it all: remove include:{broken}."),
                format!("Der SPF-Eintrag von {domain} verweist auf {broken}, das keinen eindeutigen SPF-Eintrag hat, Empfänger ignorieren daher alles: Entfernen Sie include:{broken}."),
            ),
        );
    }
    match &walk.failed {
        Some(error) => row.failed(error),
        None => row,
    }
}

fn row(domain: &str, expected: String) -> RecordReport {
    RecordReport::new("TXT", Purpose::Mail, domain, vec![expected])
}

/// The SPF records among a name's TXT records (RFC 7208 §4.5), and how long caches keep them.
async fn records(look: &Look<'_>, name: &str) -> Result<(Vec<String>, Option<u32>), LookupError> {
    let answer = look.get(name, Kind::Txt).await?;
    let is_spf = |t: &&str| t.split(' ').next().is_some_and(|v| v.eq_ignore_ascii_case("v=spf1"));
    // They come from anywhere and go into sentences.
    let printable = |t: &str| t.chars().filter(|c| !c.is_control()).collect();
    Ok((answer.texts().filter(is_spf).map(printable).collect(), answer.ttl()))
}

/// What following a record with all its includes came to.
#[derive(Default)]
struct Walk {
    lookups: usize,
    included: bool,
    /// An include that has no single record: a permanent error (RFC 7208 §5.2).
    broken: Option<String>,
    failed: Option<LookupError>,
}

async fn walk(look: &Look<'_>, record: &str, include: &str) -> Walk {
    let mut walk = Walk::default();
    let mut waiting = vec![record.to_owned()];
    while let Some(record) = waiting.pop() {
        for (target, ours) in terms(&record, include, &mut walk.lookups) {
            walk.included |= ours;
            // Past the limit receivers stop, and so do we. Macros (§7) depend on the mail at hand.
            if walk.lookups > MAX_LOOKUPS || target.contains('%') {
                continue;
            }
            match records(look, &target).await {
                Ok((texts, _)) if texts.len() == 1 => waiting.extend(texts),
                Ok(_) => walk.broken = Some(target),
                Err(e) if e.is_absent() => walk.broken = Some(target),
                Err(e) => walk.failed = Some(e),
            }
        }
        if walk.lookups > MAX_LOOKUPS {
            break;
        }
    }
    walk
}

/// The names a record sends receivers on to, each with whether it is the include asked for;
/// counts the look-ups (§4.6.4). What follows `all` is never read (§5.1).
fn terms(record: &str, include: &str, lookups: &mut usize) -> Vec<(String, bool)> {
    let mut targets = Vec::new();
    let mut redirect = None;
    for term in record.split(' ').filter(|t| !t.is_empty()).skip(1) {
        let bare = term.trim_start_matches(['+', '-', '~', '?']);
        let passes = !term.starts_with(['-', '~', '?']);
        let lower = bare.to_ascii_lowercase();
        let name = lower.split([':', '=', '/']).next().unwrap_or_default();
        match name {
            "all" => return targets,
            "include" => {
                *lookups += 1;
                let target = normal(lower.get("include:".len()..).unwrap_or_default());
                let ours = passes && target == include;
                targets.push((target, ours));
            }
            "redirect" => redirect = lower.get("redirect=".len()..).map(normal),
            "a" | "mx" | "ptr" | "exists" => *lookups += 1,
            _ => {}
        }
    }
    if let Some(target) = redirect {
        *lookups += 1;
        targets.push((target, false));
    }
    targets
}

/// The record as it should be: what is there, in one, with the include in front.
fn suggested(texts: &[String], include: &str) -> String {
    let ours = format!("include:{include}");
    let mut terms: Vec<&str> = vec![&ours];
    let mut last = "~all";
    for (at, text) in texts.iter().enumerate() {
        for term in text.split(' ').filter(|t| !t.is_empty()).skip(1) {
            let bare = term.trim_start_matches(['+', '-', '~', '?']);
            if bare.eq_ignore_ascii_case("all") {
                last = if at == 0 { term } else { last };
            } else if !terms.contains(&term) && !bare.eq_ignore_ascii_case(&ours) {
                terms.push(term);
            }
        }
    }
    // A redirect stands for the missing `all` (§6.1).
    if terms.iter().any(|t| t.starts_with("redirect=")) {
        return format!("v=spf1 {}", terms.join(" "));
    }
    format!("v=spf1 {} {last}", terms.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::script::Script;
    use super::*;

    const DOMAIN: &str = "customer.example";
    const OURS: &str = "spf.platform.example";

    async fn report(script: &Script) -> RecordReport {
        script.add(OURS, Kind::Txt, "v=spf1 ip4:192.0.2.0/24 -all");
        script.with_look(async |look| check(look, DOMAIN, OURS).await).await
    }

    #[tokio::test]
    async fn records_and_what_to_make_of_them() {
        let ten = "v=spf1 include:spf.platform.example a mx ptr exists:e.example a:1.example a:2.example a:3.example a:4.example mx:5.example -all";
        let eleven = format!("{} a:6.example -all", ten.trim_end_matches(" -all"));
        for (texts, verdict, expected) in [
            (vec![], Word::Missing, "v=spf1 include:spf.platform.example ~all"),
            (
                vec!["other text", "v=spf10 no"],
                Word::Missing,
                "v=spf1 include:spf.platform.example ~all",
            ),
            (
                vec!["v=spf1 include:spf.platform.example -all"],
                Word::Ok,
                "v=spf1 include:spf.platform.example -all",
            ),
            (
                vec!["V=SPF1 mx Include:SPF.platform.example. ?all"],
                Word::Ok,
                "V=SPF1 mx Include:SPF.platform.example. ?all",
            ),
            (
                vec!["v=spf1 mx -all"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example mx -all",
            ),
            (
                vec!["v=spf1 -all include:spf.platform.example"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example -all",
            ),
            (
                vec!["v=spf1 -include:spf.platform.example ~all"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example ~all",
            ),
            (
                vec!["v=spf1 mx -all", "v=spf1 include:spf.platform.example a mx ~all"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example mx a -all",
            ),
            (vec![ten], Word::Ok, ten),
            (vec![eleven.as_str()], Word::Wrong, eleven.as_str()),
            (
                vec!["v=spf1 include:spf.platform.example include:gone.example -all"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example include:gone.example -all",
            ),
        ] {
            let script = Script::new();
            for text in &texts {
                script.add(DOMAIN, Kind::Txt, text);
            }
            let row = report(&script).await;
            assert_eq!(
                (row.verdict, row.expected.as_slice()),
                (verdict, [expected.to_owned()].as_slice()),
                "{texts:?}: {}",
                row.hint.en
            );
            assert_eq!((row.host.as_str(), row.host_short.as_str()), (DOMAIN, "@"));
        }
    }

    #[tokio::test]
    async fn an_include_may_stand_deeper_and_circles_end() {
        let script = Script::new();
        script.add(DOMAIN, Kind::Txt, "v=spf1 redirect=_spf.customer.example");
        script.add("_spf.customer.example", Kind::Txt, "v=spf1 include:a.example -all");
        script.add("a.example", Kind::Txt, "v=spf1 include:spf.platform.example ~all");
        assert_eq!(report(&script).await.verdict, Word::Ok);

        let circle = Script::new();
        circle.add(
            DOMAIN,
            Kind::Txt,
            "v=spf1 include:spf.platform.example include:customer.example -all",
        );
        let row = report(&circle).await;
        assert_eq!(row.verdict, Word::Wrong);
        assert!(row.hint.en.contains("more than 10"), "{}", row.hint.en);
        assert!(circle.asked().len() <= 12);
    }

    #[tokio::test]
    async fn a_failing_zone_is_an_error_not_a_missing_record() {
        let script = Script::new();
        script.fail(DOMAIN, Kind::Txt, LookupError::Timeout);
        let row = report(&script).await;
        assert_eq!(row.verdict, Word::Error);
        assert!(row.hint.de.contains("customer.example"));
        let nested = Script::new();
        nested.add(
            DOMAIN,
            Kind::Txt,
            "v=spf1 include:spf.platform.example include:slow.example -all",
        );
        nested.fail("slow.example", Kind::Txt, LookupError::ServFail { text: None });
        assert_eq!(report(&nested).await.verdict, Word::Error);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(v=spf1)?( [-+~?]?(include|redirect|a|mx|all|exists|\\PC{0,6})[:=/]?\\PC{0,12}){0,8}") {
            let mut lookups = 0;
            let targets = terms(&text, OURS, &mut lookups);
            proptest::prop_assert!(targets.len() <= lookups);
            // What is suggested is one valid record that has the include before `all`.
            let record = suggested(&[text], OURS);
            proptest::prop_assert!(terms(&record, OURS, &mut 0).iter().any(|(_, ours)| *ours), "{}", record);
        }
    }
}
