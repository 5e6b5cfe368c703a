//! Handshakes while the store is away.

use linkseal_domain::record::Origin;
use linkseal_store::{FeedPosition, StoredCertificate};

use super::*;
use crate::watch::loader::Loader;

async fn answered(bench: &Bench, name: &DomainName) -> CertificateAnswer {
    let (reply, answer) = oneshot::channel();
    bench.control.schedule.answer_again(name.clone(), reply);
    let answer = tokio::time::timeout(PATIENT, answer).await;
    answer.expect("an answer").expect("an answer")
}

/// Stores a domain with its certificate.
async fn issued(bench: &Bench, name: &DomainName) {
    let record = DomainRecord::new(name.clone(), None, Origin::Registered, bench.clock.now());
    store(bench, &record).await;
    let made = rcgen::generate_simple_self_signed([name.to_string()]).unwrap();
    let core = &bench.control.core;
    let certificate = StoredCertificate {
        chain_pem: made.cert.pem(),
        sealed_key: core
            .sealer
            .seal(&format!("certificates/{name}"), &made.key_pair.serialize_der()),
    };
    let changed = core.change(name, None, |draft| {
        draft.attach_certificate(certificate.clone());
        Edit::<StoreError>::Store
    });
    changed.await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_was_served_is_served_after_a_restart_without_the_store() {
    let bench = Bench::new().await;
    let copy = bench.copy();
    let here = bench.beside_with(&copy, true).await;
    let (served, other) = (name("links.served.example"), name("links.other.example"));
    issued(&here, &served).await;
    issued(&here, &other).await;
    assert!(matches!(answered(&here, &served).await, CertificateAnswer::Ready(_)));
    let kept = async {
        while copy.certificate(&served).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENT, kept).await.expect("it is in the copy");
    copy.set_position(&FeedPosition::default()).await.unwrap();

    let away = bench.beside_with(&copy, false).await;
    bench.break_store();
    let control = &away.control;
    let loader = Loader {
        core: control.core.clone(),
        operator: control.operator.clone(),
        cname_names: control.cname_names.clone(),
        own_names: control.own_names.clone(),
    };
    loader.run(None).await;
    let registry = &control.core.registry;
    assert!(registry.is_loaded() && registry.get(served.as_str()).is_some());
    assert!(matches!(answered(&away, &served).await, CertificateAnswer::Ready(_)));
    // Nothing says that it has none.
    assert!(matches!(answered(&away, &other).await, CertificateAnswer::Busy));
}
