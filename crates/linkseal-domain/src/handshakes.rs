//! Failed handshakes of known domains since this node's start: the first thing to check when "HTTPS does
//! not work". The data plane records them, the admin API shows them.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use linkseal_base::clock::Timestamp;

use super::DomainName;

/// For how many domains failures are kept: far more than fail at any time. Failures of further domains
/// are not counted.
const MAX_DOMAINS: usize = 50_000;
/// Longest text kept of an error, in characters.
const MAX_TEXT: usize = 200;

/// The failures, by domain. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct HandshakeFailures {
    domains: Arc<DashMap<DomainName, Failures>>,
}

/// The failed handshakes of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    pub count: u64,
    /// When the last one failed.
    pub last: Timestamp,
    /// Why the last one failed.
    pub error: String,
}

impl HandshakeFailures {
    /// Records a failure. Only for known domains: unknown names must leave no state.
    pub fn note(&self, name: &DomainName, error: &str, now: Timestamp) {
        let room = self.domains.len() < MAX_DOMAINS;
        let error = || error.chars().take(MAX_TEXT).collect();
        match self.domains.entry(name.clone()) {
            Entry::Occupied(mut known) => {
                let failures = known.get_mut();
                failures.count += 1;
                failures.last = now;
                failures.error = error();
            }
            Entry::Vacant(place) if room => {
                place.insert(Failures {
                    count: 1,
                    last: now,
                    error: error(),
                });
            }
            Entry::Vacant(_) => {}
        }
    }

    /// The failed handshakes of a domain, if any.
    pub fn of(&self, name: &DomainName) -> Option<Failures> {
        self.domains.get(name.as_str()).map(|f| f.clone())
    }

    /// Forgets a domain.
    pub fn forget(&self, name: &DomainName) {
        self.domains.remove(name.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_and_the_last_error_is_kept_in_short() {
        let (all, name) = (HandshakeFailures::default(), DomainName::parse("a.example").unwrap());
        assert_eq!(all.of(&name), None);
        all.note(&name, "first", Timestamp::from_secs(1));
        all.note(&name, &"ü".repeat(1000), Timestamp::from_secs(2));
        let failures = all.of(&name).unwrap();
        assert_eq!((failures.count, failures.last), (2, Timestamp::from_secs(2)));
        assert_eq!(failures.error.chars().count(), MAX_TEXT);
        all.forget(&name);
        assert_eq!(all.of(&name), None);
    }
}
