//! Which certificates every node serves. One that was stored a moment ago is not ready for a mailer until each node
//! that is alive has followed the changes up to it.

use std::collections::HashMap;
use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_store::FeedPosition;
use parking_lot::Mutex;

/// Certificates remembered at most: all that a fleet can be issued in the time after which a node that does not
/// follow counts as gone.
const KEPT: usize = 100_000;

/// Certificates that may not have reached every node yet. Clones share it.
#[derive(Clone, Debug)]
pub struct Everywhere {
    /// Up to where a node has to have followed for each; `None` until this node has seen the change itself.
    recent: Arc<Mutex<HashMap<DomainName, Option<FeedPosition>>>>,
    /// Whether there are other nodes.
    is_fleet: bool,
}

impl Everywhere {
    pub(crate) fn new(is_fleet: bool) -> Self {
        Self {
            recent: Arc::default(),
            is_fleet,
        }
    }

    /// Whether every node that is alive serves the stored certificate of a domain.
    pub fn serves(&self, name: &DomainName) -> bool {
        !self.recent.lock().contains_key(name)
    }

    /// A certificate was stored by this node, which has yet to see the change itself.
    pub(crate) fn stored(&self, name: &DomainName) {
        self.put(name, None);
    }

    /// A change of a certificate was followed up to this position.
    pub(crate) fn followed(&self, name: &DomainName, position: &FeedPosition) {
        self.put(name, Some(position.clone()));
    }

    fn put(&self, name: &DomainName, position: Option<FeedPosition>) {
        if !self.is_fleet {
            return;
        }
        let mut recent = self.recent.lock();
        if recent.len() < KEPT || recent.contains_key(name) {
            recent.insert(name.clone(), position);
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.recent.lock().is_empty()
    }

    /// Forgets the certificates that all nodes have followed to; `nodes`: how far each one has come.
    pub(crate) fn settle(&self, nodes: &[FeedPosition]) {
        let has_come = |to: &FeedPosition| nodes.iter().all(|node| node.covers(to));
        self.recent
            .lock()
            .retain(|_, position| !position.as_ref().is_some_and(has_come));
    }
}
