//! The whole issuer over TLS against the CA in process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use linkseal_base::shutdown::Tasks;
use linkseal_devca::{DevCa, DevCaConfig, EabKey, Endpoint, Lost, Problem, Profile, Refusal, RetryAfter, Window};
use linkseal_domain::cert::certificate::Leaf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::client::Directory;
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A CA, a web server that every name leads to, and what an issuer needs.
pub(super) struct Live {
    pub(super) clock: Clock,
    pub(super) ca: DevCa,
    pub(super) store: SharedStore,
    pub(super) sealer: Arc<Sealer>,
    pub(super) key: Arc<AccountKey>,
    tasks: Tasks,
}

impl Live {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut DevCaConfig)) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let store: SharedStore = Arc::new(MemoryStore::default());
        let sealer = Arc::new(Sealer::new(&Zeroizing::new([7; KEY_LEN])));
        let key = AccountKey::load_or_create(&store, &sealer).await.unwrap();
        let mut config = DevCaConfig::new(clock.clone());
        config.http_port = answer_challenges(&tasks, key.thumbprint().to_owned()).await;
        change(&mut config);
        let ca = DevCa::start(config, &tasks).await.unwrap();
        Self {
            clock,
            ca,
            store,
            sealer,
            key,
            tasks,
        }
    }

    pub(super) fn settings(&self) -> CaSettings {
        CaSettings {
            directory: self.ca.directory_url(),
            contact: vec!["mailto:ops@platform.example".into()],
            trust: vec![CertificateDer::from_pem_slice(self.ca.root_pem().as_bytes()).unwrap()],
            eab: None,
            profile: None,
        }
    }

    /// A new issuer on the same store, as after a restart.
    pub(super) fn issuer(&self) -> Issuer {
        self.issuer_of(self.settings())
    }

    fn issuer_of(&self, settings: CaSettings) -> Issuer {
        let (store, sealer, clock) = (self.store.clone(), self.sealer.clone(), self.clock.clone());
        let metrics = Metrics::register(&Registry::new()).unwrap();
        Issuer::new(settings, self.key.clone(), store, sealer, clock, metrics).unwrap()
    }
}

/// The one thing the data plane does for an order.
async fn answer_challenges(tasks: &Tasks, thumbprint: String) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = tasks.clone();
    tasks.spawn_until_stop(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let thumbprint = thumbprint.clone();
            connections.spawn_until_stop(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split_whitespace().nth(1).unwrap_or_default();
                let body = format!("{}.{thumbprint}", path.rsplit('/').next().unwrap_or_default());
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    port
}

pub(super) fn job_of(name: &str) -> Job {
    Job {
        name: DomainName::parse(name).unwrap(),
        replaces: None,
        resumes: false,
        fence: FENCE,
    }
}

pub(super) async fn issue(issuer: &Issuer, name: &str) -> Result<Issued, IssueError> {
    issuer.issue(&job_of(name), &|_| {}).await
}

pub(super) async fn failure(issuer: &Issuer, name: &str) -> (Failure, bool) {
    match issue(issuer, name).await {
        Err(IssueError::Failed { failure, resumable, .. }) => (failure, resumable),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn many_orders_at_once_make_one_account_whatever_becomes_of_the_nonces() {
    let live = Live::start().await;
    live.ca.faults().bad_nonce_every(Some(2));
    let issuer = live.issuer();
    let names: Vec<_> = (0..12).map(|i| format!("d{i}.customer.example")).collect();
    let orders = names.iter().map(|name| issue(&issuer, name));
    for (name, issued) in names.iter().zip(futures_util::future::join_all(orders).await) {
        let issued = issued.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let key = live
            .sealer
            .open(&format!("certificates/{name}"), &issued.certificate.sealed_key)
            .unwrap();
        Certificate::new(&issued.certificate.chain_pem, &key).unwrap();
        assert_eq!(issued.info.sans, [name.as_str()]);
    }
    let stats = live.ca.stats();
    assert_eq!((stats.accounts, stats.orders, stats.certificates), (1, 12, 12));
    assert!(stats.bad_nonces > 12, "{}", stats.bad_nonces);

    // After a restart the account is known without asking.
    issue(&live.issuer(), "again.customer.example").await.unwrap();
    assert_eq!(live.ca.stats().accounts, 1);
}

#[tokio::test]
async fn an_account_that_the_ca_forgot_is_registered_again() {
    let live = Live::start().await;
    let directory = live.ca.directory_url();
    let kid = directory.replace("/dir", "/account/4711");
    let lost = linkseal_store::CaAccount {
        directory: directory.clone(),
        kid: kid.clone(),
        created: live.clock.now(),
    };
    live.store.put_ca_account(&lost).await.unwrap();
    issue(&live.issuer(), "links.customer.example").await.unwrap();
    assert_ne!(live.store.ca_account(&directory).await.unwrap().unwrap().kid, kid);
    assert_eq!((live.ca.stats().accounts, live.ca.stats().orders), (1, 1));
}

#[tokio::test]
async fn an_external_account_is_bound_where_the_ca_wants_one() {
    let secret = |text: &str| Eab {
        key_id: "kid-1".into(),
        hmac_key: Zeroizing::new(URL_SAFE_NO_PAD.decode(text).unwrap()),
    };
    let live = Live::with(|config| {
        config.eab = vec![EabKey {
            key_id: "kid-1".into(),
            hmac_key: secret(HMAC_KEY).hmac_key,
        }];
    })
    .await;
    let (without, _) = failure(&live.issuer(), "links.customer.example").await;
    assert_eq!(without.kind, FailureKind::Account);
    assert!(without.error.detail.contains("acme.eab"), "{}", without.error.detail);

    let wrong = CaSettings {
        eab: Some(secret("d3Jvbmcta2V5LXdyb25nLWtleQ")),
        ..live.settings()
    };
    let (refused, _) = failure(&live.issuer_of(wrong), "links.customer.example").await;
    assert_eq!(refused.kind, FailureKind::Account);

    let right = CaSettings {
        eab: Some(secret(HMAC_KEY)),
        ..live.settings()
    };
    issue(&live.issuer_of(right), "links.customer.example").await.unwrap();
}

#[tokio::test]
async fn what_the_ca_found_at_the_name_is_told() {
    let live = Live::start().await;
    let issuer = live.issuer();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let right = answer_challenges(&live.tasks, "someone-else".into()).await;
    for (name, port, kind) in [
        ("closed.customer.example", closed, FailureKind::Connection),
        ("foreign.customer.example", right, FailureKind::WrongAnswer),
    ] {
        live.ca.set_http_port(port);
        let (failure, resumable) = failure(&issuer, name).await;
        assert_eq!((failure.kind, resumable), (kind, false), "{:?}", failure.error);
        assert!(
            failure.error.kind.starts_with("urn:ietf:params:acme:error:"),
            "{}",
            failure.error.kind
        );
        assert_eq!(live.ca.name_stats(name).orders, 1);
    }
    live.ca.hosts().set("gone.customer.example", None);
    assert_eq!(
        failure(&issuer, "gone.customer.example").await.0.kind,
        FailureKind::CaDns
    );
}

#[tokio::test]
async fn limits_and_outages_come_with_kind_and_time() {
    let live = Live::start().await;
    let (issuer, faults) = (live.issuer(), live.ca.faults());
    let name = "links.customer.example";
    let hour = Duration::from_secs(3600);
    for (refusal, kind) in [
        (Refusal::too_many_orders(hour), FailureKind::AccountLimit),
        (Refusal::too_many_failures(name, hour), FailureKind::NameLimit),
        (
            Refusal::too_many_certificates("customer.example", hour),
            FailureKind::NameLimit,
        ),
        (Refusal::busy(hour), FailureKind::Unreachable),
    ] {
        faults.refuse_next(Endpoint::NewOrder, 1, refusal);
        let before = live.clock.now();
        let (failure, resumable) = failure(&issuer, name).await;
        assert_eq!((failure.kind, resumable), (kind, false));
        let wait = failure.retry_after.unwrap().saturating_since(before);
        assert!(wait >= hour && wait < hour + Duration::from_secs(30), "{wait:?}");
    }
    let end = Timestamp::from_secs(live.clock.now().as_secs() + 7200);
    faults.set_maintenance(Some(RetryAfter::Date(end)));
    let (failure_then, _) = failure(&live.issuer(), name).await;
    assert_eq!(
        (failure_then.kind, failure_then.retry_after),
        (FailureKind::Unreachable, Some(end))
    );
    faults.set_maintenance(None);
    faults.set_down(true);
    assert_eq!(failure(&live.issuer(), name).await.0.kind, FailureKind::Unreachable);
    faults.set_down(false);
    let distrusting = CaSettings {
        trust: Vec::new(),
        ..live.settings()
    };
    let (failure, _) = failure(&live.issuer_of(distrusting), name).await;
    assert!(
        failure.error.detail.contains("acme.ca_file"),
        "{}",
        failure.error.detail
    );
    assert_eq!(failure.kind, FailureKind::Trust);
    assert_eq!(live.ca.stats().orders, 0);
    issue(&issuer, name).await.unwrap();
}

#[tokio::test]
async fn a_server_certificate_that_looks_expired_is_taken_for_a_wrong_clock_here() {
    // Its certificates for itself last twenty years.
    let years = 30 * 365 * 86_400_000;
    let live = Live::with(|config| {
        config.clock = Clock::system();
        config.clock.set(-years);
    })
    .await;
    let (failure, resumable) = failure(&live.issuer(), "links.customer.example").await;
    assert_eq!(failure.kind, FailureKind::Clock, "{:?}", failure.error);
    let detail = &failure.error.detail;
    assert!(detail.contains("clock of this machine"), "{detail}");
    assert_eq!((resumable, live.ca.stats().orders), (false, 0));
}

#[tokio::test]
async fn a_connection_that_breaks_costs_no_order() {
    let live = Live::start().await;
    let issuer = live.issuer();
    let endpoints = [
        Endpoint::Authorization,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ];
    let mut orders = 0;
    for (i, endpoint) in endpoints.into_iter().enumerate() {
        for lost in [Lost::Request, Lost::Answer] {
            live.ca.faults().lose_next(endpoint, lost, 1);
            let name = format!("{lost:?}-{i}.customer.example");
            issue(&issuer, &name)
                .await
                .unwrap_or_else(|e| panic!("{endpoint:?} {lost:?}: {e:?}"));
            orders += 1;
            assert_eq!(live.ca.stats().orders, orders, "{endpoint:?} {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_validation_that_a_restart_finds_hanging_ends_in_time() {
    let live = Live::start().await;
    let name = "links.customer.example";
    live.ca.faults().set_stuck_validations(&[name]);
    {
        let issuer = live.issuer();
        tokio::select! {
            result = issue(&issuer, name) => panic!("{result:?}"),
            () = live.ca.until(|ca| ca.name_stats(name).validations == 1) => {}
        }
    }
    live.ca.faults().set_stuck_validations(&[]);
    let stats = live.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates), (1, 0));
    // The CA never decides what it had begun: the attempt ends in time, and the next orders again.
    let issuer = live.issuer();
    let jump = async {
        loop {
            // Fast, and slow enough that some polls happen on the way.
            live.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let stuck = tokio::select! {
        (failure, resumable) = failure(&issuer, name) => (failure.kind, resumable),
        () = jump => panic!("it ends by itself"),
    };
    assert_eq!(stuck, (FailureKind::Stuck, false));
    assert_eq!(live.ca.name_stats(name).orders, 1);
    live.store.put_order(&spent_order(&live), FENCE).await.unwrap();
    issue(&issuer, name).await.unwrap();
    assert_eq!(live.ca.name_stats(name).orders, 2);
}

#[tokio::test]
async fn an_order_cut_off_while_it_is_signed_is_downloaded_later() {
    let live = Live::start().await;
    let name = "links.customer.example";
    live.ca.faults().set_processing(Duration::from_secs(60));
    {
        let issuer = live.issuer();
        let finalizing = async {
            loop {
                let order = live.store.order(&DomainName::parse(name).unwrap()).await.unwrap();
                if order.is_some_and(|o| o.step == OrderStep::Finalizing) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = issue(&issuer, name) => panic!("{result:?}"),
            () = finalizing => {}
        }
    }
    live.clock.advance(Duration::from_secs(60));
    live.ca.faults().set_processing(Duration::ZERO);
    issue(&live.issuer(), name).await.unwrap();
    let stats = live.ca.name_stats(name);
    assert_eq!((stats.orders, stats.certificates), (1, 1));
}

#[tokio::test]
async fn an_authorization_that_the_ca_still_has_needs_no_validation() {
    let live = Live::start().await;
    live.ca.faults().set_reuse_authorizations(true);
    let issuer = live.issuer();
    issue(&issuer, "links.customer.example").await.unwrap();
    live.store.put_order(&spent_order(&live), FENCE).await.unwrap();
    issue(&issuer, "links.customer.example").await.unwrap();
    let stats = live.ca.name_stats("links.customer.example");
    assert_eq!((stats.orders, stats.validations, stats.certificates), (2, 1, 2));
}

/// What the control plane's transition does to the order of a name: it is no more.
fn spent_order(live: &Live) -> OrderRecord {
    OrderRecord {
        name: DomainName::parse("links.customer.example").unwrap(),
        ca: live.ca.directory_url(),
        url: None,
        sealed_key: Vec::new(),
        step: OrderStep::Creating,
        created: live.clock.now(),
    }
}

#[tokio::test]
async fn renewal_information_is_asked_for_and_the_replaced_named() {
    let live = Live::start().await;
    let (issuer, faults) = (live.issuer(), live.ca.faults());
    let first = issue(&issuer, "links.customer.example").await.unwrap();
    let id = first.info.ari_id.unwrap();
    assert!(first.info.ari_check_at.is_some());

    let now = Timestamp::from_secs(live.clock.now().as_secs());
    let window = Window {
        start: now.minus(Duration::from_secs(3600)),
        end: now,
    };
    faults.set_ari_window(Some(window));
    faults.set_ari_retry_after(Some(Duration::from_secs(1)));
    let info = issuer.renewal_info(&id).await.unwrap().unwrap();
    assert_eq!((info.start, info.end), (window.start, window.end));
    let again = info.check_at.saturating_since(now);
    assert!(
        again >= Duration::from_secs(60) && again < Duration::from_secs(90),
        "{again:?}"
    );
    assert_eq!(
        issuer.renewal_info("AAAA.BBBB").await.unwrap(),
        None,
        "a certificate of elsewhere"
    );

    let renew = async |issuer: &Issuer| {
        live.store.put_order(&spent_order(&live), FENCE).await.unwrap();
        let job = Job {
            replaces: Some(id.clone()),
            resumes: false,
            ..job_of("links.customer.example")
        };
        match issuer.issue(&job, &|_| {}).await {
            // Admitted again by who orders; what counts against the CA's limits is not placed by itself.
            Err(IssueError::NotAsReplacement) => drop(issue(issuer, "links.customer.example").await.unwrap()),
            other => drop(other.unwrap()),
        }
        live.ca.stats().orders_with_replaces
    };
    assert_eq!(renew(&issuer).await, 1);
    assert_eq!(renew(&issuer).await, 1, "replaced already: ordered without");
    faults.refuse_replaces(Some(Refusal::of(Problem::unauthorized(
        "certificate of another account",
    ))));
    assert_eq!(renew(&issuer).await, 1);
    assert_eq!(live.ca.stats().orders, 4);

    faults.set_ari_off(true);
    let issuer = live.issuer();
    assert_eq!(issuer.renewal_info(&id).await.unwrap(), None);
    live.store.put_order(&spent_order(&live), FENCE).await.unwrap();
    assert_eq!(
        issue(&issuer, "links.customer.example")
            .await
            .unwrap()
            .info
            .ari_check_at,
        None
    );
}

#[tokio::test]
async fn a_certificate_is_revoked_once() {
    let live = Live::start().await;
    let issuer = live.issuer();
    let issued = issue(&issuer, "links.customer.example").await.unwrap();
    let chain = &issued.certificate.chain_pem;
    issuer.revoke(chain, 4).await.unwrap();
    issuer.revoke(chain, 1).await.unwrap();
    assert_eq!(live.ca.revocation(&issued.info.serial), Some(4));
    assert_eq!(
        issuer.revoke("no chain", 1).await.unwrap_err().kind,
        FailureKind::Internal
    );
}

#[tokio::test]
async fn a_profile_and_a_short_life_are_taken_as_they_come() {
    let minute = Duration::from_secs(60);
    let backdate = Duration::from_secs(3600);
    let profile = Profile {
        description: "for tests".into(),
        lifetime: Some(backdate + minute),
    };
    let live = Live::with(|config| {
        config.profiles = BTreeMap::from([("minute".into(), profile)]);
        config.backdate = backdate;
    })
    .await;
    let before = live.clock.now();
    let settings = CaSettings {
        profile: Some("minute".into()),
        ..live.settings()
    };
    let issued = issue(&live.issuer_of(settings), "links.customer.example")
        .await
        .unwrap();
    assert_eq!(live.ca.stats().profiles.get("minute"), Some(&1));
    let leaf = Leaf::of(&chain_from_pem(&issued.certificate.chain_pem).unwrap()).unwrap();
    assert_eq!(leaf.not_after, issued.info.not_after);
    let due = issued.info.renew_at.saturating_since(before);
    assert!(
        due > minute / 3 && due <= minute * 2 / 3,
        "half of what is left, not at once: {due:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_nonce_is_never_taken_by_somebody_else() {
    let live = Live::start().await;
    let tls = http::tls_config(&live.settings().trust).unwrap();
    let http = Arc::new(Http::new(tls, live.clock.clone()));
    let directory: Directory = http.get(&live.ca.directory_url()).await.unwrap().json().unwrap();
    let tasks = (0..16).map(|_| {
        let (http, url) = (http.clone(), directory.new_nonce.clone());
        live.tasks.spawn(async move {
            let mut drawn = Vec::new();
            for _ in 0..20 {
                drawn.push(http.nonce(&url).await.unwrap());
            }
            drawn
        })
    });
    let drawn = futures_util::future::join_all(tasks).await;
    let distinct: BTreeSet<_> = drawn.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(distinct.len(), 16 * 20);
}
