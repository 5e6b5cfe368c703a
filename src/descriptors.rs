//! How many files and sockets this process may have open, against how many it may need. A server
//! that runs out of them cannot even answer its health checks, so that is found at the start.

use std::collections::HashSet;

use linkseal_admin::CONNECTIONS_OF_PORT;
use linkseal_config::Config;
use linkseal_config::admission::Policy;
use linkseal_dns::SOCKETS_OF_CHECK;
use linkseal_edge::http::MAX_FORWARDED_CHALLENGES;
use linkseal_edge::limits::NEWCOMERS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For all else: journal, store, sinks, listening sockets, the renewal information of CAs.
const RESERVE: u64 = 256;
/// Of an order: its connection to the CA, and a new one where that is closed.
const OF_ORDER: u64 = 2;
/// Those that wait for room have at most this part of what is allowed.
const NEWCOMERS_SHARE: u64 = 8;
/// There are three rooms to wait in: for those who hold connections, for those who do not, and for
/// those whose balancer has yet to name them.
const ROOMS: u64 = 3;
/// Unused connections that a back end may have beside those in use.
const UNUSED_OF_BACK_END: u64 = 64;

/// How many this process may have open now.
pub(crate) fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many it may raise that to.
pub(crate) fn highest() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the one to the other: the usual soft limit of 1024 is for programs that use select(2).
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, "the limit of open files cannot be raised; set LimitNOFILE or `ulimit -n`");
    }
}

/// How many connections a configuration can have with a number of allowed descriptors.
pub(crate) fn connections(config: &Config, allowed: u64) -> usize {
    let fit = fit(
        config.edge.max_connections.get().into(),
        beside(config, allowed),
        allowed,
    );
    usize::try_from(fit).unwrap_or(usize::MAX)
}

/// How many connections may wait for room in each of the three rooms.
pub(crate) fn newcomers(allowed: u64) -> usize {
    usize::try_from(allowed / NEWCOMERS_SHARE / ROOMS).map_or(NEWCOMERS, |most| most.min(NEWCOMERS))
}

/// What to tell an operator where a configuration wants more than is allowed. `None`: it fits.
pub(crate) fn warning(config: &Config, allowed: u64) -> Option<String> {
    let (wanted, beside) = (u64::from(config.edge.max_connections.get()), beside(config, allowed));
    let fit = fit(wanted, beside, allowed);
    (fit < wanted).then(|| {
        format!(
            "{wanted} connections of clients and all else (back ends, DNS, the admin port, those that wait for room) \
             need {} open files, and {allowed} are allowed: at most {fit} connections are taken; raise LimitNOFILE (systemd) or the hard limit of `ulimit -n`, or lower \
             edge.max_connections",
            wanted.saturating_add(beside)
        )
    })
}

fn fit(wanted: u64, beside: u64, allowed: u64) -> u64 {
    // Where back ends alone need more than there is, half is for clients.
    wanted.min(allowed.saturating_sub(beside).max(allowed / 2)).max(1)
}

/// What is needed beside the connections of clients that have a place.
fn beside(config: &Config, allowed: u64) -> u64 {
    let mut seen = HashSet::new();
    let rules = config
        .upstream
        .iter()
        .filter(|rule| seen.insert(rule.to.uri().to_string()));
    let back_ends = rules.map(|rule| u64::from(rule.max_concurrent.get()) + UNUSED_OF_BACK_END);
    let ports = config.listen.admin.len() + config.listen.health.len();
    let challenges = config
        .acme
        .challenge_upstream
        .as_ref()
        .map_or(0, |_| MAX_FORWARDED_CHALLENGES);
    let cname = match config.admission.policy {
        Policy::Cname => u64::from(config.admission.cname.max_concurrent_lookups.get()) * count(SOCKETS_OF_CHECK),
        Policy::Registered | Policy::Ask => 0,
    };
    let parts = [
        RESERVE,
        count(newcomers(allowed)) * ROOMS,
        count(ports) * count(CONNECTIONS_OF_PORT),
        u64::from(config.acme.max_concurrent_orders.get()) * OF_ORDER,
        count(linkseal_control::SOCKETS),
        count(challenges),
        cname,
    ];
    back_ends.chain(parts).fold(0, u64::saturating_add)
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_no_more_than_descriptors_allow() {
        for (wanted, beside, allowed, connections) in [
            (50_000, 256, 200_000, 50_000),
            (50_000, 256, 1_024, 768),
            (50_000, 256, 256, 128),
            (50_000, 5_000, 4_096, 2_048),
            (10, 256, 1_024, 10),
            (10, 256, 0, 1),
            (10, 256, u64::MAX, 10),
        ] {
            assert_eq!(fit(wanted, beside, allowed), connections, "{allowed}");
        }
    }

    #[test]
    fn an_operator_is_told_what_does_not_fit_and_what_to_do() {
        let config = Config::new("track.platform.example".parse().unwrap());
        assert_eq!(warning(&config, 200_000), None);
        let told = warning(&config, 1_024).unwrap();
        let needed = (50_000 + beside(&config, 1_024)).to_string();
        for part in [needed.as_str(), "1024", "512", "LimitNOFILE"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(connections(&config, 1_024), 512);
    }

    #[test]
    fn all_that_can_be_open_is_counted() {
        let mut config = Config::new("track.platform.example".parse().unwrap());
        let mut before = beside(&config, 200_000);
        // All rooms full, the admin port, looks at DNS.
        assert!(before > 3 * 1024 + 256 + 1_920, "{before}");
        let mut grows_by = |config: &Config, by: u64, what: &str| {
            let now = beside(config, 200_000);
            assert_eq!(now - before, by, "{what}");
            before = now;
        };
        config.listen.health.push("127.0.0.1:0".parse().unwrap());
        grows_by(&config, 256, "a health port");
        config.acme.max_concurrent_orders = 26.try_into().unwrap();
        grows_by(&config, 20, "orders");
        config.acme.challenge_upstream = Some("http://10.0.0.5".parse().unwrap());
        grows_by(&config, 64, "challenges that are handed on");
        config.admission.policy = Policy::Cname;
        grows_by(&config, 48, "looks at unknown names");
        let rule = |prefix: &str| {
            let rule = serde_json::json!({"host": "*", "prefix": prefix, "to": "http://10.0.0.5:8080"});
            serde_json::from_value(rule).unwrap()
        };
        config.upstream = vec![rule("/a/"), rule("/b/")];
        grows_by(&config, 256 + 64, "a back end, however many rules lead to it");
        assert!(beside(&config, 1_024) < before, "fewer wait where less is allowed");
        assert_eq!((newcomers(1_024), newcomers(200_000)), (42, 1024));
    }

    #[test]
    fn what_may_be_opened_is_raised_to_the_highest() {
        raise();
        assert_eq!(allowed(), highest());
    }
}
