//! Guesses at tokens: how many there may be, from one address and in all.
//!
//! Whoever guesses wrong too often is not listened to for a while, also when the next guess would
//! be right. The bound for all together holds against many addresses that each stay under their
//! own; it does not shut out an address that has shown a right token before.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

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
/// For how long an address that has shown a right token is held for a user's.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
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
        let free = self.0.minus(rate.one_per * rate.burst.saturating_sub(1));
        (free > now).then_some(free)
    }

    pub(super) fn take(&mut self, rate: Rate, now: Timestamp) {
        self.0 = self.0.max(now) + rate.one_per;
    }

    pub(super) fn is_full_again(self, now: Timestamp) -> bool {
        self.0 <= now
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Address {
    failures: Used,
    /// Until when it is held for a user's.
    known: Timestamp,
}

/// Counts wrong guesses.
#[derive(Default)]
pub(super) struct Throttle {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    addresses: HashMap<IpAddr, Address>,
    all: Used,
}

impl Throttle {
    /// Whether somebody at this address may guess now; else when.
    pub(super) fn check(&self, from: IpAddr, now: Timestamp) -> Result<(), Timestamp> {
        let inner = self.lock();
        let address = inner.addresses.get(&network(from)).copied().unwrap_or_default();
        if let Some(until) = address.failures.until(PER_ADDRESS, now) {
            return Err(until);
        }
        match inner.all.until(IN_ALL, now).filter(|_| address.known <= now) {
            Some(until) => Err(until),
            None => Ok(()),
        }
    }

    /// Counts a wrong guess.
    pub(super) fn failed(&self, from: IpAddr, now: Timestamp) {
        let mut inner = self.lock();
        inner.all.take(IN_ALL, now);
        if inner.all.until(IN_ALL, now).is_some() {
            tracing::warn!("too many wrong tokens in all: addresses that never showed a right one have to wait");
        }
        if let Some(address) = inner.address(from, now) {
            address.failures.take(PER_ADDRESS, now);
            if address.failures.until(PER_ADDRESS, now).is_some() {
                tracing::warn!(%from, "too many wrong tokens from this address: it has to wait");
            }
        }
    }

    /// Notes that somebody at this address has a right token. What they failed before stays.
    pub(super) fn succeeded(&self, from: IpAddr, now: Timestamp) {
        if let Some(address) = self.lock().address(from, now) {
            address.known = now + KNOWN;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// `None`: there are too many others; they are bounded in all.
    fn address(&mut self, from: IpAddr, now: Timestamp) -> Option<&mut Address> {
        let from = network(from);
        if self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&from) {
            self.addresses
                .retain(|_, a| a.known > now || !a.failures.is_full_again(now));
            if self.addresses.len() >= MAX_ADDRESSES {
                return None;
            }
        }
        Some(self.addresses.entry(from).or_default())
    }
}

/// What one party has: an IPv4 address, or an IPv6 network of 64 bits.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(throttle.check(bad, NOW), Ok(()));
            throttle.failed(bad, NOW);
        }
        let until = throttle.check(bad, NOW).unwrap_err();
        assert_eq!(until, NOW + PER_ADDRESS.one_per);
        // A right one seen before does not help: it may be a neighbour's.
        throttle.succeeded(bad, NOW);
        assert!(throttle.check(bad, NOW).is_err());
        assert_eq!(throttle.check(ip("203.0.113.8"), NOW), Ok(()));
        assert_eq!(throttle.check(bad, until), Ok(()));
        throttle.failed(bad, until);
        assert!(throttle.check(bad, until).is_err());
    }

    #[test]
    fn many_addresses_are_bounded_in_all_but_known_ones_get_through() {
        let throttle = Throttle::default();
        let ours = ip("198.51.100.1");
        throttle.succeeded(ours, NOW);
        for i in 0..IN_ALL.burst {
            throttle.failed(Ipv6Addr::from_bits(u128::from(i) << 64).into(), NOW);
        }
        assert!(throttle.check(ip("2001:db8::1"), NOW).is_err());
        assert_eq!(throttle.check(ours, NOW), Ok(()));
        assert!(throttle.check(ours, NOW + KNOWN).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_party() {
        let throttle = Throttle::default();
        for i in 0..PER_ADDRESS.burst {
            throttle.failed(ip(&format!("2001:db8:1:2::{i:x}")), NOW);
        }
        assert!(throttle.check(ip("2001:db8:1:2:ffff::1"), NOW).is_err());
        assert_eq!(throttle.check(ip("2001:db8:1:3::1"), NOW), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for i in 0..2 * MAX_ADDRESSES {
            throttle.failed(Ipv6Addr::from_bits((i as u128) << 64).into(), NOW);
        }
        assert_eq!(throttle.lock().addresses.len(), MAX_ADDRESSES);
        let later = NOW + Duration::from_secs(3600);
        throttle.failed(ip("203.0.113.7"), later);
        assert_eq!(throttle.lock().addresses.len(), 1);
    }
}
