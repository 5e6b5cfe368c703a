use super::*;

#[test]
fn after_a_thaw_failures_count_on_and_what_the_ca_said_is_kept() {
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
    // What an operator has paused is not the freeze's to end.
    let paused = limited.apply(SslEvent::SetAside, Intent::Paused, T0);
    let after = paused.apply(SslEvent::Thawed, Intent::Paused, T0 + HOUR);
    assert_eq!((after.reason, after.next_attempt), (Reason::Paused, None));
    let held = issued(90);
    assert_eq!(held.then(SslEvent::Thawed, T0), held);
}

#[test]
fn what_was_stopped_for_all_is_due_once_orders_go_on() {
    let (now, until) = (T0 + HOUR * 24 * 61, T0 + HOUR * (24 * 61 + 6));
    let expired = issued(1).then(SslEvent::Tick, now);
    let looked_for = fresh().then(SslEvent::DnsChecked(DnsVerdict::Missing), T0);
    for before in [issued(90), expired, looked_for, fresh().then(SslEvent::Wanted, T0)] {
        for event in [SslEvent::Frozen { until }, SslEvent::SwitchedOff { until }] {
            let stopped = before.then(event.clone(), now);
            assert_eq!(stopped.next_attempt, Some(until), "{event:?}");
            let thawed = stopped.then(SslEvent::Thawed, now + HOUR);
            assert_eq!(thawed.next_due(true), Some(now + HOUR), "{event:?}: {before:?}");
            assert!(!thawed.stopped);
        }
    }
    // A back-off that runs is kept, and what waits for something else too.
    let failing = issued(90).then(failure(FailureKind::Connection), now);
    let stopped = failing.then(SslEvent::Frozen { until }, now);
    assert_eq!(stopped.then(SslEvent::Thawed, now).next_attempt, failing.next_attempt);
    let put_off = issued(90).then(SslEvent::Postponed { until }, now);
    assert_eq!(put_off.then(SslEvent::Thawed, now), put_off);
    // Another plan is not theirs to end.
    let replanned = stopped.then(SslEvent::Postponed { until: until + HOUR }, now);
    assert_eq!(replanned.then(SslEvent::Thawed, now), replanned);
}

#[test]
fn whatever_a_domain_without_a_certificate_waits_for_an_operator_ends() {
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
fn a_held_certificate_is_never_taken_away_by_admission_or_pause() {
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
fn what_an_order_comes_to_does_not_leave_a_pause() {
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
    // A certificate that still comes is held, and not renewed.
    let held = paused.apply(SslEvent::Issued(certificate(90)), Intent::Paused, T0);
    assert_eq!(held.reason, Reason::Ok);
    let ran_out = held.apply(SslEvent::Tick, Intent::Paused, T0 + HOUR * 24 * 90);
    assert_eq!((ran_out.reason, ran_out.next_attempt), (Reason::Paused, None));
    let back = ran_out.then(SslEvent::Resumed, T0 + HOUR * 24 * 90);
    assert_eq!((back.reason, back.next_attempt), (Reason::Expired, None));
}

#[test]
fn what_is_retired_promises_nothing() {
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
    let ran_out = retired.apply(SslEvent::Tick, Intent::Retired, T0 + HOUR * 24 * 90);
    assert_eq!((ran_out.reason, ran_out.next_due(false)), (Reason::Expired, None));
    let denied = fresh().then(SslEvent::Denied, T0);
    assert_eq!(
        denied.apply(SslEvent::SetAside, Intent::Retired, T0).reason,
        Reason::Denied
    );
}

#[test]
fn an_interrupted_order_that_is_put_off_is_due_when_it_says() {
    let until = T0 + HOUR * 6;
    for event in [
        SslEvent::OrderStarted { ca: ca() },
        SslEvent::Validating,
        SslEvent::Queued { eta: Some(T0) },
    ] {
        let put_off = fresh().then(event, T0).then(SslEvent::Postponed { until }, T0 + HOUR);
        assert_eq!(
            (put_off.reason, put_off.next_due(true), put_off.eta),
            (Reason::RetryScheduled, Some(until), None)
        );
    }
    let renewing = issued(90).then(SslEvent::OrderStarted { ca: ca() }, T0);
    let put_off = renewing.then(SslEvent::Postponed { until }, T0 + HOUR);
    assert_eq!((put_off.reason, put_off.next_due(true)), (Reason::Ok, Some(until)));
}

#[test]
fn a_freeze_promises_nothing_and_is_no_operators_pause() {
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
