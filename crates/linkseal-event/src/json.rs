//! Writes the pieces of an event's JSON straight into a buffer: the hot path's share of
//! serialisation, without formatting machinery or allocation.
//!
//! Only what [`super::Event`] needs: members in order, strings escaped as RFC 8259 §7 asks,
//! integers, UUIDs and times.

use std::borrow::Cow;

use linkseal_base::clock::Timestamp;
use uuid::Uuid;

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z: the last moment RFC 3339 can write.
const LAST_MS: i64 = 253_402_300_799_999;

/// An object being written into a byte buffer. Absent values write nothing, key included.
pub(super) struct Object<'b> {
    out: &'b mut Vec<u8>,
    /// Whether the next member needs a comma before it.
    comma: bool,
}

impl<'b> Object<'b> {
    /// Opens an object.
    pub(super) fn open(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, comma: false }
    }

    /// Goes on with members of an object that has been opened, and has members, elsewhere.
    pub(super) fn resume(out: &'b mut Vec<u8>) -> Self {
        Self { out, comma: true }
    }

    /// Closes the object.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    /// A string.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        string(self.out, value);
    }

    /// A string, if there is one.
    pub(super) fn text_opt(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Bytes a client sent, as text: cut at `max` bytes, what is not UTF-8 replaced.
    pub(super) fn bytes_opt(&mut self, key: &'static str, value: Option<&[u8]>, max: usize) {
        let Some(value) = value else { return };
        self.key(key);
        let text = match value.get(..max) {
            None => String::from_utf8_lossy(value),
            // A character cut in the middle goes whole.
            Some(cut) => match std::str::from_utf8(cut) {
                Err(e) if e.error_len().is_none() => {
                    String::from_utf8_lossy(cut.get(..e.valid_up_to()).unwrap_or_default())
                }
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(cut),
            },
        };
        string(self.out, &text);
    }

    /// An unsigned integer.
    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        decimal(self.out, value);
    }

    /// A UUID in its usual form.
    pub(super) fn uuid(&mut self, key: &'static str, value: Uuid) {
        self.key(key);
        self.out.push(b'"');
        self.out
            .extend_from_slice(value.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        self.out.push(b'"');
    }

    /// A time in RFC 3339.
    pub(super) fn time(&mut self, key: &'static str, value: Timestamp) {
        self.key(key);
        self.out.push(b'"');
        rfc3339(self.out, value);
        self.out.push(b'"');
    }

    /// A list of strings.
    pub(super) fn list<'s>(&mut self, key: &'static str, values: impl Iterator<Item = &'s str>) {
        self.key(key);
        self.out.push(b'[');
        for (i, value) in values.enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            string(self.out, value);
        }
        self.out.push(b']');
    }

    /// Any JSON value.
    pub(super) fn value(&mut self, key: &'static str, value: &serde_json::Value) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// An object within this one.
    pub(super) fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }

    /// Text that needs no escaping, written by a function.
    pub(super) fn plain(&mut self, key: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    fn key(&mut self, key: &'static str) {
        if self.comma {
            self.out.push(b',');
        }
        self.comma = true;
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }
}

/// A string with its quotes, escaped (RFC 8259 §7).
fn string(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    out.push(b'"');
    // Nearly all need no escaping. Looking at every byte, without stopping, is done many at once.
    if text.iter().fold(false, |found, b| found | needs_escape(*b)) {
        escaped(out, text);
    } else {
        out.extend_from_slice(text);
    }
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

#[cold]
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    let hex = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]),
            _ => out.push(*byte),
        }
    }
}

/// A number in decimal digits.
pub(super) fn decimal(out: &mut Vec<u8>, mut value: u64) {
    // u64::MAX has 20 digits.
    let mut digits = [0; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        length += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - length..).unwrap_or_default());
}

/// A time as [`Timestamp`]'s `Display` writes it, but about ten times as fast.
pub(super) fn rfc3339(out: &mut Vec<u8>, time: Timestamp) {
    let ms = time.as_millis();
    if !(0..=LAST_MS).contains(&ms) {
        // Only a machine whose clock is badly wrong comes here.
        out.extend_from_slice(time.to_string().as_bytes());
        return;
    }
    let (year, month, day) = civil(ms / DAY_MS);
    let in_day = (ms % DAY_MS) as u32;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_read_back_as_written(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_bytes_become_a_string_within_the_limit(bytes in any::<Vec<u8>>(), max in 0usize..64) {
            let mut out = Vec::new();
            let mut object = Object::open(&mut out);
            object.bytes_opt("k", Some(&bytes), max);
            object.close();
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let text = value["k"].as_str().unwrap();
            // Each wrong byte becomes one three-byte replacement character.
            prop_assert!(text.len() <= max * 3);
            if bytes.len() <= max {
                prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            }
        }

        #[test]
        fn times_are_written_as_display_does(ms in -10_000_000_000_000i64..260_000_000_000_000) {
            let time = Timestamp::from_millis(ms);
            let mut out = Vec::new();
            rfc3339(&mut out, time);
            prop_assert_eq!(String::from_utf8(out).unwrap(), time.to_string());
        }

        #[test]
        fn numbers_are_decimal(n in any::<u64>()) {
            let mut out = Vec::new();
            decimal(&mut out, n);
            prop_assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }

    #[test]
    fn zero_has_a_digit() {
        let mut out = Vec::new();
        decimal(&mut out, 0);
        assert_eq!(out, b"0");
    }
}
