//! How many connections there may be, in all and from one address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// One address may hold this share of all connections: mail providers fetch for millions of readers
/// from few addresses, so it is generous; but no single address fills the edge.
const ADDRESS_SHARE: usize = 4;
/// How much of an IPv6 address counts as one client: networks are handed out as /64 (RFC 6177 §2).
const V6_NETWORK: u32 = 64;

/// The limits, and what is open. Clones share both.
#[derive(Clone, Debug)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: AtomicUsize,
    max_per_address: AtomicUsize,
    open: AtomicUsize,
    /// Only addresses that hold a connection are here, so `open` bounds it.
    addresses: DashMap<IpAddr, usize>,
}

/// The right to hold one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    /// `None`: not counted by address (yet).
    address: Option<IpAddr>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// That of all connections.
    #[error("max_connections is reached")]
    All,
    /// That of one address.
    #[error("too many connections from one address")]
    Address,
}

impl Limits {
    /// At most `max` connections, and a quarter of them from one address.
    pub fn new(max: usize) -> Self {
        Self::with_address_limit(max, max.div_ceil(ADDRESS_SHARE))
    }

    /// At most `max` connections, and `max_per_address` from one address.
    pub fn with_address_limit(max: usize, max_per_address: usize) -> Self {
        let inner = Inner {
            max: max.into(),
            max_per_address: max_per_address.into(),
            open: 0.into(),
            addresses: DashMap::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Changes the limits, as [`Limits::new`] sets them. What is open stays open.
    pub fn set(&self, max: usize) {
        self.inner.max.store(max, Ordering::Relaxed);
        self.inner
            .max_per_address
            .store(max.div_ceil(ADDRESS_SHARE), Ordering::Relaxed);
    }

    /// A permit for one more connection, whoever it is from.
    pub fn permit(&self) -> Result<Permit, LimitReached> {
        let max = self.inner.max.load(Ordering::Relaxed);
        let more = |open: usize| (open < max).then_some(open + 1);
        match self.inner.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Permit {
                inner: Arc::clone(&self.inner),
                address: None,
            }),
            Err(_) => Err(LimitReached::All),
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
    }

    /// How many addresses hold a connection.
    pub fn addresses(&self) -> usize {
        self.inner.addresses.len()
    }
}

impl Permit {
    /// Counts the connection for its client, once it is known who that is.
    pub fn count_for(&mut self, client: IpAddr) -> Result<(), LimitReached> {
        let address = network(client);
        let max = self.inner.max_per_address.load(Ordering::Relaxed);
        {
            let mut count = self.inner.addresses.entry(address).or_insert(0);
            if *count < max {
                *count += 1;
                self.address = Some(address);
                return Ok(());
            }
        }
        // With a limit of zero the entry was made just now.
        self.inner.addresses.remove_if(&address, |_, count| *count == 0);
        Err(LimitReached::Address)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = self.inner.addresses.entry(address)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// What counts as one client.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> (128 - V6_NETWORK) << (128 - V6_NETWORK)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_dropped_is_free_again_and_leaves_nothing() {
        let limits = Limits::with_address_limit(3, 2);
        let open = |from: &str| {
            let mut permit = limits.permit()?;
            permit.count_for(ip(from)).map(|()| permit)
        };
        let one = open("192.0.2.1").unwrap();
        let two = open("192.0.2.1").unwrap();
        assert_eq!(open("192.0.2.1").unwrap_err(), LimitReached::Address);
        let three = open("192.0.2.2").unwrap();
        assert_eq!(open("192.0.2.3").unwrap_err(), LimitReached::All);
        assert_eq!((limits.open(), limits.addresses()), (3, 2));
        drop(one);
        let four = open("192.0.2.1").unwrap();
        drop((two, three, four));
        assert_eq!((limits.open(), limits.addresses()), (0, 0));
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
        assert_eq!(network(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
        let limits = Limits::with_address_limit(10, 1);
        let mut permit = limits.permit().unwrap();
        permit.count_for(ip("2001:db8::1")).unwrap();
        assert_eq!(
            limits.permit().unwrap().count_for(ip("2001:db8::2")),
            Err(LimitReached::Address)
        );
        limits.permit().unwrap().count_for(ip("2001:db8:0:1::2")).unwrap();
    }

    #[test]
    fn limits_change_while_connections_are_open() {
        let limits = Limits::new(1);
        let one = limits.permit().unwrap();
        limits.permit().unwrap_err();
        limits.set(2);
        let two = limits.permit().unwrap();
        limits.set(1);
        drop(one);
        limits.permit().unwrap_err();
        drop(two);
        limits.permit().unwrap();
        let none = Limits::with_address_limit(1, 0);
        none.permit().unwrap().count_for(ip("192.0.2.1")).unwrap_err();
        assert_eq!(none.addresses(), 0);
    }
}
