//! What people give is read strictly: a key that is not known is an error, so that a typing mistake
//! is not passed over. The same values as stored are read liberally, since a newer version may have
//! written them.

use linkseal_domain::record::{AppLinks, Hsts, RequestedRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// A DNS record a customer is asked to publish, beside the CNAME.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewRecord")]
pub(super) struct Record {
    /// The record's type: CNAME, TXT, A, AAAA or MX.
    #[serde(rename = "type")]
    kind: String,
    /// The name at which it stands.
    host: String,
    /// Its value.
    value: String,
}

/// Strict Transport Security.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewHsts")]
pub(super) struct StrictTransport {
    /// How long browsers keep to it, in seconds; 0 has them forget it.
    max_age: u32,
    /// Whether it holds for all names below this one, too.
    #[serde(default)]
    include_subdomains: bool,
}

/// The app-link files of a domain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewAppLinks")]
pub(super) struct Links {
    /// `apple-app-site-association`. `null`: 404.
    #[serde(default)]
    apple: Option<serde_json::Value>,
    /// `assetlinks.json`. `null`: 404.
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

/// A present `null` takes the value away.
pub(super) fn hsts<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<Hsts>>, D::Error> {
    let given: Option<StrictTransport> = Option::deserialize(d)?;
    Ok(Some(given.map(|given| Hsts {
        max_age: given.max_age,
        include_subdomains: given.include_subdomains,
    })))
}
