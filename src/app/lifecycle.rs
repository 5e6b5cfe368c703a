//! What happens to domains, written to the journal as events: the one place where the control
//! plane and the event plane meet.

use async_trait::async_trait;
use linkseal_control::Teller;
use linkseal_domain::Milestone;
use linkseal_event::{Event, EventType, Journal};
use linkseal_store::Happening;

/// Writes happenings to the journal.
pub(super) struct ToJournal(pub(super) Journal);

#[async_trait]
impl Teller for ToJournal {
    async fn tell(&self, happenings: &[Happening]) -> usize {
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

fn event(happening: &Happening) -> Event<'_> {
    let kind = match happening.what {
        Milestone::Issued => EventType::SslIssued,
        Milestone::Renewed => EventType::SslRenewed,
        Milestone::Failed => EventType::SslFailed,
        Milestone::Expiring => EventType::SslExpiring,
        Milestone::Expired => EventType::SslExpired,
        Milestone::Moved => EventType::SslMoved,
    };
    Event {
        id: Some(happening.id),
        ssl: Some(&happening.ssl),
        ..Event::new(kind, happening.at, happening.domain.as_str(), &happening.tenant)
    }
}
