//! The order driver against a scripted CA: every way an order can go, and every place where it
//! can be cut off.

mod failures;
mod fake;
mod live;
mod orders;
mod store;

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::{Clock, Timestamp};
use linkseal_domain::DomainName;
use linkseal_domain::cert::certificate::{Certificate, chain_from_pem};
use linkseal_domain::cert::sealed::{KEY_LEN, Sealer};
use linkseal_domain::ssl::{Failure, FailureKind};
use linkseal_store::prelude::*;
use linkseal_store::{Fence, OrderRecord, OrderStep, SharedStore};
use parking_lot::Mutex;
use prometheus::Registry;
use zeroize::Zeroizing;

use self::fake::{Break, FakeCa, FakeOrder, LIFE, problem};
use self::store::{FENCE, MemoryStore};
use super::client::{ChallengeStatus, OrderStatus};
use super::order::ORDER_TIME;
use super::problem::CallError;
use super::*;
use crate::ca::Ca;
use crate::calls::Calls;
use crate::http::Http;
use crate::testing::settings;

const DIRECTORY: &str = "https://ca.example/dir";
/// The calls of an undisturbed order.
const CALLS: [&str; 8] = [
    "new_order",
    "authorization",
    "respond",
    "authorization",
    "order",
    "finalize",
    "order",
    "certificate",
];

struct Bench {
    clock: Clock,
    ca: Arc<FakeCa>,
    store: Arc<MemoryStore>,
    sealer: Arc<Sealer>,
    issuer: Issuer,
    registry: Registry,
    progress: Mutex<Vec<Progress>>,
}

impl Bench {
    fn new() -> Self {
        Self::with_profile(None)
    }

    fn with_profile(profile: Option<&str>) -> Self {
        let clock = Clock::system();
        let ca = FakeCa::new(clock.clone());
        let store = Arc::new(MemoryStore::default());
        let sealer = sealer();
        let settings = CaSettings {
            profile: profile.map(str::to_owned),
            ..settings(DIRECTORY)
        };
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let issuer = Issuer::with_client(
            ca.clone(),
            settings,
            store.clone(),
            sealer.clone(),
            clock.clone(),
            metrics,
        )
        .unwrap();
        Self {
            clock,
            ca,
            store,
            sealer,
            issuer,
            registry,
            progress: Mutex::default(),
        }
    }

    /// Runs an order with the clock running fast, until it ends or one of its calls hangs (`None`).
    async fn try_issue(&self, job: &Job) -> Option<Result<Issued, IssueError>> {
        let said = |p| self.progress.lock().push(p);
        let time = async {
            loop {
                self.clock.advance(Duration::from_millis(50));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            result = self.issuer.issue(job, &said) => Some(result),
            () = self.ca.hung.notified() => None,
            () = time => None,
        }
    }

    async fn issue(&self) -> Result<Issued, IssueError> {
        self.try_issue(&job()).await.unwrap()
    }

    async fn failure(&self) -> (Failure, bool) {
        match self.issue().await {
            Err(IssueError::Failed { failure, resumable, .. }) => (failure, resumable),
            other => panic!("{other:?}"),
        }
    }

    /// An order that an earlier run left, at the CA and in the store.
    async fn leave(&self, status: OrderStatus, challenge: ChallengeStatus, step: OrderStep) -> Zeroizing<Vec<u8>> {
        let key = csr::generate_key().unwrap();
        let name = job().name;
        let csr = (matches!(status, OrderStatus::Processing | OrderStatus::Valid))
            .then(|| csr::request(name.as_str(), &key).unwrap());
        self.ca.set(|s| {
            s.orders.push(FakeOrder {
                name: name.to_string(),
                status,
                challenge,
                error: None,
                csr,
            })
        });
        let record = OrderRecord {
            sealed_key: self.sealer.seal(&format!("orders/{name}"), &key),
            name,
            ca: DIRECTORY.into(),
            url: Some("https://ca.example/order/0".into()),
            step,
            created: self.clock.now(),
        };
        self.store.put_order(&record, FENCE).await.unwrap();
        self.store.written.lock().clear();
        key
    }

    fn key_of(&self, issued: &Issued) -> Zeroizing<Vec<u8>> {
        let key = self
            .sealer
            .open("certificates/links.customer.example", &issued.certificate.sealed_key)
            .unwrap();
        Certificate::new(&issued.certificate.chain_pem, &key).unwrap();
        key
    }

    fn counted(&self, result: &str) -> u64 {
        let families = self.registry.gather();
        let metrics = families.iter().flat_map(|f| f.get_metric());
        metrics
            .filter(|m| m.get_label()[0].value() == result)
            .map(|m| m.get_counter().get_value() as u64)
            .sum()
    }

    fn steps(&self) -> Vec<OrderStep> {
        self.store.written.lock().iter().map(|o| o.step).collect()
    }
}

fn sealer() -> Arc<Sealer> {
    Arc::new(Sealer::new(&Zeroizing::new([7; KEY_LEN])))
}

fn job() -> Job {
    job_of("links.customer.example")
}

fn job_of(name: &str) -> Job {
    Job {
        name: DomainName::parse(name).unwrap(),
        replaces: None,
        resumes: false,
        fence: FENCE,
    }
}

#[tokio::test]
async fn one_account_key_is_created_and_stored_sealed() {
    let store: SharedStore = Arc::new(MemoryStore::default());
    let sealer = sealer();
    let first = AccountKey::load_or_create(&store, None, &sealer).await.unwrap();
    let second = AccountKey::load_or_create(&store, None, &sealer).await.unwrap();
    assert_eq!(first.thumbprint(), second.thumbprint());
    assert_eq!(first.thumbprint().len(), 43);
    let sealed = store.secret("acme_account_key").await.unwrap().unwrap();
    let plain = sealer.open("acme_account_key", &sealed).unwrap();
    assert!(!sealed.windows(plain.len()).any(|w| w == plain.as_slice()));
    let foreign = Sealer::new(&Zeroizing::new([8; KEY_LEN]));
    assert!(matches!(
        AccountKey::load_or_create(&store, None, &foreign).await,
        Err(AccountKeyError::Seal(_))
    ));
}

#[test]
fn a_directory_that_is_not_an_https_url_is_refused() {
    for bad in ["http://ca.example/dir", "ca.example", ""] {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let key = AccountKey::from_pkcs8(&acme::generate_account_key()).unwrap();
        let store = Arc::new(MemoryStore::default());
        let issuer = Issuer::new(settings(bad), Arc::new(key), store, sealer(), Clock::system(), metrics);
        assert!(matches!(issuer.err(), Some(IssuerError::Directory(_))), "{bad}");
    }
}
