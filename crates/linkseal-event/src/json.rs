//! Writes an event's JSON straight into a buffer, without formatting machinery or allocation: this is
//! on the path of every request.
//!
//! Only what [`crate::Event`] needs: members in order, strings escaped per RFC 8259 §7, integers, UUIDs
//! and times.

use std::borrow::Cow;

use linkseal_base::clock::Timestamp;
use uuid::Uuid;

/// The name of a member as it is written, with the comma before it: one copy instead of four.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}
pub(crate) use key;

/// An object being written into a buffer. Keys are made by [`key`]. Absent values write nothing, not even their key.
pub(crate) struct Object<'b> {
    out: &'b mut Vec<u8>,
    /// Whether the next member needs a comma before it.
    comma: bool,
}

impl<'b> Object<'b> {
    pub(crate) fn open(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, comma: false }
    }

    /// Continues an object that was opened elsewhere and already has members.
    pub(crate) fn resume(out: &'b mut Vec<u8>) -> Self {
        Self { out, comma: true }
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }

    pub(crate) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        string(self.out, value);
    }

    pub(crate) fn text_opt(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Bytes sent by a client, as text: cut at `max` bytes, with invalid UTF-8 replaced.
    pub(crate) fn bytes_opt(&mut self, key: &'static str, value: Option<&[u8]>, max: usize) {
        let Some(value) = value else { return };
        self.key(key);
        let cut = value.get(..max).unwrap_or(value);
        let text = match std::str::from_utf8(cut) {
            Ok(text) => Cow::Borrowed(text),
            // Drop a character that was cut in the middle.
            Err(e) if e.error_len().is_none() && cut.len() < value.len() => {
                String::from_utf8_lossy(cut.get(..e.valid_up_to()).unwrap_or_default())
            }
            Err(_) => String::from_utf8_lossy(cut),
        };
        string(self.out, &text);
    }

    pub(crate) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        decimal(self.out, value);
    }

    /// A UUID in lower case with hyphens.
    pub(crate) fn uuid(&mut self, key: &'static str, value: Uuid) {
        self.key(key);
        self.out.push(b'"');
        self.out
            .extend_from_slice(value.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        self.out.push(b'"');
    }

    /// A time in RFC 3339.
    pub(crate) fn time(&mut self, key: &'static str, value: Timestamp) {
        self.key(key);
        self.out.push(b'"');
        value.write_rfc3339(self.out);
        self.out.push(b'"');
    }

    pub(crate) fn list<'s>(&mut self, key: &'static str, values: impl Iterator<Item = &'s str>) {
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

    pub(crate) fn value(&mut self, key: &'static str, value: &serde_json::Value) {
        self.key(key);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }

    /// A nested object.
    pub(crate) fn object(&mut self, key: &'static str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }

    /// A string that needs no escaping, written by a function.
    pub(crate) fn plain(&mut self, key: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    fn key(&mut self, key: &'static str) {
        let key = if self.comma {
            key
        } else {
            key.strip_prefix(',').unwrap_or(key)
        };
        self.comma = true;
        self.out.extend_from_slice(key.as_bytes());
    }
}

/// A quoted string, escaped (RFC 8259 §7).
fn string(out: &mut Vec<u8>, text: &str) {
    let text = text.as_bytes();
    out.push(b'"');
    // Nearly no string needs escaping, and a loop over all bytes without an early exit is vectorised.
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
pub(crate) fn decimal(out: &mut Vec<u8>, mut value: u64) {
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
            object.bytes_opt(key!("k"), Some(&bytes), max);
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
