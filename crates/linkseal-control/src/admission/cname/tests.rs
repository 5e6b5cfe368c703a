use super::*;
use crate::core::Observer;
use crate::tests::Bench;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn from(network: u8) -> ClientNetwork {
    ClientNetwork::of([192, 0, network, 0].into())
}

fn settings() -> CnameSettings {
    let minute = Duration::from_secs(60);
    CnameSettings {
        per_registered_domain: 2,
        max_labels: 2,
        admission_rate: Limit { count: 3, per: minute },
        lookups: Limit { count: 5, per: minute },
        max_concurrent_lookups: 1,
        negative_ttl: Duration::from_secs(600),
    }
}

#[test]
fn the_names_of_one_registered_domain_are_bounded_and_free_their_places() {
    let (names, now) = (CnameNames::new(), Timestamp::from_secs(1_795_305_600));
    let (a, b, c) = (name("a.shop.co.uk"), name("b.deep.shop.co.uk"), name("c.shop.co.uk"));
    let registered = registered_domain(c.as_str());
    assert_eq!(registered, "shop.co.uk");
    let mut record = DomainRecord::new(a.clone(), None, Origin::Cname, now);
    names.stored(&record);
    names.stored(&record);
    drop(names.reserve(registered, &b, 2).expect("a place is left"));
    for _ in 0..2 {
        names
            .reserve(registered, &b, 2)
            .expect("a place that was not kept was freed")
            .keep();
    }
    drop(names.reserve(registered, &b, 2).expect("it has its place already"));
    assert!(names.reserve(registered, &c, 2).is_none(), "and does not lose it");
    assert!(matches!(
        CnameChecks::new().admit(&names, registered, from(1), &settings(), now),
        Err(Refused::Full)
    ));
    // Once it is registered, it takes no place any more.
    record.origin = Origin::Registered;
    names.stored(&record);
    names.reserve(registered, &c, 2).expect("a place is left").keep();
    for gone in [&b, &c] {
        names.purged(gone);
    }
    assert!(names.is_empty());
}

#[test]
fn checks_are_bounded_below_one_domain_in_all_and_in_concurrency() {
    let (names, checks) = (CnameNames::new(), CnameChecks::new());
    let now = Timestamp::from_secs(1_795_305_600);
    // Each from a network of its own.
    let networks = std::cell::Cell::new(0);
    let may = |domain: &str, now| {
        networks.set(networks.get() + 1);
        checks
            .admit(&names, domain, from(networks.get()), &settings(), now)
            .is_ok()
    };
    assert_eq!((0..10).filter(|_| may("a.example", now)).count(), 2);
    assert_eq!((0..10).filter(|i| may(&format!("b{i}.example"), now)).count(), 3);
    let later = now + Duration::from_secs(60);
    assert!(!may("a.example", later), "two in ten minutes");
    assert!(may("c.example", later));
    let turn = checks.concurrent.turn(1, from(1));
    assert!(turn.is_some() && checks.concurrent.turn(1, from(2)).is_none());
    drop(turn);
    assert!(checks.concurrent.turn(1, from(2)).is_some());
}

#[tokio::test]
async fn a_handshake_cancelled_while_its_name_is_stored_leaves_no_place_without_a_name() {
    let only = CnameSettings {
        per_registered_domain: 1,
        ..settings()
    };
    let bench = Bench::with_cname(Some(only.clone())).await;
    let (admission, a, b) = (&bench.control.admission, name("a.shop.example"), name("b.shop.example"));
    let places = &admission.cname_names;
    {
        let mut handshake = Box::pin(admission.admit_by_cname(&a, from(1), &only));
        while places.is_empty() {
            assert!(futures_util::poll!(&mut handshake).is_pending());
            tokio::task::yield_now().await;
        }
    }
    let stored = async {
        while admission.core.registry.get(a.as_str()).is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let patient = Duration::from_secs(60);
    tokio::time::timeout(patient, stored)
        .await
        .expect("what is stored is served");
    assert!(matches!(
        admission.admit_by_cname(&a, from(1), &only).await,
        Admitted::Yes(_)
    ));
    assert!(
        matches!(admission.admit_by_cname(&b, from(2), &only).await, Admitted::No),
        "the place is taken"
    );
    // A name that cannot be stored frees its place.
    admission.cname_names.purged(&a);
    bench.store.purge(&a, None, bench.audit("purge", &a)).await.unwrap();
    bench.break_store();
    assert!(matches!(
        admission.admit_by_cname(&b, from(2), &only).await,
        Admitted::Unreachable
    ));
    assert!(places.is_empty());
}

#[tokio::test]
async fn endless_names_of_one_network_leave_room_for_another() {
    let minute = Duration::from_secs(60);
    let only = CnameSettings {
        admission_rate: Limit { count: 60, per: minute },
        lookups: Limit {
            count: 300,
            per: minute,
        },
        max_concurrent_lookups: 16,
        ..settings()
    };
    let bench = Bench::with_cname(Some(only.clone())).await;
    let admission = &bench.control.admission;
    let mut admitted = 0;
    for n in 0..400 {
        let name = name(&format!("links.c{n}.example"));
        let answer = admission.admit_by_cname(&name, from(1), &only).await;
        admitted += u32::from(matches!(answer, Admitted::Yes(_)));
    }
    // Some tokens may have been refilled meanwhile.
    assert!((30..60).contains(&admitted), "{admitted}");
    for n in 0..400 {
        let name = name(&format!("missing.c{n}.example"));
        admission.admit_by_cname(&name, from(2), &only).await;
    }
    let bystander = name("links.bystander.example");
    let answer = admission.admit_by_cname(&bystander, from(3), &only).await;
    assert!(matches!(answer, Admitted::Yes(_)));
}
