//! The facts about this edge that messages to customers need, and the lifecycle events that are
//! stored with a change.

use std::net::IpAddr;

use linkseal_base::clock::Timestamp;
use linkseal_base::uuid7;
use linkseal_domain::view::SslView;
use linkseal_domain::{DomainName, DomainRecord, LifecycleEvent, messages};
use linkseal_store::OutboxEvent;
use serde_json::Value;

use super::Core;

/// Owned facts for [`messages::Context`].
#[derive(Clone, Debug)]
pub struct MessageContext {
    target: DomainName,
    addresses: Vec<IpAddr>,
    ca_id: Option<String>,
    ca: String,
}

impl MessageContext {
    /// Borrowed, as the messages take it.
    pub fn borrow(&self) -> messages::Context<'_> {
        messages::Context {
            target: self.target.as_str(),
            addresses: &self.addresses,
            ca_id: self.ca_id.as_deref(),
            ca: &self.ca,
        }
    }
}

impl Core {
    pub(crate) fn messages(&self) -> MessageContext {
        let checker = self.checker();
        MessageContext {
            target: self.settings().names.name.clone(),
            addresses: checker.target().addresses.clone(),
            ca_id: checker.caa_identity(),
            ca: self.cas().first().issuer.host().to_owned(),
        }
    }

    /// The outbox entries for the lifecycle events of a change.
    pub(super) fn outbox_events(
        &self,
        record: &DomainRecord,
        events: &[LifecycleEvent],
        at: Timestamp,
    ) -> Vec<OutboxEvent> {
        if events.is_empty() {
            return Vec::new();
        }
        let messages = self.messages();
        let ssl = serde_json::to_value(SslView::of(record, messages.borrow())).unwrap_or(Value::Null);
        let of = |what: &LifecycleEvent| OutboxEvent {
            seq: 0,
            id: uuid7::at(at),
            what: *what,
            at,
            domain: record.name.clone(),
            tenant: record.tenant.clone(),
            ssl: ssl.clone(),
        };
        events.iter().map(of).collect()
    }
}
