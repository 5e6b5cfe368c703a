//! DMARC at the sending domain (RFC 7489): one record, with at least the required policy. Reported
//! only, never a gate.

use linkseal_domain::Text;

use crate::lookup::{Kind, LookupError, zone_of};
use crate::mail::published::published;
use crate::near_miss::{self, Family, NearMiss};
use crate::query::Queries;
use crate::record_report::{Purpose, RecordReport, RecordStatus};

/// The least strict policy that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DmarcWanted {
    /// Any valid record.
    Present,
    /// `p=none` or stricter: the same as [`Self::Present`].
    None,
    /// `p=quarantine` or `p=reject`.
    Quarantine,
    /// `p=reject`.
    Reject,
}

impl DmarcWanted {
    fn policy(self) -> &'static str {
        match self {
            Self::Present | Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }
}

/// Checks the policy that receivers apply to mail from `domain`.
pub(crate) async fn check(queries: &Queries<'_>, domain: &str, wanted: DmarcWanted) -> RecordReport {
    let host = format!("_dmarc.{domain}");
    let report = RecordReport::new(
        "TXT",
        Purpose::Mail,
        &host,
        vec![format!("v=DMARC1; p={}", wanted.policy())],
    );
    let (own, near) = match published(queries, &host, Family::Dmarc, is_record).await {
        Ok(p) if !p.texts.is_empty() => return judge(report.found(&p.texts, p.ttl), &p.texts, wanted, false),
        Ok(p) => (LookupError::NoData { ttl: p.ttl }, p.near),
        Err(e) if e.is_absent() => (e, None),
        Err(e) => return report.failed(&e),
    };
    // A domain without a record inherits that of the organizational domain (RFC 7489 §6.6.3).
    let organization = zone_of(domain);
    if organization != domain {
        let inherited = format!("_dmarc.{organization}");
        match published(queries, &inherited, Family::Dmarc, is_record).await {
            // Receivers use none of several records (§6.6.3); they have to be fixed where they are.
            Ok(p) if p.texts.len() > 1 => {
                let report = RecordReport::new("TXT", Purpose::Mail, &inherited, report.expected);
                return judge(report.found(&p.texts, p.ttl), &p.texts, wanted, true);
            }
            Ok(p) if !p.texts.is_empty() => return judge(report.found(&p.texts, p.ttl), &p.texts, wanted, true),
            Err(e) if !e.is_absent() => return report.failed(&e),
            Ok(_) | Err(_) => {}
        }
    }
    let near = match near {
        Some(near) => Some(near),
        None => misplaced(queries, domain, &report.host_short).await,
    };
    report.without(queries, Kind::Txt, &own).await.near(near)
}

/// A record at the domain itself, without the underscore or at a misspelt name.
async fn misplaced(queries: &Queries<'_>, domain: &str, host_short: &str) -> Option<NearMiss> {
    for at in [
        domain.to_owned(),
        format!("dmarc.{domain}"),
        format!("_dmark.{domain}"),
        format!("_dmarc.www.{domain}"),
    ] {
        let Ok(answer) = queries.get(&at, Kind::Txt).await else {
            continue;
        };
        if let Some(found) = answer.texts().find(|t| Family::Dmarc.is_meant(t)) {
            return Some(near_miss::elsewhere(found, &at, host_short));
        }
    }
    None
}

/// Whether a text is a record: the version comes first, in exactly this case (RFC 7489 §6.3).
fn is_record(text: &str) -> bool {
    let version = text.split(';').next().unwrap_or_default();
    text.starts_with('v') && version.split('=').map(str::trim).eq(["v", "DMARC1"])
}

fn judge(report: RecordReport, texts: &[String], wanted: DmarcWanted, inherited: bool) -> RecordReport {
    let (host, asked) = (report.host.clone(), wanted.policy());
    let [text] = texts else {
        // Keeping the strictest one weakens no policy.
        let strictest = texts.iter().filter(|t| policy(t, inherited) >= Some(wanted));
        let keep = strictest.max_by_key(|t| policy(t, inherited)).cloned();
        let report = RecordReport {
            expected: keep.map_or(report.expected, |keep| vec![keep]),
            ..report
        };
        return report.is(
            RecordStatus::Wrong,
            Text::new(
                format!(
                    "There are {} DMARC records, but only one is allowed: keep one at {host}.",
                    texts.len()
                ),
                format!(
                    "Es gibt {} DMARC-Einträge, erlaubt ist nur einer: Behalten Sie einen bei {host}.",
                    texts.len()
                ),
            ),
        );
    };
    match policy(text, inherited) {
        None => report.is(
            RecordStatus::Wrong,
            Text::new(
                format!("The DMARC record has no valid policy: set p={asked} at {host}."),
                format!("Der DMARC-Eintrag hat keine gültige Richtlinie: Setzen Sie p={asked} bei {host}."),
            ),
        ),
        Some(policy) if policy < wanted && policy.policy() != asked => {
            let found = policy.policy();
            report.is(
                RecordStatus::Wrong,
                Text::new(
                    format!("The DMARC policy is p={found}, but at least p={asked} is required: change it at {host}."),
                    format!("Die DMARC-Richtlinie ist p={found}, erforderlich ist mindestens p={asked}: Ändern Sie sie bei {host}."),
                ),
            )
        }
        Some(_) => report,
    }
}

/// The policy of a record; if a subdomain inherits it, `sp` takes precedence over `p`. `None`: no
/// valid policy, and no `rua`, with which receivers would apply `none` (§6.6.3).
fn policy(text: &str, inherited: bool) -> Option<DmarcWanted> {
    let tag = |name: &str| {
        text.split(';')
            .filter_map(|t| t.split_once('='))
            .find(|(n, _)| n.trim().eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    };
    let valid = |value: &str| {
        [DmarcWanted::None, DmarcWanted::Quarantine, DmarcWanted::Reject]
            .into_iter()
            .find(|p| p.policy().eq_ignore_ascii_case(value))
    };
    let own = tag("p").and_then(valid);
    let inherited = inherited.then(|| tag("sp").and_then(valid)).flatten();
    inherited
        .or(own)
        .or_else(|| tag("rua").filter(|r| !r.is_empty()).map(|_| DmarcWanted::None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    async fn checked(script: &Script, domain: &str, wanted: DmarcWanted) -> RecordReport {
        script
            .with_queries(async |queries| check(queries, domain, wanted).await)
            .await
    }

    #[tokio::test]
    async fn policies_are_compared() {
        use DmarcWanted::{None, Present, Quarantine, Reject};
        for (texts, wanted, verdict) in [
            (vec!["v=DMARC1; p=none"], Present, RecordStatus::Ok),
            (vec!["v=DMARC1; p=none"], None, RecordStatus::Ok),
            (vec!["v=DMARC1; p=none"], Quarantine, RecordStatus::Wrong),
            (
                vec!["v=DMARC1;p=Quarantine;rua=mailto:a@customer.example"],
                Quarantine,
                RecordStatus::Ok,
            ),
            (vec!["v=DMARC1; p=quarantine"], Reject, RecordStatus::Wrong),
            (vec!["v = DMARC1 ; p = reject"], Reject, RecordStatus::Ok),
            (vec!["v=DMARC1; p=reject"], Present, RecordStatus::Ok),
            (
                vec!["v=DMARC1; rua=mailto:a@customer.example"],
                Present,
                RecordStatus::Ok,
            ),
            (vec!["v=DMARC1; p=nonsense"], Present, RecordStatus::Wrong),
            (vec!["v=DMARC1"], Present, RecordStatus::Wrong),
            (vec!["v=dmarc1; p=none"], Present, RecordStatus::Missing),
            (vec!["p=none; v=DMARC1"], Present, RecordStatus::Missing),
            (
                vec!["v=DMARC1; p=none", "v=DMARC1; p=reject"],
                Present,
                RecordStatus::Wrong,
            ),
            (vec!["v=DMARC1; p=none", "unrelated"], Present, RecordStatus::Ok),
            (vec![], Present, RecordStatus::Missing),
        ] {
            let script = Script::new();
            for text in &texts {
                script.add("_dmarc.customer.example", Kind::Txt, text);
            }
            let report = checked(&script, "customer.example", wanted).await;
            assert_eq!(report.verdict, verdict, "{texts:?} {wanted:?}: {}", report.hint.en);
        }
    }

    #[tokio::test]
    async fn a_subdomain_inherits_the_policy() {
        let script = Script::new();
        script.add("_dmarc.customer.example", Kind::Txt, "v=DMARC1; p=reject; sp=none");
        assert_eq!(
            checked(&script, "mail.customer.example", DmarcWanted::Present)
                .await
                .verdict,
            RecordStatus::Ok
        );
        let report = checked(&script, "mail.customer.example", DmarcWanted::Quarantine).await;
        assert_eq!(
            (report.verdict, report.host.as_str()),
            (RecordStatus::Wrong, "_dmarc.mail.customer.example")
        );
        script.add("_dmarc.mail.customer.example", Kind::Txt, "v=DMARC1; p=reject");
        assert_eq!(
            checked(&script, "mail.customer.example", DmarcWanted::Reject)
                .await
                .verdict,
            RecordStatus::Ok
        );
    }

    #[tokio::test]
    async fn several_records_of_the_organizational_domain_are_reported_there() {
        let script = Script::new();
        script.add("_dmarc.customer.example", Kind::Txt, "v=DMARC1; p=none");
        script.add(
            "_dmarc.customer.example",
            Kind::Txt,
            "v=DMARC1; p=reject; rua=mailto:a@customer.example",
        );
        let report = checked(&script, "mail.customer.example", DmarcWanted::Present).await;
        assert_eq!(
            (report.verdict, report.host.as_str()),
            (RecordStatus::Wrong, "_dmarc.customer.example")
        );
        assert_eq!(report.expected, ["v=DMARC1; p=reject; rua=mailto:a@customer.example"]);
        assert!(
            report.hint.en.contains("keep one at _dmarc.customer.example"),
            "{}",
            report.hint.en
        );
    }

    #[tokio::test]
    async fn a_failing_organizational_domain_is_an_error_and_not_a_missing_record() {
        let script = Script::new();
        script.fail(
            "_dmarc.customer.example",
            Kind::Txt,
            LookupError::ServFail { text: None },
        );
        let report = checked(&script, "mail.customer.example", DmarcWanted::Present).await;
        assert_eq!(report.verdict, RecordStatus::Error);
        assert!(
            report.hint.en.contains("customer.example fail (SERVFAIL)"),
            "{}",
            report.hint.en
        );
    }

    #[tokio::test]
    async fn near_misses_are_shown() {
        for (at, text, word) in [
            ("_dmarc.customer.example", "\"v=DMARC1; p=none\"", "quotation marks"),
            ("_dmarc.customer.example", "v=DMARC1\\; p=none", "backslash"),
            ("_dmarc.customer.example", "v=DMARC1 p=none", "semicolon"),
            ("_dmarc.customer.example", "V=DMARC1; p=none", "upper and lower case"),
            ("_dmarc.customer.example", " v=DMARC1; p=none", "begins with a space"),
            ("customer.example", "v=DMARC1; p=none", "the host must be _dmarc"),
            ("_dmark.customer.example", "v=DMARC1; p=none", "the host must be _dmarc"),
            ("dmarc.customer.example", "v=DMARC1; p=none", "the host must be _dmarc"),
        ] {
            let script = Script::new();
            script.add(at, Kind::Txt, text);
            let report = checked(&script, "customer.example", DmarcWanted::Present).await;
            assert_eq!(
                (report.verdict, report.found),
                (RecordStatus::Missing, vec![text.to_owned()]),
                "{text}"
            );
            assert!(report.hint.en.contains(word), "{text}: {}", report.hint.en);
        }
    }

    #[tokio::test]
    async fn failures_are_errors() {
        let script = Script::new();
        script.fail("_dmarc.customer.example", Kind::Txt, LookupError::Timeout);
        assert_eq!(
            checked(&script, "customer.example", DmarcWanted::Present).await.verdict,
            RecordStatus::Error
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(v=DMARC1)?(;\\PC{0,8}=?\\PC{0,8}){0,6}", inherited: bool) {
            if let Some(found) = policy(&text, inherited) {
                proptest::prop_assert!(found > DmarcWanted::Present);
            }
        }
    }
}
