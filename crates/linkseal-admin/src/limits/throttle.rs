//! How many wrong tokens are answered, per client and in total.
//!
//! Valid tokens never get here: they are compared first and always admitted, whatever came from the
//! same address before (a proxy, a script with last year's token). Tokens are too long to be
//! guessed; the bound keeps those who try from flooding the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_net::shares::client;
use parking_lot::Mutex;

use super::rate::{Rate, Used};

/// Wrong tokens per client.
const PER_ADDRESS: Rate = Rate {
    burst: 20,
    one_per: Duration::from_secs(30),
};
/// Wrong tokens of all clients together.
const TOTAL: Rate = Rate {
    burst: 200,
    one_per: Duration::from_secs(1),
};
/// Addresses remembered; about 100 bytes each.
const MAX_ADDRESSES: usize = 10_000;

/// Counts wrong tokens.
#[derive(Default)]
pub(crate) struct Throttle {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    addresses: HashMap<IpAddr, Used>,
    all: Used,
}

impl Throttle {
    /// Counts a wrong token. When there were too many, the error is the time from which on one is
    /// answered again.
    pub(crate) fn unknown_token(&self, from: IpAddr, now: Timestamp) -> Result<(), Timestamp> {
        let mut inner = self.inner.lock();
        let used = inner.address(from, now).map_or(Used::default(), |used| *used);
        if let Some(until) = used.until(PER_ADDRESS, now).max(inner.all.until(TOTAL, now)) {
            return Err(until);
        }
        inner.all.take(TOTAL, now);
        if inner.all.until(TOTAL, now).is_some() {
            tracing::warn!("too many wrong tokens in total; refusing more for a while (valid tokens are admitted)");
        }
        if let Some(used) = inner.address(from, now) {
            used.take(PER_ADDRESS, now);
            if used.until(PER_ADDRESS, now).is_some() {
                tracing::warn!(
                    %from,
                    "too many wrong tokens from this address; refusing more for a while (valid tokens are admitted; \
                     check for a client whose token was changed or removed)"
                );
            }
        }
        Ok(())
    }
}

impl Inner {
    /// What a client has used up; `None` when too many others are remembered, which leaves the total
    /// as the only bound.
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
    fn an_address_over_its_rate_waits_and_others_do_not() {
        let throttle = Throttle::default();
        let bad = ip("203.0.113.7");
        for _ in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.unknown_token(bad, NOW), Ok(()));
        }
        let until = NOW + PER_ADDRESS.one_per;
        assert_eq!(throttle.unknown_token(bad, NOW), Err(until));
        assert_eq!(throttle.unknown_token(ip("203.0.113.8"), NOW), Ok(()));
        // Refused attempts do not count, so the time does not move.
        assert_eq!(throttle.unknown_token(bad, until), Ok(()));
        assert!(throttle.unknown_token(bad, until).is_err());
    }

    #[test]
    fn the_total_over_all_addresses_is_bounded() {
        let throttle = Throttle::default();
        for i in 0..TOTAL.burst {
            let from = Ipv6Addr::from_bits(u128::from(i) << 64).into();
            assert_eq!(throttle.unknown_token(from, NOW), Ok(()));
        }
        assert_eq!(throttle.unknown_token(ip("2001:db8::1"), NOW), Err(NOW + TOTAL.one_per));
    }

    #[test]
    fn an_ipv6_64_is_one_client() {
        let throttle = Throttle::default();
        for i in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.unknown_token(ip(&format!("2001:db8:1:2::{i:x}")), NOW), Ok(()));
        }
        assert!(throttle.unknown_token(ip("2001:db8:1:2:ffff::1"), NOW).is_err());
        assert_eq!(throttle.unknown_token(ip("2001:db8:1:3::1"), NOW), Ok(()));
    }

    #[test]
    fn remembered_addresses_are_bounded() {
        let throttle = Throttle::default();
        for i in 0..2 * MAX_ADDRESSES {
            let _ = throttle.unknown_token(Ipv6Addr::from_bits((i as u128) << 64).into(), NOW);
        }
        assert!(throttle.inner.lock().addresses.len() <= MAX_ADDRESSES);
        let later = NOW + Duration::from_secs(24 * 3600);
        for i in 0..=MAX_ADDRESSES {
            let _ = throttle.unknown_token(Ipv6Addr::from_bits((i as u128) << 64).into(), later);
        }
        assert!(throttle.inner.lock().addresses.len() <= MAX_ADDRESSES);
    }
}
