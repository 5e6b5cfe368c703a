//! Failed validations, limits, outages, and a CA whose server is not trusted.

use linkseal_devca::{Endpoint, Refusal, RetryAfter};

use super::*;

#[tokio::test]
async fn what_the_ca_found_at_the_name_is_reported() {
    let live = Live::start().await;
    let issuer = live.issuer();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let foreign = answer_challenges(&live.tasks, "another-thumbprint".into()).await;
    for (name, port, kind) in [
        ("closed.customer.example", closed, FailureKind::Connection),
        ("foreign.customer.example", foreign, FailureKind::WrongAnswer),
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
async fn a_server_certificate_that_looks_expired_is_reported_as_a_wrong_clock() {
    // The certificate of its listener is valid for twenty years.
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
