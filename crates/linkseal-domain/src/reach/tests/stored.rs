//! No stored time, whichever clock wrote it, takes effect beyond its rule's reach.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::ssl::{CaRefusals, Facts, Preflight, Slot};

/// A status in which every time is set. A new field has to be added here and to [`reach_of`].
fn every_time(reason: Reason, cause: Option<FailureKind>, in_queue: bool, life: Duration) -> SslStatus {
    let preflight = Preflight {
        at: T0,
        through: None,
        miss: None,
    };
    SslStatus {
        reason,
        since: T0,
        certificate: Some(certificate(life, T0)),
        attempts: 1,
        setbacks: 1,
        wrong_checks: 1,
        next_attempt: Some(T0),
        planned: Some(T0),
        in_queue,
        slot: Some(Slot {
            queue: "line/x".into(),
            at: T0,
        }),
        stopped: false,
        not_before: Some(T0),
        retry_at: Some(T0),
        eta: Some(T0),
        last_error: Some(LastError {
            kind: "urn:x".into(),
            detail: "said so".into(),
            at: T0,
            subproblems: vec![],
        }),
        doubted: false,
        facts: Facts {
            found: None,
            provider: None,
            host: None,
            zone: None,
            error: None,
            ca: None,
            cause,
            preflight: Some(preflight),
            stand_in_until: Some(T0),
            unverified: false,
        },
        failures: vec![T0, T0],
        hurry: false,
        refusals: vec![CaRefusals {
            ca: "https://ca.example/dir".into(),
            times: 2,
            last: T0,
        }],
        next_check: Some(T0),
        misdirected_since: Some(T0),
        expiring_reported: false,
        replaced_by_hand: Some(T0),
        brought_forward: false,
    }
}

/// How far ahead a stored time may be, by its place in the JSON of a status. `None`: nothing waits for it.
fn reach_of(place: &str, status: &SslStatus, now: Timestamp) -> Option<Duration> {
    let place: String = place.chars().filter(|c| !c.is_ascii_digit()).collect();
    match place.as_str() {
        "/certificate/not_before" | "/certificate/not_after" => None,
        "/last_error/at" | "/facts/preflight/at" => None,
        "/certificate/renew_at" | "/replaced_by_hand" => {
            let floor = status.certificate.as_ref().map(CertificateInfo::renewal_floor);
            floor.map(|at| at.saturating_since(now))
        }
        "/certificate/ari_check_at" => Some(RENEWAL_INFO),
        "/next_attempt" => Some(status.reach()),
        "/not_before" | "/retry_at" => Some(NAME_LIMIT),
        "/eta" | "/turn/at" => Some(LINE),
        "/look_at" => Some(DNS_CHECK),
        "/facts/stand_in_until" => Some(ORDER_ENDS_WITHIN),
        "/since" | "/planned" | "/certificate/obtained" | "/failures/" | "/refusals//last" | "/misdirected_since" => {
            Some(Duration::ZERO)
        }
        _ => panic!("how far ahead may {place} be?"),
    }
}

/// All times in it, by their places.
fn times_in(value: &Value, place: &str) -> Vec<(String, Timestamp)> {
    match value {
        Value::String(text) => Timestamp::parse_rfc3339(text)
            .map(|at| (place.to_owned(), at))
            .into_iter()
            .collect(),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(n, value)| times_in(value, &format!("{place}/{n}")))
            .collect(),
        Value::Object(values) => values
            .iter()
            .flat_map(|(key, value)| times_in(value, &format!("{place}/{key}")))
            .collect(),
        _ => Vec::new(),
    }
}

fn json_of(status: &SslStatus) -> Value {
    serde_json::to_value(status).unwrap()
}

/// Moves each time of a status by the given seconds.
fn moved(status: &SslStatus, by: &[i64]) -> SslStatus {
    let mut json = json_of(status);
    for ((place, at), by) in times_in(&json_of(status), "").into_iter().zip(by.iter().cycle()) {
        let at = Timestamp::from_secs(at.as_secs() + by);
        *json.pointer_mut(&place).unwrap() = serde_json::to_value(at).unwrap();
    }
    serde_json::from_value(json).unwrap()
}

/// Asserts that no time is farther ahead than its rule allows.
fn assert_within_reach(status: &SslStatus, now: Timestamp) {
    for (place, at) in times_in(&json_of(status), "") {
        if let Some(reach) = reach_of(&place, status, now) {
            assert!(
                at <= now + reach + WOBBLE,
                "{place} at {at}, seen from {now}: {status:?}"
            );
        }
    }
    assert!(
        !status.is_beyond_reach(now),
        "a corrected status needs no further correction: {status:?}"
    );
}

#[test]
fn every_time_written_by_a_clock_two_months_ahead_is_reset() {
    let ahead = 60 * 86_400;
    for reason in Reason::ALL {
        for cause in [None, Some(FailureKind::Connection), Some(FailureKind::NameLimit)] {
            for in_queue in [false, true] {
                let written = moved(&every_time(*reason, cause, in_queue, DAY * 90), &[ahead]);
                // The certificate's dates come from the CA, and it is valid.
                let written = SslStatus {
                    certificate: Some(certificate(DAY * 90, T0)),
                    ..written
                };
                assert!(written.is_beyond_reach(T0), "{reason:?}");
                let right = written.then(SslEvent::Tick, T0);
                assert_within_reach(&right, T0);
                assert_eq!((right.retry_at, right.rests_until(T0)), (None, None), "{reason:?}");
                assert!(right.next_attempt.is_none_or(|at| at <= T0), "{reason:?}");
            }
        }
    }
}

#[test]
fn a_renewal_that_failed_under_a_clock_that_was_ahead_has_no_back_off_once_it_is_right() {
    let ahead = T0 + DAY * 60;
    let failing = held(DAY * 90).then(failed(FailureKind::Connection, None, ahead), ahead);
    assert!(failing.retry_at.is_some());
    // Whichever event comes first once the clock is right.
    for event in [
        SslEvent::Tick,
        SslEvent::DnsChecked(DnsVerdict::Right),
        SslEvent::DnsChecked(DnsVerdict::Missing),
    ] {
        let right = failing.then(event, T0);
        assert_eq!(right.rests_until(T0), None);
    }
    // Also if a right clock has planned an attempt since.
    let mut replanned = failing;
    (replanned.planned, replanned.next_attempt) = (Some(T0), Some(T0 + HOUR));
    assert_eq!(replanned.then(SslEvent::Tick, T0).rests_until(T0), None);
}

proptest! {
    #[test]
    fn nothing_stored_waits_longer_than_its_rule_allows(
        reason in prop::sample::select(Reason::ALL),
        cause in prop::option::of(prop::sample::select(FailureKind::ALL.to_vec())),
        by in prop::collection::vec(
            prop_oneof![-40_000_000i64..40_000_000, -100_000i64..100_000, Just(200_000_000_000)], 32,
        ),
        absent in any::<u8>(),
        in_queue in any::<bool>(),
        life in 1u32..400,
        now in -40_000_000i64..40_000_000,
    ) {
        let now = Timestamp::from_secs(T0.as_secs() + now);
        let written = moved(&every_time(reason, cause, in_queue, DAY * life), &by);
        let is = |bit: u8| absent & (1 << bit) == 0;
        let written = SslStatus {
            certificate: is(0).then(|| certificate(DAY * life, T0)),
            next_attempt: written.next_attempt.filter(|_| is(1)),
            planned: written.planned.filter(|_| is(2)),
            not_before: written.not_before.filter(|_| is(3)),
            retry_at: written.retry_at.filter(|_| is(4)),
            next_check: written.next_check.filter(|_| is(5)),
            ..written
        };
        let written = SslStatus {
            replaced_by_hand: written.replaced_by_hand.filter(|_| written.certificate.is_some()),
            ..written
        };
        let written = if is(6) { written } else { SslStatus {
            certificate: moved(&held(DAY * life), &by).certificate,
            ..written
        } };
        let status = written.then(SslEvent::Tick, now);
        assert_within_reach(&status, now);
        let within = |at: Option<Timestamp>, reach| at.is_none_or(|at| at.saturating_since(now) <= reach);
        prop_assert!(within(status.must_wait(1, HOUR, now), HOUR + WOBBLE));
        prop_assert!(within(status.rests_until(now), NAME_LIMIT + WOBBLE));
        if status.reason.is_in_progress() {
            prop_assert!(within(status.next_due(true), ORDER_ENDS_WITHIN + WOBBLE));
        }
        // No event plans beyond its reach either.
        let said = Timestamp::from_secs(T0.as_secs() + by[0]);
        for event in [
            failed(FailureKind::Unreachable, Some(said), now),
            failed(FailureKind::NameLimit, Some(said), now),
            SslEvent::CaUnavailable { until: said, ca: "ca".into() },
            SslEvent::CheckScheduled { at: said },
            SslEvent::RenewalInfo { renew_at: said, check_at: said },
        ] {
            assert_within_reach(&status.then(event, now), now);
        }
    }
}
