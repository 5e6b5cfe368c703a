//! Conversions between what databases hold and linkseal's types, the same for every engine.

use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord, LifecycleEvent};
use linkseal_link::Slug;
use serde::Serialize;

use crate::{OrderStep, StoreError};

/// SQL's integers are signed; no version, fence or count gets near the difference.
pub(crate) fn sql_int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The inverse of [`sql_int`].
pub(crate) fn number(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

pub(crate) fn text_of(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unavailable(format!("a value is not JSON ({error})")))
}

/// A stored value; as a string if it is not JSON.
pub(crate) fn json_of(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

/// The record of the domain of this name, or why it cannot be read. The row's version replaces the one in
/// the text: if they differed, every change would be refused.
pub(crate) fn record_of(name: &str, text: &str, version: u64) -> Result<DomainRecord, String> {
    let mut record = DomainRecord::from_stored(text).map_err(|error| error.to_string())?;
    if record.name.as_str() == name {
        record.version = version;
        Ok(record)
    } else {
        Err(format!("it is the record of {}", record.name))
    }
}

/// A name in the canonical spelling: with another one, its row would not be found again.
pub(crate) fn stored_name(text: &str) -> Result<DomainName, StoreError> {
    let what = || format!("the name `{text}`");
    match DomainName::parse(text) {
        Ok(name) if name.as_str() == text => Ok(name),
        Ok(name) => Err(unreadable(&what(), &format!("its spelling is {name}"))),
        Err(error) => Err(unreadable(&what(), &error)),
    }
}

pub(crate) fn stored_slug(text: &str) -> Result<Slug, StoreError> {
    Slug::parse(text).map_err(|error| unreadable(&format!("the slug `{text}`"), &error))
}

pub(crate) fn stored_kill(kind: &str, value: &str) -> Result<Kill, StoreError> {
    let kill = Kill::stored(kind, value);
    kill.ok_or_else(|| unreadable(&format!("the kill switch `{kind}/{value}`"), &"not known"))
}

/// `None`: one that only a newer version knows.
pub(crate) fn reason_of(text: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == text)
}

/// `None`: one that only a newer version knows.
pub(crate) fn lifecycle_event_of(text: &str) -> Option<LifecycleEvent> {
    LifecycleEvent::ALL
        .into_iter()
        .find(|lifecycle_event| lifecycle_event.as_str() == text)
}

pub(crate) fn step_text(step: OrderStep) -> &'static str {
    match step {
        OrderStep::Creating => "creating",
        OrderStep::Authorizing => "authorizing",
        OrderStep::Finalizing => "finalizing",
    }
}

/// A step that only a newer version knows counts as the one between the first and the last: the CA says
/// how far the order is.
pub(crate) fn step_of(text: &str) -> OrderStep {
    let all = [OrderStep::Creating, OrderStep::Authorizing, OrderStep::Finalizing];
    let known = all.into_iter().find(|step| step_text(*step) == text);
    known.unwrap_or(OrderStep::Authorizing)
}

/// A limit for SQL.
pub(crate) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A newer version or another program has written it.
fn unreadable(what: &str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{what} cannot be read ({error})"))
}
