use super::*;

#[test]
fn each_failure_has_its_reason_and_keeps_the_cas_error() {
    use FailureKind::*;
    for (kind, reason) in [
        (Connection, Reason::ValidationFailed),
        (WrongAnswer, Reason::ValidationFailed),
        (CaDns, Reason::ValidationFailed),
        (Rejected, Reason::ValidationFailed),
        (Caa, Reason::CaaForbids),
        (NameLimit, Reason::RateLimited),
        (AccountLimit, Reason::RateLimited),
        (Unreachable, Reason::CaUnreachable),
        (Stuck, Reason::RetryScheduled),
        (Refused, Reason::RetryScheduled),
        (Internal, Reason::RetryScheduled),
    ] {
        let after = fresh().then(failure(kind), T0);
        assert_eq!(after.reason, reason);
        assert_eq!(after.last_error.as_ref().unwrap().detail, "said so");
        assert!(after.next_attempt.unwrap() > T0);
        let held = issued(90).then(failure(kind), T0 + HOUR * 16 * 90);
        assert_eq!(held.reason, Reason::RenewalFailing);
        assert_eq!(held.then(SslEvent::Tick, T0 + HOUR * 24 * 90).reason, reason);
        assert_eq!(held.then(SslEvent::Issued(certificate(91)), T0).last_error, None);
    }
}

#[test]
fn the_cas_retry_after_overrides_our_back_off_and_a_request() {
    let at = T0 + HOUR * 5;
    let SslEvent::Failed { mut failure, backoff } = failure(FailureKind::NameLimit) else {
        unreachable!()
    };
    failure.retry_after = Some(at);
    let after = fresh().then(SslEvent::Failed { failure, backoff }, T0);
    assert_eq!(after.next_attempt, Some(at));
    assert_eq!(after.then(SslEvent::Wanted, T0).next_attempt, Some(at));
}

#[test]
fn a_domain_is_given_up_for_its_own_failures_only() {
    let run = |kind| (0..GIVE_UP_AFTER).fold(fresh(), |s, _| s.then(failure(kind), T0));
    let given_up = run(FailureKind::Connection);
    assert_eq!((given_up.reason, given_up.next_due(true)), (Reason::GivenUp, None));
    assert_eq!(run(FailureKind::Unreachable).reason, Reason::CaUnreachable);
    assert_eq!(run(FailureKind::AccountLimit).attempts, 0);
    let again = given_up.then(SslEvent::Wanted, T0);
    assert_eq!(
        (again.reason, again.attempts, again.next_due(true)),
        (Reason::NeverRequested, 0, Some(T0))
    );
}

#[test]
fn a_held_back_queue_is_not_the_domains_fault() {
    let event = SslEvent::HeldBack {
        until: T0 + HOUR,
        ca: ca(),
        in_queue: false,
    };
    let after = fresh().then(event.clone(), T0);
    assert_eq!(
        (after.reason, after.attempts, after.next_attempt),
        (Reason::RateLimited, 0, Some(T0 + HOUR))
    );
    let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
    assert_eq!(renewing.reason, Reason::Renewing);
    let held = renewing.then(event, T0);
    assert_eq!((held.reason, held.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
}

#[test]
fn a_doubted_failure_changes_no_state_and_counts_as_the_ca_counts() {
    let refused = refusal(FailureKind::Connection);
    let event = || SslEvent::Doubted {
        failure: refused.clone(),
        until: T0 + HOUR,
    };
    let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
    let held = renewing.then(event(), T0);
    assert_eq!(
        (held.reason, held.attempts, held.next_attempt),
        (Reason::Ok, 1, Some(T0 + HOUR))
    );
    assert_eq!(
        (&held.last_error, held.failures.len(), held.doubted),
        (&Some(refused.error.clone()), 1, true)
    );
    let believed = held.then(failure(FailureKind::Connection), T0 + HOUR);
    assert_eq!((believed.attempts, believed.doubted), (2, false));
    let long = (0..2 * GIVE_UP_AFTER).fold(held, |s, _| s.then(event(), T0));
    let after = long.then(failure(FailureKind::Connection), T0);
    assert!(after.attempts < GIVE_UP_AFTER, "doubted failures give no domain up");
    let ordering = fresh().then(SslEvent::OrderStarted { ca: ca() }, T0);
    let pending = ordering.then(event(), T0);
    assert_eq!((ordering.state(), pending.state()), (State::Pending, State::Pending));
    assert_eq!(
        (pending.reason, pending.facts.cause),
        (Reason::RetryScheduled, Some(FailureKind::Internal))
    );
}

#[test]
fn no_certificate_is_promised_while_the_ca_is_out_of_use() {
    let event = SslEvent::CaUnavailable {
        until: T0 + HOUR,
        ca: ca(),
    };
    let after = fresh().then(event.clone(), T0);
    assert_eq!(
        (after.reason, after.attempts, after.eta),
        (Reason::CaUnreachable, 0, None)
    );
    assert_eq!(after.next_attempt, Some(T0 + HOUR));
    let held = issued(90).then(event, T0);
    assert_eq!((held.reason, held.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
}

#[test]
fn a_ca_that_keeps_refusing_a_name_is_skipped_for_a_while() {
    let refused = |status: &SslStatus, ca: &str, at| status.then(SslEvent::RefusedBy { ca: ca.into() }, at);
    let once = refused(&fresh(), "a", T0);
    assert!(!once.is_refused_by("a", T0), "once may be a mistake");
    let twice = refused(&refused(&once, "b", T0), "a", T0 + HOUR);
    assert!(twice.is_refused_by("a", T0 + HOUR) && !twice.is_refused_by("b", T0 + HOUR));
    assert!(!twice.is_refused_by("a", T0 + HOUR + REFUSAL_KEPT));
    // A certificate clears the refusals of its own CA only.
    let ca = certificate(90).ca;
    let refused = refused(&refused(&twice, &ca, T0), &ca, T0);
    let issued = refused.then(SslEvent::Issued(certificate(90)), T0);
    assert!(issued.is_refused_by("a", T0 + HOUR) && !issued.is_refused_by(&ca, T0 + HOUR));
}

#[test]
fn failed_authorizations_are_counted_in_a_sliding_window() {
    let minute = Duration::from_secs(60);
    let mut status = fresh();
    for i in 0..4 {
        assert_eq!(status.must_wait(4, HOUR, T0 + minute * i), None);
        status = status.then(failure(FailureKind::Connection), T0 + minute * i);
    }
    assert_eq!(status.must_wait(4, HOUR, T0 + minute * 4), Some(T0 + HOUR));
    assert_eq!(status.must_wait(4, HOUR, T0 + HOUR), None);
    status = status.then(failure(FailureKind::Unreachable), T0 + HOUR);
    assert_eq!(status.must_wait(4, HOUR, T0 + HOUR), None, "the CA validated nothing");
    status = status.then(failure(FailureKind::CaDns), T0 + HOUR);
    assert_eq!(status.must_wait(4, HOUR, T0 + HOUR), Some(T0 + minute + HOUR));
}
