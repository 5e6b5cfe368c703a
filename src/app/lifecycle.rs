//! What happens to domains, written to the journal as events: the one place where the control
//! plane and the event plane meet.

use async_trait::async_trait;
use linkseal_control::OutboxPublisher;
use linkseal_domain::LifecycleEvent;
use linkseal_event::{Event, EventType, Journal};
use linkseal_store::OutboxEvent;

/// Writes happenings to the journal.
pub(super) struct ToJournal(pub(super) Journal);

#[async_trait]
impl OutboxPublisher for ToJournal {
    async fn tell(&self, happenings: &[OutboxEvent]) -> usize {
        // All are handed in before any is waited for: they share a wait for the disk.
        let begun: Vec<_> = happenings.iter().map(|h| self.0.begin_synced(&event(h))).collect();
        let mut taken = 0;
        for appending in begun {
            if appending.written().await.is_err() {
                break;
            }
            taken += 1;
        }
        taken
    }
}

fn event(happening: &OutboxEvent) -> Event<'_> {
    let kind = match happening.what {
        LifecycleEvent::Issued => EventType::SslIssued,
        LifecycleEvent::Renewed => EventType::SslRenewed,
        LifecycleEvent::Failed => EventType::SslFailed,
        LifecycleEvent::Expiring => EventType::SslExpiring,
        LifecycleEvent::Expired => EventType::SslExpired,
        LifecycleEvent::Moved => EventType::SslMoved,
    };
    Event {
        id: Some(happening.id),
        ssl: Some(&happening.ssl),
        ..Event::new(kind, happening.at, happening.domain.as_str(), &happening.tenant)
    }
}
