//! This process as a node of the fleet: it joins under the node's name, says that it is alive, and leaves.

use std::sync::Arc;
use std::time::Duration;

use linkseal_store::{FeedPosition, NODE_GONE, NewNode, Node, Owner, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::Core;

/// Between two attempts to join while the node's former process may still be alive.
const RETRY: Duration = Duration::from_secs(1);

/// What a node is called, and what it was before.
#[derive(Clone, Debug)]
pub struct NodeOfFleet {
    /// `edge.node`.
    pub name: String,
    /// The node's last process, if it is known to have ended.
    pub former: Option<Owner>,
    /// The program's version.
    pub version: String,
}

/// This process as a node.
#[derive(Debug)]
pub(crate) struct Membership {
    node: NodeOfFleet,
    joined: watch::Sender<bool>,
}

impl Membership {
    pub(crate) fn new(node: NodeOfFleet) -> Arc<Self> {
        Arc::new(Self {
            node,
            joined: watch::Sender::new(false),
        })
    }

    /// Joins. Waits for a former process that was killed to count as gone, and refuses to be a second one: then
    /// the error is [`StoreError::NodeTaken`].
    pub(crate) async fn join(&self, core: &Core) -> Result<(), StoreError> {
        let NodeOfFleet { name, former, version } = &self.node;
        let node = NewNode {
            name: name.clone(),
            owner: core.owner,
            former: *former,
            version: version.clone(),
        };
        let begun = Instant::now();
        loop {
            match core.store.join(&node).await {
                // Not seen since this began: `seen` is rounded down.
                Err(StoreError::NodeTaken { seen, .. })
                    if Duration::from_secs(seen + 1) >= begun.elapsed() && begun.elapsed() < NODE_GONE + RETRY * 2 =>
                {
                    if begun.elapsed() < RETRY {
                        tracing::warn!(
                            node = name,
                            seen,
                            "another process was this node a moment ago; waiting until it is clear that it has ended (up to {} s)",
                            NODE_GONE.as_secs()
                        );
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Ok(()) => {
                    self.joined.send_replace(true);
                    let others = core.store.nodes().await.map(|nodes| names_of(&nodes, name));
                    tracing::info!(
                        node = name,
                        others = others.unwrap_or_default(),
                        "joined the fleet as this node"
                    );
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until this process has joined.
    pub(super) async fn joined(&self) {
        // It cannot be dropped while this waits.
        drop(self.joined.subscribe().wait_for(|joined| *joined).await);
    }

    /// Tells the other nodes that this one is alive and how far it has followed their changes. Returns whether they
    /// were told.
    pub(super) async fn tell(&self, core: &Core, position: &FeedPosition) -> bool {
        let beat = core.store.heartbeat(&self.node.name, core.owner, position).await;
        let beat = match beat {
            // Its row was deleted, or the store was set back to a time when another process was this node.
            Err(StoreError::NotFound) => self.join(core).await,
            Err(StoreError::NodeTaken { seen, .. }) if Duration::from_secs(seen) >= NODE_GONE => self.join(core).await,
            beat => beat,
        };
        match beat {
            Ok(()) => true,
            Err(error) => {
                core.store_failed("tell the fleet that this node is alive", None, &error);
                // Another process has the name: it will not be given back soon.
                matches!(error, StoreError::NodeTaken { .. })
            }
        }
    }

    /// Leaves, so that another process can be the node at once.
    pub(crate) async fn leave(&self, core: &Core) -> Result<(), StoreError> {
        core.store.leave(&self.node.name, core.owner).await?;
        tracing::info!(node = self.node.name, "left the fleet");
        Ok(())
    }
}

/// The names of the other nodes that are alive, separated by blanks.
fn names_of(nodes: &[Node], own: &str) -> String {
    let others: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).filter(|n| *n != own).collect();
    others.join(" ")
}
