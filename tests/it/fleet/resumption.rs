//! TLS sessions are resumed on any node: all seal tickets with the same keys.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::fleet::{Fleet, everywhere};
use crate::support::{client, until};

const NAME: &str = "links.resumed.test";
/// Sessions that are begun on one node and resumed on the next.
const SESSIONS: usize = 60;

/// Whether a session that is begun on one node is resumed on another.
async fn resumed(root: &str, from: SocketAddr, to: SocketAddr) -> bool {
    let client = Arc::new(client::tls(root, &[]));
    let mut first = client::handshake(from, NAME, &client).await.expect("served");
    // The ticket comes after the handshake: it is read with an answer.
    let request = format!("GET /nothing HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
    first.write_all(request.as_bytes()).await.expect("sent");
    first.read_to_end(&mut Vec::new()).await.expect("an answer");
    let second = client::handshake(to, NAME, &client).await.expect("served");
    second.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed_on_other_nodes_and_right_after_a_rotation() {
    let fleet = Fleet::new(3).await;
    let mut edges = fleet.edges().await;
    edges[0].register(NAME).await;
    edges[0].until_issued(NAME).await;
    fleet.until_served_by_all(&edges, NAME).await;
    let root = fleet.ca.root_pem().to_owned();
    for i in 0..SESSIONS {
        let (from, to) = (i % 3, (i + 1) % 3);
        assert!(
            resumed(&root, edges[from].https, edges[to].https).await,
            "from node {from} on node {to}"
        );
    }
    // A node that starts finds the newest key old, and makes a new one.
    fleet
        .database
        .sql("UPDATE linkseal.ticket_keys SET created = created - 13 * 3600000")
        .await;
    let keys = async || fleet.database.rows("SELECT id FROM linkseal.ticket_keys").await.len();
    let before = keys().await;
    edges.remove(0).stop().await;
    edges.insert(0, fleet.edge(0).await);
    until("the key is rotated", async || {
        (keys().await == before + 1).then_some(())
    })
    .await;
    for (from, to) in [(0, 1), (0, 2), (1, 0)] {
        everywhere("a session is resumed under the new key", async || {
            resumed(&root, edges[from].https, edges[to].https).await.then_some(())
        })
        .await;
    }
    for edge in edges {
        edge.stop().await;
    }
}
