//! Whether a TXT record that proves something is published: the resolvers are asked, and where they
//! do not have it the zone's own servers, since a resolver may remember for hours that it was missing.

use futures_util::future::join_all;

use crate::Checker;
use crate::lookup::{Kind, LookupError, normal};
use crate::query::{Queries, QueryMemo};

/// What became of the look for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is published.
    Shown,
    /// It is not.
    Missing,
    /// It was not found, and the servers gave no usable answer at one of the places.
    Unanswered {
        /// At which name.
        host: String,
        /// What they did instead.
        error: String,
    },
}

impl Checker {
    /// Looks for a TXT record at these names for which `is_it` holds; one of them is enough. Only
    /// what stands at the name itself counts: where an alias leads, another may publish.
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
        // A failure of the resolvers is not second-guessed, as before orders.
        let failed = all().find_map(|(host, find)| Some((host.clone(), find.as_ref().err()?.to_string())));
        failed.map_or(Proof::Missing, |(host, error)| Proof::Unanswered { host, error })
    }
}

/// Whether the record stands at a name. `Err`: the servers did not say.
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
    async fn either_place_is_enough_and_one_of_many_records() {
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
    async fn what_an_alias_leads_to_is_no_proof() {
        let script = Script::new();
        script.add_at(HOSTS[0], "elsewhere.example", Kind::Txt, "right");
        assert_eq!(proof(script).await, Proof::Missing);
    }

    #[tokio::test]
    async fn the_zones_own_servers_know_it_before_caches_do() {
        let script = Script::new();
        script.add_fresh(HOSTS[1], Kind::Txt, "right");
        assert_eq!(proof(script).await, Proof::Shown);
    }

    #[tokio::test]
    async fn servers_that_fail_are_no_answer_unless_the_other_place_has_it() {
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
        // Nor is it second-guessed: validating resolvers may have a reason.
        let script = failing();
        script.add_fresh(HOSTS[0], Kind::Txt, "right");
        assert!(matches!(proof(script).await, Proof::Unanswered { .. }));
    }
}
