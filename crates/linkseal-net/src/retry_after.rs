//! The `Retry-After` header (RFC 9110 §10.2.3): seconds, or an HTTP date in its preferred form.

use std::time::Duration;

use linkseal_base::clock::Timestamp;

/// When a server asks its client to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    Delay(Duration),
    At(Timestamp),
}

impl RetryAfter {
    /// `None` for anything else, obsolete forms of dates included.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Self::Delay(Duration::from_secs(seconds)));
        }
        Timestamp::parse_http_date(value).map(Self::At)
    }

    /// The pause from now on; none if the time has passed.
    pub fn delay(self, now: Timestamp) -> Duration {
        match self {
            Self::Delay(delay) => delay,
            Self::At(time) => time.saturating_since(now),
        }
    }

    /// The time. `None` for a delay of more than 136 years, which no server means.
    pub fn time(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Delay(delay) => (delay.as_secs() <= u32::MAX.into()).then(|| now + delay),
            Self::At(time) => Some(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let now = Timestamp::from_secs(1_000);
        let time = |text| RetryAfter::parse(text).and_then(|after| after.time(now));
        assert_eq!(time("120"), Some(Timestamp::from_secs(1_120)));
        assert_eq!(time(" 0 "), Some(now));
        assert_eq!(
            time("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Timestamp::from_secs(784_111_777))
        );
        for bad in ["", "-1", "soon", "99999999999999", "1994-11-06"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_delay_counts_from_now() {
        let now = Timestamp::from_secs(784_111_777 - 60);
        let delay = |text| RetryAfter::parse(text).map(|after| after.delay(now));
        assert_eq!(delay("30"), Some(Duration::from_secs(30)));
        assert_eq!(delay("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(delay("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(delay("99999999999999"), Some(Duration::from_secs(99_999_999_999_999)));
    }
}
