//! The calls of ACME (RFC 8555 and RFC 9773), signed with the account key. Each is bounded in time
//! and in the size of its answer (see [`super::http`]), whatever the CA sends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkseal_base::clock::{Clock, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::account::AccountKey;
use super::client::{Directory, Fetched, NewOrder, Order, Registered};
use super::http::{Answer, CALL_TIMEOUT, Http};
use super::jws::{self, Identity};
use super::problem::CallError;
use super::renewal::RenewalInfo;
use super::settings::Eab;

/// Most tries of one request, each with a fresh nonce. A CA that rejects half of them at random
/// defeats this once in a million calls.
const NONCE_TRIES: usize = 20;

/// The ACME calls at one CA.
pub(super) struct Calls {
    http: Http,
    clock: Clock,
}

impl Calls {
    pub(super) fn new(http: Http, clock: Clock) -> Self {
        Self { http, clock }
    }

    /// The CA's current time, by the `Date` of its last answer. `None`: no answer had one.
    pub(super) fn now(&self) -> Option<Timestamp> {
        self.http.now()
    }

    /// Reads the directory (RFC 8555 §7.1.1).
    pub(super) async fn directory(&self, url: &str) -> Result<Directory, CallError> {
        self.http.get(url).await?.json()
    }

    /// Registers the account, or finds the one that the key has already (RFC 8555 §7.3); returns its
    /// URL. `eab`: the external account to bind it to, where the CA requires one.
    pub(super) async fn register(
        &self,
        directory: &Directory,
        key: &AccountKey,
        contact: &[String],
        eab: Option<&Eab>,
    ) -> Result<String, CallError> {
        let url = &directory.new_account;
        let mut payload = json!({"termsOfServiceAgreed": true, "contact": contact});
        if let (Some(eab), Some(object)) = (eab, payload.as_object_mut()) {
            let binding = jws::external_account_binding(eab, key.pair(), url).map_err(ours)?;
            object.insert("externalAccountBinding".to_owned(), binding);
        }
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
        let url = &account.directory.new_order;
        let answer = self.post(account, url, payload.to_string().as_bytes()).await?;
        Ok((answer.located()?, answer.json()?))
    }

    /// Fetches an object of the account by POST-as-GET (RFC 8555 §6.3).
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        account: &Registered,
        url: &str,
    ) -> Result<Fetched<T>, CallError> {
        let answer = self.post(account, url, b"").await?;
        Ok(Fetched {
            value: answer.json()?,
            retry_after: answer.retry_after,
        })
    }

    /// Responds to a challenge: it is ready for validation (RFC 8555 §7.5.1).
    pub(super) async fn respond(&self, account: &Registered, challenge_url: &str) -> Result<(), CallError> {
        self.post(account, challenge_url, b"{}").await.map(drop)
    }

    /// Sends the CSR (RFC 8555 §7.4).
    pub(super) async fn finalize(&self, account: &Registered, url: &str, csr: &[u8]) -> Result<(), CallError> {
        let payload = json!({"csr": URL_SAFE_NO_PAD.encode(csr)});
        self.post(account, url, payload.to_string().as_bytes()).await.map(drop)
    }

    /// Downloads the chain (RFC 8555 §7.4.2).
    pub(super) async fn certificate(&self, account: &Registered, url: &str) -> Result<String, CallError> {
        self.post(account, url, b"").await?.text()
    }

    /// Fetches a certificate's renewal information (RFC 9773 §4.1). `None`: the CA does not know it.
    pub(super) async fn renewal_info(&self, base: &str, ari_id: &str) -> Result<Option<RenewalInfo>, CallError> {
        let url = format!("{}/{ari_id}", base.trim_end_matches('/'));
        let answer = match self.http.get(&url).await {
            Err(CallError::Refused(problem)) if problem.status == 404 => return Ok(None),
            other => other?,
        };
        RenewalInfo::parse(&answer.body, answer.retry_after, self.clock.now())
            .map(Some)
            .ok_or_else(|| CallError::NoAnswer("the renewal information does not conform to RFC 9773".into()))
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
        match self.post(account, url, payload.to_string().as_bytes()).await {
            Err(e) if e.is("alreadyRevoked") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends a request under our account; without a payload it is a POST-as-GET (RFC 8555 §6.3).
    async fn post(&self, account: &Registered, url: &str, payload: &[u8]) -> Result<Answer, CallError> {
        let identity = Identity::Kid(&account.kid);
        self.send(&account.directory, &account.key, identity, url, payload)
            .await
    }

    /// Sends a signed request, and sends it again while the CA rejects its nonce (RFC 8555 §6.5), within
    /// the time of one call.
    async fn send(
        &self,
        directory: &Directory,
        key: &AccountKey,
        identity: Identity<'_>,
        url: &str,
        payload: &[u8],
    ) -> Result<Answer, CallError> {
        let deadline = self.clock.uptime() + CALL_TIMEOUT;
        let mut tries = 0;
        loop {
            let nonce = self.http.nonce(&directory.new_nonce).await?;
            let body = jws::sign(key.pair(), identity, &nonce, url, payload).map_err(ours)?;
            tries += 1;
            match self.http.post(url, body).await {
                Err(e) if e.is("badNonce") && tries < NONCE_TRIES && self.clock.uptime() < deadline => {}
                other => return other,
            }
        }
    }
}

fn ours(error: jws::SignError) -> CallError {
    CallError::Ours(error.to_string())
}
