//! The limit of open files and sockets, compared with what the configuration may need. A server without free
//! descriptors cannot even answer its health checks, so the start checks this.

use std::collections::HashSet;

use linkseal_admin::CONNECTIONS_OF_PORT;
use linkseal_config::Config;
use linkseal_config::admission::Policy;
use linkseal_dns::SOCKETS_OF_CHECK;
use linkseal_edge::http::MAX_FORWARDED_CHALLENGES;
use linkseal_edge::limits::NEWCOMERS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Everything not counted below: journal, store, sinks, listening sockets, the renewal information of CAs.
const RESERVE: u64 = 256;
/// Per core: its runtime, and its part of the listening sockets.
const OF_CORE: u64 = 8;
/// Per order: its connection to the CA, and a new one if that is closed.
const OF_ORDER: u64 = 2;
/// Connections that wait for room get one in this many of the allowed descriptors.
const NEWCOMERS_SHARE: u64 = 8;
/// The rooms to wait in: for clients with open connections, for clients without, and for clients that their
/// balancer has yet to name.
const ROOMS: u64 = 3;
/// Idle connections per back end, beside those in use.
const UNUSED_OF_BACK_END: u64 = 64;

/// The soft limit of this process.
pub(crate) fn allowed() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The hard limit of this process.
pub(crate) fn highest() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit to the hard limit: the usual 1024 is for programs that use select(2).
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

/// How many client connections `allowed` descriptors permit, at most `edge.max_connections`.
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

/// The warning if the configuration may need more than `allowed` descriptors.
pub(crate) fn warning(config: &Config, allowed: u64) -> Option<String> {
    let wanted = u64::from(config.edge.max_connections.get());
    let fit = fit(wanted, beside(config, allowed), allowed);
    // With few allowed, fewer connections wait. What is needed does not depend on that.
    let needed = wanted.saturating_add(beside(config, u64::MAX));
    (fit < wanted).then(|| {
        format!(
            "{wanted} client connections and everything else (back ends, DNS, the admin port, waiting connections) \
             need {needed} open files, but {allowed} are allowed: at most {fit} client connections are accepted; raise \
             LimitNOFILE (systemd) or the hard limit of `ulimit -n`, or lower edge.max_connections"
        )
    })
}

fn fit(wanted: u64, beside: u64, allowed: u64) -> u64 {
    // If back ends alone need more than is allowed, half is for clients.
    wanted.min(allowed.saturating_sub(beside).max(allowed / 2)).max(1)
}

/// Descriptors needed beside accepted client connections.
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
        count(linkseal_base::cores::count()) * OF_CORE,
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
    fn the_warning_says_what_does_not_fit_and_what_to_do() {
        let config = Config::new("track.platform.example".parse().unwrap());
        assert_eq!(warning(&config, 200_000), None);
        let text = warning(&config, 1_024).unwrap();
        let needed = 50_000 + beside(&config, u64::MAX);
        assert_eq!(warning(&config, needed), None, "what is said to be needed is enough");
        let needed = needed.to_string();
        for part in [needed.as_str(), "1024", "512", "LimitNOFILE"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // The number does not change with the limit.
        let text = warning(&config, 20_000).unwrap();
        assert!(text.contains(&needed), "{text}");
        assert_eq!(connections(&config, 1_024), 512);
    }

    #[test]
    fn everything_that_can_be_open_is_counted() {
        let mut config = Config::new("track.platform.example".parse().unwrap());
        let mut before = beside(&config, 200_000);
        // All rooms full, the admin port, DNS checks.
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
        grows_by(&config, 64, "forwarded challenges");
        config.admission.policy = Policy::Cname;
        grows_by(&config, 48, "look-ups of unknown names");
        let rule = |prefix: &str| {
            let rule = serde_json::json!({"host": "*", "prefix": prefix, "to": "http://10.0.0.5:8080"});
            serde_json::from_value(rule).unwrap()
        };
        config.upstream = vec![rule("/a/"), rule("/b/")];
        grows_by(&config, 256 + 64, "a back end, counted once for all its rules");
        assert!(
            beside(&config, 1_024) < before,
            "fewer connections wait if less is allowed"
        );
        assert_eq!((newcomers(1_024), newcomers(200_000)), (42, 1024));
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        raise();
        assert_eq!(allowed(), highest());
    }
}
