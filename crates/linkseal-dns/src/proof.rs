//! Checks whether a TXT record that proves ownership is published. The resolvers are asked first,
//! then the authoritative servers: a resolver may cache for hours that the record was missing.

use futures_util::future::join_all;

use crate::Checker;
use crate::lookup::{Kind, LookupError, normal};
use crate::query::{Queries, QueryMemo};

/// The result of a check for a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The record is published.
    Shown,
    /// The record is not published.
    Missing,
    /// The record was not found, and there was no usable answer for one of the names.
    Unanswered {
        host: String,
        /// The failure, as reports show it.
        error: String,
    },
}

impl Checker {
    /// Whether at least one of these names has a TXT record for which `is_it` holds. Only records at
    /// the name itself count: the target of an alias may belong to a third party.
    pub async fn proof(&self, hosts: &[String], is_it: impl Fn(&str) -> bool) -> Proof {
        let memo = QueryMemo::default();
        let queries = self.queries(&memo);
        let finds = join_all(hosts.iter().map(|host| find(&queries, host, &is_it))).await;
        if finds.iter().any(|find| matches!(find, Ok(true))) {
            return Proof::Shown;
        }
        let all = || hosts.iter().zip(&finds);
        let without = all().filter(|(_, find)| find.is_ok()).map(|(host, _)| host);
        let fresh = queries.fresh();
        let newer = join_all(without.map(|host| find(&fresh, host, &is_it))).await;
        if newer.iter().any(|find| matches!(find, Ok(true))) {
            return Proof::Shown;
        }
        // As before orders, authoritative servers are not asked for what the resolvers fail to answer.
        let failed = all().find_map(|(host, find)| Some((host.clone(), find.as_ref().err()?.to_string())));
        failed.map_or(Proof::Missing, |(host, error)| Proof::Unanswered { host, error })
    }
}

/// Whether a name has the record.
async fn find(queries: &Queries<'_>, host: &str, is_it: &impl Fn(&str) -> bool) -> Result<bool, LookupError> {
    match queries.get(host, Kind::Txt).await {
        Ok(answer) => Ok(answer.texts_at(&normal(host)).any(is_it)),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use linkseal_base::clock::Clock;
    use linkseal_domain::DomainName;

    use super::*;
    use crate::testing::Script;
    use crate::{CheckerSettings, Metrics, Target};

    const HOSTS: [&str; 2] = ["_linkseal.customer.example", "_linkseal.links.customer.example"];

    async fn proof(script: Script) -> Proof {
        let settings = CheckerSettings {
            target: Target {
                names: DomainName::parse("track.platform.example").unwrap().into(),
                addresses: Vec::new(),
            },
            spf_include: None,
            dkim: Vec::new(),
            dmarc: None,
        };
        let metrics = Metrics::register(&prometheus::Registry::new());
        let checker = Checker::new(settings, Arc::new(script), Clock::system(), metrics);
        checker.proof(&HOSTS.map(str::to_owned), |text| text == "right").await
    }

    #[tokio::test]
    async fn one_matching_record_at_either_name_is_enough() {
        for host in HOSTS {
            let script = Script::new();
            script.add(host, Kind::Txt, "other");
            script.add(host, Kind::Txt, "right");
            assert_eq!(proof(script).await, Proof::Shown, "{host}");
        }
        let script = Script::new();
        script.add(HOSTS[0], Kind::Txt, "other");
        assert_eq!(proof(script).await, Proof::Missing);
        assert_eq!(proof(Script::new()).await, Proof::Missing);
    }

    #[tokio::test]
    async fn a_record_at_the_target_of_an_alias_is_no_proof() {
        let script = Script::new();
        script.add_at(HOSTS[0], "elsewhere.example", Kind::Txt, "right");
        assert_eq!(proof(script).await, Proof::Missing);
    }

    #[tokio::test]
    async fn a_record_that_only_authoritative_servers_have_is_found() {
        let script = Script::new();
        script.add_fresh(HOSTS[1], Kind::Txt, "right");
        assert_eq!(proof(script).await, Proof::Shown);
    }

    #[tokio::test]
    async fn a_failing_name_is_unanswered_unless_the_other_name_has_the_record() {
        let failing = || {
            let script = Script::new();
            script.fail(HOSTS[0], Kind::Txt, LookupError::ServFail { text: None });
            script
        };
        let unanswered = Proof::Unanswered {
            host: HOSTS[0].to_owned(),
            error: "SERVFAIL".to_owned(),
        };
        assert_eq!(proof(failing()).await, unanswered);
        let script = failing();
        script.add(HOSTS[1], Kind::Txt, "right");
        assert_eq!(proof(script).await, Proof::Shown);
        // Authoritative servers do not overrule the failure: a validating resolver may have a reason.
        let script = failing();
        script.add_fresh(HOSTS[0], Kind::Txt, "right");
        assert!(matches!(proof(script).await, Proof::Unanswered { .. }));
    }
}
