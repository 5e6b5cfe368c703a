use super::*;

#[test]
fn a_failed_renewal_that_is_no_longer_due_is_cleared_once_dns_is_right() {
    let (early, later) = (T0 + HOUR, T0 + HOUR + Duration::from_secs(30));
    let info = |renew_at| SslEvent::RenewalInfo {
        renew_at,
        check_at: T0 + HOUR * 6,
    };
    let brought_forward = issued(90).then(info(T0), early);
    let failing = brought_forward
        .then(SslEvent::OrderStarted { ca: ca() }, early)
        .then(failure(FailureKind::Connection), early);
    assert_eq!(failing.reason, Reason::RenewalFailing);
    let moved_back = failing.then(info(T0 + HOUR * 24 * 60), later);
    let right = moved_back.then(SslEvent::DnsChecked(DnsVerdict::Right), later);
    assert_eq!(
        (right.reason, right.facts.cause, right.next_attempt, right.retry_at),
        (Reason::Ok, None, None, None)
    );
    assert_eq!(right.attempts, 1, "the next failure waits longer");
    assert!(right.next_due(true).is_some_and(|at| at > later));
    // An operator's release only has DNS checked.
    let released = moved_back.then(SslEvent::Released, later);
    assert_eq!(released.next_due(true), Some(later));
    let right = released.then(SslEvent::DnsChecked(DnsVerdict::Right), later);
    assert!(right.next_due(true).is_some_and(|at| at > later));
    // As long as the renewal is due, only its order ends it.
    let still = failing.then(SslEvent::DnsChecked(DnsVerdict::Right), later);
    assert_eq!(still.reason, Reason::RenewalFailing);
}

#[test]
fn a_certificate_that_only_a_wrong_clock_expired_is_live_again() {
    let (ahead, right) = (T0 + HOUR * 24 * 100, SslEvent::DnsChecked(DnsVerdict::Right));
    let expired = issued(90).then(SslEvent::Tick, ahead);
    let ordering = expired.then(SslEvent::OrderStarted { ca: ca() }, ahead);
    let cases = [
        (expired.clone(), Reason::Ok),
        (expired.then(SslEvent::Queued { eta: None }, ahead), Reason::Ok),
        (ordering.clone(), Reason::Renewing),
        (ordering.then(SslEvent::Validating, ahead), Reason::Renewing),
        (ordering.then(failure(FailureKind::Clock), ahead), Reason::Ok),
        (ordering.then(failure(FailureKind::Unreachable), ahead), Reason::Ok),
        (
            expired.then(SslEvent::DnsChecked(DnsVerdict::Missing), ahead),
            Reason::Moved,
        ),
        (
            expired.then(SslEvent::DnsChecked(DnsVerdict::CaaForbids { host: "x".into() }), ahead),
            Reason::Ok,
        ),
        (expired.then(SslEvent::Denied, ahead), Reason::Ok),
        (
            expired.then(SslEvent::Frozen { until: ahead + HOUR }, ahead),
            Reason::Ok,
        ),
    ];
    for (status, reason) in cases {
        assert!(
            status.is_beyond_reach(T0),
            "it is detected once the clock is right: {status:?}"
        );
        let back = status.then(SslEvent::Tick, T0);
        assert_eq!((back.state(), back.reason), (State::Issued, reason), "{status:?}");
        let checked = back.then(right.clone(), T0);
        if !checked.reason.is_in_progress() {
            assert_eq!((checked.reason, checked.next_attempt), (Reason::Ok, None), "{status:?}");
            assert!(checked.next_due(true).is_some_and(|at| at > T0));
        }
    }
    // If its renewal is due anyway, the failure of its order stays.
    let due = T0 + HOUR * 16 * 90;
    let back = ordering
        .then(failure(FailureKind::Unreachable), ahead)
        .then(SslEvent::Tick, due);
    assert_eq!((back.reason, back.next_due(true)), (Reason::RenewalFailing, Some(due)));
    // A paused domain keeps its certificate, and nothing is ordered.
    let paused = expired.apply(SslEvent::SetAside, Intent::Paused, ahead);
    let back = paused.apply(SslEvent::Tick, Intent::Paused, T0);
    assert_eq!((back.reason, back.next_attempt), (Reason::Ok, None));
}

#[test]
fn a_failed_renewal_is_retried_well_before_expiry() {
    let minute = CertificateInfo {
        not_after: T0 + Duration::from_secs(60),
        ..certificate(1)
    };
    let status = fresh().then(SslEvent::Issued(minute), T0);
    let failed = status.then(failure(FailureKind::Unreachable), T0 + Duration::from_secs(40));
    assert_eq!(failed.next_attempt, Some(T0 + Duration::from_secs(45)));
}

#[test]
fn an_expired_certificate_is_due_at_once() {
    let end = T0 + HOUR * 24 * 90;
    let status = issued(90).then(SslEvent::Tick, end);
    assert_eq!((status.reason, status.next_due(true)), (Reason::Expired, Some(end)));
    assert_eq!(issued(90).then(SslEvent::Tick, T0).reason, Reason::Ok);
}

#[test]
fn a_reissue_is_due_now_and_a_postponement_later() {
    let status = issued(90).then(SslEvent::Reissue, T0);
    assert_eq!((status.reason, status.next_due(true)), (Reason::Ok, Some(T0)));
    let status = status.then(SslEvent::Postponed { until: T0 + HOUR }, T0);
    assert_eq!((status.reason, status.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
}

#[test]
fn a_replacement_by_hand_that_fails_leaves_the_domain_ok() {
    let wanted = issued(90).then(SslEvent::Reissue, T0 + HOUR);
    let until = T0 + HOUR * 24 * 7;
    let limit = SslEvent::Failed {
        failure: Failure {
            retry_after: Some(until),
            ..refusal(FailureKind::NameLimit)
        },
        backoff: Duration::from_secs(60),
    };
    let started = wanted.then(SslEvent::OrderStarted { ca: ca() }, T0 + HOUR);
    let after = started.then(limit, T0 + HOUR);
    assert_eq!((after.reason, after.next_attempt), (Reason::Ok, Some(until)));
    assert!(after.last_error.is_some() && after.facts.cause == Some(FailureKind::NameLimit));
    let free = after.then(SslEvent::Released, T0 + HOUR * 2);
    assert_eq!(free.next_attempt, Some(T0 + HOUR * 2));
    // The CA's renewal information neither cancels the operator's request nor makes it urgent.
    let later = T0 + HOUR * 24 * 60;
    let info = SslEvent::RenewalInfo {
        renew_at: later,
        check_at: later,
    };
    let informed = after.then(info, T0 + HOUR * 2);
    assert_eq!(informed.renewal_planned(), Some(later));
    assert!(informed.renewal_is_due(T0 + HOUR * 2) && !informed.hurry);
    // Once the renewal is due by itself, it fails like any other.
    let due = after.then(failure(FailureKind::Connection), later);
    assert_eq!(due.reason, Reason::RenewalFailing);
    let replaced = after.then(SslEvent::Issued(certificate(90)), later);
    assert_eq!((replaced.reason, replaced.replaced_by_hand), (Reason::Ok, None));
}

#[test]
fn a_young_certificate_is_brought_forward_once_and_its_successors_at_a_third_of_their_lives() {
    let day = HOUR * 24;
    let of = |from: Timestamp| CertificateInfo {
        not_before: from,
        not_after: from + day * 90,
        renew_at: from + day * 60,
        ..certificate(90)
    };
    let past = |now: Timestamp| SslEvent::RenewalInfo {
        renew_at: now.minus(HOUR),
        check_at: now + HOUR * 6,
    };
    let mut status = fresh().then(SslEvent::Issued(of(T0)), T0);
    let mut now = T0 + HOUR * 4;
    status = status.then(past(now), now);
    assert!(status.renewal_is_due(now) && status.hurry, "as RFC 9773 asks for");
    let mut orders = 0;
    while now < T0 + day * 90 {
        if status.renewal_is_due(now) {
            orders += 1;
            status = status.then(SslEvent::Issued(of(now)), now);
            assert!(status.brought_forward);
        }
        now = now + HOUR * 6;
        status = status.then(past(now), now);
    }
    assert_eq!(orders, 3, "one at once, and then one in 30 days");
    // A renewal on schedule clears the flag.
    let late = now + day * 89;
    let old = status.then(SslEvent::Issued(of(late)), late);
    assert!(!old.brought_forward);
    // A replacement by hand does not set it.
    let by_hand = fresh()
        .then(SslEvent::Issued(of(T0)), T0)
        .then(SslEvent::Reissue, T0 + HOUR)
        .then(SslEvent::Issued(of(T0 + HOUR)), T0 + HOUR);
    assert!(!by_hand.brought_forward);
}
