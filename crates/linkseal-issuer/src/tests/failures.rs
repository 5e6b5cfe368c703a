//! Attempts at a CA that refuses, hangs or sends the wrong thing.

use super::*;

#[tokio::test]
async fn a_failed_validation_is_reported_in_the_cas_words() {
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
async fn a_ca_that_never_finishes_costs_bounded_time_and_polls() {
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
        // Once the CA has recovered, the order is completed.
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
    let Err(IssueError::Failed { failure, resumable, .. }) = result else {
        panic!("{result:?}")
    };
    assert_eq!((failure.kind, resumable), (FailureKind::Stuck, true));
    bench.issue().await.unwrap();
    assert_eq!(bench.ca.count("new_order"), 1);
}

#[tokio::test]
async fn the_pause_that_the_ca_requests_between_polls_is_kept() {
    let bench = Bench::new();
    bench
        .ca
        .set(|s| (s.verdict, s.retry_after) = (None, Some(Duration::from_secs(20))));
    bench.failure().await;
    // One before the response, one after 100 ms, then at 20, 40, 60, 80 and 90 s.
    assert_eq!(bench.ca.count("authorization"), 7);
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
        fence: Fence {
            number: FENCE.number - 1,
            ..FENCE
        },
        ..job()
    };
    assert!(matches!(bench.try_issue(&stale).await, Some(Err(IssueError::Fenced))));
    assert!(bench.ca.state.lock().calls.is_empty());
}

#[tokio::test]
async fn a_certificate_that_was_not_ordered_is_rejected() {
    let bench = Bench::new();
    bench.ca.set(|s| s.certified_name = Some("other.example".into()));
    let (failure, _) = bench.failure().await;
    assert_eq!(failure.kind, FailureKind::Unusable);
    assert!(failure.error.detail.contains("other.example"));

    let bench = Bench::new();
    bench
        .leave(OrderStatus::Valid, ChallengeStatus::Valid, OrderStep::Finalizing)
        .await;
    let foreign = csr::request(job().name.as_str(), &csr::generate_key().unwrap()).unwrap();
    bench.ca.set(|s| s.orders[0].csr = Some(foreign));
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Unusable, false));
}

/// What a failed attempt used up of the CA's limits.
async fn spent(bench: &Bench) -> (Spent, FailureKind) {
    match bench.issue().await {
        Err(IssueError::Failed { failure, spent, .. }) => (spent, failure.kind),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_unusable_certificate_counts_as_spent() {
    // For another name.
    let bench = Bench::new();
    bench.ca.set(|s| s.certified_name = Some("other.example".into()));
    assert_eq!(spent(&bench).await, (Spent::Certificate, FailureKind::Unusable));
    // For another key.
    let bench = Bench::new();
    bench
        .leave(OrderStatus::Valid, ChallengeStatus::Valid, OrderStep::Finalizing)
        .await;
    let foreign = csr::request(job().name.as_str(), &csr::generate_key().unwrap()).unwrap();
    bench.ca.set(|s| s.orders[0].csr = Some(foreign));
    assert_eq!(spent(&bench).await, (Spent::Certificate, FailureKind::Unusable));
    // Not valid yet: it must not be served.
    let bench = Bench::new();
    bench.ca.set(|s| s.begins_in = Some(Duration::from_secs(86_400)));
    assert_eq!(spent(&bench).await, (Spent::Certificate, FailureKind::Unusable));
    // A clock difference of a minute is accepted.
    let bench = Bench::new();
    bench.ca.set(|s| s.begins_in = Some(Duration::from_secs(60)));
    bench.issue().await.unwrap();
    // Without a certificate, only the order is spent.
    let bench = Bench::new();
    bench
        .ca
        .set(|s| s.verdict = Some(Err(problem(400, "connection", "closed"))));
    assert_eq!(spent(&bench).await, (Spent::Order, FailureKind::Connection));
    let bench = Bench::new();
    bench.ca.answer("directory", CallError::NoAnswer("down".into()));
    assert_eq!(spent(&bench).await, (Spent::Nothing, FailureKind::Unreachable));
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
async fn a_failure_that_is_ours_to_fix_leaves_the_order_as_it_was() {
    let ours: [fn() -> CallError; 5] = [
        || CallError::Ours("the store is unavailable".into()),
        || CallError::Here(FailureKind::Clock, "the clock is wrong".into()),
        || CallError::Here(FailureKind::Trust, "not trusted".into()),
        || CallError::Here(FailureKind::Account, "set acme.eab".into()),
        || CallError::Refused(problem(403, "userActionRequired", "accept the new terms")),
    ];
    for call in ["authorization", "respond", "order", "finalize", "certificate"] {
        for error in ours {
            let bench = Bench::new();
            // More answers than a repeated call needs.
            (0..8).for_each(|_| bench.ca.answer(call, error()));
            let (failure, resumable) = bench.failure().await;
            assert!(failure.kind.is_ours() && resumable, "{call}: {failure:?}");
            bench.ca.set(|s| s.refusals.clear());
            bench.issue().await.unwrap_or_else(|e| panic!("{call}: {e:?}"));
            assert_eq!(bench.ca.count("new_order"), 1, "{call}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn an_order_that_never_reached_the_ca_has_spent_nothing() {
    for error in [
        CallError::Ours("the store is unavailable".into()),
        CallError::Here(FailureKind::Trust, "not trusted".into()),
    ] {
        let bench = Bench::new();
        bench.ca.answer("new_order", error);
        let ended = bench.issue().await;
        assert!(
            matches!(
                ended,
                Err(IssueError::Failed {
                    resumable: false,
                    spent: Spent::Nothing,
                    ..
                })
            ),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_looks_expired_by_our_wrong_clock_only_is_downloaded_again_later() {
    let bench = Bench::new();
    bench
        .leave(OrderStatus::Ready, ChallengeStatus::Valid, OrderStep::Finalizing)
        .await;
    let ahead = i64::try_from((LIFE * 2).as_millis()).unwrap();
    bench.ca.set(|s| s.behind = LIFE * 2);
    bench.clock.set(ahead);
    let mut record = bench.store.order(&job().name).await.unwrap().unwrap();
    record.created = bench.clock.now();
    bench.store.put_order(&record, FENCE).await.unwrap();
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Clock, true));
    bench.clock.set(-ahead);
    bench.ca.set(|s| s.behind = Duration::ZERO);
    bench.issue().await.unwrap();
    assert_eq!((bench.ca.count("new_order"), bench.ca.count("finalize")), (0, 1));
}

#[tokio::test]
async fn a_certificate_that_has_expired_by_the_cas_own_time_is_the_cas_failure() {
    let bench = Bench::new();
    bench.ca.set(|s| s.ended = Some(Duration::from_secs(60)));
    let (failure, resumable) = bench.failure().await;
    assert_eq!((failure.kind, resumable), (FailureKind::Unusable, false));
    let detail = &failure.error.detail;
    assert!(
        detail.contains("the CA issued a certificate that ended at") && !detail.contains("is wrong"),
        "{detail}"
    );
}
