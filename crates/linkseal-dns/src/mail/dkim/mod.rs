//! DKIM keys at the sending domain (RFC 6376 §3.6): an alias to the platform's key, or the same
//! key as text. Reported only, never a gate.

mod key;

use linkseal_domain::Text;

use self::key::Key;
use crate::lookup::{Answer, Kind, normal, plain};
use crate::near_miss::{self, NearMiss};
use crate::query::Queries;
use crate::record_report::{Purpose, RecordReport, RecordStatus};

/// A DKIM key that customers have to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    /// The selector: the label before `_domainkey`.
    pub selector: String,
    /// The name whose TXT record is the key; customers publish a CNAME to it.
    pub cname: String,
}

/// Checks one key of `domain`.
pub(crate) async fn check(queries: &Queries<'_>, domain: &str, wanted: &Dkim) -> RecordReport {
    let selector = normal(&wanted.selector);
    let host = format!("{selector}._domainkey.{domain}");
    let target = normal(&wanted.cname);
    let report = RecordReport::new("CNAME", Purpose::Mail, &host, vec![target.clone()]);
    match queries.get(&host, Kind::Cname).await {
        Ok(answer) => {
            let found = answer.names().next().unwrap_or_default().to_owned();
            let report = report.found([&found], answer.ttl());
            if found == target || has_our_key(queries, &host, &target).await {
                return report;
            }
            report.points_elsewhere(&plain(&found), &target)
        }
        Err(e) if e.is_absent() => match queries.get(&host, Kind::Txt).await {
            // Some providers publish the target's text instead of the CNAME; some people copy it.
            Ok(text) if text.texts().any(key::is_meant) => {
                let ours = our_key(queries, &target).await;
                judge(report.found(text.texts(), text.ttl()), &text, ours, &target)
            }
            Ok(_) => {
                let as_text = near_miss::target_as_text(queries, &host, &target).await;
                report.without(queries, Kind::Cname, &e).await.near(as_text)
            }
            Err(_) => {
                let misplaced = misplaced(queries, &selector, domain, &report.host_short).await;
                report.without(queries, Kind::Cname, &e).await.near(misplaced)
            }
        },
        Err(e) => report.failed(&e),
    }
}

/// Judges keys published as text: one record, readable, and ours.
fn judge(report: RecordReport, text: &Answer, ours: Option<Key>, target: &str) -> RecordReport {
    let host = report.host.clone();
    let keys: Vec<&str> = text.texts().filter(|t| key::is_meant(t)).collect();
    let [key] = keys.as_slice() else {
        // With several records the result is undefined (RFC 6376 §3.6.2.2), and servers rotate their order.
        let keep = keys.iter().find(|k| ours.is_some() && key::read(k).ok() == ours);
        let keep = keep.map_or_else(|| format!("CNAME {target}"), |k| format!("\"{k}\""));
        let n = keys.len();
        return report.is(
            RecordStatus::Wrong,
            Text::new(
                format!("{host} has {n} DKIM records, but only one is allowed: keep only {keep}."),
                format!("{host} hat {n} DKIM-Einträge, erlaubt ist nur einer: Behalten Sie nur {keep}."),
            ),
        );
    };
    let replace = || {
        Text::new(
            format!("Replace it with CNAME {target}."),
            format!("Ersetzen Sie ihn durch CNAME {target}."),
        )
    };
    match (key::read(key), ours) {
        (Err(defect), _) => report.is(RecordStatus::Wrong, defect).also(Some(replace())),
        (Ok(theirs), Some(ours)) if theirs == ours => report,
        (Ok(_), Some(_)) => report.is(
            RecordStatus::Wrong,
            Text::new(
                format!("The TXT record at {host} contains a different key: replace it with CNAME {target}."),
                format!("Der TXT-Eintrag bei {host} enthält einen anderen Schlüssel: Ersetzen Sie ihn durch CNAME {target}."),
            ),
        ),
        (Ok(_), None) => report.is(
            RecordStatus::NotChecked,
            Text::new(
                format!("The key in the TXT record at {host} cannot be compared at the moment; CNAME {target} is expected."),
                format!("Der Schlüssel im TXT-Eintrag bei {host} lässt sich derzeit nicht vergleichen; erwartet wird CNAME {target}."),
            ),
        ),
    }
}

/// The platform's own key. `None`: it cannot be read.
async fn our_key(queries: &Queries<'_>, target: &str) -> Option<Key> {
    let ours = queries.get(target, Kind::Txt).await.ok()?;
    ours.texts().find_map(|t| key::read(t).ok())
}

/// Whether the name, through its alias, has our key and no other.
async fn has_our_key(queries: &Queries<'_>, host: &str, target: &str) -> bool {
    let (Some(ours), Ok(theirs)) = (our_key(queries, target).await, queries.get(host, Kind::Txt).await) else {
        return false;
    };
    let mut keys = theirs.texts().filter(|t| key::is_meant(t));
    keys.next().and_then(|k| key::read(k).ok()) == Some(ours) && keys.next().is_none()
}

/// A record that was published without `_domainkey`, or without its underscore.
async fn misplaced(queries: &Queries<'_>, selector: &str, domain: &str, host_short: &str) -> Option<NearMiss> {
    for at in [
        format!("{selector}.{domain}"),
        format!("{selector}.domainkey.{domain}"),
        format!("{selector}_domainkey.{domain}"),
    ] {
        for kind in [Kind::Cname, Kind::Txt] {
            let Ok(answer) = queries.get(&at, kind).await else {
                continue;
            };
            let mut found = answer.records.iter().map(|r| r.data.to_string());
            if let Some(found) = found.find(|f| kind == Kind::Cname || key::is_meant(f)) {
                return Some(near_miss::elsewhere(&found, &at, host_short));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::LookupError;
    use crate::testing::{NEGATIVE_TTL, Script};

    const HOST: &str = "ps1._domainkey.customer.example";
    const TARGET: &str = "ps1.dkim.platform.example";

    fn script() -> Script {
        let script = Script::new();
        script.add(TARGET, Kind::Txt, "v=DKIM1; k=rsa; p=QUJD REVG");
        script
    }

    async fn checked(script: &Script) -> RecordReport {
        let wanted = Dkim {
            selector: "ps1".into(),
            cname: "PS1.dkim.platform.example.".into(),
        };
        script
            .with_queries(async |queries| check(queries, "customer.example", &wanted).await)
            .await
    }

    #[tokio::test]
    async fn an_alias_or_the_same_key_is_right() {
        let alias = script();
        alias.add(HOST, Kind::Cname, TARGET);
        let report = checked(&alias).await;
        assert_eq!(
            (report.verdict, report.host_short.as_str()),
            (RecordStatus::Ok, "ps1._domainkey")
        );
        let text = script();
        text.add(HOST, Kind::Txt, "v=DKIM1;p=QUJDREVG");
        assert_eq!(checked(&text).await.verdict, RecordStatus::Ok);
        let through = script();
        through.add(HOST, Kind::Cname, "keys.customer.example");
        through.add(HOST, Kind::Txt, "v=DKIM1;p=QUJDREVG");
        assert_eq!(checked(&through).await.verdict, RecordStatus::Ok);
    }

    #[tokio::test]
    async fn any_other_record_gets_a_hint_what_to_change() {
        let missing = checked(&script()).await;
        assert_eq!(
            (missing.verdict, missing.ttl),
            (RecordStatus::Missing, Some(NEGATIVE_TTL))
        );
        assert_eq!(
            missing.hint.en,
            "Create the DNS record ps1._domainkey.customer.example CNAME ps1.dkim.platform.example."
        );

        let twice = script();
        twice.add("ps1._domainkey.customer.example.customer.example", Kind::Cname, TARGET);
        let report = checked(&twice).await;
        assert!(
            report.hint.en.contains("enter only ps1._domainkey as the host"),
            "{}",
            report.hint.en
        );

        let no_dot = script();
        no_dot.add(HOST, Kind::Cname, "ps1.dkim.platform.example.customer.example");
        let report = checked(&no_dot).await;
        assert_eq!(report.verdict, RecordStatus::Wrong);
        assert!(report.hint.de.contains("Punkt am Ende"), "{}", report.hint.de);

        let other = script();
        other.add(HOST, Kind::Txt, "v=DKIM1; p=T1RIRVI=");
        assert_eq!(checked(&other).await.verdict, RecordStatus::Wrong);

        let revoked = script();
        revoked.add(HOST, Kind::Txt, "v=DKIM1; p=");
        assert_eq!(checked(&revoked).await.verdict, RecordStatus::Wrong);

        let failing = script();
        failing.fail(HOST, Kind::Cname, LookupError::Refused { text: None });
        assert_eq!(checked(&failing).await.verdict, RecordStatus::Error);
    }

    #[tokio::test]
    async fn a_key_is_not_judged_while_ours_cannot_be_read() {
        let ours_fails = Script::new();
        ours_fails.fail(TARGET, Kind::Txt, LookupError::Timeout);
        ours_fails.add(HOST, Kind::Txt, "v=DKIM1; p=QUJDREVG");
        assert_eq!(checked(&ours_fails).await.verdict, RecordStatus::NotChecked);
    }

    #[tokio::test]
    async fn one_key_record_is_allowed_and_the_order_of_several_does_not_matter() {
        let old = "v=DKIM1; p=T1RIRVI=";
        let ours = "v=DKIM1; k=rsa; p=QUJDREVG";
        let mut hints = Vec::new();
        for texts in [[old, ours], [ours, old]] {
            let script = script();
            texts.iter().for_each(|t| script.add(HOST, Kind::Txt, t));
            let report = checked(&script).await;
            assert_eq!(report.verdict, RecordStatus::Wrong);
            hints.push(report.hint.en);
        }
        assert_eq!(hints[0], hints[1]);
        assert!(
            hints[0].contains("2 DKIM records") && hints[0].contains(ours),
            "{}",
            hints[0]
        );
        let beside = script();
        beside.add(HOST, Kind::Txt, "an unrelated note");
        beside.add(HOST, Kind::Txt, ours);
        assert_eq!(checked(&beside).await.verdict, RecordStatus::Ok);
        let through = script();
        through.add(HOST, Kind::Cname, "keys.customer.example");
        through.add(HOST, Kind::Txt, old);
        through.add(HOST, Kind::Txt, ours);
        assert_eq!(checked(&through).await.verdict, RecordStatus::Wrong);
    }

    #[tokio::test]
    async fn records_that_verifiers_refuse_are_wrong_with_the_reason() {
        for (text, word) in [
            ("v=DKIM1\\; k=rsa\\; p=QUJDREVG", "backslash"),
            ("\"v=DKIM1; p=QUJDREVG\"", "quotation marks"),
            ("v=DKIM1; k=ed25519; p=QUJDREVG", "a different key"),
            ("v=DKIM1; h=sha1; p=QUJDREVG", "SHA-256"),
        ] {
            let script = script();
            script.add(HOST, Kind::Txt, text);
            let report = checked(&script).await;
            assert_eq!(
                (report.verdict, report.found.as_slice()),
                (RecordStatus::Wrong, [text.to_owned()].as_slice())
            );
            assert!(report.hint.en.contains(word), "{text}: {}", report.hint.en);
        }
    }

    #[tokio::test]
    async fn near_misses_are_shown() {
        let as_text = script();
        as_text.add(HOST, Kind::Txt, TARGET);
        let no_domainkey = script();
        no_domainkey.add("ps1.customer.example", Kind::Cname, TARGET);
        let no_underscore = script();
        no_underscore.add("ps1.domainkey.customer.example", Kind::Txt, "v=DKIM1; p=QUJDREVG");
        for (script, found, word) in [
            (as_text, TARGET, "choose the type CNAME"),
            (
                no_domainkey,
                TARGET,
                "at ps1.customer.example, but the host must be ps1._domainkey",
            ),
            (no_underscore, "v=DKIM1; p=QUJDREVG", "the host must be ps1._domainkey"),
        ] {
            let report = checked(&script).await;
            assert_eq!(
                (report.verdict, report.found),
                (RecordStatus::Missing, vec![found.to_owned()])
            );
            assert!(report.hint.en.contains(word), "{}", report.hint.en);
        }
    }
}
