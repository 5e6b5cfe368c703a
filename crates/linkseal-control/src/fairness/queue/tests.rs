use futures_util::FutureExt;

use super::*;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

/// Takes all waiting names, in order.
fn drain(queue: &Arc<Queue>) -> Vec<String> {
    std::iter::from_fn(|| queue.try_next().map(|(name, _)| name.to_string())).collect()
}

#[test]
fn the_longest_wait_is_that_of_the_first_arrival_even_after_it_was_raised() {
    let queue = Arc::new(Queue::new(1));
    assert_eq!(queue.longest_wait(), None);
    queue.push(name("first.example"), "t", Priority::Bulk);
    let between = Instant::now();
    queue.push(name("second.example"), "t", Priority::Verify);
    queue.raise(&name("first.example"), Priority::Handshake);
    assert!(queue.longest_wait().unwrap() >= between.elapsed());
    let (taken, slot) = queue.try_next().unwrap();
    assert_eq!(taken, name("first.example"));
    assert!(queue.longest_wait().unwrap() <= between.elapsed());
    drop(slot);
    drop(queue.try_next());
    assert_eq!(queue.longest_wait(), None);
}

#[test]
fn the_highest_priority_goes_first_and_equals_in_order_of_arrival() {
    let queue = Arc::new(Queue::new(10));
    queue.push(name("b1.example"), "t", Priority::Bulk);
    queue.push(name("b2.example"), "t", Priority::Bulk);
    queue.push(name("b3.example"), "t", Priority::Bulk);
    queue.push(name("v.example"), "t", Priority::Verify);
    queue.push(name("e.example"), "t", Priority::Expiring);
    queue.raise(&name("b2.example"), Priority::Handshake);
    queue.raise(&name("b2.example"), Priority::Verify);
    queue.raise(&name("absent.example"), Priority::Expiring);
    queue.push(name("b3.example"), "t", Priority::Bulk);
    assert_eq!(queue.depth().map(|(_, n)| n), [1, 1, 1, 2]);
    assert_eq!(
        drain(&queue),
        ["e.example", "b2.example", "v.example", "b1.example", "b3.example"]
    );
    assert_eq!(queue.depth().map(|(_, n)| n), [0; 4]);
    queue.push(name("b2.example"), "t", Priority::Bulk);
    assert_eq!(drain(&queue), ["b2.example"], "the stale entry is not taken for it");
}

#[test]
fn tenants_take_turns() {
    let queue = Arc::new(Queue::new(100));
    for n in 0..50 {
        queue.push(name(&format!("d{n}.big.example")), "big", Priority::Bulk);
    }
    for small in ["a", "b"] {
        queue.push(name(&format!("links.{small}.example")), small, Priority::Bulk);
    }
    let first: Vec<_> = drain(&queue).into_iter().take(5).collect();
    assert_eq!(
        first,
        [
            "d0.big.example",
            "links.a.example",
            "links.b.example",
            "d1.big.example",
            "d2.big.example"
        ]
    );
}

#[test]
fn slow_orders_of_one_tenant_leave_slots_to_others_and_bulk_leaves_slots_to_urgent_ones() {
    let queue = Arc::new(Queue::new(16));
    let mut slots = Vec::new();
    let mut take = |queue: &Arc<Queue>| {
        let (name, slot) = queue.try_next()?;
        slots.push(slot);
        Some(name.to_string())
    };
    for n in 0..50 {
        queue.push(name(&format!("d{n}.big.example")), "big", Priority::Bulk);
    }
    let taken = std::iter::from_fn(|| take(&queue)).count();
    assert_eq!(taken, 11, "of the 13 that bulk may have");
    for n in 0..3 {
        queue.push(name(&format!("links.t{n}.example")), &format!("t{n}"), Priority::Bulk);
    }
    assert_eq!(take(&queue).as_deref(), Some("links.t0.example"));
    assert_eq!(take(&queue).as_deref(), Some("links.t1.example"));
    assert_eq!(take(&queue), None);
    queue.raise(&name("links.t2.example"), Priority::Verify);
    queue.push(name("e.example"), "small", Priority::Expiring);
    assert_eq!(take(&queue).as_deref(), Some("e.example"));
    assert_eq!(take(&queue), None, "the rest is reserved for handshakes");
    queue.push(name("h.example"), "small", Priority::Handshake);
    assert_eq!(take(&queue).as_deref(), Some("h.example"));
    slots.clear();
    let left = std::iter::from_fn(|| queue.try_next().map(|(name, _)| name)).count();
    assert_eq!(left, 39 + 1, "none is lost");
    assert!(queue.state.lock().running_of.is_empty());
}

#[test]
fn a_tenant_that_is_alone_uses_the_spare_slots_until_another_comes() {
    let queue = Arc::new(Queue::new(16));
    let push = |tenant: &str, n: u32| queue.push(name(&format!("d{n}.{tenant}.example")), tenant, Priority::Bulk);
    (0..200).for_each(|n| push("big", n));
    // Takes every free slot.
    let fill = |slots: &mut VecDeque<Slot>| slots.extend(std::iter::from_fn(|| queue.try_next().map(|(_, s)| s)));
    let mut slots = VecDeque::new();
    fill(&mut slots);
    assert_eq!(slots.len(), 11);
    for _ in 0..ALONE {
        slots.pop_front();
        fill(&mut slots);
    }
    assert_eq!(slots.len(), 13, "all that bulk may have");
    // The next order of another tenant waits for one order, and then the shares apply again.
    push("small", 0);
    assert!(queue.try_next().is_none());
    slots.pop_front();
    let (first, small) = queue.try_next().unwrap();
    assert_eq!(first.as_str(), "d0.small.example");
    slots.pop_front();
    assert!(queue.try_next().is_none(), "11 run, and the small one");
    drop(small);
    slots.pop_front();
    fill(&mut slots);
    assert_eq!(slots.len(), 11);
    // While orders are slow, the spare slots stay free.
    (0..50).for_each(|_| queue.took(Duration::from_secs(90)));
    for _ in 0..ALONE {
        slots.pop_front();
        fill(&mut slots);
    }
    assert_eq!(slots.len(), 11);
}

#[test]
fn operations_cost_the_same_with_a_hundred_thousand_waiting_names() {
    // Linear steps would make this test take hours.
    const MANY: usize = 100_000;
    let queue = Arc::new(Queue::new(1));
    let names: Vec<_> = (0..MANY).map(|n| name(&format!("d{n}.example"))).collect();
    for (n, name) in names.iter().enumerate() {
        queue.push(name.clone(), if n % 2 == 0 { "even" } else { "odd" }, Priority::Bulk);
    }
    for name in &names {
        queue.raise(name, Priority::Verify);
        assert_eq!(queue.depth()[3].1 + queue.depth()[2].1, MANY);
    }
    assert_eq!(drain(&queue).len(), MANY);
}

#[tokio::test]
async fn a_slot_is_free_only_after_its_order_has_ended() {
    let queue = Arc::new(Queue::new(1));
    queue.push(name("a.example"), "t", Priority::Bulk);
    queue.push(name("b.example"), "t", Priority::Bulk);
    let (_, slot) = queue.next().await;
    let second = queue.next();
    tokio::pin!(second);
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(slot);
    assert_eq!(second.await.0.as_str(), "b.example");
}

#[tokio::test]
async fn a_raised_name_takes_a_slot_reserved_for_its_new_priority() {
    let queue = Arc::new(Queue::new(16));
    let mut slots = Vec::new();
    for n in 0..30 {
        queue.push(name(&format!("d{n}.example")), &format!("t{n}"), Priority::Bulk);
    }
    while let Some(next) = queue.try_next() {
        slots.push(next);
    }
    for (n, priority) in [
        (20, Priority::Verify),
        (21, Priority::Handshake),
        (22, Priority::Expiring),
    ] {
        let next = queue.next();
        tokio::pin!(next);
        assert!(futures_util::poll!(&mut next).is_pending());
        let raised = name(&format!("d{n}.example"));
        queue.raise(&raised, priority);
        let next = next.now_or_never().expect("a slot is reserved for it");
        assert_eq!(next.0, raised, "{priority:?}");
        slots.push(next);
    }
}
