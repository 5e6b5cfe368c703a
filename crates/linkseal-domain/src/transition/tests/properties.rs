use proptest::prelude::*;

use super::*;

fn events() -> impl Strategy<Value = SslEvent> {
    prop_oneof![
        Just(SslEvent::DnsChecked(DnsVerdict::Right)),
        Just(SslEvent::DnsChecked(DnsVerdict::Missing)),
        Just(SslEvent::DnsChecked(DnsVerdict::Elsewhere { found: "x".into() })),
        Just(SslEvent::DnsChecked(DnsVerdict::Error {
            zone: "z".into(),
            error: "SERVFAIL".into()
        })),
        Just(SslEvent::DnsCheckedByHand(DnsVerdict::Missing)),
        Just(SslEvent::Queued { eta: None }),
        Just(SslEvent::OrderStarted { ca: ca() }),
        Just(SslEvent::Validating),
        (1u64..90).prop_map(|d| SslEvent::Issued(certificate(d))),
        Just(failure(FailureKind::Connection)),
        Just(failure(FailureKind::Unreachable)),
        Just(failure(FailureKind::NameLimit)),
        Just(SslEvent::Doubted {
            failure: refusal(FailureKind::Connection),
            until: T0 + HOUR
        }),
        Just(SslEvent::HeldBack {
            until: T0 + HOUR,
            ca: ca(),
            in_queue: false
        }),
        Just(SslEvent::CaUnavailable {
            until: T0 + HOUR,
            ca: ca()
        }),
        Just(SslEvent::Frozen { until: T0 + HOUR }),
        Just(SslEvent::Thawed),
        Just(SslEvent::RefusedBy { ca: ca() }),
        Just(SslEvent::Denied),
        Just(SslEvent::SetAside),
        Just(SslEvent::Resumed),
        Just(SslEvent::Reissue),
        Just(SslEvent::Postponed { until: T0 + HOUR }),
        Just(SslEvent::SwitchedOff { until: T0 + HOUR }),
        Just(SslEvent::CheckScheduled { at: T0 + HOUR }),
        Just(SslEvent::Wanted),
        Just(SslEvent::Tick),
    ]
}

fn intents() -> impl Strategy<Value = Option<Intent>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(Intent::Wanted)),
        1 => Just(Some(Intent::Paused)),
        1 => Just(Some(Intent::Retired)),
    ]
}

proptest! {
    /// Whatever happened before and however the clock was set: a domain with a live certificate that
    /// points here is `ok`, and is not due before its renewal.
    #[test]
    fn a_domain_that_points_here_is_ok_until_its_renewal_is_due(
        steps in prop::collection::vec((events(), -3000i64..3000), 1..30),
        at in 0u32..(16 * 89),
    ) {
        let (mut status, mut now) = (issued(90), T0);
        for (event, hours) in steps {
            now = Timestamp::from_secs((now.as_secs() + hours * 3600).max(T0.as_secs()));
            status = status.then(SslEvent::Tick, now).then(event, now);
        }
        // At a time within the certificate's life, by a clock that is right again.
        status.certificate = Some(certificate(90));
        let now = T0 + HOUR * at;
        let ticked = status.then(SslEvent::Tick, now);
        prop_assert_eq!(ticked.state(), State::Issued);
        prop_assert_eq!(ticked.then(SslEvent::Tick, now), ticked.clone());
        let right = ticked.then(SslEvent::DnsChecked(DnsVerdict::Right), now);
        if right.reason.is_in_progress() {
            prop_assert!(right.next_due(true) <= Some(now + ORDER_ENDS_WITHIN));
        } else {
            prop_assert_eq!((right.reason, right.next_attempt, right.facts.cause), (Reason::Ok, None, None));
            // A planned check is moved by the check itself.
            let unplanned = SslStatus { next_check: None, ..right };
            prop_assert!(unplanned.next_due(true).is_some_and(|at| at > now), "{:?}", unplanned);
        }
    }

    /// Operators change their intent between any two events.
    #[test]
    fn state_and_certificate_always_agree(
        steps in prop::collection::vec((events(), intents(), 0u64..2000), 1..40)
    ) {
        let (mut status, mut intent, mut now) = (fresh(), Intent::Wanted, T0);
        for (event, wanted_next, hours) in steps {
            now = now + HOUR * u32::try_from(hours).unwrap();
            status = status.apply(SslEvent::Tick, intent, now);
            if let Some(wanted_next) = wanted_next.filter(|w| *w != intent) {
                intent = wanted_next;
                let event = if intent == Intent::Wanted { SslEvent::Resumed } else { SslEvent::SetAside };
                status = status.apply(event, intent, now);
            }
            let postponed = match &event {
                SslEvent::Postponed { until } | SslEvent::SwitchedOff { until } => Some(*until),
                _ => None,
            };
            status = status.apply(event, intent, now).apply(SslEvent::Tick, intent, now);
            let wanted = intent == Intent::Wanted;
            prop_assert_eq!(status.state() == State::Issued, status.holds(now), "{:?}", status);
            prop_assert!(status.since <= now);
            if wanted {
                prop_assert!(
                    status.state() != State::Pending || status.next_due(true).is_some(),
                    "a pending domain has something due: {:?}", status
                );
                // A postponed domain is not due before that, except for its live certificate.
                if let Some(until) = postponed.filter(|until| *until > now) {
                    let live = status.holds(now);
                    prop_assert!(live || status.next_due(true).is_none_or(|at| at >= until), "{:?}", status);
                }
            } else {
                prop_assert_eq!((status.next_attempt, status.eta), (None, None), "{:?}", status);
                let settled = match status.reason {
                    Reason::Ok | Reason::Moved => status.holds(now),
                    Reason::Paused => true,
                    Reason::Expired | Reason::Denied => intent == Intent::Retired,
                    _ => false,
                };
                prop_assert!(settled, "{:?}: {:?}", intent, status);
                prop_assert!(intent != Intent::Paused || status.holds(now) || status.reason == Reason::Paused);
                prop_assert!(status.next_due(false).is_none_or(|at| status.holds(now) && at > now), "{:?}", status);
            }
        }
    }
}
