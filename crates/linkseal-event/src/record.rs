//! The last look at an event before it is written: what its network and its company say, and the
//! corrections of earlier verdicts that follow from it.

use linkseal_base::clock::Timestamp;
use uuid::Uuid;

use super::burst::{Correction, Observation, What};
use super::verdict::{Classifier, Verdict};
use super::{Appending, Event, EventType, Journal};

impl Classifier {
    /// Completes an event's verdict and hands the event to the journal; then the corrections that
    /// follow from it. No one waits for those: the answer does not depend on them.
    pub fn append(&self, journal: &Journal, event: Event<'_>) -> Appending {
        let ip = event.client.as_ref().and_then(|c| c.ip);
        let mut signs = event.verdict.map(|v| v.signs()).unwrap_or_default();
        let network = ip.and_then(|ip| self.network(ip));
        let mut event = event;
        if let Some((sign, label)) = &network {
            signs.add(*sign);
            if let Some(client) = &mut event.client {
                client.network = Some(label);
            }
        }
        if journal.is_repeated(&event) {
            // Its company has been seen often enough as well.
            return Appending::none();
        }
        let (Some(message), Some(ip)) = (event.message_id, ip) else {
            event.verdict = event.verdict.map(|_| Verdict::of(signs));
            return journal.begin(&event);
        };
        let seen = Observation {
            tenant: event.tenant,
            message,
            what: event.link.map_or(What::Other, What::Link),
            ip,
            agent: event.client.as_ref().and_then(|c| c.user_agent).unwrap_or_default(),
            now: event.time.as_millis(),
            signs,
        };
        let (signs, ticket) = self.memory.observe(&seen);
        event.verdict = Some(Verdict::of(signs));
        let appending = journal.begin(&event);
        if let Some(id) = appending.id() {
            for correction in self.memory.written(&ticket, id).into_iter().flatten() {
                journal.add_after(&corrected(&event, &correction));
            }
        }
        appending
    }

    /// Remembers that a token which is not right says it is of this message: gateways try that
    /// before the right one.
    pub fn probed(&self, message: Uuid, ip: std::net::IpAddr, now: Timestamp) {
        self.memory.probed(message, ip, now.as_millis());
    }
}

/// The correction of an event of the same message.
fn corrected<'a>(event: &Event<'a>, correction: &Correction) -> Event<'a> {
    let mut corrected = Event::new(EventType::VerdictCorrected, event.time, event.domain, event.tenant);
    corrected.message_id = event.message_id;
    corrected.link = match correction.what {
        What::Link(link) => Some(link),
        What::Other => None,
    };
    corrected.verdict = Some(Verdict::of(correction.signs));
    corrected.corrects = Some(correction.id);
    corrected
}
