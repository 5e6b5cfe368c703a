//! Whether CAA records allow our CA to issue for a name (RFC 8659; accounts and methods: RFC 8657).
//!
//! The CA decides by the same rules; checking before an order saves a failed authorization.

use futures_util::StreamExt;
use futures_util::stream;

mod value;

pub use self::value::{CaIdentity, Flaw};
use self::value::{Grant, flaw, grant};
use crate::lookup::{Answer, Data, Kind, LookupError, is_name, zone_of};
use crate::query::Queries;

/// Tags that CAs know, so that their critical flag does not matter. A CA must refuse if any other
/// tag is critical (RFC 8659 §4.1).
const KNOWN_TAGS: [&str; 4] = ["issue", "issuewild", "iodef", "issuemail"];
/// Levels that are asked for at the same time; names rarely have more.
const AT_ONCE: usize = 4;
/// Levels that are checked, counted from the top-level domain: no domain of a customer is deeper.
const MAX_LEVELS: usize = 16;

/// What CAA records allow for a name and the CAs in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caa {
    /// The identities of one of the CAs are not known, so it may be allowed to issue.
    NotJudged,
    /// One of the CAs may issue. `found` is empty when there are no CAA records at all.
    Allows {
        /// The records that decide.
        found: Vec<String>,
        /// Whether some CAs refuse what the RFC allows here (different case, or a hyphen in a tag).
        doubtful: bool,
    },
    /// None of the CAs may issue.
    Forbids {
        /// Where the records are: the name itself, a parent, or an alias's target.
        host: String,
        /// The records that decide.
        found: Vec<String>,
        /// Those of them with an unknown critical tag: CAs refuse until these are removed, whatever
        /// the other records say.
        critical: Vec<String>,
        /// Whether one of the CAs would be allowed without these.
        granted: bool,
        /// A record that seems meant to allow one of the CAs, and why it does not.
        near: Option<(String, Flaw)>,
        /// Their TTL, in seconds.
        ttl: Option<u32>,
    },
    /// The records cannot be read; a CA refuses then (RFC 8659 §6.1).
    Error {
        /// The zone whose servers fail: of the name, a parent, or an alias's target.
        zone: String,
        error: LookupError,
    },
}

/// Finds the relevant records and judges whether they allow one of the CAs to issue.
pub(crate) async fn check(queries: &Queries<'_>, name: &str, cas: &[CaIdentity]) -> Caa {
    if cas.is_empty() || cas.iter().any(|ca| ca.identities.is_empty()) {
        return Caa::NotJudged;
    }
    // RFC 8659 §3: the closest name with CAA records decides; aliases are followed by the
    // resolvers at each level, and an alias's target is not climbed.
    let mut questions = Vec::new();
    for level in levels(name) {
        questions.push(records_at(queries, level));
    }
    let mut answers = stream::iter(questions).buffered(AT_ONCE);
    while let Some((level, answer)) = answers.next().await {
        match answer {
            Ok(answer) => return judge(&answer, level, cas),
            Err(e) if e.is_absent() => {}
            // An alias loop has no CAA records (RFC 8659 §3); the check of its addresses fails.
            Err(LookupError::Loop) => {}
            // Resolvers that follow the loop themselves answer SERVFAIL without a reason.
            Err(error) if matches!(error, LookupError::ServFail { .. }) && is_loop(queries, level).await => {}
            Err(error) => {
                let zone = failing(queries, level, &error).await;
                return Caa::Error { zone, error };
            }
        }
    }
    Caa::Allows {
        found: Vec::new(),
        doubtful: false,
    }
}

async fn records_at<'n>(queries: &Queries<'_>, level: &'n str) -> (&'n str, Result<Answer, LookupError>) {
    (level, queries.get(level, Kind::Caa).await)
}

/// Aliases followed to find the zone that fails.
const MAX_ALIASES: usize = 10;

/// A name and the targets of its alias, in order; the last is not an alias, or closes a loop.
async fn aliases(queries: &Queries<'_>, name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    while names.len() <= MAX_ALIASES {
        let last = names.last().map_or(name, String::as_str);
        let Ok(answer) = queries.get(last, Kind::Cname).await else {
            break;
        };
        let Some(next) = answer.names().next().map(str::to_owned) else {
            break;
        };
        let met = names.contains(&next);
        names.push(next);
        if met {
            break;
        }
    }
    names
}

async fn is_loop(queries: &Queries<'_>, level: &str) -> bool {
    let mut names = aliases(queries, level).await;
    names.pop().is_some_and(|last| names.contains(&last))
}

/// The zone whose servers fail. If `level` is an alias, the same failure may come from a name
/// further down the chain: the last name that fails when asked by itself decides.
async fn failing(queries: &Queries<'_>, level: &str, error: &LookupError) -> String {
    let mut zone = zone_of(level).to_owned();
    for name in aliases(queries, level).await.into_iter().skip(1).filter(|n| is_name(n)) {
        match queries.get(&name, Kind::Caa).await {
            Err(e) if e == *error => zone = zone_of(&name).to_owned(),
            _ => break,
        }
    }
    zone
}

/// The name and its parents, up to the top-level domain.
fn levels(name: &str) -> Vec<&str> {
    let parents = std::iter::successors(Some(name), |n| n.split_once('.').map(|(_, parent)| parent));
    let all: Vec<&str> = parents.collect();
    let skip = all.len().saturating_sub(MAX_LEVELS);
    all.into_iter().skip(skip).collect()
}

fn judge(answer: &Answer, level: &str, cas: &[CaIdentity]) -> Caa {
    let found: Vec<String> = answer.records.iter().map(|r| r.data.to_string()).collect();
    let mut restricted = false;
    let mut granted = Grant::No;
    let mut unknown = Vec::new();
    let mut near = None;
    for record in &answer.records {
        let Data::Caa { critical, tag, value } = &record.data else {
            continue;
        };
        if *critical && !KNOWN_TAGS.contains(&tag.as_str()) {
            unknown.push(record.data.to_string());
        }
        // `issuewild` applies to wildcards only (RFC 8659 §4.3), which linkseal never orders.
        if tag == "issue" {
            restricted = true;
            let best = cas.iter().map(|ca| grant(value, ca)).max();
            granted = granted.max(best.unwrap_or(Grant::No));
            let flaw = cas.iter().find_map(|ca| flaw(value, ca));
            near = near.or(flaw.map(|flaw| (record.data.to_string(), flaw)));
        }
    }
    if !unknown.is_empty() || (restricted && granted == Grant::No) {
        let host = answer.records.first().map_or(level, |r| r.owner.as_str()).to_owned();
        return Caa::Forbids {
            host,
            found,
            critical: unknown,
            granted: !restricted || granted > Grant::No,
            near: near.filter(|_| granted == Grant::No),
            ttl: answer.ttl(),
        };
    }
    Caa::Allows {
        found,
        doubtful: restricted && granted == Grant::Doubtful,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    const NAME: &str = "links.customer.example";

    fn ca() -> CaIdentity {
        let account_uri = Some("https://ca.example/acct/1".to_owned());
        CaIdentity {
            identities: vec!["ca.example".into(), "ca2.example".into()],
            account_uri,
        }
    }

    async fn judged(script: &Script) -> Caa {
        script
            .with_queries(async |queries| check(queries, NAME, &[ca()]).await)
            .await
    }

    #[tokio::test]
    async fn values_allow_or_forbid() {
        for (values, allowed) in [
            (vec!["0 issue ca.example"], true),
            (vec!["0 issue CA2.Example"], true),
            (vec!["0 issue ca2.example."], false),
            (vec!["0 issue other.example"], false),
            (vec!["0 issue other.example", "0 issue ca.example"], true),
            (vec!["0 issue ;"], false),
            (vec!["0 issue "], false),
            (vec!["0 issuewild ;"], true),
            (vec!["0 issuewild ca.example", "0 issue ;"], false),
            (vec!["0 iodef mailto:a@customer.example"], true),
            (vec!["128 iodef mailto:a@customer.example"], true),
            (vec!["128 tbs unknown", "0 issue ca.example"], false),
            (vec!["0 tbs unknown"], true),
            (vec!["0 issue ca.example; accounturi=https://ca.example/acct/1"], true),
            (vec!["0 issue ca.example; accounturi=https://ca.example/acct/2"], false),
            (
                vec!["0 issue ca.example;accounturi=https://ca.example/acct/1;accounturi=https://ca.example/acct/1"],
                false,
            ),
            (vec!["0 issue ca.example; validationmethods=dns-01,http-01"], true),
            (vec!["0 issue ca.example; validationmethods=dns-01"], false),
            (vec!["0 issue ca.example; cansignhttpexchanges=yes"], true),
            (vec!["0 issue ca.example; nonsense"], false),
            (vec!["0 issue ca.example;"], true),
        ] {
            let script = Script::new();
            for value in &values {
                script.add(NAME, Kind::Caa, value);
            }
            let caa = judged(&script).await;
            assert_eq!(matches!(caa, Caa::Allows { .. }), allowed, "{values:?}: {caa:?}");
        }
    }

    #[tokio::test]
    async fn one_ca_that_may_issue_is_enough() {
        let other = || CaIdentity {
            identities: vec!["other.example".into()],
            account_uri: None,
        };
        let script = Script::new();
        script.add(NAME, Kind::Caa, "0 issue other.example");
        for (cas, allowed) in [(vec![ca()], false), (vec![ca(), other()], true), (vec![other()], true)] {
            let caa = script
                .with_queries(async |queries| check(queries, NAME, &cas).await)
                .await;
            assert_eq!(matches!(caa, Caa::Allows { .. }), allowed, "{caa:?}");
        }
        let none = script
            .with_queries(async |queries| check(queries, NAME, &[]).await)
            .await;
        assert_eq!(none, Caa::NotJudged);
    }

    #[tokio::test]
    async fn the_closest_name_with_records_decides() {
        let script = Script::new();
        script.add("example", Kind::Caa, "0 issue other.example");
        assert!(matches!(judged(&script).await, Caa::Forbids { host, .. } if host == "example"));
        script.add("customer.example", Kind::Caa, "0 issue ca.example");
        assert!(matches!(judged(&script).await, Caa::Allows { .. }));
        script.add_at(NAME, "track.platform.example", Kind::Caa, "0 issue other.example");
        assert!(
            matches!(judged(&script).await, Caa::Forbids { host, .. } if host == "track.platform.example"),
            "the record at an alias's target decides, and is reported there"
        );
    }

    #[tokio::test]
    async fn without_records_issuance_is_allowed_and_a_failure_is_an_error() {
        let script = Script::new();
        let none = Caa::Allows {
            found: Vec::new(),
            doubtful: false,
        };
        assert_eq!(judged(&script).await, none);
        script.fail("customer.example", Kind::Caa, LookupError::ServFail { text: None });
        let zone = "customer.example".to_owned();
        assert_eq!(
            judged(&script).await,
            Caa::Error {
                zone,
                error: LookupError::ServFail { text: None }
            }
        );
        let unjudged = script
            .with_queries(async |queries| check(queries, NAME, &[ca(), CaIdentity::default()]).await)
            .await;
        assert_eq!(unjudged, Caa::NotJudged);
    }

    #[tokio::test]
    async fn accounturi_is_not_judged_before_the_account_is_known() {
        let script = Script::new();
        script.add(
            NAME,
            Kind::Caa,
            "0 issue ca.example; accounturi=https://ca.example/acct/9",
        );
        let ca = CaIdentity {
            account_uri: None,
            ..ca()
        };
        let caa = script
            .with_queries(async |queries| check(queries, NAME, &[ca]).await)
            .await;
        assert!(matches!(caa, Caa::Allows { .. }));
    }
}
