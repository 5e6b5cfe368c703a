use super::*;

#[test]
fn a_thaw_keeps_the_counts_of_failures_and_the_cas_retry_after() {
    let failed = (0..3).fold(fresh(), |s, _| s.then(failure(FailureKind::Connection), T0));
    let setback = failed.then(failure(FailureKind::Stuck), T0);
    let frozen = setback.then(SslEvent::Frozen { until: T0 + HOUR }, T0 + HOUR);
    assert_eq!(frozen.reason, Reason::Paused);
    let thawed = frozen.then(SslEvent::Thawed, T0 + HOUR);
    assert_eq!(
        (thawed.reason, thawed.attempts, thawed.setbacks, thawed.next_attempt),
        (Reason::NeverRequested, 3, 1, Some(T0 + HOUR))
    );
    let mut limited = frozen;
    limited.not_before = Some(T0 + HOUR * 3);
    let thawed = limited.then(SslEvent::Thawed, T0 + HOUR);
    assert_eq!(thawed.next_attempt, Some(T0 + HOUR * 3));
    // The end of a freeze does not end an operator's pause.
    let paused = limited.apply(SslEvent::SetAside, Intent::Paused, T0);
    let after = paused.apply(SslEvent::Thawed, Intent::Paused, T0 + HOUR);
    assert_eq!((after.reason, after.next_attempt), (Reason::Paused, None));
    let held = issued(90);
    assert_eq!(held.then(SslEvent::Thawed, T0), held);
}

#[test]
fn what_a_freeze_stopped_is_due_once_orders_resume() {
    let (now, until) = (T0 + HOUR * 24 * 61, T0 + HOUR * (24 * 61 + 6));
    let expired = issued(1).then(SslEvent::Tick, now);
    let missing = fresh().then(SslEvent::DnsChecked(DnsVerdict::Missing), T0);
    for before in [issued(90), expired, missing, fresh().then(SslEvent::Wanted, T0)] {
        for event in [SslEvent::Frozen { until }, SslEvent::SwitchedOff { until }] {
            let stopped = before.then(event.clone(), now);
            assert_eq!(stopped.next_attempt, Some(until), "{event:?}");
            let thawed = stopped.then(SslEvent::Thawed, now + HOUR);
            assert_eq!(thawed.next_due(true), Some(now + HOUR), "{event:?}: {before:?}");
            assert!(!thawed.stopped);
        }
    }
    // A running back-off is kept, and so is any other wait.
    let failing = issued(90).then(failure(FailureKind::Connection), now);
    let stopped = failing.then(SslEvent::Frozen { until }, now);
    assert_eq!(stopped.then(SslEvent::Thawed, now).next_attempt, failing.next_attempt);
    let postponed = issued(90).then(SslEvent::Postponed { until }, now);
    assert_eq!(postponed.then(SslEvent::Thawed, now), postponed);
    // A later plan is kept too.
    let replanned = stopped.then(SslEvent::Postponed { until: until + HOUR }, now);
    assert_eq!(replanned.then(SslEvent::Thawed, now), replanned);
}

#[test]
fn an_operator_ends_any_wait_of_a_domain_without_a_certificate() {
    let (now, until) = (T0 + HOUR * 48, T0 + HOUR * 54);
    for before in [issued(1).then(SslEvent::Tick, now), fresh()] {
        let waits = before.then(SslEvent::Postponed { until }, now);
        assert_eq!(waits.next_due(true), Some(until));
        assert_eq!(
            waits.then(SslEvent::Released, now).next_due(true),
            Some(now),
            "{before:?}"
        );
    }
}

#[test]
fn admission_or_a_pause_never_ends_a_live_certificate() {
    for (event, intent) in [
        (SslEvent::Denied, Intent::Wanted),
        (SslEvent::SetAside, Intent::Paused),
        (SslEvent::SetAside, Intent::Retired),
    ] {
        assert_eq!(issued(90).apply(event.clone(), intent, T0).state(), State::Issued);
        assert_eq!(fresh().apply(event, intent, T0).state(), State::Unknown);
    }
}

#[test]
fn the_outcome_of_an_order_does_not_end_a_pause() {
    let ordering = fresh().then(SslEvent::OrderStarted { ca: ca() }, T0);
    let paused = ordering.apply(SslEvent::SetAside, Intent::Paused, T0);
    assert_eq!((paused.reason, paused.next_due(false)), (Reason::Paused, None));
    for event in [
        SslEvent::Validating,
        failure(FailureKind::Connection),
        SslEvent::DnsChecked(DnsVerdict::Missing),
        SslEvent::Queued { eta: None },
    ] {
        let after = paused.apply(event, Intent::Paused, T0);
        assert_eq!((after.reason, after.next_attempt), (Reason::Paused, None));
    }
    // A certificate that still arrives is served, but not renewed.
    let held = paused.apply(SslEvent::Issued(certificate(90)), Intent::Paused, T0);
    assert_eq!(held.reason, Reason::Ok);
    let expired = held.apply(SslEvent::Tick, Intent::Paused, T0 + HOUR * 24 * 90);
    assert_eq!((expired.reason, expired.next_attempt), (Reason::Paused, None));
    let back = expired.then(SslEvent::Resumed, T0 + HOUR * 24 * 90);
    assert_eq!((back.reason, back.next_attempt), (Reason::Expired, None));
}

#[test]
fn a_retired_domain_promises_no_order() {
    let failing = fresh().then(failure(FailureKind::Connection), T0);
    let retired = failing.apply(SslEvent::SetAside, Intent::Retired, T0);
    assert_eq!(
        (retired.reason, retired.next_attempt, retired.next_due(false)),
        (Reason::Paused, None, None)
    );
    let held = issued(90).then(failure(FailureKind::Unreachable), T0 + HOUR * 16 * 90);
    assert_eq!(held.reason, Reason::RenewalFailing);
    let retired = held.apply(SslEvent::SetAside, Intent::Retired, T0);
    assert_eq!((retired.reason, retired.next_attempt), (Reason::Ok, None));
    let expired = retired.apply(SslEvent::Tick, Intent::Retired, T0 + HOUR * 24 * 90);
    assert_eq!((expired.reason, expired.next_due(false)), (Reason::Expired, None));
    let denied = fresh().then(SslEvent::Denied, T0);
    assert_eq!(
        denied.apply(SslEvent::SetAside, Intent::Retired, T0).reason,
        Reason::Denied
    );
}

#[test]
fn a_postponed_interrupted_order_is_due_at_the_new_time() {
    let until = T0 + HOUR * 6;
    for event in [
        SslEvent::OrderStarted { ca: ca() },
        SslEvent::Validating,
        SslEvent::Queued { eta: Some(T0) },
    ] {
        let postponed = fresh().then(event, T0).then(SslEvent::Postponed { until }, T0 + HOUR);
        assert_eq!(
            (postponed.reason, postponed.next_due(true), postponed.eta),
            (Reason::RetryScheduled, Some(until), None)
        );
    }
    let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
    let postponed = renewing.then(SslEvent::Postponed { until }, T0 + HOUR);
    assert_eq!((postponed.reason, postponed.next_due(true)), (Reason::Ok, Some(until)));
}

#[test]
fn a_freeze_promises_no_order_and_is_no_operators_pause() {
    let event = SslEvent::Frozen { until: T0 + HOUR };
    let queued = fresh().then(SslEvent::Queued { eta: Some(T0 + HOUR) }, T0);
    let frozen = queued.then(event.clone(), T0);
    assert_eq!(
        (frozen.reason, frozen.state(), frozen.eta),
        (Reason::Paused, State::Unknown, None)
    );
    assert_eq!(frozen.next_due(true), Some(T0 + HOUR), "DNS is still checked");
    assert_eq!(frozen.then(SslEvent::Wanted, T0).next_due(true), Some(T0));
    assert_eq!(
        fresh().apply(SslEvent::SetAside, Intent::Paused, T0).next_due(true),
        None
    );
    let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
    let held = renewing.then(event, T0);
    assert_eq!((held.reason, held.next_due(true)), (Reason::Ok, Some(T0 + HOUR)));
}
