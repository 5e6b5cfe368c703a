//! When a certificate is renewed: by the CA's renewal information (RFC 9773) where it offers any, else
//! by remaining life.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::Deserialize;

/// Below this lifetime half of it must be left at renewal, above it a third: Let's Encrypt's advice.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 86_400);
/// Largest share of the lifetime by which a renewal comes earlier, so that certificates issued together
/// are not renewed together.
const SPREAD: f64 = 0.05;
/// Bounds of the CA's Retry-After (RFC 9773 §4.3.2 leaves them to the client).
const ASK_AGAIN_MIN: Duration = Duration::from_secs(60);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(24 * 3600);
/// Interval without a Retry-After: four times a day, twice the minimum that Let's Encrypt asks for.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);

/// When to renew a certificate without renewal information. `jitter` is in `0.0..1.0`.
///
/// The lifetime counts from `not_before`. For a certificate just obtained, callers pass the current time
/// if that is later: CAs backdate, and a certificate that lives for a minute would be due at once.
pub fn plan(not_before: Timestamp, not_after: Timestamp, jitter: f64) -> Timestamp {
    let life = not_after.saturating_since(not_before);
    let left = if life < SHORT_LIVED { life / 2 } else { life / 3 };
    not_after.minus(left + life.mul_f64(SPREAD * jitter.clamp(0.0, 1.0)))
}

/// When to fetch renewal information for the first time: within the default interval, and within the
/// first quarter of a short life. `unit` is in `0.0..1.0`.
pub fn first_check(from: Timestamp, not_after: Timestamp, unit: f64) -> Timestamp {
    let span = ASK_AGAIN.min(not_after.saturating_since(from) / 4);
    // At random in the second half of the span, so that certificates issued together are not checked together.
    from + span.mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
}

/// The window in which the CA wants a certificate to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// Its start; in the past when the CA is about to revoke.
    pub start: Timestamp,
    /// Its end.
    pub end: Timestamp,
    /// When to ask again: the CA's Retry-After, at least a minute and at most a day from now.
    pub check_at: Timestamp,
}

impl RenewalInfo {
    /// The moment in the window to renew at; `unit` is in `0.0..1.0`, drawn once (RFC 9773 §4.2).
    pub fn pick(&self, unit: f64) -> Timestamp {
        self.start + self.end.saturating_since(self.start).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// Parses the CA's answer; `None` if it is malformed, or its window does not end after its start.
    pub(super) fn parse(body: &[u8], retry_after: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            suggested_window: Window,
        }
        #[derive(Deserialize)]
        struct Window {
            start: Timestamp,
            end: Timestamp,
        }
        let Window { start, end } = serde_json::from_slice::<Body>(body).ok()?.suggested_window;
        let check_at = retry_after
            .unwrap_or(now + ASK_AGAIN)
            .clamp(now + ASK_AGAIN_MIN, now + ASK_AGAIN_MAX);
        (start < end).then_some(Self { start, end, check_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn t(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn a_third_is_left_or_half_of_a_short_life() {
        assert_eq!(plan(t(0), t(90 * DAY), 0.0), t(60 * DAY));
        assert_eq!(plan(t(0), t(45 * DAY), 0.0), t(30 * DAY));
        assert_eq!(plan(t(0), t(160 * 3600), 0.0), t(80 * 3600));
        assert_eq!(plan(t(0), t(60), 0.0), t(30));
        assert_eq!(plan(t(0), t(60), 1.0), t(27));
        assert_eq!(plan(t(60), t(0), 0.5), t(0), "an inverted validity is due at once");
    }

    #[test]
    fn every_lifetime_leaves_time_for_retries_and_stays_below_the_cas_limits() {
        /// Retries come after 1, 10 and 100 minutes, then daily: some daily ones must fit.
        const FOR_RETRIES: i64 = 3 * DAY;
        /// One exact set of names: five certificates in seven days (Let's Encrypt).
        const NOT_SOONER: i64 = 7 * DAY / 5;
        for (hours, left_days) in [(90 * 24, 30), (64 * 24, 21), (45 * 24, 15), (160, 3)] {
            let life = hours * 3600;
            for step in 0..=100u8 {
                // CAs backdate by an hour; the life of a new certificate counts from now.
                let at = plan(t(0), t(life), f64::from(step) / 100.0).as_secs();
                assert!(
                    life - at >= left_days * DAY && life - at >= FOR_RETRIES,
                    "{hours} h: {at}"
                );
                assert!(at >= NOT_SOONER, "{hours} h: {at}");
                assert!(at >= life * 9 / 20, "{hours} h: hardly more than twice in a life: {at}");
            }
        }
    }

    #[test]
    fn jitter_only_brings_a_renewal_forward() {
        for step in 0..=100u8 {
            let at = plan(t(0), t(90 * DAY), f64::from(step) / 100.0);
            assert!(at <= t(60 * DAY) && at >= t(55 * DAY), "{at}");
        }
    }

    #[test]
    fn renewal_information_is_parsed_and_its_retry_after_bounded() {
        let body = br#"{"suggestedWindow":{"start":"2026-11-22T00:00:00Z","end":"2026-11-24T00:00:00Z"},"explanationURL":"x"}"#;
        let now = Timestamp::parse_rfc3339("2026-11-20T00:00:00Z").unwrap();
        let of = |after| RenewalInfo::parse(body, after, now).unwrap();
        assert_eq!(of(None).check_at, now + ASK_AGAIN);
        assert_eq!(of(Some(now)).check_at, now + ASK_AGAIN_MIN);
        assert_eq!(of(Some(now + 10 * ASK_AGAIN_MAX)).check_at, now + ASK_AGAIN_MAX);
        assert_eq!(of(None).pick(0.5).to_string(), "2026-11-23T00:00:00Z");
        assert!(of(None).pick(0.0) == of(None).start && of(None).pick(2.0) == of(None).end);
        let upside_down = br#"{"suggestedWindow":{"start":"2026-11-24T00:00:00Z","end":"2026-11-22T00:00:00Z"}}"#;
        assert!(RenewalInfo::parse(upside_down, None, now).is_none());
        assert!(RenewalInfo::parse(b"<html>", None, now).is_none());
    }
}
