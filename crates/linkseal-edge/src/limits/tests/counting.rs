//! Limits of all connections, of an address and of a network, and the reserve.

use super::*;

#[test]
fn a_dropped_permit_is_free_again_and_leaves_nothing() {
    let limits = Limits::with_address_limit(3, 2);
    let one = https(&limits, "192.0.2.1").unwrap();
    let two = https(&limits, "192.0.2.1").unwrap();
    assert_eq!(https(&limits, "192.0.2.1").unwrap_err(), LimitReached::Address);
    let three = https(&limits, "192.0.2.2").unwrap();
    assert_eq!(https(&limits, "192.0.2.3").unwrap_err(), LimitReached::All);
    assert_eq!((limits.open(), limits.addresses()), (3, 2));
    drop(one);
    let four = https(&limits, "192.0.2.1").unwrap();
    drop((two, three, four));
    assert_eq!((limits.open(), limits.addresses()), (0, 0));
    assert!(limits.inner.owners.is_empty() && limits.inner.holders.is_empty());
}

#[test]
fn an_ipv6_network_is_one_client_and_a_mapped_address_is_ipv4() {
    let limits = Limits::with_address_limit(10, 1);
    let _one = https(&limits, "2001:db8::1").unwrap();
    assert_eq!(https(&limits, "2001:db8::2").unwrap_err(), LimitReached::Address);
    let _two = https(&limits, "2001:db8:0:1::2").unwrap();
    let _three = https(&limits, "::ffff:192.0.2.1").unwrap();
    assert_eq!(https(&limits, "192.0.2.1").unwrap_err(), LimitReached::Address);
}

#[test]
fn a_network_has_a_share_of_its_own() {
    let limits = Limits::new(200);
    for (first, more) in [("2001:db8:0:", "::1"), ("192.0.2.", "")] {
        let mut held = Vec::new();
        for n in 0..200 {
            // Four addresses, each with as many connections as it may have.
            match https(&limits, &format!("{first}{}{more}", n % 4)) {
                Ok(permit) => held.push(permit),
                Err(why) => assert_eq!(why, LimitReached::Network),
            }
        }
        assert_eq!(held.len(), 100, "half of all");
        https(&limits, "198.51.100.1").unwrap();
    }
}

#[test]
fn limits_change_while_connections_are_open() {
    let limits = Limits::new(1);
    let one = https(&limits, "192.0.2.1").unwrap();
    limits.permit(Listener::Https).unwrap_err();
    limits.set(Bounds::of(2));
    let two = limits.permit(Listener::Https).unwrap();
    limits.set(Bounds::of(1));
    drop(one);
    limits.permit(Listener::Https).unwrap_err();
    drop(two);
    limits.permit(Listener::Https).unwrap();
    let none = Limits::with_address_limit(1, 0);
    https(&none, "192.0.2.1").unwrap_err();
    assert_eq!(none.addresses(), 0);
}

#[test]
fn a_part_is_reserved_for_port_80() {
    let limits = Limits::with(Bounds {
        max: 100,
        per_address: 100,
        per_network: 100,
    });
    let mut held = Vec::new();
    while let Ok(permit) = https(&limits, "192.0.2.1") {
        held.push(permit);
    }
    assert_eq!((held.len(), limits.fullness()), (95, 95));
    let challenge = open(&limits, Listener::Http, "198.51.100.1").unwrap();
    assert!(challenge.presence().unwrap().is_brief());
    // One address has a share of the reserve too.
    while let Ok(permit) = open(&limits, Listener::Http, "192.0.2.1") {
        held.push(permit);
    }
    open(&limits, Listener::Http, "198.51.100.2").unwrap();
    drop((challenge, held));
    assert_eq!(limits.open(), 0);
    let calm = open(&limits, Listener::Http, "198.51.100.1").unwrap();
    assert!(!calm.presence().unwrap().is_brief());
}

#[test]
fn a_few_networks_together_do_not_take_the_reserve() {
    let limits = Limits::new(1_000);
    let mut held = Vec::new();
    // Two networks fill all places, then take what they can get on port 80.
    for listener in [Listener::Https, Listener::Http] {
        for n in 0..1_000 {
            held.extend(open(&limits, listener, &format!("198.51.{}.{}", n % 2, n / 2 % 250)).ok());
        }
    }
    assert_eq!(limits.permit(Listener::Https).unwrap_err(), LimitReached::All);
    let reserved = held.iter().filter(|p| p.presence().unwrap().is_brief()).count();
    assert_eq!(reserved, 14, "an eighth for each");
    let challenges: Vec<_> = (0..5)
        .filter_map(|n| open(&limits, Listener::Http, &format!("192.0.{n}.1")).ok())
        .collect();
    assert_eq!(challenges.len(), 5);
}

#[test]
fn an_address_with_its_share_is_still_served_on_port_80() {
    // Behind a balancer that hides its clients, all have one address.
    let limits = Limits::new(100);
    let held: Vec<_> = std::iter::from_fn(|| https(&limits, "10.0.0.1").ok()).collect();
    assert_eq!(held.len(), 25);
    let health = open(&limits, Listener::Http, "10.0.0.1").unwrap();
    assert!(health.presence().unwrap().is_brief());
    drop((held, health));
    assert_eq!(limits.open(), 0);
}
