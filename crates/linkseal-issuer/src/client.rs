//! What the issuer asks of a CA, as a trait: the order driver knows only this, so that it can be
//! tested with a scripted CA, and so that the library behind it can be changed.

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
    /// What the CA offers.
    async fn directory(&self) -> Result<Arc<Directory>, CallError>;

    /// Places an order; returns its URL with it.
    async fn new_order(&self, order: &NewOrder<'_>) -> Result<(String, Order), CallError>;

    /// How an order stands.
    async fn order(&self, url: &str) -> Result<Fetched<Order>, CallError>;

    /// How an authorization stands, with the CA's words about its challenges.
    async fn authorization(&self, url: &str) -> Result<Fetched<Authorization>, CallError>;

    /// Tells the CA that a challenge can be looked at.
    async fn respond(&self, challenge_url: &str) -> Result<(), CallError>;

    /// Sends the CSR (DER) of an order that is ready.
    async fn finalize(&self, finalize_url: &str, csr: &[u8]) -> Result<(), CallError>;

    /// The certificate chain as PEM.
    async fn certificate(&self, url: &str) -> Result<String, CallError>;

    /// The renewal information of a certificate. `None`: the CA offers none for it.
    async fn renewal_info(&self, ari_id: &str) -> Result<Option<RenewalInfo>, CallError>;

    /// The present time at the CA, by its last answer. `None`: it has not said.
    fn now(&self) -> Option<Timestamp> {
        None
    }

    /// Revokes a certificate (DER); one that is revoked already is no error.
    async fn revoke(&self, certificate: &[u8], reason: u8) -> Result<(), CallError>;
}

/// What the directory says (RFC 8555 §7.1.1).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    pub(super) new_order: String,
    /// `None`: the CA revokes nothing.
    #[serde(default)]
    pub(super) revoke_cert: Option<String>,
    /// Where renewal information is (RFC 9773). `None`: the CA offers none.
    #[serde(default)]
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub(super) meta: Meta,
}

/// The `meta` object of the directory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    /// The names by which CAA records mean this CA (RFC 8659 §4.2). Empty: it does not say.
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
    /// `None`: the CA's default profile.
    pub(super) profile: Option<&'a str>,
    /// ARI id of the certificate this one replaces. `None`: it replaces none.
    pub(super) replaces: Option<&'a str>,
}

/// An object of the CA, with the time before which it asks not to be polled again.
#[derive(Clone, Debug)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// `None`: it did not say.
    pub(super) retry_after: Option<Timestamp>,
}

/// An order (RFC 8555 §7.1.3).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Order {
    pub(super) status: OrderStatus,
    pub(super) authorizations: Vec<String>,
    pub(super) finalize: String,
    /// `None`: not issued yet.
    #[serde(default)]
    pub(super) certificate: Option<String>,
    /// Why it is invalid. `None`: it is not, or the authorizations tell.
    #[serde(default)]
    pub(super) error: Option<Problem>,
}

/// How an order stands (RFC 8555 §7.1.6).
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

/// How an authorization stands (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AuthorizationStatus {
    Pending,
    Valid,
    /// Invalid, or whatever else makes it useless: expired, deactivated, revoked.
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
    /// What the CA found. `None`: nothing wrong so far.
    #[serde(default)]
    pub(super) error: Option<Problem>,
}

/// How a challenge stands (RFC 8555 §7.1.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChallengeStatus {
    /// It waits for the word that it can be looked at.
    #[default]
    Pending,
    Valid,
    Invalid,
    /// The CA is looking.
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
