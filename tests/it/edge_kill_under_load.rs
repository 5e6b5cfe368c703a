//! SIGKILL of the whole edge under load, a hundred times: every event whose response a client has read
//! is in the journal and is delivered.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_event::Replay;
use linkseal_link::{LinkKey, Message, Minter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::edge::LINK_SECRET;
use crate::support::process::Process;
use crate::support::world::Plan;
use crate::support::{exclusive, until};

const NAME: &str = "links.killed.test";
const KILLS: u32 = 100;
/// Mail programs that open one message after the other.
const CLIENTS: usize = 8;
/// Upper bound of the responses before a kill.
const MAX_ANSWERS: u64 = 300;

/// Opens messages over one connection until it breaks; records those whose response was read.
async fn open_messages(edge: SocketAddr, answered: Arc<Mutex<Vec<Uuid>>>) -> std::io::Result<()> {
    let key = LinkKey::from_hex(1, LINK_SECRET).expect("a key");
    let minter = Minter::new(&key, NAME);
    let mut stream = TcpStream::connect(edge).await?;
    let mut answer = Vec::new();
    loop {
        let message = Message {
            id: Uuid::new_v4(),
            issued_at: u32::try_from(Clock::system().now().as_secs()).expect("a time before 2106"),
        };
        let request = format!("GET /o/{}.gif HTTP/1.1\r\nhost: {NAME}\r\n\r\n", minter.open(&message));
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        // The pixel ends the response.
        while !answer.ends_with(b"\x02D\x01\0;") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Ok(());
            }
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        answered.lock().expect("not poisoned").push(message.id);
    }
}

/// Kills the edge after a random number of responses; returns the messages they were for.
async fn kill_one(process: Process) -> Vec<Uuid> {
    let answered = Arc::<Mutex<Vec<Uuid>>>::default();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(open_messages(process.http, Arc::clone(&answered)));
    }
    let enough = u64::from_be_bytes(linkseal_base::random::bytes()) % MAX_ANSWERS + 1;
    until("answers", async || {
        let so_far = u64::try_from(answered.lock().expect("not poisoned").len()).expect("few");
        (so_far >= enough).then_some(())
    })
    .await;
    process.kill();
    // Responses that were still in the socket count as read, too.
    while let Some(client) = clients.join_next().await {
        // The kill resets connections: such errors are expected.
        drop(client.expect("no panic"));
    }
    let answered = answered.lock().expect("not poisoned");
    answered.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answered_event_survives_a_hundred_kills() {
    let _exclusive = exclusive().await;
    let plan = Plan::new().await.set("acme.issue", "off");
    let mut answered = Vec::new();
    for kill in 0..KILLS {
        let process = plan.serve().await;
        if kill == 0 {
            process.register(NAME).await;
        }
        answered.extend(kill_one(process).await);
    }
    let journal = Replay::open(&plan.dir.path().join("events"), Timestamp::from_secs(0)).expect("the journal");
    let events =
        journal.map(|r| serde_json::from_slice::<serde_json::Value>(&r.expect("a record").json).expect("JSON"));
    let written: HashSet<Uuid> = events.filter_map(|e| e["message_id"].as_str()?.parse().ok()).collect();
    let lost = answered.iter().filter(|id| !written.contains(id)).count();
    assert_eq!(lost, 0, "of {} answered", answered.len());
    println!("{KILLS} kills, {} answers, {} events", answered.len(), written.len());

    let _last = plan.serve().await;
    until("all events are delivered", async || {
        let events = plan.settings.delivered();
        let ids = events.iter().filter_map(|e| e["message_id"].as_str()?.parse().ok());
        let delivered: HashSet<Uuid> = ids.collect();
        answered.iter().all(|id| delivered.contains(id)).then_some(())
    })
    .await;
}
