//! Renewal information, replacement, revocation, profiles.

use std::collections::BTreeMap;

use linkseal_devca::{Problem, Profile, Refusal, Window};
use linkseal_domain::cert::certificate::Leaf;

use super::*;

#[tokio::test]
async fn renewal_information_is_fetched_and_the_replaced_certificate_named() {
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
        "a certificate of another CA"
    );

    let renew = async |issuer: &Issuer| {
        live.store.put_order(&unusable_order(&live), FENCE).await.unwrap();
        let job = Job {
            replaces: Some(id.clone()),
            resumes: false,
            ..job_of("links.customer.example")
        };
        match issuer.issue(&job, &|_| {}).await {
            // The control plane admits it again: what counts against the CA's limits is not placed unasked.
            Err(IssueError::NotAsReplacement) => drop(issue(issuer, "links.customer.example").await.unwrap()),
            other => drop(other.unwrap()),
        }
        live.ca.stats().orders_with_replaces
    };
    assert_eq!(renew(&issuer).await, 1);
    assert_eq!(renew(&issuer).await, 1, "replaced already: ordered without `replaces`");
    faults.refuse_replaces(Some(Refusal::of(Problem::unauthorized(
        "certificate of another account",
    ))));
    assert_eq!(renew(&issuer).await, 1);
    assert_eq!(live.ca.stats().orders, 4);

    faults.set_ari_off(true);
    let issuer = live.issuer();
    assert_eq!(issuer.renewal_info(&id).await.unwrap(), None);
    live.store.put_order(&unusable_order(&live), FENCE).await.unwrap();
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
async fn a_profile_with_a_short_life_is_renewed_in_time() {
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
