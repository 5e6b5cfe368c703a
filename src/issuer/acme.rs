//! All use of rustls-acme, whose low-level module drives the protocol here: accounts, key
//! authorizations, challenge responses, finalization, download.
//!
//! It opens two connections per call (a nonce, the request), drops headers, knows no time limit
//! and no second try: calls are bounded and repeated here, and what needs headers is done by
//! [`super::extensions`]. It logs bodies at debug; the telemetry caps its target at info.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::ClientConfig;
use rustls_acme::acme::{Account, AcmeError, Challenge, ChallengeType, Directory as AcmeDirectory};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::account::AccountKey;
use super::client::{Directory, Registered};
use super::extensions::NONCE_TRIES;
use super::http::CALL_TIMEOUT;
use super::problem::CallError;

/// Makes an account key, as PKCS#8.
pub(super) fn generate_account_key() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Account::generate_key_pair())
}

/// The thumbprint of an account key (RFC 7638), which ends every key authorization (RFC 8555 §8.1).
/// `None`: it is no P-256 key.
pub(super) fn thumbprint(pkcs8: &[u8]) -> Option<String> {
    const TOKEN: &str = "t";
    let account = account(pkcs8, &Directory::default(), "").ok()?;
    let challenges = [Challenge {
        typ: ChallengeType::Http01,
        url: String::new(),
        token: TOKEN.into(),
        error: None,
    }];
    let (_, authorization) = account.http_01(&challenges).ok()?;
    authorization.strip_prefix(TOKEN)?.strip_prefix('.').map(str::to_owned)
}

/// rustls-acme at one CA.
pub(super) struct Engine {
    tls: Arc<ClientConfig>,
}

impl Engine {
    pub(super) fn new(tls: ClientConfig) -> Self {
        Self { tls: Arc::new(tls) }
    }

    /// Registers the account, or finds the one that the key has already; returns its URL.
    pub(super) async fn register(
        &self,
        directory: &Directory,
        key: &AccountKey,
        contact: &[String],
    ) -> Result<String, CallError> {
        let account = bounded(|| async {
            Account::create_with_keypair(&self.tls, acme_directory(directory), contact, key.pkcs8()).await
        });
        Ok(account.await?.kid)
    }

    /// Tells the CA that a challenge can be looked at (RFC 8555 §7.5.1).
    pub(super) async fn respond(&self, account: &Registered, challenge_url: &str) -> Result<(), CallError> {
        let account = of(account)?;
        bounded(|| account.challenge(&self.tls, challenge_url)).await
    }

    /// Sends the CSR (RFC 8555 §7.4).
    pub(super) async fn finalize(&self, account: &Registered, url: &str, csr: &[u8]) -> Result<(), CallError> {
        let account = of(account)?;
        bounded(|| account.finalize(&self.tls, url, csr)).await.map(drop)
    }

    /// Downloads the chain (RFC 8555 §7.4.2).
    pub(super) async fn certificate(&self, account: &Registered, url: &str) -> Result<String, CallError> {
        let account = of(account)?;
        bounded(|| account.certificate(&self.tls, url)).await
    }
}

fn of(registered: &Registered) -> Result<Account, CallError> {
    account(registered.key.pkcs8(), &registered.directory, &registered.kid)
        .map_err(|_| CallError::Ours("the account key is not usable".into()))
}

fn account(pkcs8: &[u8], directory: &Directory, kid: &str) -> Result<Account, aws_lc_rs::error::KeyRejected> {
    let key_pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)?;
    Ok(Account {
        key_pair,
        directory: acme_directory(directory),
        kid: kid.to_owned(),
    })
}

fn acme_directory(directory: &Directory) -> AcmeDirectory {
    AcmeDirectory {
        new_nonce: directory.new_nonce.clone(),
        new_account: directory.new_account.clone(),
        new_order: directory.new_order.clone(),
    }
}

/// A call with a time limit, repeated while the CA rejects its nonce (RFC 8555 §6.5).
async fn bounded<T, F: Future<Output = Result<T, AcmeError>>>(call: impl Fn() -> F) -> Result<T, CallError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match timeout(CALL_TIMEOUT, call()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(e)) => call_error(&e),
            Err(_) => CallError::NoAnswer(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
        };
        if !error.is("badNonce") || tries >= NONCE_TRIES {
            return Err(error);
        }
    }
}

fn call_error(error: &AcmeError) -> CallError {
    match error {
        AcmeError::Rcgen(_) | AcmeError::Jose(_) | AcmeError::KeyRejected(_) | AcmeError::Crypto(_) => {
            CallError::Ours(error.to_string())
        }
        _ => CallError::from_rustls_acme_text(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::issuer::jws;

    #[test]
    fn the_thumbprint_is_that_of_the_key_our_own_calls_sign_with() {
        let pkcs8 = generate_account_key();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).unwrap();
        let expected = URL_SAFE_NO_PAD.encode(digest(&SHA256, jws::jwk(&pair).to_string().as_bytes()));
        assert_eq!(thumbprint(&pkcs8), Some(expected));
        assert_eq!(thumbprint(b"no key"), None);
    }

    fn refused(status: u16, problem: &str) -> AcmeError {
        // The type of the real error is private; its text is what is read.
        let body = format!(r#"{{"type":"urn:ietf:params:acme:error:{problem}","detail":"d"}}"#);
        AcmeError::Io(std::io::Error::other(format!("non 2xx http status: {status} {body:?}")))
    }

    #[tokio::test]
    async fn a_bad_nonce_is_tried_again_and_nothing_else() {
        let calls = AtomicUsize::new(0);
        let nth = || calls.fetch_add(1, Ordering::Relaxed) + 1;
        let third = bounded(|| async {
            if nth() < 3 {
                Err(refused(400, "badNonce"))
            } else {
                Ok(())
            }
        })
        .await;
        assert!(third.is_ok());
        assert_eq!(calls.swap(0, Ordering::Relaxed), 3);

        let never = bounded(|| async {
            nth();
            Err::<(), _>(refused(400, "badNonce"))
        })
        .await;
        assert!(never.unwrap_err().is("badNonce"));
        assert_eq!(calls.swap(0, Ordering::Relaxed), NONCE_TRIES);

        let other = bounded(|| async {
            nth();
            Err::<(), _>(refused(403, "unauthorized"))
        })
        .await;
        assert!(other.unwrap_err().is("unauthorized"));
        assert_eq!(calls.swap(0, Ordering::Relaxed), 1);
    }
}
