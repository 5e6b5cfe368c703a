//! How a freeze of all orders shows in a single domain. Freezing and thawing is up to the operator
//! room; every room that would order asks here first.

use std::time::Duration;

use linkseal_base::random;
use linkseal_domain::ssl::SslEvent;
use linkseal_store::{Freeze, StoreError};

use super::{Core, Draft};

/// When a frozen domain is checked again, in case the thaw does not reach it (a node that stops in
/// the middle of it). With 100,000 domains that is about 30 checks a second.
const RECHECK: Duration = Duration::from_secs(3_600);
const JITTER: f64 = 0.3;

impl Core {
    /// The freeze in force; `None` while orders go on.
    pub(crate) async fn frozen(&self) -> Result<Option<Freeze>, StoreError> {
        self.store.freeze().await
    }

    /// The event of a domain whose order is stopped by a freeze.
    pub(crate) fn freeze_event(&self) -> SslEvent {
        SslEvent::Frozen {
            until: self.clock.now() + random::jitter(RECHECK, JITTER),
        }
    }
}

/// Applies a freeze to a draft; the timeline shows it once.
pub(crate) fn note_freeze(draft: &mut Draft, event: &SslEvent) {
    let before = draft.record.ssl.reason;
    draft.apply(event.clone());
    if draft.record.ssl.reason != before {
        draft.log("frozen", None);
    }
}
