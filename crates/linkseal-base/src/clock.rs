//! The one source of time, which tests can move.
//!
//! Everything that depends on the time of day reads a [`Clock`]: certificate lifetimes, retries,
//! leases, token ages, journal rotation. A clock that was moved keeps running with an offset, and
//! each jump wakes all sleepers to check their deadlines again.
//!
//! The system's time of day is not monotonic: operators and NTP set it, forward and back. Spans are
//! therefore slept on the monotonic clock ([`Clock::sleep`], [`Clock::uptime`]). A stored time of
//! day is believed only as far as the rule that made it can reach ([`Timestamp::is_ahead`],
//! [`Timestamp::is_within`]), so that a time written by a clock that was ahead delays nothing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::sync::Notify;

/// Times closer together than this count as equal: clocks of two nodes differ, and NTP corrects them.
pub const WOBBLE: Duration = Duration::from_secs(60);
/// Longest sleep before the time of day is read again: it may have been set meanwhile.
const SLICE: Duration = Duration::from_secs(30);
/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z: the last moment RFC 3339 can write.
const LAST_MS: i64 = 253_402_300_799_999;
/// Length of a time in RFC 3339, with milliseconds, in bytes.
const RFC3339_MAX: usize = 24;

/// The clock of one running edge. Clones share the same offset.
#[derive(Clone, Default)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    /// Milliseconds added to the system's time; only tests and the simulator move it.
    offset_ms: AtomicI64,
    /// The part of the offset that counts as elapsed time, unlike a clock that was set.
    passed_ms: AtomicI64,
    began: Instant,
    /// Milliseconds since 1970 at which a test's clock stands. `None`: it runs with the system's.
    stands_at: Option<i64>,
    moved: Notify,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            offset_ms: AtomicI64::new(0),
            passed_ms: AtomicI64::new(0),
            began: Instant::now(),
            stands_at: None,
            moved: Notify::new(),
        }
    }
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still and moves only by [`Clock::advance`] and [`Clock::set`].
    #[cfg(feature = "testing")]
    pub fn standing_at(at: Timestamp) -> Self {
        Self {
            inner: Arc::new(Inner {
                stands_at: Some(at.as_millis()),
                ..Inner::default()
            }),
        }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        let ms = self.inner.stands_at.unwrap_or_else(system_ms);
        Timestamp::from_millis(ms.saturating_add(self.inner.offset_ms.load(Ordering::Relaxed)))
    }

    /// Moves the clock forward as if `by` had elapsed, and wakes every sleeper.
    pub fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.inner.passed_ms.fetch_add(ms, Ordering::Relaxed);
        self.inner.offset_ms.fetch_add(ms, Ordering::Relaxed);
        self.inner.moved.notify_waiters();
    }

    /// Sets the clock forward or back, as an operator or NTP does: no time elapses
    /// ([`Clock::uptime`] stays as it is).
    pub fn set(&self, by_ms: i64) {
        self.inner.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
        self.inner.moved.notify_waiters();
    }

    /// Time elapsed since this clock was created, whatever it was set to.
    pub fn uptime(&self) -> Duration {
        let passed = u64::try_from(self.inner.passed_ms.load(Ordering::Relaxed)).unwrap_or(0);
        let run = match self.inner.stands_at {
            Some(_) => Duration::ZERO,
            None => self.inner.began.elapsed(),
        };
        run + Duration::from_millis(passed)
    }

    /// Sleeps until the time of day reaches `deadline`, be it by a jump.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        self.sleep_while(|| deadline.since(self.now())).await;
    }

    /// Sleeps for `span`, whatever the time of day is set to meanwhile.
    pub async fn sleep(&self, span: Duration) {
        let end = self.uptime().saturating_add(span);
        let left = || Some(end.saturating_sub(self.uptime())).filter(|left| !left.is_zero());
        self.sleep_while(left).await;
    }

    async fn sleep_while(&self, left: impl Fn() -> Option<Duration>) {
        loop {
            let moved = self.inner.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let Some(left) = left() else { return };
            tokio::select! {
                () = tokio::time::sleep(nap(left)) => {}
                () = moved => {}
            }
        }
    }
}

/// The system's time, in milliseconds since 1970.
fn system_ms() -> i64 {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system's time"
    )]
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 counts as 1970 instead of causing a panic: certificates then look not yet valid, which
    // is reported as a wrong clock.
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// How much of the remaining time to sleep before the clock is read again.
fn nap(left: Duration) -> Duration {
    left.min(SLICE)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock(+{} ms)", self.inner.offset_ms.load(Ordering::Relaxed))
    }
}

/// A moment, in milliseconds since the Unix epoch; written as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole seconds since the Unix epoch; zero before it.
    pub fn unix(self) -> u64 {
        u64::try_from(self.as_secs()).unwrap_or(0)
    }

    /// Parses an IMF-fixdate (RFC 9110 §5.6.7); `None` for anything else, the obsolete formats included.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        let date = PrimitiveDateTime::parse(text.trim(), &format).ok()?;
        Some(Self::from_secs(date.assume_utc().unix_timestamp()))
    }

    /// The span from `earlier` to this moment; `None` unless this moment is later.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let ms = self.0.saturating_sub(earlier.0);
        u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// The span from `earlier` to this moment; zero unless this moment is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.since(earlier).unwrap_or_default()
    }

    /// Whether this deadline is still ahead. `reach` is how far ahead its rule can set it: a deadline
    /// beyond that was set by a wrong clock and counts as passed.
    pub fn is_ahead(self, now: Self, reach: Duration) -> bool {
        self > now && self <= now + reach.saturating_add(WOBBLE)
    }

    /// Whether this moment is less than `span` ago. A moment in the future was recorded by a clock
    /// that was ahead; how long ago is unknown, so the answer is no.
    pub fn is_within(self, span: Duration, now: Self) -> bool {
        now.saturating_since(self) < span && self <= now + WOBBLE
    }

    /// `span` before this moment.
    pub fn minus(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The same moment in the `time` crate's type; moments it cannot hold become the epoch.
    pub fn to_datetime(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Appends this moment as RFC 3339, in UTC, with milliseconds unless they are zero.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        if !(0..=LAST_MS).contains(&self.0) {
            // Reached only if the clock is badly wrong.
            return write_far(self.to_datetime(), out);
        }
        let (year, month, day) = civil(self.0 / DAY_MS);
        let in_day = (self.0 % DAY_MS) as u32;
        let two = |n: u32| [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        let ([y1, y2], [y3, y4]) = (two(year / 100), two(year % 100));
        let ([mo1, mo2], [d1, d2]) = (two(month), two(day));
        let ([h1, h2], [mi1, mi2]) = (two(in_day / 3_600_000), two(in_day / 60_000 % 60));
        let [s1, s2] = two(in_day / 1000 % 60);
        out.extend_from_slice(&[
            y1, y2, y3, y4, b'-', mo1, mo2, b'-', d1, d2, b'T', h1, h2, b':', mi1, mi2, b':', s1, s2,
        ]);
        let milli = in_day % 1000;
        if milli > 0 {
            let [tens, ones] = two(milli % 100);
            out.extend_from_slice(&[b'.', b'0' + (milli / 100) as u8, tens, ones]);
        }
        out.push(b'Z');
    }

    /// Parses RFC 3339, with any offset; fractions are rounded down to milliseconds.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let t = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(t.unix_timestamp_nanos().div_euclid(1_000_000))
            .ok()
            .map(Self)
    }
}

/// [`Timestamp::write_rfc3339`] outside the years 1970 to 9999.
fn write_far(t: OffsetDateTime, out: &mut Vec<u8>) {
    let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
    let (hour, minute, second) = (t.hour(), t.minute(), t.second());
    let fraction = match t.millisecond() {
        0 => String::new(),
        ms => format!(".{ms:03}"),
    };
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z");
    out.extend_from_slice(text.as_bytes());
}

/// Year, month and day of a day since 1970, in the Gregorian calendar; eras of 400 years start in
/// March, so that the leap day comes last (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (u32, u32, u32) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(RFC3339_MAX);
        self.write_rfc3339(&mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// As `/openapi.json` describes it.
impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse_rfc3339(&text)
            .ok_or_else(|| de::Error::custom(format!("`{text}` is not an RFC 3339 time such as 2026-11-22T09:30:00Z")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_output_agrees_with_the_time_crate() {
        // From before 1653 to beyond 9999, at uneven steps.
        for ms in (-10_000_000_000_000i64..260_000_000_000_000).step_by(9_999_999_967) {
            let mut expected = Vec::new();
            write_far(Timestamp::from_millis(ms).to_datetime(), &mut expected);
            assert_eq!(Timestamp::from_millis(ms).to_string().into_bytes(), expected);
        }
    }

    #[test]
    fn rfc_3339_round_trips() {
        for text in [
            "2026-11-22T09:30:00Z",
            "2026-11-22T09:30:00.123Z",
            "1969-12-31T23:59:59.999Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Timestamp::parse_rfc3339("2026-11-22T10:30:00+01:00")
                .unwrap()
                .to_string(),
            "2026-11-22T09:30:00Z"
        );
        assert!(Timestamp::parse_rfc3339("yesterday").is_none());
    }

    #[tokio::test]
    async fn a_jump_wakes_a_sleeper() {
        let clock = Clock::system();
        let day = Duration::from_secs(86_400);
        let deadline = clock.now() + day;
        let jump = async {
            tokio::task::yield_now().await;
            clock.advance(day);
        };
        tokio::join!(clock.sleep_until(deadline), jump);
        assert!(clock.now() >= deadline);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_delays_no_sleeper() {
        let clock = Clock::system();
        let (short, day) = (Duration::from_millis(200), Duration::from_secs(86_400));
        for by_ms in [-86_400_000, 60 * 86_400_000] {
            let begun = Instant::now();
            let set = async {
                tokio::task::yield_now().await;
                clock.set(by_ms);
            };
            tokio::join!(clock.sleep(short), set);
            assert!((short..day).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        }
        // The time of day is read again within a minute, however far off the deadline is.
        assert!(nap(day) <= Duration::from_secs(60));
        assert_eq!(nap(short), short);
    }

    #[tokio::test]
    async fn advancing_the_clock_ends_a_sleep() {
        let (clock, hour) = (Clock::system(), Duration::from_secs(3600));
        let jump = async {
            tokio::task::yield_now().await;
            clock.advance(hour);
        };
        tokio::join!(clock.sleep(hour), jump);
        assert!(clock.uptime() >= hour);
    }

    #[cfg(feature = "testing")]
    #[test]
    fn a_clock_that_stands_moves_only_when_it_is_moved() {
        let (at, hour) = (Timestamp::from_secs(1_800_000_000), Duration::from_secs(3600));
        let clock = Clock::standing_at(at);
        std::hint::black_box((0..100_000).sum::<u64>());
        assert_eq!((clock.now(), clock.uptime()), (at, Duration::ZERO));
        clock.advance(hour);
        clock.set(-7_200_000);
        assert_eq!((clock.now(), clock.uptime()), (at.minus(hour), hour));
    }

    #[test]
    fn a_stored_time_beyond_its_reach_counts_as_passed() {
        let (now, hour) = (Timestamp::from_secs(1_795_305_600), Duration::from_secs(3600));
        assert!(!now.is_ahead(now, hour));
        assert!((now + hour).is_ahead(now, hour));
        assert!(!(now + hour * 24).is_ahead(now, hour));
        assert!(!Timestamp::from_millis(i64::MAX).is_ahead(now, hour));
        assert!(now.is_within(hour, now) && !now.minus(hour).is_within(hour, now));
        assert!(now.minus(hour / 2).is_within(hour, now));
        assert!(
            !(now + hour * 24).is_within(hour, now),
            "recorded by a clock that was ahead"
        );
    }
}
