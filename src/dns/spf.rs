//! SPF at the sending domain (RFC 7208): one record, the platform's include in it, at most ten
//! look-ups in all. Reported only, never a gate.

use super::look::Look;
use super::lookup::{Kind, LookupError, normal};
use super::near_miss::{self, Family, NearMiss};
use super::row::{Hint, Purpose, RecordReport, Word};
use super::spf_term::{Kind as Term, terms};

/// The look-ups a receiver makes before it gives up (RFC 7208 §4.6.4).
const MAX_LOOKUPS: usize = 10;

/// Checks the SPF record of `domain` for an include of `include`.
pub(super) async fn check(look: &Look<'_>, domain: &str, include: &str) -> RecordReport {
    let include = normal(include);
    let Published { texts, near, ttl } = match published(look, domain).await {
        Ok(published) => published,
        Err(e) if e.is_absent() => Published {
            ttl: e.negative_ttl(),
            ..Published::default()
        },
        Err(e) => return row(domain, suggested(&[], &include)).failed(&e),
    };
    let expected = suggested(&texts, &include);
    let [record] = texts.as_slice() else {
        let row = row(domain, expected.clone()).found(&texts, ttl);
        return if texts.is_empty() {
            let create = Hint::new(
                format!("Create the record {domain} TXT \"{expected}\"."),
                format!("Legen Sie den Eintrag {domain} TXT \"{expected}\" an."),
            );
            row.is(Word::Missing, create).near(near)
        } else {
            row.is(
                Word::Wrong,
                Hint::new(
                    format!(
                        "{domain} has {} SPF records, one is allowed: replace them with \"{expected}\".",
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
    if let Some(Err(term)) = terms(record).into_iter().find(Result::is_err) {
        return row(domain, expected.clone()).found([record], ttl).is(
            Word::Wrong,
            Hint::new(
                format!("\"{term}\" is not valid in an SPF record, so receivers ignore all of it: replace the record with \"{expected}\"."),
                format!("\"{term}\" ist in einem SPF-Eintrag nicht erlaubt, Empfänger ignorieren ihn daher ganz: Ersetzen Sie den Eintrag durch \"{expected}\"."),
            ),
        );
    }
    let walk = walk(look, record, &include).await;
    let shown = if walk.included { record } else { &expected };
    let row = row(domain, shown.clone()).found([record], ttl);
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
                format!("The SPF record of {domain} refers to {broken}, which has no single valid SPF record, so receivers ignore it all: remove {broken}."),
                format!("Der SPF-Eintrag von {domain} verweist auf {broken}, das keinen eindeutigen gültigen SPF-Eintrag hat, Empfänger ignorieren daher alles: Entfernen Sie {broken}."),
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

async fn published(look: &Look<'_>, name: &str) -> Result<Published, LookupError> {
    let answer = look.get(name, Kind::Txt).await?;
    let is_spf = |t: &&str| t.split(' ').next().is_some_and(|v| v.eq_ignore_ascii_case("v=spf1"));
    // They come from anywhere and go into sentences.
    let printable = |t: &str| t.chars().filter(|c| !c.is_control()).collect();
    let texts: Vec<String> = answer.texts().filter(is_spf).map(printable).collect();
    let near = texts.is_empty().then(|| near_miss::among(answer.texts(), Family::Spf));
    Ok(Published {
        texts,
        near: near.flatten(),
        ttl: answer.ttl(),
    })
}

/// What following a record with all its includes came to.
#[derive(Default)]
struct Walk {
    lookups: usize,
    included: bool,
    /// An include that has no single valid record: a permanent error (RFC 7208 §5.2).
    broken: Option<String>,
    failed: Option<LookupError>,
}

async fn walk(look: &Look<'_>, record: &str, include: &str) -> Walk {
    let mut walk = Walk::default();
    let mut waiting = vec![record.to_owned()];
    while let Some(record) = waiting.pop() {
        for (target, ours) in targets(&record, include, &mut walk.lookups) {
            walk.included |= ours;
            // Past the limit receivers stop, and so do we. Macros (§7) depend on the mail at hand.
            if walk.lookups > MAX_LOOKUPS || target.contains('%') {
                continue;
            }
            match published(look, &target).await.map(|p| p.texts) {
                Ok(texts) if matches!(texts.as_slice(), [t] if terms(t).iter().all(Result::is_ok)) => {
                    waiting.extend(texts);
                }
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
/// counts the look-ups (§4.6.4). What follows `all` is never read (§5.1), nor a redirect beside
/// one, wherever it stands (§6.1).
fn targets(record: &str, include: &str, lookups: &mut usize) -> Vec<(String, bool)> {
    let mut targets = Vec::new();
    let mut redirect = None;
    for term in terms(record).into_iter().flatten() {
        match term.kind {
            Term::All => return targets,
            Term::Include { target, passes } => {
                *lookups += 1;
                let target = normal(target);
                let ours = passes && target == include;
                targets.push((target, ours));
            }
            Term::Redirect { target } => redirect = Some(normal(target)),
            Term::Lookup => *lookups += 1,
            Term::Address | Term::Modifier => {}
        }
    }
    if let Some(target) = redirect {
        *lookups += 1;
        targets.push((target, false));
    }
    targets
}

/// The record as it should be: what has an effect today, in one, with the include in front.
fn suggested(texts: &[String], include: &str) -> String {
    let ours = format!("include:{include}");
    let mut kept: Vec<String> = vec![ours.clone()];
    let mut keep = |term: String| {
        if !kept.contains(&term)
            && !term
                .trim_start_matches(['+', '-', '~', '?'])
                .eq_ignore_ascii_case(&ours)
        {
            kept.push(term);
        }
    };
    let (mut all, mut redirect, mut modifiers) = (None, None, Vec::new());
    for text in texts {
        let (mut ended, mut sends_on) = (false, None);
        for term in terms(text).into_iter().flatten() {
            match term.kind {
                Term::All if !ended => {
                    ended = true;
                    all.get_or_insert(term.text);
                }
                Term::Redirect { target } => sends_on = Some(target),
                Term::Modifier => modifiers.push(term.text),
                Term::Include { .. } | Term::Lookup | Term::Address if !ended => keep(term.text.to_owned()),
                // What follows `all` has never had an effect, and is not given one.
                _ => {}
            }
        }
        // Nor has a redirect beside `all` (§6.1).
        if let Some(target) = sends_on.filter(|_| !ended) {
            match redirect {
                None => redirect = Some(target),
                Some(first) if first == target => {}
                Some(_) => keep(format!("include:{target}")),
            }
        }
    }
    // A redirect stands for a missing `all`; where another record has one, it becomes an include.
    let last = match (all, redirect) {
        (None, Some(target)) => format!("redirect={target}"),
        (Some(all), Some(target)) => {
            keep(format!("include:{target}"));
            all.to_owned()
        }
        (all, None) => all.unwrap_or("~all").to_owned(),
    };
    let named = |m: &str| m.split('=').next().unwrap_or_default().to_ascii_lowercase();
    let mut names = Vec::new();
    modifiers.retain(|m| {
        !names.contains(&named(m)) && {
            names.push(named(m));
            true
        }
    });
    let mut parts = vec!["v=spf1".to_owned()];
    parts.extend(kept);
    parts.push(last);
    parts.extend(modifiers.into_iter().map(str::to_owned));
    parts.join(" ")
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
                vec!["v=spf1 REDIRECT=_spf.other.example"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example redirect=_spf.other.example",
            ),
            (
                vec!["v=spf1 redirect=_spf.other.example ~all exp=why.customer.example"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example ~all exp=why.customer.example",
            ),
            (
                vec!["v=spf1 mx -all a:late.example"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example mx -all",
            ),
            (
                vec!["v=spf1 include:spf.platform.example ip4:192.0.2 mx -all"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example mx -all",
            ),
            (
                vec!["v=spf1 mx -all", "v=spf1 redirect=_spf.other.example"],
                Word::Wrong,
                "v=spf1 include:spf.platform.example mx include:_spf.other.example -all",
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
            let found = targets(&text, OURS, &mut lookups);
            proptest::prop_assert!(found.len() <= lookups);
            // What is suggested is one valid record that has the include before `all`.
            let record = suggested(&[text], OURS);
            proptest::prop_assert!(targets(&record, OURS, &mut 0).iter().any(|(_, ours)| *ours), "{}", record);
            proptest::prop_assert!(terms(&record).iter().all(Result::is_ok), "{}", record);
            // And once published it is not to be changed again.
            proptest::prop_assert_eq!(suggested(std::slice::from_ref(&record), OURS), record);
        }
    }

    #[tokio::test]
    async fn a_suggestion_is_right_once_it_is_published() {
        for texts in [
            vec!["v=spf1 mx -all"],
            vec!["v=spf1 Redirect=_spf.other.example"],
            vec!["v=spf1 redirect=_spf.other.example ~all"],
            vec!["v=spf1 ip4:300.1.1.1 ?all nonsense"],
            vec!["v=spf1 a -all", "v=spf1 redirect=_spf.other.example"],
            vec!["\"v=spf1 mx -all\""],
        ] {
            let before = Script::new();
            texts.iter().for_each(|t| before.add(DOMAIN, Kind::Txt, t));
            let row = report(&before).await;
            assert_ne!(row.verdict, Word::Ok);
            let after = Script::new();
            after.add("_spf.other.example", Kind::Txt, "v=spf1 ip4:192.0.2.7 -all");
            after.add(DOMAIN, Kind::Txt, &row.expected[0]);
            let again = report(&after).await;
            assert_eq!(
                again.verdict,
                Word::Ok,
                "{texts:?} -> {}: {}",
                row.expected[0],
                again.hint.en
            );
        }
    }

    #[tokio::test]
    async fn near_misses_are_shown() {
        for text in ["\"v=spf1 mx -all\"", " v=spf1 mx", "v=spf1; mx", "spf1 mx -all"] {
            let script = Script::new();
            script.add(DOMAIN, Kind::Txt, text);
            let row = report(&script).await;
            assert_eq!((row.verdict, row.found), (Word::Missing, vec![text.to_owned()]));
            assert!(row.hint.en.starts_with("Create the record"), "{}", row.hint.en);
        }
    }
}
