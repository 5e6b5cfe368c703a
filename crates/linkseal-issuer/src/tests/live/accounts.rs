//! Our account at the CA, and its nonces.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use linkseal_devca::EabKey;

use super::*;
use crate::client::Directory;

const HMAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

#[tokio::test]
async fn concurrent_orders_register_one_account_despite_rejected_nonces() {
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

    // After a restart the account is known from the store.
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
    live.store.put_ca_account(&lost, None).await.unwrap();
    issue(&live.issuer(), "links.customer.example").await.unwrap();
    assert_ne!(live.store.ca_account(&directory).await.unwrap().unwrap().kid, kid);
    assert_eq!((live.ca.stats().accounts, live.ca.stats().orders), (1, 1));
}

#[tokio::test]
async fn an_external_account_is_bound_where_the_ca_requires_one() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_nonce_is_never_handed_to_two_requests() {
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
