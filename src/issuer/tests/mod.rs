//! The order driver against a scripted CA: every way an order can go, and every place where it
//! can be cut off.

mod fake;
#[cfg(feature = "devca")]
mod live;
mod store;

use std::sync::Mutex;
use std::time::Duration;

use self::fake::{Break, FakeCa, FakeOrder, LIFE, problem};
use self::store::{FENCE, MemoryStore};
use super::client::{ChallengeStatus, OrderStatus};
use super::order::ORDER_TIME;
use super::problem::CallError;
use super::*;
use crate::cert::certificate::Certificate;
use crate::cert::sealed::KEY_LEN;
#[cfg(feature = "devca")]
use crate::clock::Timestamp;
use crate::store::{OrderRecord, OrderStep, Store as _};

const DIRECTORY: &str = "https://ca.example/dir";
/// The calls of an order without trouble.
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
        let sealer = Arc::new(Sealer::new(&Zeroizing::new([7; KEY_LEN])));
        let settings = CaSettings {
            directory: DIRECTORY.into(),
            contact: Vec::new(),
            ca_file: None,
            eab: None,
            profile: profile.map(str::to_owned),
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

    /// Runs an order, the clock running fast, until it ends or a call of it hangs (`None`).
    async fn try_issue(&self, job: &Job) -> Option<Result<Issued, IssueError>> {
        let said = |p| self.progress.lock().unwrap().push(p);
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
            Err(IssueError::Failed { failure, resumable }) => (failure, resumable),
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
        self.store.written.lock().unwrap().clear();
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
        self.store.written.lock().unwrap().iter().map(|o| o.step).collect()
    }
}

fn job() -> Job {
    Job {
        name: DomainName::parse("links.customer.example").unwrap(),
        replaces: None,
        fence: FENCE,
    }
}

#[tokio::test]
async fn an_order_goes_through_and_is_noted_before_each_step() {
    let bench = Bench::new();
    let before = bench.clock.now();
    let issued = bench.issue().await.unwrap();
    assert_eq!(bench.ca.state.lock().unwrap().calls, CALLS);
    assert_eq!(
        bench.steps(),
        [OrderStep::Creating, OrderStep::Authorizing, OrderStep::Finalizing]
    );
    assert_eq!(bench.store.written.lock().unwrap()[0].url, None);
    assert_eq!(
        *bench.progress.lock().unwrap(),
        [Progress::Ordered, Progress::Validating]
    );
    bench.key_of(&issued);

    let info = issued.info;
    assert_eq!(
        (info.ca.as_str(), info.sans.as_slice()),
        (DIRECTORY, ["links.customer.example".to_owned()].as_slice())
    );
    assert!(info.ari_id.is_some());
    let due = info.renew_at.saturating_since(before);
    assert!(
        due <= LIFE * 2 / 3 + Duration::from_secs(60) && due >= LIFE * 6 / 10,
        "{due:?}"
    );
    let check = info.ari_check_at.unwrap().saturating_since(before);
    assert!(
        check >= Duration::from_secs(3 * 3600) && check <= Duration::from_secs(7 * 3600),
        "{check:?}"
    );
    assert_eq!(bench.counted("issued"), 1);
}

#[tokio::test]
async fn cut_off_at_any_call_it_goes_on_with_the_same_order() {
    for at in 0..CALLS.len() {
        for how in [Break::HangBefore, Break::HangAfter] {
            let bench = Bench::new();
            bench.ca.set(|s| s.break_at = Some((at, how)));
            assert!(bench.try_issue(&job()).await.is_none(), "{how:?} {at}: it hangs");
            let issued = bench.issue().await.unwrap_or_else(|e| panic!("{how:?} {at}: {e:?}"));
            bench.key_of(&issued);
            // The one window in which an order is lost: the CA made it, and we died before the note.
            let lost = usize::from(at == 0 && how == Break::HangAfter);
            assert_eq!(bench.ca.state.lock().unwrap().orders.len(), 1 + lost, "{how:?} {at}");
            assert_eq!(
                bench.ca.count("finalize"),
                if at == 5 && how == Break::HangBefore { 2 } else { 1 },
                "{how:?} {at}"
            );
        }
    }
}

#[tokio::test]
async fn a_lost_answer_costs_no_order_once_there_is_one() {
    for at in 0..CALLS.len() {
        let bench = Bench::new();
        bench.ca.set(|s| s.break_at = Some((at, Break::LoseAnswer)));
        if at == 0 {
            let (failure, resumable) = bench.failure().await;
            assert_eq!((failure.kind, resumable), (FailureKind::Unreachable, false));
            continue;
        }
        bench.key_of(&bench.issue().await.unwrap_or_else(|e| panic!("{at}: {e:?}")));
        assert_eq!(bench.ca.state.lock().unwrap().orders.len(), 1, "{at}");
    }
}

#[tokio::test]
async fn an_order_is_taken_up_where_it_stands() {
    use ChallengeStatus as C;
    use OrderStatus::{Pending, Processing, Ready, Valid};
    use OrderStep::{Authorizing, Finalizing};
    for (status, challenge, step, responds, finalizes, notes) in [
        (Pending, C::Pending, Authorizing, 1, 1, 1),
        (Pending, C::Processing, Authorizing, 0, 1, 1),
        (Ready, C::Valid, Authorizing, 0, 1, 1),
        (Ready, C::Valid, Finalizing, 0, 1, 0),
        (Processing, C::Valid, Finalizing, 0, 0, 0),
        (Valid, C::Valid, Finalizing, 0, 0, 0),
    ] {
        let bench = Bench::new();
        let key = bench.leave(status, challenge, step).await;
        let issued = bench
            .issue()
            .await
            .unwrap_or_else(|e| panic!("{status:?} {challenge:?}: {e:?}"));
        assert_eq!(bench.key_of(&issued), key, "{status:?}: the key it was begun with");
        let counts = (
            bench.ca.count("new_order"),
            bench.ca.count("respond"),
            bench.ca.count("finalize"),
        );
        assert_eq!(counts, (0, responds, finalizes), "{status:?} {challenge:?} {step:?}");
        assert_eq!(bench.steps().len(), notes, "{status:?} {step:?}");
        assert_eq!(bench.progress.lock().unwrap()[0], Progress::Ordered);
    }
}

#[tokio::test]
async fn an_order_of_no_use_is_replaced() {
    let replaced = async |change: fn(&Bench, &mut OrderRecord)| {
        let bench = Bench::new();
        bench
            .leave(OrderStatus::Ready, ChallengeStatus::Valid, OrderStep::Authorizing)
            .await;
        let mut record = bench.store.order(&job().name).await.unwrap().unwrap();
        change(&bench, &mut record);
        bench.store.put_order(&record, FENCE).await.unwrap();
        bench.issue().await.unwrap();
        bench.ca.count("new_order")
    };
    assert_eq!(replaced(|_, _| {}).await, 0);
    assert_eq!(replaced(|_, r| r.ca = "https://other.example/dir".into()).await, 1);
    assert_eq!(replaced(|_, r| r.url = None).await, 1);
    assert_eq!(
        replaced(|_, r| r.created = r.created.minus(Duration::from_secs(24 * 3600))).await,
        1
    );
    assert_eq!(
        replaced(|b, _| b.ca.set(|s| s.orders[0].status = OrderStatus::Invalid)).await,
        1
    );
    assert_eq!(
        replaced(|_, r| r.url = Some("https://ca.example/order/9".into())).await,
        1,
        "404"
    );
    assert_eq!(
        replaced(|b, _| b.ca.refuse("order", 403, "unauthorized", "not yours")).await,
        1
    );
}

#[tokio::test]
async fn while_the_ca_is_silent_the_order_is_kept() {
    let bench = Bench::new();
    bench
        .leave(OrderStatus::Ready, ChallengeStatus::Valid, OrderStep::Authorizing)
        .await;
    for _ in 0..4 {
        bench
            .ca
            .refuse("order", 503, "rateLimited", "Service busy; retry later.");
    }
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Unreachable, true));
    assert_eq!(bench.ca.count("order"), 4, "bounded");
    assert_eq!(bench.counted("unreachable"), 1);
    bench.issue().await.unwrap();
    assert_eq!(bench.ca.count("new_order"), 0);
}

#[tokio::test]
async fn a_long_pause_that_the_ca_wants_is_left_to_the_next_attempt() {
    let bench = Bench::new();
    bench
        .leave(OrderStatus::Ready, ChallengeStatus::Valid, OrderStep::Authorizing)
        .await;
    let until = bench.clock.now() + Duration::from_secs(3600);
    let mut busy = problem(503, "serverInternal", "maintenance");
    busy.retry_after = Some(until);
    bench.ca.answer("order", CallError::Refused(busy));
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.retry_after, resumable), (Some(until), true));
    assert_eq!(bench.ca.count("order"), 1);
}

#[tokio::test]
async fn a_failed_validation_is_told_in_the_words_of_the_ca() {
    for (kind, status, want) in [
        ("connection", 400, FailureKind::Connection),
        ("unauthorized", 403, FailureKind::WrongAnswer),
        ("dns", 400, FailureKind::CaDns),
        ("caa", 403, FailureKind::Caa),
    ] {
        let bench = Bench::new();
        bench
            .ca
            .set(|s| s.verdict = Some(Err(problem(status, kind, "203.0.113.9: it failed"))));
        let (failure, resumable) = bench.failure().await;
        assert_eq!((failure.kind, resumable), (want, false));
        assert_eq!(failure.error.detail, "203.0.113.9: it failed");
        assert_eq!(failure.error.kind, format!("urn:ietf:params:acme:error:{kind}"));
        assert_eq!(bench.ca.count("finalize"), 0);
    }
}

#[tokio::test]
async fn an_order_that_fails_at_signing_says_why() {
    let bench = Bench::new();
    bench
        .ca
        .set(|s| s.signing = Some(Err(problem(403, "caa", "CAA record forbids"))));
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Caa, false));
    assert_eq!(failure.error.detail, "CAA record forbids");

    let bench = Bench::new();
    bench.ca.refuse("finalize", 400, "badCSR", "weak key");
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Refused, false));
}

#[tokio::test]
async fn a_ca_that_never_ends_is_given_up_in_bounded_time_and_polls() {
    type Hang = fn(&mut fake::State);
    let cases: [(&str, Hang); 2] = [("authorization", |s| s.verdict = None), ("order", |s| s.signing = None)];
    for (call, hang) in cases {
        let bench = Bench::new();
        bench.ca.set(hang);
        let began = bench.clock.now();
        let (failure, resumable) = bench.failure().await;
        assert_eq!((failure.kind, resumable), (FailureKind::Stuck, true));
        let took = bench.clock.now().saturating_since(began);
        assert!(
            took >= Duration::from_secs(90) && took <= Duration::from_secs(125),
            "{took:?}"
        );
        let polls = bench.ca.count(call);
        assert!((15..=40).contains(&polls), "{polls} times {call}");
        // One more chance for the order, then a new one has to be placed.
        let (failure, resumable) = bench.failure().await;
        assert_eq!((failure.kind, resumable), (FailureKind::Stuck, false));
        // Once the CA has come round, the order is finished.
        bench.ca.set(|s| (s.verdict, s.signing) = (Some(Ok(())), Some(Ok(()))));
        bench.issue().await.unwrap();
        assert_eq!(bench.ca.count("new_order"), 1);
    }
}

#[tokio::test]
async fn a_call_that_hangs_ends_the_attempt_and_not_the_order() {
    let bench = Bench::new();
    bench.ca.set(|s| s.break_at = Some((6, Break::HangBefore)));
    let job = job();
    let attempt = bench.issuer.issue(&job, &|_| {});
    let jump = async {
        bench.ca.hung.notified().await;
        bench.clock.advance(ORDER_TIME);
    };
    let fast = async {
        while bench.ca.count("order") < 2 {
            bench.clock.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
    };
    let (result, (), ()) = tokio::join!(attempt, jump, fast);
    let Err(IssueError::Failed { failure, resumable }) = result else {
        panic!("{result:?}")
    };
    assert_eq!((failure.kind, resumable), (FailureKind::Stuck, true));
    bench.issue().await.unwrap();
    assert_eq!(bench.ca.count("new_order"), 1);
}

#[tokio::test]
async fn the_pause_that_the_ca_wishes_between_polls_is_kept() {
    let bench = Bench::new();
    bench
        .ca
        .set(|s| (s.verdict, s.retry_after) = (None, Some(Duration::from_secs(20))));
    bench.failure().await;
    // One before the response, one after 100 ms, then at 20, 40, 60, 80 and 90 s.
    assert_eq!(bench.ca.count("authorization"), 7);
}

#[tokio::test]
async fn an_order_names_what_it_replaces_where_the_ca_knows_of_that() {
    let replacing = Job {
        replaces: Some("aki.serial".into()),
        ..job()
    };
    let sent = |bench: &Bench| {
        bench
            .ca
            .state
            .lock()
            .unwrap()
            .placed
            .iter()
            .map(|(_, r)| r.is_some())
            .collect::<Vec<_>>()
    };
    let bench = Bench::new();
    bench.try_issue(&replacing).await.unwrap().unwrap();
    assert_eq!(sent(&bench), [true]);

    let bench = Bench::new();
    bench.ca.set(|s| s.directory.renewal_info = None);
    let issued = bench.try_issue(&replacing).await.unwrap().unwrap();
    assert_eq!((sent(&bench), issued.info.ari_check_at), (vec![false], None));

    for (status, kind) in [
        (409, "alreadyReplaced"),
        (400, "malformed"),
        (403, "unauthorized"),
        (404, ""),
    ] {
        let bench = Bench::new();
        bench.ca.refuse("new_order", status, kind, "no");
        bench.try_issue(&replacing).await.unwrap().unwrap();
        assert_eq!(sent(&bench), [true, false], "{kind}");
    }
    for (status, kind) in [
        (429, "rateLimited"),
        (400, "rejectedIdentifier"),
        (500, "serverInternal"),
    ] {
        let bench = Bench::new();
        bench.ca.refuse("new_order", status, kind, "no");
        bench.try_issue(&replacing).await.unwrap().unwrap_err();
        assert_eq!(sent(&bench), [true], "{kind}");
    }
}

#[tokio::test]
async fn a_profile_is_asked_for_only_where_it_is_offered() {
    let bench = Bench::with_profile(Some("shortlived"));
    let offer = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), "words".into())).collect();
    bench
        .ca
        .set(|s| s.directory.meta.profiles = offer(&["classic", "tlsserver"]));
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Refused, false));
    assert!(
        failure.error.detail.contains("classic, tlsserver"),
        "{}",
        failure.error.detail
    );
    assert!(bench.ca.state.lock().unwrap().calls.is_empty() && bench.steps().is_empty());

    bench.ca.set(|s| s.directory.meta.profiles = offer(&["shortlived"]));
    bench.issue().await.unwrap();
    assert_eq!(
        bench.ca.state.lock().unwrap().placed[0].0.as_deref(),
        Some("shortlived")
    );
}

#[tokio::test]
async fn a_limit_comes_with_the_time_when_it_ends() {
    let bench = Bench::new();
    let until = bench.clock.now() + Duration::from_secs(7200);
    let mut limit = problem(
        429,
        "rateLimited",
        "too many new orders (300) from this account in the last 3h0m0s",
    );
    limit.retry_after = Some(until);
    bench.ca.answer("new_order", CallError::Refused(limit));
    let (failure, resumable) = bench.failure().await;
    assert_eq!(
        (failure.kind, failure.retry_after, resumable),
        (FailureKind::AccountLimit, Some(until), false)
    );
    assert_eq!(bench.counted("account_limit"), 1);
}

#[tokio::test]
async fn without_the_lease_nothing_is_ordered() {
    let bench = Bench::new();
    let stale = Job {
        fence: Fence(FENCE.0 - 1),
        ..job()
    };
    assert!(matches!(bench.try_issue(&stale).await, Some(Err(IssueError::Fenced))));
    assert!(bench.ca.state.lock().unwrap().calls.is_empty());
}

#[tokio::test]
async fn a_certificate_that_was_not_ordered_is_not_taken() {
    let bench = Bench::new();
    bench.ca.set(|s| s.certified_name = Some("other.example".into()));
    let (failure, _) = bench.failure().await;
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.error.detail.contains("other.example"));

    let bench = Bench::new();
    bench
        .leave(OrderStatus::Valid, ChallengeStatus::Valid, OrderStep::Finalizing)
        .await;
    let foreign = csr::request(job().name.as_str(), &csr::generate_key().unwrap()).unwrap();
    bench.ca.set(|s| s.orders[0].csr = Some(foreign));
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Refused, false));
}

#[tokio::test]
async fn an_order_key_that_cannot_be_opened_is_our_failure() {
    let bench = Bench::new();
    bench
        .leave(OrderStatus::Ready, ChallengeStatus::Valid, OrderStep::Authorizing)
        .await;
    let mut record = bench.store.order(&job().name).await.unwrap().unwrap();
    record.sealed_key[30] ^= 1;
    bench.store.put_order(&record, FENCE).await.unwrap();
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Internal, false));
    assert_eq!(bench.ca.count("finalize"), 0);
}

#[tokio::test]
async fn one_account_key_is_made_and_kept_sealed() {
    let store: SharedStore = Arc::new(MemoryStore::default());
    let sealer = Sealer::new(&Zeroizing::new([7; KEY_LEN]));
    let first = AccountKey::load_or_create(&store, &sealer).await.unwrap();
    let second = AccountKey::load_or_create(&store, &sealer).await.unwrap();
    assert_eq!(first.thumbprint(), second.thumbprint());
    assert_eq!(first.thumbprint().len(), 43);
    let sealed = store.secret("acme_account_key").await.unwrap().unwrap();
    assert!(!sealed.windows(first.pkcs8().len()).any(|w| w == first.pkcs8()));
    let foreign = Sealer::new(&Zeroizing::new([8; KEY_LEN]));
    assert!(matches!(
        AccountKey::load_or_create(&store, &foreign).await,
        Err(AccountKeyError::Seal(_))
    ));
}

#[test]
fn an_hmac_key_is_read_in_the_forms_cas_give_out() {
    let of = |text: &str| Eab::new("id", &Zeroizing::new(text.into())).map(|e| e.hmac_key.to_vec());
    assert_eq!(of("-_8"), Some(vec![0xfb, 0xff]));
    assert_eq!(of("-_8=\n"), Some(vec![0xfb, 0xff]));
    assert_eq!(of("+/8="), Some(vec![0xfb, 0xff]));
    assert_eq!(of(""), None);
    assert_eq!(of("not base64!"), None);
}

#[test]
fn a_directory_that_is_no_https_url_is_refused() {
    for bad in ["http://ca.example/dir", "ca.example", ""] {
        let settings = CaSettings {
            directory: bad.into(),
            contact: Vec::new(),
            ca_file: None,
            eab: None,
            profile: None,
        };
        let sealer = Arc::new(Sealer::new(&Zeroizing::new([7; KEY_LEN])));
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let key = AccountKey::from_pkcs8(acme::generate_account_key()).unwrap();
        let store = Arc::new(MemoryStore::default());
        let issuer = Issuer::new(settings, Arc::new(key), store, sealer, Clock::system(), metrics);
        assert!(matches!(issuer.err(), Some(IssuerError::Directory(_))), "{bad}");
    }
}
