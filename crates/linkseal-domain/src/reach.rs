//! How far ahead each rule can set a time, and what becomes of a stored time that is farther off.
//!
//! Times are stored as times of day, and some are another's word: a CA's Retry-After, its renewal
//! window. A clock that was ahead when they were written, or a word that no one meant, must not
//! stop a domain until they come. So no stored time is believed beyond the reach of the rule that
//! made it, seen from the present: it counts as come. [`SslStatus::apply`] begins with that, and
//! the control plane looks through all records after a start and when the clock was set back.

use std::time::Duration;

use linkseal_base::clock::{Timestamp, WOBBLE};

use super::ssl::{CertificateInfo, FailureKind, ORDER_ABANDONED_AFTER, Reason, SslStatus};

/// The longest back-off after a failed attempt: a day, and its jitter.
pub(crate) const RETRY: Duration = Duration::from_secs(27 * 3600);
/// The longest that a CA may put off one name: Let's Encrypt's longest limit.
pub const NAME_LIMIT: Duration = Duration::from_secs(7 * 86_400);
/// The longest that a CA may put off all orders of the account. Then orders find out whether it
/// still means it.
pub const ACCOUNT_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// The longest that a CA may be away by its own word, and be out of use; with the jitter.
pub const OUTAGE: Duration = Duration::from_secs(7 * 3600);
/// The longest that the turn in the line for a CA's limit may be away: 300 orders in three hours
/// let some 870,000 through in a year.
pub const LINE: Duration = Duration::from_secs(366 * 86_400);
/// The longest wait for a look at DNS: that of departed names, with its spread.
pub(crate) const LOOK: Duration = Duration::from_secs(9 * 86_400);
/// The longest wait for renewal information (RFC 9773 §4.3.2).
pub(crate) const RENEWAL_INFO: Duration = Duration::from_secs(24 * 3600);

/// What share of its life a certificate must have left at its renewal, whatever the CA wishes:
/// more than that with which it counts as expiring.
const RENEWAL_FLOOR: u32 = 5;

impl FailureKind {
    /// The longest that a CA may put off the next attempt after such a failure.
    pub(crate) fn longest_wait(self) -> Duration {
        match self {
            Self::NameLimit => NAME_LIMIT,
            Self::AccountLimit => ACCOUNT_LIMIT,
            _ => OUTAGE,
        }
    }
}

impl CertificateInfo {
    /// How long it lives in our hands: CAs date back.
    pub fn life(&self) -> Duration {
        let from = self.obtained.map_or(self.not_before, |at| at.max(self.not_before));
        self.not_after.saturating_since(from)
    }

    /// The latest that it is renewed, whatever the CA wishes.
    pub fn renewal_floor(&self) -> Timestamp {
        self.not_after.minus(self.life() / RENEWAL_FLOOR)
    }
}

impl SslStatus {
    /// How far ahead the rule can have set `next_attempt` that has led to the present state.
    pub(super) fn reach(&self) -> Duration {
        if self.reason.is_in_progress() {
            return ORDER_ABANDONED_AFTER;
        }
        if self.in_line {
            return LINE;
        }
        match self.reason {
            Reason::RateLimited => match self.facts.cause {
                Some(FailureKind::NameLimit) => NAME_LIMIT,
                _ => ACCOUNT_LIMIT,
            },
            Reason::CaUnreachable => OUTAGE,
            Reason::RenewalFailing | Reason::Ok if self.facts.cause == Some(FailureKind::NameLimit) => NAME_LIMIT,
            reason if reason.is_dns() => LOOK,
            Reason::Moved => LOOK,
            _ => RETRY,
        }
    }

    /// Whether `next_attempt` was set by a clock that was ahead of the present.
    fn was_planned_ahead(&self, now: Timestamp) -> bool {
        self.planned.is_some_and(|at| at > now + WOBBLE)
    }

    /// Takes back what no rule can have meant, seen from `now`.
    pub(super) fn keep_within_reach(&mut self, now: Timestamp) {
        let ahead = self.was_planned_ahead(now);
        let far = |at: Timestamp, reach| at > now && !at.is_ahead(now, reach);
        if self
            .next_attempt
            .is_some_and(|at| at > now && (ahead || far(at, self.reach())))
        {
            self.next_attempt = Some(now);
            self.planned = Some(now);
            self.eta = None;
            self.in_line = false;
        }
        if ahead {
            self.planned = self.next_attempt.map(|_| now);
        }
        if self.not_before.is_some_and(|at| ahead || !at.is_ahead(now, NAME_LIMIT)) {
            self.not_before = None;
        }
        // Our own back-off ends within a day; what lasts longer is the CA's word, and stands there.
        if self.retry_at.is_some_and(|at| at > now && (ahead || far(at, RETRY))) {
            self.retry_at = self.not_before;
        }
        if self.eta.is_some_and(|at| at > now && (ahead || far(at, LINE))) {
            self.eta = None;
        }
        if self
            .turn
            .as_ref()
            .is_some_and(|t| t.at > now && (ahead || far(t.at, LINE)))
        {
            self.turn = None;
        }
        if self.look_at.is_some_and(|at| far(at, LOOK)) {
            self.look_at = Some(now);
        }
        let noted_ahead = |at: Timestamp| at > now + WOBBLE;
        if noted_ahead(self.since) {
            self.since = now;
        }
        if self.misdirected_since.is_some_and(noted_ahead) {
            self.misdirected_since = Some(now);
        }
        self.failures.retain(|at| !noted_ahead(*at));
        for refusals in &mut self.refusals {
            if noted_ahead(refusals.last) {
                refusals.last = now;
            }
        }
        if self
            .facts
            .stand_in_until
            .is_some_and(|at| far(at, ORDER_ABANDONED_AFTER))
        {
            self.facts.stand_in_until = None;
        }
        if let Some(certificate) = &mut self.certificate {
            // How long it lives in our hands is not known then; its own dates say enough.
            certificate.obtained = certificate.obtained.filter(|at| !noted_ahead(*at));
            let floor = certificate.renewal_floor();
            certificate.renew_at = certificate.renew_at.min(floor);
            self.replaced_by_hand = self.replaced_by_hand.map(|at| at.min(floor));
            if certificate.ari_check_at.is_some_and(|at| far(at, RENEWAL_INFO)) {
                certificate.ari_check_at = Some(now);
            }
        }
    }

    /// Whether something stored is beyond what its rule can have meant, seen from `now`.
    pub fn is_beyond_reach(&self, now: Timestamp) -> bool {
        // What only a clock that was ahead can have ended.
        if self.holds(now) && self.is_out_of_step(now) {
            return true;
        }
        let mut within = self.clone();
        within.keep_within_reach(now);
        within.not_before = self.not_before;
        within != *self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::record::DnsVerdict;
    use super::super::ssl::{CaRefusals, Facts, Failure, LastError, Preflight, SslEvent, Turn};
    use super::*;

    const T0: Timestamp = Timestamp::from_secs(1_795_305_600);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(86_400);

    fn certificate(life: Duration, obtained: Timestamp) -> CertificateInfo {
        CertificateInfo {
            not_before: obtained.minus(HOUR),
            not_after: obtained + life,
            obtained: Some(obtained),
            issuer: "Test CA".into(),
            serial: "01".into(),
            sans: vec!["a.example".into()],
            ca: "https://ca.example/dir".into(),
            ari_id: Some("id".into()),
            renew_at: obtained + life * 2 / 3,
            ari_check_at: Some(obtained + HOUR * 6),
        }
    }

    fn failed(kind: FailureKind, retry_after: Option<Timestamp>, now: Timestamp) -> SslEvent {
        SslEvent::Failed {
            failure: Failure {
                kind,
                error: LastError {
                    kind: "urn:x".into(),
                    detail: "said so".into(),
                    at: now,
                    subproblems: vec![],
                },
                retry_after,
            },
            backoff: Duration::from_secs(60),
        }
    }

    fn held(life: Duration) -> SslStatus {
        SslStatus::new(T0).then(SslEvent::Issued(certificate(life, T0)), T0)
    }

    fn ordering() -> SslStatus {
        SslStatus::new(T0).then(
            SslEvent::OrderStarted {
                ca: "ca.example".into(),
            },
            T0,
        )
    }

    #[test]
    fn what_a_clock_that_was_ahead_has_planned_is_due_once_it_is_right() {
        let ahead = T0 + DAY * 60;
        for event in [
            failed(FailureKind::Unreachable, None, ahead),
            failed(FailureKind::Connection, None, ahead),
            failed(FailureKind::Clock, None, ahead),
            SslEvent::CaOut {
                until: ahead + HOUR,
                ca: "ca.example".into(),
            },
            SslEvent::HeldBack {
                until: ahead + DAY * 30,
                ca: "ca.example".into(),
                in_line: true,
            },
            SslEvent::DnsChecked(DnsVerdict::Missing),
        ] {
            let planned = ordering().then(event.clone(), ahead);
            assert!(planned.next_attempt.is_some_and(|at| at > ahead));
            assert!(planned.is_beyond_reach(T0), "{event:?}");
            let right = planned.then(SslEvent::Tick, T0);
            assert_eq!(right.next_due(true), Some(T0), "{event:?}");
            assert!(right.since <= T0 && !right.is_beyond_reach(T0));
        }
        // Also where it was ahead by less than the rule's own reach.
        let hours = T0 + HOUR * 5;
        let planned = ordering().then(failed(FailureKind::Connection, None, hours), hours);
        assert_eq!(planned.then(SslEvent::Tick, T0).next_due(true), Some(T0));
        // What was planned by the right clock stays as it is.
        let planned = ordering().then(failed(FailureKind::Connection, None, T0), T0);
        assert!(!planned.is_beyond_reach(T0));
        assert_eq!(planned.then(SslEvent::Tick, T0).next_attempt, planned.next_attempt);
    }

    #[test]
    fn an_interrupted_order_of_a_clock_that_was_ahead_is_taken_up() {
        let ahead = T0 + DAY * 60;
        let status = SslStatus::new(ahead).then(
            SslEvent::OrderStarted {
                ca: "ca.example".into(),
            },
            ahead,
        );
        let right = status.then(SslEvent::Tick, T0);
        assert_eq!(right.next_due(true), Some(T0 + ORDER_ABANDONED_AFTER));
    }

    #[test]
    fn a_retry_after_is_believed_as_far_as_its_kind_of_failure_can_reach() {
        use FailureKind::{AccountLimit, NameLimit, Refused, Unreachable};
        for said in [
            Timestamp::from_millis(i64::MAX),
            T0 + Duration::from_secs(u32::MAX.into()),
        ] {
            for (kind, longest) in [
                (NameLimit, NAME_LIMIT),
                (AccountLimit, ACCOUNT_LIMIT),
                (Unreachable, OUTAGE),
                (Refused, OUTAGE),
            ] {
                let after = ordering().then(failed(kind, Some(said), T0), T0);
                assert_eq!(after.next_attempt, Some(T0 + longest), "{kind:?}");
            }
        }
        let soon = ordering().then(failed(Unreachable, Some(T0 + HOUR), T0), T0);
        assert_eq!(soon.next_attempt, Some(T0 + HOUR));
    }

    #[test]
    fn a_busy_ca_lets_no_certificate_run_out() {
        let life = DAY * 6;
        let now = T0 + DAY * 3;
        let busy = failed(FailureKind::Unreachable, Some(now + DAY * 10), now);
        let after = held(life).then(busy, now);
        assert_eq!(after.next_attempt, Some(now + OUTAGE));
        let late = T0 + life.saturating_sub(HOUR);
        let after = held(life).then(failed(FailureKind::Unreachable, Some(late + DAY), late), late);
        assert_eq!(after.next_attempt, Some(late + HOUR / 4));
        // A limit is kept, unless the certificate would run out by then.
        let limit = failed(FailureKind::NameLimit, Some(now + DAY), now);
        assert_eq!(held(life).then(limit, now).next_attempt, Some(now + DAY));
        let limit = failed(FailureKind::NameLimit, Some(now + DAY * 5), now);
        assert!(
            held(life)
                .then(limit, now)
                .next_attempt
                .is_some_and(|at| at < now + DAY)
        );
    }

    #[test]
    fn a_time_that_the_ca_set_for_the_name_is_kept_by_verify_reissue_and_dns() {
        let (now, said) = (T0 + DAY * 70, T0 + DAY * 71);
        let limited = held(DAY * 90).then(failed(FailureKind::NameLimit, Some(said), now), now);
        for event in [
            SslEvent::Wanted,
            SslEvent::Reissue,
            SslEvent::DnsChecked(DnsVerdict::Right),
        ] {
            let after = limited.then(event.clone(), now + HOUR);
            assert_eq!(after.next_attempt, Some(said), "{event:?}");
        }
        let flapped = limited
            .then(SslEvent::DnsChecked(DnsVerdict::Missing), now + HOUR)
            .then(SslEvent::DnsChecked(DnsVerdict::Right), now + HOUR * 2);
        assert_eq!((flapped.reason, flapped.next_attempt), (Reason::Ok, Some(said)));
        assert_eq!(flapped.rests_until(now + HOUR * 2), Some(said));
        let free = limited.then(SslEvent::Released, now + HOUR);
        assert_eq!(free.next_attempt, Some(now + HOUR), "an operator ends it");
        assert_eq!(free.rests_until(now + HOUR), None);
        assert_eq!(limited.then(SslEvent::Wanted, said).next_attempt, Some(said));
    }

    #[test]
    fn dns_that_comes_and_goes_does_not_end_a_renewals_back_off() {
        let now = T0 + DAY * 70;
        let failing = held(DAY * 90).then(failed(FailureKind::Connection, None, now), now);
        let retry = failing.next_attempt.unwrap();
        let flapped = failing
            .then(SslEvent::DnsChecked(DnsVerdict::Missing), now)
            .then(SslEvent::DnsChecked(DnsVerdict::Right), now);
        assert_eq!(flapped.next_attempt, Some(retry));
        assert_eq!(
            flapped.then(SslEvent::Wanted, now).next_attempt,
            Some(now),
            "a word ends it"
        );
    }

    #[test]
    fn renewal_information_brings_forward_freely_and_postpones_to_the_floor() {
        let life = DAY * 90;
        let info = |renew_at| SslEvent::RenewalInfo {
            renew_at,
            check_at: T0 + HOUR * 6,
        };
        let floor = (T0 + life).minus(life / RENEWAL_FLOOR);
        for far in [T0 + life, T0 + DAY * 365 * 70, Timestamp::from_millis(i64::MAX)] {
            let after = held(life).then(info(far), T0);
            let certificate = after.certificate.unwrap();
            assert_eq!(certificate.renew_at, floor);
            assert_eq!(
                certificate.expiring_at(),
                (T0 + life).minus(life / 6),
                "whatever the CA says"
            );
        }
        let early = held(life).then(info(T0 + HOUR), T0);
        assert_eq!(early.certificate.unwrap().renew_at, T0 + HOUR);
        // A window that an earlier version took over is brought back.
        let mut old = held(life);
        if let Some(certificate) = &mut old.certificate {
            certificate.renew_at = T0 + DAY * 365 * 70;
        }
        assert!(old.is_beyond_reach(T0));
        assert_eq!(old.then(SslEvent::Tick, T0).certificate.unwrap().renew_at, floor);
    }

    /// A status with every time there is. A new field has to be added here, and to [`reach_of`].
    fn every_time(reason: Reason, cause: Option<FailureKind>, in_line: bool, life: Duration) -> SslStatus {
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
            looks: 1,
            next_attempt: Some(T0),
            planned: Some(T0),
            in_line,
            turn: Some(Turn {
                line: "line/x".into(),
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
                not_seen: false,
            },
            failures: vec![T0, T0],
            hurry: false,
            refusals: vec![CaRefusals {
                ca: "https://ca.example/dir".into(),
                times: 2,
                last: T0,
            }],
            look_at: Some(T0),
            misdirected_since: Some(T0),
            told_expiring: false,
            replaced_by_hand: Some(T0),
            brought_forward: false,
        }
    }

    /// How far ahead a stored time may be, by its place in the JSON of a status. `None`: it says when
    /// something was or is valid, and nothing waits for it.
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
            "/look_at" => Some(LOOK),
            "/facts/stand_in_until" => Some(ORDER_ABANDONED_AFTER),
            "/since"
            | "/planned"
            | "/certificate/obtained"
            | "/failures/"
            | "/refusals//last"
            | "/misdirected_since" => Some(Duration::ZERO),
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

    /// Each time of a status moved by so many seconds.
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
            "what has been put right stays so: {status:?}"
        );
    }

    #[test]
    fn every_time_that_a_clock_two_months_ahead_has_written_is_taken_back() {
        let ahead = 60 * 86_400;
        for reason in Reason::ALL {
            for cause in [None, Some(FailureKind::Connection), Some(FailureKind::NameLimit)] {
                for in_line in [false, true] {
                    let written = moved(&every_time(*reason, cause, in_line, DAY * 90), &[ahead]);
                    // The certificate is the CA's word, and valid.
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
    fn a_renewal_that_failed_under_a_clock_that_was_ahead_waits_for_nothing_later() {
        let ahead = T0 + DAY * 60;
        let failing = held(DAY * 90).then(failed(FailureKind::Connection, None, ahead), ahead);
        assert!(failing.retry_at.is_some());
        // Whatever comes first once the clock is right.
        for event in [
            SslEvent::Tick,
            SslEvent::DnsChecked(DnsVerdict::Right),
            SslEvent::DnsChecked(DnsVerdict::Missing),
        ] {
            let right = failing.then(event, T0);
            assert_eq!(right.rests_until(T0), None);
        }
        // Also where something was planned since, by the right clock.
        let mut replanned = failing;
        (replanned.planned, replanned.next_attempt) = (Some(T0), Some(T0 + HOUR));
        assert_eq!(replanned.then(SslEvent::Tick, T0).rests_until(T0), None);
    }

    proptest! {
        /// Whatever is stored, by whatever clock, and whenever it is looked at: nothing waits longer
        /// than its rule.
        #[test]
        fn nothing_stored_waits_longer_than_its_rule(
            reason in prop::sample::select(Reason::ALL),
            cause in prop::option::of(prop::sample::select(FailureKind::ALL.to_vec())),
            by in prop::collection::vec(
                prop_oneof![-40_000_000i64..40_000_000, -100_000i64..100_000, Just(200_000_000_000)], 32,
            ),
            absent in any::<u8>(),
            in_line in any::<bool>(),
            life in 1u32..400,
            now in -40_000_000i64..40_000_000,
        ) {
            let now = Timestamp::from_secs(T0.as_secs() + now);
            let written = moved(&every_time(reason, cause, in_line, DAY * life), &by);
            let is = |bit: u8| absent & (1 << bit) == 0;
            let written = SslStatus {
                certificate: is(0).then(|| certificate(DAY * life, T0)),
                next_attempt: written.next_attempt.filter(|_| is(1)),
                planned: written.planned.filter(|_| is(2)),
                not_before: written.not_before.filter(|_| is(3)),
                retry_at: written.retry_at.filter(|_| is(4)),
                look_at: written.look_at.filter(|_| is(5)),
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
                prop_assert!(within(status.next_due(true), ORDER_ABANDONED_AFTER + WOBBLE));
            }
            // No event plans beyond its reach either.
            let said = Timestamp::from_secs(T0.as_secs() + by[0]);
            for event in [
                failed(FailureKind::Unreachable, Some(said), now),
                failed(FailureKind::NameLimit, Some(said), now),
                SslEvent::CaOut { until: said, ca: "ca".into() },
                SslEvent::LookAt { at: said },
                SslEvent::RenewalInfo { renew_at: said, check_at: said },
            ] {
                assert_within_reach(&status.then(event, now), now);
            }
        }
    }
}
