//! Values as SQLite has them, and as linkseal does.

use rusqlite::Row;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::ssl::Reason;
use crate::domain::{DomainName, DomainRecord, Milestone};
use crate::link::{Kill, Slug};
use crate::store::{OrderStep, StoreError, StoredCertificate};

/// SQLite's integers are signed; no version, fence or number gets near the difference.
pub(super) fn sql_int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The way back of [`sql_int`].
pub(super) fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

pub(super) fn text_of(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unavailable(format!("a value is no JSON ({error})")))
}

pub(super) fn json_of(text: &str) -> Result<serde_json::Value, StoreError> {
    serde_json::from_str(text).map_err(|error| unreadable("a JSON value", &error))
}

pub(super) fn record_of(text: &str) -> Result<DomainRecord, StoreError> {
    serde_json::from_str(text).map_err(|error| unreadable("the record of a domain", &error))
}

pub(super) fn stored_name(text: &str) -> Result<DomainName, StoreError> {
    DomainName::parse(text).map_err(|error| unreadable(&format!("the name `{text}`"), &error))
}

pub(super) fn stored_slug(text: &str) -> Result<Slug, StoreError> {
    Slug::parse(text).map_err(|error| unreadable(&format!("the slug `{text}`"), &error))
}

pub(super) fn stored_kill(kind: &str, value: &str) -> Result<Kill, StoreError> {
    let kill = Kill::stored(kind, value);
    kill.ok_or_else(|| unreadable(&format!("the kill switch `{kind}/{value}`"), &"not known"))
}

pub(super) fn reason_of(text: &str) -> Result<Reason, StoreError> {
    let known = Reason::ALL.iter().copied().find(|reason| reason.as_str() == text);
    known.ok_or_else(|| unreadable(&format!("the reason `{text}`"), &"not known"))
}

pub(super) fn milestone_of(text: &str) -> Result<Milestone, StoreError> {
    let known = Milestone::ALL.into_iter().find(|milestone| milestone.as_str() == text);
    known.ok_or_else(|| unreadable(&format!("the milestone `{text}`"), &"not known"))
}

pub(super) fn stored_uuid(text: &str) -> Result<Uuid, StoreError> {
    Uuid::parse_str(text).map_err(|error| unreadable(&format!("the id `{text}`"), &error))
}

pub(super) fn step_text(step: OrderStep) -> &'static str {
    match step {
        OrderStep::Creating => "creating",
        OrderStep::Authorizing => "authorizing",
        OrderStep::Finalizing => "finalizing",
    }
}

pub(super) fn step_of(text: &str) -> Result<OrderStep, StoreError> {
    let all = [OrderStep::Creating, OrderStep::Authorizing, OrderStep::Finalizing];
    let known = all.into_iter().find(|step| step_text(*step) == text);
    known.ok_or_else(|| unreadable(&format!("the step `{text}` of an order"), &"not known"))
}

pub(super) fn certificate_of(row: &Row<'_>) -> rusqlite::Result<StoredCertificate> {
    Ok(StoredCertificate {
        chain_pem: row.get(0)?,
        sealed_key: row.get(1)?,
    })
}

/// Only somebody else's hand in the file can have done it.
fn unreadable(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{what} in it cannot be read ({error}); restore a backup"))
}
