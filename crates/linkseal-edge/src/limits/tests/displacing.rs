//! Which connection makes way.

use linkseal_net::shares::network;

use super::*;

#[tokio::test(flavor = "local")]
async fn two_busy_networks_make_way_for_a_third_at_once() {
    let limits = Limits::with_address_limit(80, 80);
    let addresses = ["192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2"];
    // They have all sent a request just now.
    let mut held = crowd(&limits, &addresses, 19, Duration::ZERO);
    let busy = &held[0..76];
    busy.iter().for_each(|p| p.presence().unwrap().begins());
    let bystander = soon(&limits, "203.0.113.1").expect("a place");
    assert_eq!(gone(&held), 1);
    // Their next connections do not displace it either.
    for _ in 0..50 {
        for from in addresses {
            drop(soon(&limits, from));
        }
    }
    assert!(!bystander.presence().unwrap().is_evicted());
    held.retain(|p| !p.presence().unwrap().is_evicted());
    assert!(
        held.len() >= 70,
        "a crowd does not displace itself while it is busy: {}",
        held.len()
    );
}

#[tokio::test(flavor = "local")]
async fn a_crowd_of_single_connections_makes_way_for_many_at_once() {
    let limits = Limits::with_address_limit(80, 80);
    let addresses: Vec<_> = (0..76).map(|n| format!("198.51.{}.{}", n / 2, n % 2)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let held = crowd(&limits, &addresses, 1, Duration::ZERO);
    held.iter().for_each(|p| p.presence().unwrap().begins());
    let strangers: Vec<_> = (0..10).filter_map(|n| soon(&limits, &format!("203.0.{n}.1"))).collect();
    assert_eq!((strangers.len(), gone(&held)), (10, 10));
    // One of each network at most: the others hold no more than a new connection's network would.
    let mut left: Vec<_> = held.iter().map(|p| p.presence().unwrap()).collect();
    left.retain(|p| !p.is_evicted());
    let networks: std::collections::HashSet<_> = left.iter().map(|p| network(p.client())).collect();
    assert_eq!(networks.len(), 38);
}

#[tokio::test(flavor = "local")]
async fn many_networks_that_scan_their_own_connections_leave_the_scan_of_all() {
    let limits = Limits::with_address_limit(80, 80);
    let held = crowd(&limits, &["192.0.2.1", "192.0.2.2"], 38, Duration::from_secs(9));
    for n in 0..300 {
        let from = ip(&format!("10.{}.{}.1", n / 256, n % 256));
        let made = limits.inner.holders.make_way(LimitReached::Network, from, |_, _| 1);
        assert!(!made, "no one of that network is here");
    }
    assert!(soon(&limits, "203.0.113.1").is_some());
    assert_eq!(gone(&held), 1);
}

#[tokio::test(flavor = "local")]
async fn the_only_one_of_its_address_stays_in_the_network_of_a_crowd_too() {
    let limits = Limits::new(80);
    let bystander = https(&limits, "192.0.2.77").unwrap();
    bystander
        .presence()
        .unwrap()
        .is_since(Instant::now() - Duration::from_secs(60));
    let held = crowd(&limits, &["192.0.2.1", "192.0.2.2"], 19, Duration::from_secs(5));
    let mut permit = limits.permit(Listener::Https).unwrap();
    assert_eq!(permit.count_for(ip("192.0.2.78")), Ok(()));
    let mut another = limits.permit(Listener::Https).unwrap();
    assert_eq!(another.count_for(ip("192.0.2.79")), Err(LimitReached::Network));
    assert!(another.count_for_soon(ip("192.0.2.79"), LimitReached::Network).await);
    assert_eq!(gone(&held), 1);
    for _ in 0..20 {
        let mut permit = limits.permit(Listener::Https).unwrap();
        if permit.count_for(ip("192.0.2.1")).is_err() {
            permit.count_for_soon(ip("192.0.2.1"), LimitReached::Network).await;
        }
    }
    assert!(!bystander.presence().unwrap().is_evicted());
}

#[tokio::test(flavor = "local")]
async fn waiting_within_a_network_uses_up_no_scan_of_others() {
    let limits = Limits::with_address_limit(40, 20);
    let busy = crowd(&limits, &["192.0.2.1"], 20, Duration::from_secs(9));
    busy.iter().for_each(|p| p.presence().unwrap().begins());
    let idle = crowd(&limits, &["198.51.100.1"], 18, Duration::from_secs(9));
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let limits = limits.clone();
        let mut wait = Box::pin(async move {
            limits.inner.open.fetch_add(1, Ordering::Relaxed);
            let mut permit = limits.permit_of(Listener::Https, false);
            permit.count_for_soon(ip("192.0.2.1"), LimitReached::Address).await
        });
        assert!(wait.as_mut().now_or_never().is_none());
        waiting.push(wait);
    }
    assert!(soon(&limits, "203.0.113.1").is_some());
    assert_eq!(gone(&idle) + gone(&busy), 1);
}
