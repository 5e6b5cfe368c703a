//! The last step before an event is written: adds the signals of its network and of its neighbours,
//! hands it to the journal, and writes corrections of earlier verdicts that follow from it.

use std::net::IpAddr;
use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use uuid::Uuid;

use crate::event::Event;
use crate::event_type::EventType;
use crate::journal::{Appending, Journal};
use crate::verdict::burst::{BurstDetector, Correction, Observation, Target};
use crate::verdict::{Classifier, Verdict};

/// Judges, remembers and writes the events of requests. Clones share everything.
#[derive(Clone)]
pub struct EventRecorder {
    classifier: Classifier,
    bursts: Arc<BurstDetector>,
    journal: Journal,
}

impl EventRecorder {
    /// A recorder that has seen no event yet.
    pub fn new(classifier: Classifier, journal: Journal) -> Self {
        Self {
            classifier,
            bursts: Arc::new(BurstDetector::new()),
            journal,
        }
    }

    /// For judging single requests.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// The journal that events are written to.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Completes an event's verdict and hands the event to the journal, followed by the corrections
    /// of earlier events. No request waits for those, because no answer depends on them.
    pub fn record(&self, event: Event<'_>) -> Appending {
        let ip = event.client.as_ref().and_then(|c| c.ip);
        let mut signals = event.verdict.map(|v| v.signals()).unwrap_or_default();
        let network = ip.and_then(|ip| self.classifier.network(ip));
        // It borrows the label, so it must not outlive `network`.
        let mut event = event;
        if let Some((signal, label)) = &network {
            signals.add(*signal);
            if let Some(client) = &mut event.client {
                client.network = Some(label);
            }
        }
        if self.journal.is_repeated(&event) {
            // Its neighbours have been compared often enough as well.
            return Appending::none();
        }
        let (Some(message), Some(ip)) = (event.message_id, ip) else {
            event.verdict = event.verdict.map(|_| Verdict::from_signals(signals));
            return self.journal.begin(&event);
        };
        let seen = Observation {
            tenant: event.tenant,
            message,
            target: event.link.map_or(Target::Other, Target::Link),
            ip,
            agent: event.client.as_ref().and_then(|c| c.user_agent).unwrap_or_default(),
            now: event.time.as_millis(),
            signals,
        };
        let (signals, handle) = self.bursts.observe(&seen);
        event.verdict = Some(Verdict::from_signals(signals));
        let appending = self.journal.begin(&event);
        if let Some(id) = appending.id() {
            for correction in self.bursts.written(&handle, id).into_iter().flatten() {
                self.journal.add_after(&corrected(&event, &correction));
            }
        }
        appending
    }

    /// Remembers an invalid token that claims to belong to a message: gateways try a modified token
    /// before the valid one.
    pub fn note_invalid_token(&self, message: Uuid, ip: IpAddr, now: Timestamp) {
        self.bursts.probed(message, ip, now.as_millis());
    }
}

/// The correction of an earlier event of the same message.
fn corrected<'a>(event: &Event<'a>, correction: &Correction) -> Event<'a> {
    let mut corrected = Event::new(EventType::VerdictCorrected, event.time, event.domain, event.tenant);
    corrected.message_id = event.message_id;
    corrected.link = match correction.target {
        Target::Link(link) => Some(link),
        Target::Other => None,
    };
    corrected.verdict = Some(Verdict::from_signals(correction.signals));
    corrected.corrects = Some(correction.id);
    corrected
}
