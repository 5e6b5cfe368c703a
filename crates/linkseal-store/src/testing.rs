//! Builders for tests of the store and of its users.
#![allow(missing_docs, clippy::unwrap_used, reason = "builders of tests")]

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};

use crate::{Creation, SharedStore, TimelineEntry};

/// The time at which the tests begin.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
pub const MINUTE: Duration = Duration::from_secs(60);

pub fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

/// A record of the domain in some tenant and for some reason.
pub fn record(text: &str, tenant: &str, reason: Reason) -> DomainRecord {
    let mut record = DomainRecord::new(name(text), Some(tenant.to_owned()), Origin::Registered, NOW);
    record.ssl.reason = reason;
    record
}

pub fn creation(record: DomainRecord) -> Creation {
    Creation {
        record,
        timeline: vec![line("registered")],
        audit: None,
    }
}

pub async fn add(store: &SharedStore, text: &str, tenant: &str, reason: Reason) -> DomainRecord {
    store.create(creation(record(text, tenant, reason))).await.unwrap()
}

pub fn line(event: &str) -> TimelineEntry {
    TimelineEntry {
        id: 0,
        at: NOW,
        event: event.into(),
        reason: Reason::Queued,
        detail: None,
    }
}
