//! Waiting for room.

use super::*;
use crate::limits::counts::PATIENCE;

#[tokio::test(flavor = "local")]
async fn the_longest_idle_connection_makes_way_and_busy_ones_stay() {
    let limits = Limits::with_address_limit(4, 4);
    let mut held: Vec<_> = (0..4).map(|_| https(&limits, "192.0.2.1").unwrap()).collect();
    let presences: Vec<_> = held.iter().map(|p| Arc::clone(p.presence().unwrap())).collect();
    presences[0].begins();
    // Of those that may make way, the second has been idle the longest.
    let ago = |millis| Instant::now() - Duration::from_millis(millis);
    for (presence, millis) in presences.iter().zip([9_000, 7_000, 5_000, 100]) {
        presence.is_since(ago(millis));
    }
    let victim = async {
        presences[1].evicted().await;
        held.remove(1)
    };
    let started = Instant::now();
    let (came, gone) = tokio::join!(limits.permit_soon(Listener::Https, ip("192.0.2.9")), async {
        drop(victim.await)
    });
    assert!(came.is_some());
    let () = gone;
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let evicted: Vec<_> = presences.iter().map(|p| p.is_evicted()).collect();
    assert_eq!(evicted, [false, true, false, false]);
}

#[tokio::test(flavor = "local")]
async fn where_all_are_busy_a_new_connection_waits_only_a_moment() {
    let limits = Limits::with_address_limit(1, 1);
    let held = https(&limits, "192.0.2.1").unwrap();
    held.presence().unwrap().begins();
    let started = Instant::now();
    assert!(limits.permit_soon(Listener::Https, ip("192.0.2.9")).await.is_none());
    assert!(started.elapsed() < 3 * PATIENCE);
    assert!(limits.is_warning_due());
    assert!(!limits.is_warning_due(), "once a minute");
}

#[test]
fn a_crowd_leaves_waiting_places_to_addresses_of_its_network_that_hold_nothing() {
    let limits = Limits::new(100);
    let _held: Vec<_> = (0..50)
        .map(|n| https(&limits, &format!("192.0.2.{}", n % 4)).unwrap())
        .collect();
    let knocking: Vec<_> = (0..200)
        .map_while(|n| limits.newcomer(Some(ip(&format!("192.0.2.{}", n % 4)))))
        .collect();
    assert_eq!(knocking.len(), NEWCOMERS_OF_NETWORK);
    assert!(limits.newcomer(Some(ip("192.0.2.1"))).is_none());
    assert!(limits.newcomer(Some(ip("192.0.2.77"))).is_some());
}

#[tokio::test(flavor = "local")]
async fn crowds_of_many_networks_leave_waiting_places_to_another() {
    let limits = Limits::new(100);
    for held in [0, 1] {
        let address = |n: usize| format!("198.51.{}.{}", n / NEWCOMERS_OF_NETWORK, n % NEWCOMERS_OF_NETWORK);
        // Addresses that hold a connection wait in another room.
        limits.set(Bounds::of(4 * NEWCOMERS));
        let _held: Vec<_> = (0..held * NEWCOMERS)
            .map(|n| https(&limits, &address(n)).unwrap())
            .collect();
        let own = (held > 0).then(|| https(&limits, "192.0.2.1").unwrap());
        let knocking: Vec<_> = (0..NEWCOMERS)
            .map(|n| limits.newcomer(Some(ip(&address(n)))).expect("room"))
            .collect();
        let bystander = limits.newcomer(Some(ip("192.0.2.1")));
        let bystander = bystander.expect("a place that another network had too many of");
        assert!(bystander.unless_taken_away(async { true }).await);
        let gone = |place: &Newcomer| match place {
            Newcomer::Named(place) => place.taken_away().now_or_never().is_some(),
            Newcomer::Unnamed(_) => false,
        };
        assert_eq!(knocking.iter().filter(|place| gone(place)).count(), 1);
        // Nor do they take the place of a client that its balancer has not named yet.
        assert!(limits.newcomer(None).is_some());
        drop(own);
    }
}

#[test]
fn no_more_connections_wait_than_there_are_descriptors_for() {
    let limits = Limits::with_newcomers(Bounds::of(1), 5);
    for peer in [None, Some(ip("192.0.2.1"))] {
        let waiting: Vec<_> = (0..20).map_while(|_| limits.newcomer(peer)).collect();
        assert_eq!(waiting.len(), 5, "{peer:?}");
    }
}
