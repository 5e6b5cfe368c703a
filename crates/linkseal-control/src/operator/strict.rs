//! Input is read strictly: an unknown key is an error, so that a typo is not ignored. Stored values of the
//! same types are read leniently, because a newer version may have written them.

use linkseal_domain::record::{AppLinks, Hsts, RequestedRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A DNS record that the customer is asked to publish besides the CNAME.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewRecord")]
pub(super) struct Record {
    /// The record type: CNAME, TXT, A, AAAA or MX.
    #[serde(rename = "type")]
    kind: String,
    /// The name that it is published at.
    host: String,
    /// The record data.
    value: String,
}

/// Strict-Transport-Security (RFC 6797).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewHsts")]
pub(super) struct StrictTransport {
    /// How long browsers remember it, in seconds; 0 makes them forget it.
    max_age: u32,
    /// Whether it also applies to all names below this one.
    #[serde(default)]
    include_subdomains: bool,
}

/// The app-link files of a domain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewAppLinks")]
pub(super) struct Links {
    /// `apple-app-site-association`; null for 404.
    #[serde(default)]
    apple: Option<serde_json::Value>,
    /// `assetlinks.json`; null for 404.
    #[serde(default)]
    android: Option<serde_json::Value>,
}

pub(super) fn records<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<RequestedRecord>>, D::Error> {
    let given: Option<Vec<Record>> = Option::deserialize(d)?;
    let of = |Record { kind, host, value }| RequestedRecord { kind, host, value };
    Ok(given.map(|all| all.into_iter().map(of).collect()))
}

pub(super) fn app_links<'de, D: Deserializer<'de>>(d: D) -> Result<Option<AppLinks>, D::Error> {
    let given: Option<Links> = Option::deserialize(d)?;
    Ok(given.map(|Links { apple, android }| AppLinks { apple, android }))
}

/// A present `null` removes the value.
pub(super) fn hsts<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<Hsts>>, D::Error> {
    let given: Option<StrictTransport> = Option::deserialize(d)?;
    Ok(Some(given.map(|given| Hsts {
        max_age: given.max_age,
        include_subdomains: given.include_subdomains,
    })))
}
