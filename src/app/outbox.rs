//! Publishes the control plane's outbox as journal events: the only place where the control plane and the
//! event plane meet.

use async_trait::async_trait;
use linkseal_control::OutboxPublisher;
use linkseal_domain::LifecycleEvent;
use linkseal_event::{Event, EventType, Journal};
use linkseal_store::OutboxEvent;

/// Publishes outbox events to the journal.
pub(super) struct ToJournal(pub(super) Journal);

#[async_trait]
impl OutboxPublisher for ToJournal {
    async fn publish(&self, events: &[OutboxEvent]) -> usize {
        // Submit all before awaiting any, so that they share one fsync.
        let submitted: Vec<_> = events.iter().map(|e| self.0.begin_synced(&event(e))).collect();
        let mut durable = 0;
        for appending in submitted {
            if appending.written().await.is_err() {
                break;
            }
            durable += 1;
        }
        durable
    }
}

fn event(outbox: &OutboxEvent) -> Event<'_> {
    let kind = match outbox.what {
        LifecycleEvent::Issued => EventType::SslIssued,
        LifecycleEvent::Renewed => EventType::SslRenewed,
        LifecycleEvent::Failed => EventType::SslFailed,
        LifecycleEvent::Expiring => EventType::SslExpiring,
        LifecycleEvent::Expired => EventType::SslExpired,
        LifecycleEvent::Moved => EventType::SslMoved,
    };
    Event {
        id: Some(outbox.id),
        ssl: Some(&outbox.ssl),
        ..Event::new(kind, outbox.at, outbox.domain.as_str(), &outbox.tenant)
    }
}
