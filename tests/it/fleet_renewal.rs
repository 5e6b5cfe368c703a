//! A fleet over eighty days: every domain is renewed, and no handshake fails meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::State;
use toml::{Table, Value};

use crate::support::world::{Plan, World};
use crate::support::{client, exclusive, until_within};

const DOMAINS: usize = 1_000;
const DAY: Duration = Duration::from_secs(86_400);
/// Clients that connect one after the other without pause.
const CLIENTS: usize = 4;
/// For a thousand orders, including the CA's share of the work, on two busy cores in a debug build.
const TIMEOUT: Duration = Duration::from_secs(240);

fn name(i: usize) -> String {
    format!("links.customer{i}.test")
}

/// Waits until every domain has a certificate that expires later than in `after`; returns when they
/// expire.
async fn all_issued(world: &World, after: &[Timestamp]) -> Vec<Timestamp> {
    let begun = Instant::now();
    let mut ends = Vec::with_capacity(DOMAINS);
    for i in 0..DOMAINS {
        let name = name(i);
        let issued = until_within(TIMEOUT.saturating_sub(begun.elapsed()), &name, async || {
            let ssl = world.edge.record(&name).await.ssl;
            let end = ssl
                .certificate
                .filter(|_| ssl.reason.state() == State::Issued)?
                .not_after;
            (after.get(i).is_none_or(|after| end > *after)).then_some(end)
        });
        ends.push(issued.await);
    }
    println!("{DOMAINS} certificates: {:?}", begun.elapsed());
    ends
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_domains_are_renewed_after_eighty_days_without_a_failed_handshake() {
    let _exclusive = exclusive().await;
    let limits: Table = "orders_per_account = \"2000/3h\"".parse().expect("TOML");
    let plan = Plan::on_register().await;
    let world = Arc::new(plan.set("acme.limits", Value::Table(limits)).start().await);
    for i in 0..DOMAINS {
        world.edge.register(&name(i)).await;
    }
    let first = all_issued(&world, &[]).await;
    let orders = world.ca.stats().orders;

    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (world, stop, made) = (Arc::clone(&world), Arc::clone(&stop), Arc::clone(&made));
            tokio::spawn(async move {
                let config = world.client(&[]);
                let mut next = client * DOMAINS / CLIENTS;
                while !stop.load(Ordering::SeqCst) {
                    let name = name(next % DOMAINS);
                    if let Err(error) = client::handshake(world.edge.https, &name, &config).await {
                        return Err(format!("{name}: {error}"));
                    }
                    made.fetch_add(1, Ordering::SeqCst);
                    next += 1;
                }
                Ok(())
            })
        })
        .collect();
    world.clock.advance(80 * DAY);
    all_issued(&world, &first).await;
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no panic").expect("no handshake fails");
    }
    assert!(
        made.load(Ordering::SeqCst) >= DOMAINS,
        "every domain had a handshake during the renewals"
    );
    // One order per domain, and one for the edge's own name.
    let renewals = usize::try_from(world.ca.stats().orders - orders).expect("a small number");
    assert!(
        (DOMAINS..=DOMAINS + 1).contains(&renewals),
        "{renewals} orders for {DOMAINS} domains"
    );
}
