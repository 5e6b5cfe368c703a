//! How many files and sockets this process may have open, against how many it may need. A server
//! that runs out of them cannot even answer its health checks, so that is found at the start.

use std::collections::HashSet;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// For all else: journal, store, admin port, DNS, sinks.
const RESERVE: u64 = 256;
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

/// How many connections a configuration can have where so many descriptors are allowed.
pub(crate) fn connections(config: &Config, allowed: u64) -> usize {
    let fit = fit(config.edge.max_connections.get().into(), beside(config), allowed);
    usize::try_from(fit).unwrap_or(usize::MAX)
}

/// What to tell an operator where a configuration wants more than is allowed. `None`: it fits.
pub(crate) fn warning(config: &Config, allowed: u64) -> Option<String> {
    let (wanted, beside) = (u64::from(config.edge.max_connections.get()), beside(config));
    let fit = fit(wanted, beside, allowed);
    (fit < wanted).then(|| {
        format!(
            "{wanted} connections, the back ends and all else need {} open files, and {allowed} are allowed: at most \
             {fit} connections are taken; raise LimitNOFILE (systemd) or the hard limit of `ulimit -n`, or lower \
             edge.max_connections",
            wanted.saturating_add(beside)
        )
    })
}

fn fit(wanted: u64, beside: u64, allowed: u64) -> u64 {
    // Where back ends alone need more than there is, half is for clients.
    wanted.min(allowed.saturating_sub(beside).max(allowed / 2)).max(1)
}

/// What is needed beside the connections of clients.
fn beside(config: &Config) -> u64 {
    let mut seen = HashSet::new();
    let rules = config
        .upstream
        .iter()
        .filter(|rule| seen.insert(rule.to.uri().to_string()));
    let back_ends = rules.map(|rule| u64::from(rule.max_concurrent.get()) + UNUSED_OF_BACK_END);
    back_ends.sum::<u64>().saturating_add(RESERVE)
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
        for part in ["50256", "1024", "768", "LimitNOFILE"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(connections(&config, 1_024), 768);
    }

    #[test]
    fn what_may_be_opened_is_raised_to_the_highest() {
        raise();
        assert_eq!(allowed(), highest());
    }
}
