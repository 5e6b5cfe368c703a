//! An undisturbed order, an interrupted one, a resumed one, and the options of newOrder.

use super::*;

#[tokio::test]
async fn an_order_completes_and_is_stored_before_each_step() {
    let bench = Bench::new();
    let before = bench.clock.now();
    let issued = bench.issue().await.unwrap();
    assert_eq!(bench.ca.state.lock().calls, CALLS);
    assert_eq!(
        bench.steps(),
        [OrderStep::Creating, OrderStep::Authorizing, OrderStep::Finalizing]
    );
    assert_eq!(bench.store.written.lock()[0].url, None);
    assert_eq!(*bench.progress.lock(), [Progress::Ordered, Progress::Validating]);
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
async fn an_order_interrupted_at_any_call_is_resumed() {
    for at in 0..CALLS.len() {
        for how in [Break::HangBefore, Break::HangAfter] {
            let bench = Bench::new();
            bench.ca.set(|s| s.break_at = Some((at, how)));
            assert!(bench.try_issue(&job()).await.is_none(), "{how:?} {at}: it hangs");
            let issued = bench.issue().await.unwrap_or_else(|e| panic!("{how:?} {at}: {e:?}"));
            bench.key_of(&issued);
            // The one window in which an order is lost: the CA created it, and the process died before storing it.
            let lost = usize::from(at == 0 && how == Break::HangAfter);
            assert_eq!(bench.ca.state.lock().orders.len(), 1 + lost, "{how:?} {at}");
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
        assert_eq!(bench.ca.state.lock().orders.len(), 1, "{at}");
    }
}

#[tokio::test]
async fn an_order_is_resumed_at_its_current_step() {
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
        assert_eq!(
            bench.key_of(&issued),
            key,
            "{status:?}: the key that it was started with"
        );
        let counts = (
            bench.ca.count("new_order"),
            bench.ca.count("respond"),
            bench.ca.count("finalize"),
        );
        assert_eq!(counts, (0, responds, finalizes), "{status:?} {challenge:?} {step:?}");
        assert_eq!(bench.steps().len(), notes, "{status:?} {step:?}");
        assert_eq!(bench.progress.lock()[0], Progress::Ordered);
    }
}

#[tokio::test]
async fn an_unusable_order_is_replaced() {
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
async fn an_order_that_failed_between_two_attempts_is_a_failure_and_no_new_order() {
    for resumes in [true, false] {
        let bench = Bench::new();
        bench
            .leave(OrderStatus::Pending, ChallengeStatus::Invalid, OrderStep::Authorizing)
            .await;
        bench.ca.set(|s| s.orders[0].status = OrderStatus::Invalid);
        let ended = bench.try_issue(&Job { resumes, ..job() }).await.unwrap();
        let Err(IssueError::Failed { spent, resumable, .. }) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(
            (spent, resumable, bench.ca.count("new_order")),
            (Spent::Order, false, 0)
        );
    }
}

#[tokio::test]
async fn no_order_is_placed_instead_of_one_that_was_to_be_resumed() {
    let bench = Bench::new();
    bench
        .leave(OrderStatus::Ready, ChallengeStatus::Valid, OrderStep::Authorizing)
        .await;
    bench.ca.refuse("order", 404, "malformed", "no such order");
    let resumed = Job { resumes: true, ..job() };
    assert!(matches!(bench.try_issue(&resumed).await, Some(Err(IssueError::Gone))));
    assert_eq!(bench.ca.count("new_order"), 0, "a new one has to be admitted first");
}

#[tokio::test]
async fn an_order_is_kept_while_the_ca_does_not_answer() {
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
async fn a_long_pause_that_the_ca_requests_is_left_to_the_next_attempt() {
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
async fn an_order_names_what_it_replaces_where_the_ca_supports_it() {
    let replacing = Job {
        replaces: Some("aki.serial".into()),
        ..job()
    };
    let sent = |bench: &Bench| {
        bench
            .ca
            .state
            .lock()
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
        let ended = bench.try_issue(&replacing).await.unwrap();
        assert!(matches!(ended, Err(IssueError::NotAsReplacement)), "{kind}: {ended:?}");
        assert_eq!(sent(&bench), [true], "{kind}: what counts has to be admitted first");
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
async fn a_profile_is_requested_only_where_it_is_offered() {
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
    assert!(bench.ca.state.lock().calls.is_empty() && bench.steps().is_empty());

    bench.ca.set(|s| s.directory.meta.profiles = offer(&["shortlived"]));
    bench.issue().await.unwrap();
    assert_eq!(bench.ca.state.lock().placed[0].0.as_deref(), Some("shortlived"));
}
