//! Handshakes that failed for a domain that is known, since this node's start: what someone looks
//! for first when "HTTPS does not work". The data plane notes them, the admin API shows them.

use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use linkseal_base::clock::Timestamp;

use super::DomainName;

/// Domains whose failures are kept: far more than fail at any time; those that come later than the
/// bound is reached are not counted.
const MAX_DOMAINS: usize = 50_000;
/// Longest text kept of an error, in characters.
const MAX_TEXT: usize = 200;

/// The failures, by domain. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct HandshakeFailures {
    domains: Arc<DashMap<DomainName, Failures>>,
}

/// What failed for one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failures {
    /// How many handshakes.
    pub count: u64,
    /// When the last one.
    pub last: Timestamp,
    /// Why that one.
    pub error: String,
}

impl HandshakeFailures {
    /// Notes a failure. Only for domains that are known: no one else is to have state here.
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

    /// What failed for a domain. `None`: nothing.
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
    fn failures_are_counted_and_the_last_is_kept_in_short() {
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
