use super::*;

#[test]
fn an_issued_domain_is_checked_before_its_renewal() {
    let check_at = T0 + HOUR * 24;
    let status = issued(90).then(SslEvent::CheckScheduled { at: check_at }, T0);
    assert_eq!(status.next_due(true), Some(check_at));
    assert_eq!(status.next_due(false), Some(T0 + HOUR * 24 * 75));
    let moved = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), check_at);
    assert_eq!(moved.next_due(true), Some(check_at + RECHECK_FIRST));
    assert_eq!(moved.misdirected_since, Some(check_at));
    let still = moved.then(SslEvent::DnsChecked(DnsVerdict::Missing), check_at + HOUR);
    assert_eq!(still.misdirected_since, Some(check_at));
    let back = still.then(SslEvent::DnsChecked(DnsVerdict::Right), check_at + HOUR * 2);
    assert_eq!((back.reason, back.misdirected_since), (Reason::Ok, None));
}

#[test]
fn right_dns_clears_a_dns_finding_but_not_a_failed_order() {
    let stray = || SslEvent::DnsChecked(DnsVerdict::CaaForbids { host: "example".into() });
    let right = || SslEvent::DnsChecked(DnsVerdict::Right);
    let fixed = issued(90).then(stray(), T0).then(right(), T0);
    assert_eq!(
        (fixed.reason, fixed.facts.cause, fixed.next_attempt),
        (Reason::Ok, None, None)
    );
    let due = T0 + HOUR * 16 * 90;
    let failing = issued(90)
        .then(failure(FailureKind::Connection), due)
        .then(stray(), due);
    assert_eq!(failing.then(right(), due).reason, Reason::RenewalFailing);
}

#[test]
fn each_verdict_has_its_reason_with_and_without_a_certificate() {
    let found = || "cname.other.example".to_owned();
    for (verdict, unheld, held) in [
        (DnsVerdict::Missing, Reason::DnsMissing, Reason::Moved),
        (
            DnsVerdict::Elsewhere { found: found() },
            Reason::DnsElsewhere,
            Reason::Moved,
        ),
        (
            DnsVerdict::Proxied {
                provider: "Cloudflare".into(),
            },
            Reason::Proxied,
            Reason::Moved,
        ),
        (
            DnsVerdict::StrayAaaa {
                found: "2001:db8::1".parse().unwrap(),
                host: "links.example".into(),
            },
            Reason::StrayAaaa,
            Reason::RenewalFailing,
        ),
        (
            DnsVerdict::CaaForbids { host: "example".into() },
            Reason::CaaForbids,
            Reason::RenewalFailing,
        ),
        (
            DnsVerdict::Error {
                zone: "example".into(),
                error: "SERVFAIL".into(),
            },
            Reason::DnsError,
            Reason::RenewalFailing,
        ),
    ] {
        let event = SslEvent::DnsChecked(verdict);
        // When the renewal is due; before that, only a move matters.
        let due = T0 + HOUR * 16 * 90;
        let (a, b) = (fresh().then(event.clone(), T0), issued(90).then(event, due));
        assert_eq!((a.reason, b.reason), (unheld, held));
        assert!(a.next_due(true).is_some() && b.next_due(true).is_some());
        // And the fix clears it.
        let fixed = a.then(SslEvent::DnsChecked(DnsVerdict::Right), T0);
        assert_eq!(fixed.reason, Reason::NeverRequested);
        // Once the certificate has expired, the reason is the same as without one.
        assert_eq!(b.then(SslEvent::Tick, T0 + HOUR * 24 * 90).reason, unheld);
    }
}

#[test]
fn checks_of_wrong_dns_become_rarer_until_a_request_restarts_them() {
    let mut status = fresh();
    let mut waits = vec![];
    for _ in 0..12 {
        status = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), T0);
        waits.push(status.next_attempt.unwrap().saturating_since(T0));
    }
    assert_eq!(waits[..3], [RECHECK_FIRST, RECHECK_FIRST * 2, RECHECK_FIRST * 4]);
    assert_eq!(waits[11], RECHECK_MAX);
    assert_eq!(status.then(SslEvent::Wanted, T0).next_attempt, Some(T0));
}

#[test]
fn a_proxy_is_no_obstacle_while_the_challenge_arrives_through_it() {
    let cdn = || DnsVerdict::Proxied { provider: "CDN".into() };
    let tried = |miss: Option<&str>| {
        SslEvent::Preflight(Preflight {
            at: T0,
            through: Some("CDN".into()),
            miss: miss.map(str::to_owned),
        })
    };
    let stand_in = SslEvent::StandIn { until: T0 + HOUR };
    let proxied = fresh().then(SslEvent::DnsChecked(cdn()), T0).then(stand_in.clone(), T0);
    assert_eq!(
        (proxied.reason, proxied.facts.stand_in_until),
        (Reason::Proxied, Some(T0 + HOUR))
    );
    let missed = proxied
        .then(tried(Some("refused")), T0)
        .then(SslEvent::DnsChecked(cdn()), T0);
    assert_eq!((missed.reason, missed.facts.stand_in_until), (Reason::Proxied, None));
    assert!(missed.facts.preflight.is_some());
    let arrived = missed.then(tried(None), T0).then(SslEvent::DnsChecked(cdn()), T0);
    assert_eq!(arrived.reason, Reason::NeverRequested);
    let ordered = arrived.then(SslEvent::OrderStarted { ca: ca() }, T0);
    assert_eq!(ordered.facts.stand_in_until, Some(T0 + ORDER_ENDS_WITHIN));
    assert_eq!(
        ordered.then(failure(FailureKind::Connection), T0).facts.stand_in_until,
        None
    );
    // Once issued it stays right, until the challenge does not arrive any more.
    let held = ordered.then(SslEvent::Issued(certificate(90)), T0);
    assert_eq!(held.facts.stand_in_until, None);
    assert_eq!(held.then(SslEvent::DnsChecked(cdn()), T0).reason, Reason::Ok);
    assert_eq!(held.then(stand_in, T0).facts.stand_in_until, None);
    let lost = held
        .then(tried(Some("refused")), T0)
        .then(SslEvent::DnsChecked(cdn()), T0);
    assert_eq!(lost.reason, Reason::Moved);
    // Not proxied: no stand-in.
    let plain = fresh().then(SslEvent::OrderStarted { ca: ca() }, T0);
    assert_eq!(plain.facts.stand_in_until, None);
}

fn servfail() -> DnsVerdict {
    DnsVerdict::Error {
        zone: "z".into(),
        error: "SERVFAIL".into(),
    }
}

#[test]
fn a_check_by_hand_postpones_no_check_and_restarts_the_schedule() {
    let mut status = fresh();
    let mut now = T0;
    for _ in 0..12 {
        status = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), now);
        now = status.next_attempt.unwrap();
    }
    let rare = status.then(SslEvent::DnsChecked(DnsVerdict::Missing), now);
    assert_eq!(rare.next_attempt, Some(now + RECHECK_MAX));
    let mut polled = rare.then(SslEvent::DnsCheckedByHand(DnsVerdict::Missing), now);
    assert_eq!(polled.next_attempt, Some(now + RECHECK_FIRST));
    for seconds in 1..RECHECK_FIRST.as_secs() {
        let at = now + Duration::from_secs(seconds);
        polled = polled.then(SslEvent::DnsCheckedByHand(DnsVerdict::Missing), at);
        assert_eq!(
            polled.next_attempt,
            Some(now + RECHECK_FIRST),
            "however often it is checked"
        );
    }
    let right = polled.then(SslEvent::DnsCheckedByHand(DnsVerdict::Right), now);
    assert_eq!((right.reason, right.next_attempt), (Reason::NeverRequested, None));
}

#[test]
fn a_dns_failure_long_before_the_renewal_is_no_failing_renewal() {
    let caa = DnsVerdict::CaaForbids {
        host: "a.example".into(),
    };
    for verdict in [servfail(), caa] {
        for event in [
            SslEvent::DnsChecked(verdict.clone()),
            SslEvent::DnsCheckedByHand(verdict.clone()),
        ] {
            let early = issued(90).then(event.clone(), T0 + HOUR);
            assert_eq!((early.reason, early.last_error.as_ref()), (Reason::Ok, None));
            assert_eq!(
                early.next_due(true),
                Some(T0 + HOUR + RECHECK_FIRST),
                "it is checked again"
            );
            assert_eq!(early.then(SslEvent::Tick, T0 + HOUR).reason, Reason::Ok);
            let due = T0 + HOUR * 24 * 60;
            assert_eq!(issued(90).then(event, due).reason, Reason::RenewalFailing);
        }
    }
    let elsewhere = SslEvent::DnsChecked(DnsVerdict::Elsewhere { found: "x".into() });
    assert_eq!(issued(90).then(elsewhere, T0 + HOUR).reason, Reason::Moved);
}
