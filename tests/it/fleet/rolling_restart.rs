//! Three nodes behind HAProxy are restarted one after the other, under load.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use linkseal_base::clock::Clock;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::support::client;
use crate::support::fleet::Fleet;
use crate::support::world::Links;
use crate::support::{exclusive, until};

const NAME: &str = "links.rolled.test";
/// Recipients that open and click without pause, each request over a new connection.
const CLIENTS: usize = 4;

/// What the clients have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    answered: AtomicUsize,
    /// Paths of links whose answer was read, which the events name by their token's message.
    messages: Mutex<Vec<String>>,
    /// Requests that also failed over a second connection.
    failed: Mutex<Vec<String>>,
    repeated: AtomicUsize,
}

async fn load(address: SocketAddr, client: Arc<ClientConfig>, seen: Arc<Seen>) {
    while !seen.stop.load(Ordering::Relaxed) {
        let links = Links::of(NAME, &Clock::system());
        for (path, status) in [(links.open(), 200), (links.click("https://shop.example/"), 302)] {
            let mut outcome = client::fetch(address, NAME, &path, &client).await;
            if outcome.as_ref().map(|a| a.status) != Ok(status) {
                seen.repeated.fetch_add(1, Ordering::Relaxed);
                outcome = client::fetch(address, NAME, &path, &client).await;
            }
            match outcome {
                Ok(answer) if answer.status == status => {
                    seen.answered.fetch_add(1, Ordering::Relaxed);
                    seen.messages
                        .lock()
                        .expect("not poisoned")
                        .push(links.message_id().to_string());
                }
                other => seen
                    .failed
                    .lock()
                    .expect("not poisoned")
                    .push(format!("{path}: {other:?}")),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request_and_loses_no_event() {
    let _exclusive = exclusive().await;
    // HAProxy notices within 200 ms that a node is not ready.
    let fleet = Fleet::new(3).await.set("edge.drain_delay", "1s");
    let mut nodes = fleet.processes().await;
    nodes[0].register(NAME).await;
    for node in &nodes {
        node.until_state(NAME, "issued").await;
    }
    let seen = Arc::<Seen>::default();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(load(fleet.balancer.https(), fleet.client(&[b"h2"]), Arc::clone(&seen)));
    }
    let some_more = async || {
        let before = seen.answered.load(Ordering::Relaxed);
        until("load goes on", async || {
            (seen.answered.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    };
    for (i, node) in nodes.iter_mut().enumerate() {
        some_more().await;
        node.signal("TERM");
        assert!(node.ended().await.success(), "{}", node.log());
        *node = fleet.process(i).await;
        fleet.until_all_up().await;
    }
    some_more().await;
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client.expect("no panic");
    }
    let failed = seen.failed.lock().expect("not poisoned").clone();
    assert!(failed.is_empty(), "{failed:#?}");
    let answered: HashSet<String> = seen.messages.lock().expect("not poisoned").drain(..).collect();
    until("every event is delivered by one of the nodes", async || {
        let events = fleet.settings.iter().flat_map(|node| node.delivered());
        let mut kinds = [HashSet::new(), HashSet::new()];
        for event in events {
            let kind = usize::from(event["type"] == "click");
            kinds[kind].extend(event["message_id"].as_str().map(str::to_owned));
        }
        kinds.iter().all(|k| answered.is_subset(k)).then_some(())
    })
    .await;
    println!(
        "{} answers during three restarts, {} over a second connection",
        seen.answered.load(Ordering::Relaxed),
        seen.repeated.load(Ordering::Relaxed)
    );
}
