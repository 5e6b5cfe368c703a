//! One CA: its directory, our account there, and the calls under it ([`super::calls`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_domain::ssl::FailureKind;
use linkseal_store::{CaAccount, SharedStore, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::CaSettings;
use super::account::AccountKey;
use super::calls::Calls;
use super::client::{AcmeClient, Authorization, Directory, Fetched, NewOrder, Order, Registered};
use super::problem::CallError;
use super::renewal::RenewalInfo;

/// How long a directory is used before it is fetched again: CAs add profiles and ARI now and then.
const DIRECTORY_FRESH: Duration = Duration::from_secs(3600);

/// A CA as the order driver uses it.
pub(super) struct Ca {
    settings: CaSettings,
    key: Arc<AccountKey>,
    store: SharedStore,
    clock: Clock,
    calls: Calls,
    directory: Flight<(Arc<Directory>, Timestamp)>,
    account: Flight<Registered>,
}

impl Ca {
    pub(super) fn new(
        settings: CaSettings,
        key: Arc<AccountKey>,
        store: SharedStore,
        clock: Clock,
        calls: Calls,
    ) -> Self {
        let (directory, account) = (Flight::default(), Flight::default());
        Self {
            settings,
            key,
            store,
            clock,
            calls,
            directory,
            account,
        }
    }

    /// Our account, registered on first use. `lost`: an account URL that the CA no longer knows, and
    /// that has to be replaced.
    async fn account(&self, lost: Option<&str>) -> Result<Arc<Registered>, CallError> {
        let directory = self.directory().await?;
        let usable = |r: &Registered| Some(r.kid.as_str()) != lost && Arc::ptr_eq(&r.directory, &directory);
        let made = async {
            let kid = self.kid(&directory, lost).await?;
            Ok(Registered {
                key: self.key.clone(),
                directory: directory.clone(),
                kid,
            })
        };
        self.account.get(usable, made).await
    }

    /// The account's URL from the store, else by registering.
    async fn kid(&self, directory: &Directory, lost: Option<&str>) -> Result<String, CallError> {
        let settings = &self.settings;
        let ours = |e: StoreError| CallError::Ours(e.to_string());
        let before = self.store.ca_account(&settings.directory).await.map_err(ours)?;
        let is_usable = |account: &CaAccount| Some(account.kid.as_str()) != lost;
        if let Some(account) = before.as_ref().filter(|account| is_usable(account)) {
            return Ok(account.kid.clone());
        }
        if settings.eab.is_none() && directory.meta.external_account_required {
            return Err(CallError::Here(
                FailureKind::Account,
                format!(
                    "{} requires an external account binding: set acme.eab to the key id and the HMAC key that it issued to you",
                    settings.directory
                ),
            ));
        }
        let kid = self
            .calls
            .register(directory, &self.key, &settings.contact, settings.eab.as_ref())
            .await?;
        info!(ca = settings.directory, kid, "account registered");
        let account = CaAccount {
            directory: settings.directory.clone(),
            kid: kid.clone(),
            created: self.clock.now(),
        };
        match self.store.put_ca_account(&account, before.as_ref()).await {
            Ok(()) => Ok(kid),
            // Another node has registered meanwhile, with the same key: the CA gives both the same account.
            Err(StoreError::Conflict) => {
                let stored = self.store.ca_account(&settings.directory).await.map_err(ours)?;
                Ok(stored.filter(is_usable).map_or(kid, |account| account.kid))
            }
            Err(error) => Err(ours(error)),
        }
    }

    /// Makes a call under our account. If the CA no longer knows it, registers again and repeats the call.
    async fn under_account<T, F>(&self, call: impl Fn(Arc<Registered>) -> F + Send) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>> + Send,
    {
        let account = self.account(None).await?;
        let lost = account.kid.clone();
        match call(account).await {
            Err(e) if e.is("accountDoesNotExist") => {
                warn!(
                    ca = self.settings.directory,
                    kid = lost,
                    "the CA does not know our account any more; registering again"
                );
                call(self.account(Some(&lost)).await?).await
            }
            other => other,
        }
    }
}

#[async_trait]
impl AcmeClient for Ca {
    async fn directory(&self) -> Result<Arc<Directory>, CallError> {
        let now = self.clock.now();
        let fresh = |(_, read): &(Arc<Directory>, Timestamp)| read.is_within(DIRECTORY_FRESH, now);
        let read = async { Ok((Arc::new(self.calls.directory(&self.settings.directory).await?), now)) };
        Ok(self.directory.get(fresh, read).await?.0.clone())
    }

    async fn new_order(&self, order: &NewOrder<'_>) -> Result<(String, Order), CallError> {
        self.under_account(|a| async move { self.calls.new_order(&a, order).await })
            .await
    }

    async fn order(&self, url: &str) -> Result<Fetched<Order>, CallError> {
        self.under_account(|a| async move { self.calls.fetch(&a, url).await })
            .await
    }

    async fn authorization(&self, url: &str) -> Result<Fetched<Authorization>, CallError> {
        self.under_account(|a| async move { self.calls.fetch(&a, url).await })
            .await
    }

    async fn respond(&self, challenge_url: &str) -> Result<(), CallError> {
        self.under_account(|a| async move { self.calls.respond(&a, challenge_url).await })
            .await
    }

    async fn finalize(&self, finalize_url: &str, csr: &[u8]) -> Result<(), CallError> {
        self.under_account(|a| async move { self.calls.finalize(&a, finalize_url, csr).await })
            .await
    }

    async fn certificate(&self, url: &str) -> Result<String, CallError> {
        self.under_account(|a| async move { self.calls.certificate(&a, url).await })
            .await
    }

    async fn renewal_info(&self, ari_id: &str) -> Result<Option<RenewalInfo>, CallError> {
        match &self.directory().await?.renewal_info {
            Some(base) => self.calls.renewal_info(base, ari_id).await,
            None => Ok(None),
        }
    }

    fn now(&self) -> Option<Timestamp> {
        self.calls.now()
    }

    async fn revoke(&self, certificate: &[u8], reason: u8) -> Result<(), CallError> {
        let directory = self.directory().await?;
        let Some(url) = &directory.revoke_cert else {
            return Err(CallError::Ours(format!(
                "{} offers no revocation",
                self.settings.directory
            )));
        };
        self.under_account(|a| async move { self.calls.revoke(&a, url, certificate, reason).await })
            .await
    }
}

/// A value that is made on first use, once for all callers that wait, failures included: sixteen
/// orders at a dead CA wait for one timeout, not for sixteen in a row.
struct Flight<T> {
    state: Mutex<FlightState<T>>,
}

struct FlightState<T> {
    value: Option<Arc<T>>,
    /// The failure of the last attempt, and its time. `None`: it succeeded.
    failed: Option<(Instant, CallError)>,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(FlightState {
                value: None,
                failed: None,
            }),
        }
    }
}

impl<T> Flight<T> {
    /// The value, if it is `usable`; else the result of `make`.
    async fn get(
        &self,
        usable: impl Fn(&T) -> bool,
        make: impl Future<Output = Result<T, CallError>>,
    ) -> Result<Arc<T>, CallError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(value) = state.value.as_ref().filter(|v| usable(v)) {
            return Ok(value.clone());
        }
        if let Some((_, error)) = state.failed.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(error.clone());
        }
        match make.await {
            Ok(value) => {
                let value = Arc::new(value);
                *state = FlightState {
                    value: Some(value.clone()),
                    failed: None,
                };
                Ok(value)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn callers_that_wait_share_one_attempt_and_its_failure() {
        let flight = Flight::<u8>::default();
        let attempts = AtomicUsize::new(0);
        let gate = tokio::sync::Semaphore::new(0);
        let get = |result: Result<u8, CallError>| {
            let (attempts, gate) = (&attempts, &gate);
            flight.get(|_| true, async move {
                attempts.fetch_add(1, Ordering::Relaxed);
                let _ = gate.acquire().await;
                result
            })
        };
        let no = || Err(CallError::NoAnswer("down".into()));
        let open = async { gate.add_permits(1) };
        let (a, b, c, ()) = tokio::join!(get(no()), get(Ok(1)), get(Ok(2)), open);
        assert!(a.is_err() && b.is_err() && c.is_err());
        assert_eq!(attempts.swap(0, Ordering::Relaxed), 1);

        gate.add_permits(1);
        assert_eq!(*get(Ok(3)).await.unwrap(), 3, "a later caller tries again");
        assert_eq!(*get(Ok(4)).await.unwrap(), 3);
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
    }
}
