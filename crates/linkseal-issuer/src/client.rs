//! The calls to a CA as a trait, so that the order driver can be tested with a scripted CA.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use serde::Deserialize;

use super::account::AccountKey;
use super::problem::{CallError, Problem};
use super::renewal::RenewalInfo;

/// The calls of one order at one CA. Each is bounded in time, and retried when the CA rejects
/// its nonce.
#[async_trait]
pub(super) trait AcmeClient: Send + Sync {
    /// The CA's directory.
    async fn directory(&self) -> Result<Arc<Directory>, CallError>;

    /// Places an order; returns its URL with it.
    async fn new_order(&self, order: &NewOrder<'_>) -> Result<(String, Order), CallError>;

    /// Fetches an order.
    async fn order(&self, url: &str) -> Result<Fetched<Order>, CallError>;

    /// Fetches an authorization, with the errors of its challenges.
    async fn authorization(&self, url: &str) -> Result<Fetched<Authorization>, CallError>;

    /// Responds to a challenge: it is ready for validation.
    async fn respond(&self, challenge_url: &str) -> Result<(), CallError>;

    /// Sends the CSR (DER) of an order that is ready.
    async fn finalize(&self, finalize_url: &str, csr: &[u8]) -> Result<(), CallError>;

    /// The certificate chain as PEM.
    async fn certificate(&self, url: &str) -> Result<String, CallError>;

    /// The renewal information of a certificate, if the CA offers any.
    async fn renewal_info(&self, ari_id: &str) -> Result<Option<RenewalInfo>, CallError>;

    /// The CA's current time, by the `Date` of its last answer.
    fn now(&self) -> Option<Timestamp> {
        None
    }

    /// Revokes a certificate (DER). That it is revoked already is no error.
    async fn revoke(&self, certificate: &[u8], reason: u8) -> Result<(), CallError>;
}

/// The directory (RFC 8555 §7.1.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    #[serde(default)]
    pub(super) revoke_cert: Option<String>,
    /// RFC 9773.
    #[serde(default)]
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

/// The `meta` object of the directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    /// Its issuer domain names in CAA records (RFC 8659 §4.2).
    pub(super) caa_identities: Vec<String>,
    /// The profiles offered, with a description of each.
    pub(super) profiles: BTreeMap<String, serde_json::Value>,
    /// Whether accounts need an external account binding.
    pub(super) external_account_required: bool,
}

/// An order to be placed, for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewOrder<'a> {
    pub(super) name: &'a str,
    pub(super) profile: Option<&'a str>,
    /// ARI id of the certificate this one replaces.
    pub(super) replaces: Option<&'a str>,
}

/// An object of the CA, with the time before which it asks not to be polled again.
#[derive(Clone, Debug)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) retry_after: Option<Timestamp>,
}

/// An order (RFC 8555 §7.1.3).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Order {
    pub(super) status: OrderStatus,
    pub(super) authorizations: Vec<String>,
    pub(super) finalize: String,
    #[serde(default)]
    pub(super) certificate: Option<String>,
    /// Why it is invalid, unless its authorizations say why.
    #[serde(default)]
    pub(super) error: Option<Problem>,
}

/// RFC 8555 §7.1.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OrderStatus {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// An authorization (RFC 8555 §7.1.4).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Authorization {
    pub(super) status: AuthorizationStatus,
    #[serde(default)]
    pub(super) challenges: Vec<Challenge>,
}

/// RFC 8555 §7.1.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AuthorizationStatus {
    Pending,
    Valid,
    /// Invalid, expired, deactivated or revoked.
    #[serde(other)]
    Invalid,
}

/// A challenge (RFC 8555 §7.1.5).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Challenge {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) url: String,
    #[serde(default)]
    pub(super) status: ChallengeStatus,
    /// What the CA found wrong.
    #[serde(default)]
    pub(super) error: Option<Problem>,
}

/// RFC 8555 §7.1.6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChallengeStatus {
    /// Waiting for the client's response.
    #[default]
    Pending,
    Valid,
    Invalid,
    /// The CA is validating.
    #[serde(other)]
    Processing,
}

/// An account as the calls use it.
pub(super) struct Registered {
    pub(super) key: Arc<AccountKey>,
    pub(super) directory: Arc<Directory>,
    /// The account's URL.
    pub(super) kid: String,
}
