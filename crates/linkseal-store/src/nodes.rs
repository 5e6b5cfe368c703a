//! The nodes that share a store: which are alive, and how far each has followed the changes.

use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;

use crate::StoreError;
use crate::feed::FeedPosition;
use crate::leases::Owner;

/// A node counts as gone this long after it was last seen.
pub const NODE_GONE: Duration = Duration::from_secs(30);

/// The nodes.
#[async_trait]
pub trait NodeStore: Send + Sync + 'static {
    /// Makes this process the node of that name, and releases the leases of the node's former process.
    /// [`StoreError::NodeTaken`] while another process of that name is alive.
    async fn join(&self, node: &NewNode) -> Result<(), StoreError>;

    /// Says that the node is alive and has followed the changes up to here. [`StoreError::NodeTaken`] if another
    /// process has become the node.
    async fn heartbeat(&self, node: &str, owner: Owner, position: &FeedPosition) -> Result<(), StoreError>;

    /// The process ends: another one can be the node at once.
    async fn leave(&self, node: &str, owner: Owner) -> Result<(), StoreError>;

    /// The nodes that are alive, by name.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;
}

/// A process that becomes a node.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// `edge.node`.
    pub name: String,
    pub owner: Owner,
    /// A process that is known to have ended: it need not be waited for.
    pub former: Option<Owner>,
    /// The program's version.
    pub version: String,
}

/// A node that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    pub owner: Owner,
    pub version: String,
    pub joined: Timestamp,
    pub seen: Timestamp,
    /// How far it has followed the changes.
    pub position: FeedPosition,
}
