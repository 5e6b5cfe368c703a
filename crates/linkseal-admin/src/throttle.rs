//! Wrong tokens: how many are answered, from one address and in all.
//!
//! A right token is never asked about here: it is compared first and always lets in, whatever came
//! from the same address before (a proxy's, or a script with a token of last year). Tokens are too
//! long to be guessed; the bound keeps those who try from filling the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_net::shares::client;

/// Wrong guesses of one address in a row.
const PER_ADDRESS: Rate = Rate {
    burst: 20,
    one_per: Duration::from_secs(30),
};
/// Wrong guesses of all together.
const IN_ALL: Rate = Rate {
    burst: 200,
    one_per: Duration::from_secs(1),
};
/// Addresses remembered; about 100 bytes each.
const MAX_ADDRESSES: usize = 10_000;

/// How much of something there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// How many at once.
    pub(super) burst: u32,
    /// In what time one more is allowed.
    pub(super) one_per: Duration,
}

/// What is left under a [`Rate`]: the moment from which on nothing is used up any more says it all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used(Timestamp);

impl Used {
    /// When there is one more. `None`: now.
    pub(super) fn until(self, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        // More than all of it cannot be used up: a clock that was set back must not lock anyone out.
        let used = self.0.min(now + rate.one_per * rate.burst);
        let free = used.minus(rate.one_per * rate.burst.saturating_sub(1));
        (free > now).then_some(free)
    }

    pub(super) fn take(&mut self, rate: Rate, now: Timestamp) {
        self.0 = self.0.min(now + rate.one_per * rate.burst).max(now) + rate.one_per;
    }

    pub(super) fn is_full_again(self, now: Timestamp) -> bool {
        self.0 <= now
    }
}

/// Counts wrong tokens.
#[derive(Default)]
pub(super) struct Throttle {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    addresses: HashMap<IpAddr, Used>,
    all: Used,
}

impl Throttle {
    /// Counts a wrong token. `Err`: there are too many; when the next one is answered again.
    pub(super) fn failed(&self, from: IpAddr, now: Timestamp) -> Result<(), Timestamp> {
        let mut inner = self.lock();
        let used = inner.address(from, now).map_or(Used::default(), |used| *used);
        if let Some(until) = used.until(PER_ADDRESS, now).max(inner.all.until(IN_ALL, now)) {
            return Err(until);
        }
        inner.all.take(IN_ALL, now);
        if inner.all.until(IN_ALL, now).is_some() {
            tracing::warn!("too many wrong tokens in all: more are refused for a while; right ones are let in");
        }
        if let Some(used) = inner.address(from, now) {
            used.take(PER_ADDRESS, now);
            if used.until(PER_ADDRESS, now).is_some() {
                tracing::warn!(
                    %from,
                    "too many wrong tokens from this address: more are refused for a while; right ones are let in. \
                     Look for a client whose token was changed or removed"
                );
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// `None`: there are too many others; they are bounded in all.
    fn address(&mut self, from: IpAddr, now: Timestamp) -> Option<&mut Used> {
        let from = client(from);
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&from) {
            self.addresses.retain(|_, used| !used.is_full_again(now));
            if self.addresses.len() >= MAX_ADDRESSES {
                return None;
            }
        }
        Some(self.addresses.entry(from).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let throttle = Throttle::default();
        let bad = ip("203.0.113.7");
        for _ in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.failed(bad, NOW), Ok(()));
        }
        let until = NOW + PER_ADDRESS.one_per;
        assert_eq!(throttle.failed(bad, NOW), Err(until));
        assert_eq!(throttle.failed(ip("203.0.113.8"), NOW), Ok(()));
        // What was refused does not count: the time does not move on by itself.
        assert_eq!(throttle.failed(bad, until), Ok(()));
        assert!(throttle.failed(bad, until).is_err());
    }

    #[test]
    fn many_addresses_are_bounded_in_all() {
        let throttle = Throttle::default();
        for i in 0..IN_ALL.burst {
            let from = Ipv6Addr::from_bits(u128::from(i) << 64).into();
            assert_eq!(throttle.failed(from, NOW), Ok(()));
        }
        assert_eq!(throttle.failed(ip("2001:db8::1"), NOW), Err(NOW + IN_ALL.one_per));
    }

    #[test]
    fn an_ipv6_network_is_one_party() {
        let throttle = Throttle::default();
        for i in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.failed(ip(&format!("2001:db8:1:2::{i:x}")), NOW), Ok(()));
        }
        assert!(throttle.failed(ip("2001:db8:1:2:ffff::1"), NOW).is_err());
        assert_eq!(throttle.failed(ip("2001:db8:1:3::1"), NOW), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for i in 0..2 * MAX_ADDRESSES {
            let _ = throttle.failed(Ipv6Addr::from_bits((i as u128) << 64).into(), NOW);
        }
        assert!(throttle.lock().addresses.len() <= MAX_ADDRESSES);
        let later = NOW + Duration::from_secs(24 * 3600);
        for i in 0..=MAX_ADDRESSES {
            let _ = throttle.failed(Ipv6Addr::from_bits((i as u128) << 64).into(), later);
        }
        assert!(throttle.lock().addresses.len() <= MAX_ADDRESSES);
    }
}
