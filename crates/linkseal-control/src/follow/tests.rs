//! Two nodes on one store: what one stores, the other has in memory after it has followed.

use std::time::Duration;

use linkseal_domain::cert::certificate::Certificate;
use linkseal_domain::links::Kill;
use linkseal_domain::record::Origin;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::{Destination, KillKind};
use linkseal_store::{NODE_GONE, NewNode, Owner, StoreError, StoredCertificate};

use super::*;
use crate::core::Edit;
use crate::operator::NewKill;
use crate::tests::{Bench, actor, name};

fn follower(bench: &Bench) -> Follower {
    let control = &bench.control;
    Follower::new(
        control.core.clone(),
        control.operator.clone(),
        control.tickets.clone(),
        control.membership.clone().unwrap(),
        Lag::new(true),
    )
}

async fn register(bench: &Bench, domain: &DomainName) -> DomainRecord {
    let record = DomainRecord::new(domain.clone(), None, Origin::Registered, bench.clock.now());
    let core = &bench.control.core;
    core.create_or_change(record, ("registered", "by a test"), |_| Edit::Nothing)
        .await
        .unwrap()
}

/// Follows until there is nothing more.
async fn follow(follower: &Follower, position: &mut FeedPosition) {
    while follower.step(position).await.unwrap() {}
}

#[tokio::test]
async fn what_one_node_stores_the_other_serves() {
    let here = Bench::new().await;
    let there = here.beside().await;
    let (mut position, follower) = (here.store.feed_end().await.unwrap(), follower(&there));
    let domain = name("links.customer.example");
    let registry = &there.control.core.registry;

    register(&here, &domain).await;
    assert!(registry.get(domain.as_str()).is_none());
    follow(&follower, &mut position).await;
    assert_eq!(registry.get(domain.as_str()).unwrap().tenant(), domain.as_str());

    let evil = Destination::new("https://www.evil.example/").unwrap();
    let kill = || Kill::new(KillKind::Host, "evil.example").unwrap();
    let kills = here.control.operator.kills();
    kills.put(kill(), NewKill::default(), &actor()).await.unwrap();
    let switches = there.control.operator.kills().switches().clone();
    assert_eq!(switches.hit("acme", None, &evil), None);
    follow(&follower, &mut position).await;
    assert_eq!(switches.hit("acme", None, &evil), Some(KillKind::Host));
    kills.delete(&kill(), &actor()).await.unwrap();
    follow(&follower, &mut position).await;
    assert_eq!(switches.hit("acme", None, &evil), None);

    here.control
        .core
        .purge(&domain, None, here.audit("purge", &domain))
        .await
        .unwrap();
    follow(&follower, &mut position).await;
    assert!(registry.get(domain.as_str()).is_none());
    // The next customer of that name.
    let again = register(&here, &domain).await;
    follow(&follower, &mut position).await;
    assert_eq!(registry.get(domain.as_str()).unwrap().version(), again.version);
}

fn made(domain: &DomainName) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([domain.to_string()]).unwrap();
    (made.cert.pem(), made.key_pair.serialize_der())
}

#[tokio::test]
async fn a_replaced_certificate_is_replaced_everywhere() {
    let here = Bench::new().await;
    let there = here.beside().await;
    let (mut position, follower) = (here.store.feed_end().await.unwrap(), follower(&there));
    let domain = name("links.customer.example");
    register(&here, &domain).await;
    follow(&follower, &mut position).await;
    let (old_pem, old_key) = made(&domain);
    let core = &there.control.core;
    core.serve(&domain, Certificate::new(&old_pem, &old_key).unwrap().into());
    let served = core.certificates.held(&domain).unwrap();

    let (chain_pem, key) = made(&domain);
    let stored = StoredCertificate {
        chain_pem,
        sealed_key: here.control.core.sealer.seal(&format!("certificates/{domain}"), &key),
    };
    let changed = here.control.core.change(&domain, None, |draft| {
        draft.attach_certificate(stored.clone());
        Edit::<StoreError>::Store
    });
    changed.await.unwrap();
    follow(&follower, &mut position).await;
    let now_served = core.certificates.held(&domain).unwrap();
    assert_ne!(now_served.key.cert, served.key.cert);
}

/// A page that was read before a purge is put into the registry after it.
#[tokio::test]
async fn a_domain_purged_while_the_registry_is_loaded_does_not_stay() {
    let here = Bench::new().await;
    let there = here.beside_unloaded().await;
    let (mut position, follower) = (here.store.feed_end().await.unwrap(), follower(&there));
    let domain = name("links.customer.example");
    let page = register(&here, &domain).await;
    here.control
        .core
        .purge(&domain, None, here.audit("purge", &domain))
        .await
        .unwrap();
    follow(&follower, &mut position).await;
    let registry = &there.control.core.registry;
    registry.put_if_absent(&page);
    assert!(registry.get(domain.as_str()).is_some());
    registry.set_loaded();
    follow(&follower, &mut position).await;
    assert!(registry.get(domain.as_str()).is_none());
}

#[tokio::test]
async fn a_feed_that_is_broken_is_reread_without_a_gap() {
    let here = Bench::new().await;
    let there = here.beside().await;
    let (kept, gone, changed) = (name("kept.example"), name("gone.example"), name("changed.example"));
    for domain in [&kept, &gone, &changed] {
        register(&here, domain).await;
    }
    let follower = follower(&there);
    let registry = &there.control.core.registry;
    follower.reread().await.unwrap();
    assert_eq!(registry.len(), 3);
    here.control
        .core
        .purge(&gone, None, here.audit("purge", &gone))
        .await
        .unwrap();
    let newer = register(&here, &changed).await;
    // In memory there is a version that the store has lost.
    let mut lost = newer.clone();
    lost.version += 5;
    lost.fallback_url = Some("https://lost.example/".into());
    registry.put(&lost);

    let mut position = FeedPosition::default();
    assert!(follower.step(&mut position).await.unwrap());
    assert!(registry.get(gone.as_str()).is_none());
    assert_eq!(registry.get(changed.as_str()).unwrap().fallback_url(), None);
    assert!(registry.get(kept.as_str()).is_some());
    assert_eq!(position, here.store.feed_end().await.unwrap());
}

#[tokio::test]
async fn the_lag_grows_while_the_store_is_away() {
    let bench = Bench::new().await;
    let follower = follower(&bench);
    let mut position = bench.store.feed_end().await.unwrap();
    let clock = &bench.clock;
    clock.advance(Duration::from_secs(60));
    follow(&follower, &mut position).await;
    assert!(follower.lag.at(clock.uptime()) < Duration::from_secs(5));
    bench.sql("DROP TABLE changes");
    clock.advance(Duration::from_secs(60));
    assert!(follower.step(&mut position).await.is_err());
    assert!(follower.lag.at(clock.uptime()) >= Duration::from_secs(60));
}

#[tokio::test]
async fn a_certificate_is_ready_once_every_living_node_has_followed_to_it() {
    let here = Bench::new().await;
    let there = here.beside().await;
    let domain = name("links.customer.example");
    register(&here, &domain).await;
    let mut nodes = Vec::new();
    for bench in [&here, &there] {
        bench.control.join().await.unwrap();
        nodes.push((follower(bench), bench.store.feed_end().await.unwrap()));
    }
    let everywhere = here.control.everywhere();
    assert!(everywhere.serves(&domain));
    let (chain_pem, key) = made(&domain);
    let sealed_key = here.control.core.sealer.seal(&format!("certificates/{domain}"), &key);
    let changed = here.control.core.change(&domain, None, |draft| {
        draft.attach_certificate(StoredCertificate {
            chain_pem: chain_pem.clone(),
            sealed_key: sealed_key.clone(),
        });
        Edit::<StoreError>::Store
    });
    changed.await.unwrap();
    assert!(!everywhere.serves(&domain), "before this node has seen it itself");
    for (follower, position) in &mut nodes {
        follow(follower, position).await;
    }
    // The other one has followed and has not said so.
    let (follower, position) = &nodes[0];
    assert!(follower.node.tell(&here.control.core, position).await);
    follower.settle().await.unwrap();
    assert!(!everywhere.serves(&domain));
    let (other, its_position) = &nodes[1];
    assert!(other.node.tell(&there.control.core, its_position).await);
    follower.settle().await.unwrap();
    assert!(everywhere.serves(&domain));
}

async fn certificate_in(bench: &Bench, domain: &DomainName) -> StoredCertificate {
    let (chain_pem, key) = made(domain);
    let place = format!("certificates/{domain}");
    let stored = StoredCertificate {
        chain_pem,
        sealed_key: bench.control.core.sealer.seal(&place, &key),
    };
    let changed = bench.control.core.change(domain, None, |draft| {
        draft.attach_certificate(stored.clone());
        Edit::<StoreError>::Store
    });
    changed.await.unwrap();
    stored
}

#[tokio::test]
async fn the_copy_follows_what_other_nodes_store() {
    let here = Bench::new().await;
    let copy = here.copy();
    let there = here.beside_with(&copy, true).await;
    let (mut position, follower) = (here.store.feed_end().await.unwrap(), follower(&there));
    let (served, unserved) = (name("served.example"), name("unserved.example"));
    for domain in [&served, &unserved] {
        register(&here, domain).await;
        certificate_in(&here, domain).await;
    }
    follow(&follower, &mut position).await;
    assert_eq!(copy.position().await.unwrap().as_ref(), Some(&position));
    assert!(copy.record(&served).await.unwrap().is_some());
    assert_eq!(
        copy.certificate(&served).await.unwrap(),
        None,
        "not served by this node"
    );

    // Served from the copy, not in memory any more.
    let old = here.store.certificate(&served).await.unwrap().unwrap();
    assert!(copy.put_certificate(&served, old).await.unwrap());
    let new = certificate_in(&here, &served).await;
    certificate_in(&here, &unserved).await;
    let kill = Kill::new(KillKind::Host, "evil.example").unwrap();
    let kills = here.control.operator.kills();
    kills.put(kill.clone(), NewKill::default(), &actor()).await.unwrap();
    follow(&follower, &mut position).await;
    assert_eq!(copy.certificate(&served).await.unwrap(), Some(new));
    assert_eq!(copy.certificate(&unserved).await.unwrap(), None);
    assert_eq!(copy.kills().await.unwrap().first().map(|k| k.kill.clone()), Some(kill));

    for domain in [&served, &unserved] {
        let audit = here.audit("purge", domain);
        here.control.core.purge(domain, None, audit).await.unwrap();
    }
    follow(&follower, &mut position).await;
    assert!(copy.record(&served).await.unwrap().is_none());
    assert_eq!(copy.certificate(&served).await.unwrap(), None);
    assert_eq!(copy.position().await.unwrap(), Some(position));
}

#[tokio::test]
async fn a_copy_is_swept_after_a_broken_feed() {
    let here = Bench::new().await;
    let copy = here.copy();
    let there = here.beside_with(&copy, true).await;
    let follower = follower(&there);
    let (kept, gone) = (name("kept.example"), name("gone.example"));
    let mut lost = register(&here, &kept).await;
    let current = certificate_in(&here, &kept).await;
    let stored = here.store.domain(&kept).await.unwrap().unwrap();
    // A version that the store has lost, and a domain whose purge was missed.
    lost.version = stored.version + 5;
    let missed = DomainRecord::new(gone.clone(), None, Origin::Registered, here.clock.now());
    copy.put_records(vec![lost, missed]).await.unwrap();
    let (chain_pem, sealed_key) = made(&kept);
    let old = StoredCertificate { chain_pem, sealed_key };
    assert!(copy.put_certificate(&kept, old).await.unwrap());

    let mut position = FeedPosition::default();
    assert!(follower.step(&mut position).await.unwrap());
    assert!(copy.record(&gone).await.unwrap().is_none());
    assert_eq!(copy.record(&kept).await.unwrap(), Some(stored));
    assert_eq!(copy.certificate(&kept).await.unwrap(), Some(current));
    assert_eq!(copy.position().await.unwrap(), Some(position));
}

/// A process that was killed a moment ago, of which this one has no note.
#[tokio::test]
async fn a_start_waits_until_a_killed_process_counts_as_gone() {
    let bench = Bench::new().await;
    let killed = NewNode {
        name: format!("edge-{}", bench.control.core.owner),
        owner: Owner::unique(),
        former: None,
        version: "1".into(),
    };
    bench.store.join(&killed).await.unwrap();
    let mut joining = Box::pin(bench.control.join());
    let early = tokio::time::timeout(Duration::from_millis(500), &mut joining).await;
    assert!(early.is_err(), "{early:?}");
    bench.clock.advance(NODE_GONE);
    joining.await.unwrap();
}

/// As after a restore: the store names a process that has ended long ago.
#[tokio::test]
async fn a_node_takes_its_name_back_in_a_store_that_was_set_back() {
    let bench = Bench::new().await;
    let core = &bench.control.core;
    bench.control.join().await.unwrap();
    let ended = NewNode {
        name: format!("edge-{}", core.owner),
        owner: Owner::unique(),
        former: Some(core.owner),
        version: "1".into(),
    };
    bench.store.join(&ended).await.unwrap();
    let follower = follower(&bench);
    let position = bench.store.feed_end().await.unwrap();
    let owner = async || bench.store.nodes().await.unwrap().first().map(|node| node.owner);
    follower.node.tell(core, &position).await;
    assert_eq!(owner().await, Some(ended.owner), "it may be alive");
    bench.clock.advance(NODE_GONE);
    assert!(follower.node.tell(core, &position).await);
    assert_eq!(owner().await, Some(core.owner));
}
