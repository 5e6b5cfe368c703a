use super::*;

fn ip(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn from(peer: IpAddr, share: usize) -> Arrival {
    Arrival {
        peer,
        share,
        is_local: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_over_its_share_loses_its_own_oldest_connection() {
    let slots = Arc::new(Slots::default());
    let bystander = slots.take(from(ip(1), PER_CLIENT)).0;
    let mut flood = Vec::new();
    for _ in 0..PER_CLIENT {
        tokio::time::advance(Duration::from_millis(1)).await;
        flood.push(slots.take(from(ip(2), PER_CLIENT)).0);
    }
    let (newest, evicted) = slots.take(from(ip(2), PER_CLIENT));
    assert_eq!(evicted, Some(ip(2)));
    assert!(flood[0].watchdog.is_closed() && !flood[1].watchdog.is_closed());
    assert!(!bystander.watchdog.is_closed() && !newest.watchdog.is_closed());
    drop(flood);
    assert_eq!(slots.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_slots_are_taken_the_largest_network_loses_one() {
    let slots = Arc::new(Slots::default());
    let mut held = Vec::new();
    for n in 0..MAX as u32 {
        // One client with three shares, as a trusted proxy may have; the others have one connection each.
        let from = if n < 3 * PER_CLIENT as u32 { ip(0) } else { ip(n) };
        held.push(slots.take(self::from(from, MAX)).0);
    }
    let (arrival, evicted) = slots.take(from(ip(9999), PER_CLIENT));
    assert_eq!(evicted, Some(ip(0)));
    assert!(!arrival.watchdog.is_closed());
    assert_eq!(slots.len(), MAX);
}

#[tokio::test(start_paused = true)]
async fn authenticated_and_moving_connections_stay_and_stalled_ones_are_closed() {
    let slots = Arc::new(Slots::default());
    let (operator, reader, stuck) = (
        slots.take(from(ip(1), 3)).0,
        slots.take(from(ip(1), 3)).0,
        slots.take(from(ip(1), 3)).0,
    );
    operator.watchdog.authenticated();
    tokio::time::advance(Duration::from_secs(5)).await;
    reader.watchdog.moved(Instant::now());
    let (_new, _) = slots.take(from(ip(1), 3));
    assert!(stuck.watchdog.is_closed() && !operator.watchdog.is_closed() && !reader.watchdog.is_closed());
    // A valid token does not help a client that does not read its answers.
    operator.watchdog.stalled(Instant::now());
    let (_new, _) = slots.take(from(ip(1), 3));
    assert!(operator.watchdog.is_closed());
}

/// An address in the `n`th /64 of one /48.
fn v6(n: u16) -> IpAddr {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, n, 0, 0, 0, 1).into()
}

#[tokio::test(start_paused = true)]
async fn an_authenticated_connection_outlasts_a_flood_from_many_networks() {
    let slots = Arc::new(Slots::default());
    let (operator, _) = slots.take(from(ip(1), PER_CLIENT));
    operator.watchdog.authenticated();
    let mut held = Vec::new();
    for n in 0..1_000_u32 {
        tokio::time::advance(Duration::from_secs(1)).await;
        // Each from a /24 of its own.
        let arrival = slots.take(from(ip(n << 8), PER_CLIENT)).0;
        assert!(!arrival.watchdog.is_closed());
        held.push(arrival);
    }
    assert!(!operator.watchdog.is_closed());
    assert_eq!(slots.len(), MAX);
    let open = held.iter().filter(|slot| !slot.watchdog.is_closed()).count();
    assert_eq!(open, MAX - 1);
    assert!(!held[1_000 - 100].watchdog.is_closed(), "the oldest are closed first");
}

#[tokio::test(start_paused = true)]
async fn the_64s_of_one_48_count_as_one_network_and_local_connections_stay() {
    let slots = Arc::new(Slots::default());
    let mut held = Vec::new();
    // Two that are not authenticated yet, and a probe from this machine.
    let operators = [0, 1].map(|_| slots.take(from(ip(1), PER_CLIENT)).0);
    let probe = slots
        .take(Arrival {
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
            share: MAX,
            is_local: true,
        })
        .0;
    for n in 0..1_000 {
        held.push(slots.take(from(v6(n), PER_CLIENT)).0);
    }
    assert!(operators.iter().all(|slot| !slot.watchdog.is_closed()));
    assert!(!probe.watchdog.is_closed());
}

#[tokio::test(start_paused = true)]
async fn one_token_cannot_hold_all_slots_against_new_connections() {
    let slots = Arc::new(Slots::default());
    let mut held = Vec::new();
    for n in 0..MAX as u32 {
        let slot = slots.take(from(ip(n << 8), PER_CLIENT)).0;
        slot.watchdog.authenticated();
        held.push(slot);
    }
    let arrivals: Vec<_> = (0..10)
        .map(|n| slots.take(from(ip(n << 8 | 1), PER_CLIENT)).0)
        .collect();
    assert!(arrivals.iter().all(|slot| !slot.watchdog.is_closed()));
}
