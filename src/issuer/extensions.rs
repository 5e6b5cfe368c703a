//! What rustls-acme cannot say (RFC 8555 and RFC 9773): newOrder with `profile` and `replaces`,
//! polling with Retry-After and subproblems, accounts with an external binding, renewal
//! information, revocation. Same account key, own connections, which are used again.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Eab;
use super::account::AccountKey;
use super::client::{Directory, Fetched, NewOrder, Order, Registered};
use super::http::{Answer, Http};
use super::jws::{self, Identity};
use super::problem::CallError;
use super::renewal::RenewalInfo;
use crate::clock::{Clock, Timestamp};

/// How often a request is sent again with a fresh nonce. A CA that rejects half of them at random
/// defeats this once in a million calls.
pub(super) const NONCE_TRIES: usize = 20;

/// Our own ACME calls at one CA.
pub(super) struct Extensions {
    http: Http,
    clock: Clock,
}

impl Extensions {
    pub(super) fn new(http: Http, clock: Clock) -> Self {
        Self { http, clock }
    }

    /// The present time at the CA, by its last answer. `None`: it has not said.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.http.now()
    }

    /// Reads the directory (RFC 8555 §7.1.1).
    pub(super) async fn directory(&self, url: &str) -> Result<Directory, CallError> {
        self.http.get(url).await?.json()
    }

    /// Registers the account under an external one; returns its URL (RFC 8555 §7.3.4).
    pub(super) async fn register(
        &self,
        directory: &Directory,
        key: &AccountKey,
        contact: &[String],
        eab: &Eab,
    ) -> Result<String, CallError> {
        let binding = jws::external_account_binding(eab, key.pair(), &directory.new_account).map_err(ours)?;
        let payload = json!({"termsOfServiceAgreed": true, "contact": contact, "externalAccountBinding": binding});
        let url = &directory.new_account;
        self.send(directory, key, Identity::Key, url, payload.to_string().as_bytes())
            .await?
            .located()
    }

    /// Places an order (RFC 8555 §7.4).
    pub(super) async fn new_order(
        &self,
        account: &Registered,
        order: &NewOrder<'_>,
    ) -> Result<(String, Order), CallError> {
        let mut payload = json!({"identifiers": [{"type": "dns", "value": order.name}]});
        for (member, value) in [("profile", order.profile), ("replaces", order.replaces)] {
            if let (Some(value), Some(object)) = (value, payload.as_object_mut()) {
                object.insert(member.to_owned(), Value::from(value));
            }
        }
        let answer = self.post(account, &account.directory.new_order, &payload).await?;
        Ok((answer.located()?, answer.json()?))
    }

    /// Fetches an object of the account by POST-as-GET (RFC 8555 §6.3).
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        account: &Registered,
        url: &str,
    ) -> Result<Fetched<T>, CallError> {
        let answer = self
            .send(&account.directory, &account.key, Identity::Kid(&account.kid), url, b"")
            .await?;
        Ok(Fetched {
            value: answer.json()?,
            retry_after: answer.retry_after,
        })
    }

    /// Asks when a certificate should be renewed (RFC 9773 §4.1). `None`: the CA does not know it.
    pub(super) async fn renewal_info(&self, base: &str, ari_id: &str) -> Result<Option<RenewalInfo>, CallError> {
        let url = format!("{}/{ari_id}", base.trim_end_matches('/'));
        let answer = match self.http.get(&url).await {
            Err(CallError::Refused(problem)) if problem.status == 404 => return Ok(None),
            other => other?,
        };
        RenewalInfo::parse(&answer.body, answer.retry_after, self.clock.now())
            .map(Some)
            .ok_or_else(|| CallError::NoAnswer("the renewal information is not what RFC 9773 wants".into()))
    }

    /// Revokes a certificate (RFC 8555 §7.6).
    pub(super) async fn revoke(
        &self,
        account: &Registered,
        url: &str,
        certificate: &[u8],
        reason: u8,
    ) -> Result<(), CallError> {
        let payload = json!({"certificate": URL_SAFE_NO_PAD.encode(certificate), "reason": reason});
        match self.post(account, url, &payload).await {
            Err(e) if e.is("alreadyRevoked") => Ok(()),
            other => other.map(drop),
        }
    }

    async fn post(&self, account: &Registered, url: &str, payload: &Value) -> Result<Answer, CallError> {
        let identity = Identity::Kid(&account.kid);
        self.send(
            &account.directory,
            &account.key,
            identity,
            url,
            payload.to_string().as_bytes(),
        )
        .await
    }

    /// Sends a signed request, again when the CA rejects its nonce (RFC 8555 §6.5).
    async fn send(
        &self,
        directory: &Directory,
        key: &AccountKey,
        identity: Identity<'_>,
        url: &str,
        payload: &[u8],
    ) -> Result<Answer, CallError> {
        let mut tries = 0;
        loop {
            let nonce = self.http.nonce(&directory.new_nonce).await?;
            let body = jws::sign(key.pair(), identity, &nonce, url, payload).map_err(ours)?;
            tries += 1;
            match self.http.post(url, body).await {
                Err(e) if e.is("badNonce") && tries < NONCE_TRIES => {}
                other => return other,
            }
        }
    }
}

fn ours(error: jws::SignError) -> CallError {
    CallError::Ours(error.to_string())
}
