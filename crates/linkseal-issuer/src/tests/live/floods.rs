//! A CA that floods its clients in any of its answers: reading is bounded in bytes and in time, the
//! failure is the CA's, and the next attempt succeeds.

use futures_util::future::join_all;
use linkseal_devca::{Endpoint, Flood};

use super::*;

/// Shorter than in production, and far longer than a healthy call takes.
const CALL_TIME: Duration = Duration::from_secs(3);
/// Longer than an attempt that makes every call four times, with its pauses.
const ATTEMPT: Duration = Duration::from_secs(45);
/// More calls to one endpoint than an attempt makes, repeated ones included.
const ALL: u32 = 100;
/// Bytes sent per call: what is read of an answer (1 MiB), and what the sockets on both sides buffer.
const PER_CALL: u64 = (1 + 16) * 1024 * 1024;

const FLOODS: [Flood; 3] = [Flood::Endless, Flood::Trickle, Flood::Headers];

/// An issuer with a short time limit per call.
fn impatient(live: &Live) -> Issuer {
    let (settings, clock) = (live.settings(), live.clock.clone());
    let tls = http::tls_config(&settings.trust).unwrap();
    let http = Http::new(tls, clock.clone()).within(CALL_TIME);
    let calls = Calls::new(http, clock.clone());
    let (store, sealer) = (live.store.clone(), live.sealer.clone());
    let ca = Ca::new(settings.clone(), live.key.clone(), store.clone(), clock.clone(), calls);
    let metrics = Metrics::register(&Registry::new()).unwrap();
    Issuer::with_client(Arc::new(ca), settings, store, sealer, clock, metrics).unwrap()
}

async fn an_order_meets(endpoint: Endpoint, flood: Flood) {
    let live = Live::start().await;
    let issuer = impatient(&live);
    let what = format!("{endpoint:?} {flood:?}");
    live.ca.faults().flood_next(endpoint, flood, ALL);
    // The response still takes effect, as the authorization shows.
    let survives = endpoint == Endpoint::Challenge;
    let name = "links.customer.example";
    let attempt = async {
        match issue(&issuer, name).await {
            Ok(_) => assert!(survives, "{what}: issued"),
            Err(IssueError::Failed { failure, .. }) => {
                assert!(!survives, "{what}: {failure:?}");
                assert_eq!(failure.kind, FailureKind::Unreachable, "{what}: {:?}", failure.error);
            }
            Err(other) => panic!("{what}: {other:?}"),
        }
    };
    // An order is polled until its deadline, so the clock runs fast.
    let time = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if endpoint == Endpoint::Order {
                live.clock.advance(Duration::from_millis(200));
            }
        }
    };
    tokio::select! {
        () = attempt => {}
        () = tokio::time::sleep(ATTEMPT) => panic!("{what}: it must end in time"),
        () = time => {}
    }
    let stats = live.ca.stats();
    let most = stats.requests.min(40) * PER_CALL;
    assert!(stats.flooded <= most, "{what}: {}", stats.flooded);
    live.ca.faults().flood_next(endpoint, flood, 0);
    issue(&issuer, "next.customer.example")
        .await
        .unwrap_or_else(|e| panic!("{what}: {e:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooded_order_is_bounded_in_time_and_memory() {
    let endpoints = [
        Endpoint::Directory,
        Endpoint::NewAccount,
        Endpoint::NewOrder,
        Endpoint::Authorization,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ];
    for flood in FLOODS {
        join_all(endpoints.map(|endpoint| an_order_meets(endpoint, flood))).await;
    }
}

#[tokio::test]
async fn a_flooded_new_nonce_brings_no_nonce() {
    let live = Live::start().await;
    let tls = http::tls_config(&live.settings().trust).unwrap();
    let http = Http::new(tls, live.clock.clone()).within(CALL_TIME);
    let url = live.ca.directory_url().replace("/dir", "/new-nonce");
    // HEAD has no body.
    live.ca.faults().flood_next(Endpoint::NewNonce, Flood::Headers, 1);
    let flooded = http.nonce(&url).await;
    assert!(matches!(flooded, Err(CallError::NoAnswer(_))), "{flooded:?}");
    http.nonce(&url).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flooded_renewal_information_and_revocations_are_bounded_too() {
    let live = Live::start().await;
    let issuer = impatient(&live);
    let issued = issue(&issuer, "links.customer.example").await.unwrap();
    let id = issued.info.ari_id.clone().unwrap();
    for flood in FLOODS {
        live.ca.faults().flood_next(Endpoint::RenewalInfo, flood, 1);
        let failure = issuer.renewal_info(&id).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreachable, "{flood:?}");
        assert!(issuer.renewal_info(&id).await.unwrap().is_some());

        live.ca.faults().flood_next(Endpoint::RevokeCert, flood, 1);
        let failure = issuer.revoke(&issued.certificate.chain_pem, 4).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unreachable, "{flood:?}");
    }
    assert!(live.ca.stats().flooded <= 2 * PER_CALL, "{}", live.ca.stats().flooded);
    issuer.revoke(&issued.certificate.chain_pem, 4).await.unwrap();
}

#[tokio::test]
async fn a_ca_that_rejects_every_nonce_is_given_up() {
    let live = Live::start().await;
    live.ca.faults().bad_nonce_every(Some(1));
    let (refused, _) = failure(&live.issuer(), "links.customer.example").await;
    assert_eq!(refused.kind, FailureKind::Unreachable, "{:?}", refused.error);
    assert_eq!(live.ca.stats().bad_nonces, 20);
    live.ca.faults().bad_nonce_every(None);
    live.issuer()
        .issue(&job_of("links.customer.example"), &|_| {})
        .await
        .unwrap();
}
