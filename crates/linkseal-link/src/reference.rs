//! Spells what follows the host of a URL by the grammar of RFC 3986, for `Location` (RFC 9110 §10.2.2).
//! Browsers repair what violates the grammar; strict clients and link checkers refuse it.
//!
//! Encoding never changes where a URL points: only what browsers encode or servers decode is encoded, no
//! `%XX` is encoded twice, and a backslash in a path becomes the slash that browsers read it as. One
//! deviation: brackets in query and fragment (`f[0]=…`) stay, as browsers send them.

use std::borrow::Cow;

/// The part of a URL that a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Port and path.
    Path,
    /// After the first `?`.
    Query,
    /// After the first `#`.
    Fragment,
}

/// Whether nothing needs to be encoded. `tail`: what follows the host.
pub(super) fn is_reference(tail: &str) -> bool {
    // What is allowed everywhere first: it is nearly all there is.
    let bytes = tail.as_bytes();
    let mut part = Part::Path;
    bytes.iter().enumerate().all(|(at, byte)| {
        let fine = is_plain(*byte) || stays(*byte, bytes.get(at + 1..).unwrap_or_default(), part);
        part = part.after(*byte);
        fine
    })
}

/// Encodes what follows the host; a backslash in the path becomes a slash, as in browsers.
pub(super) fn encode(tail: &str, out: &mut String) {
    write(tail, true, out);
}

/// The path and query of a request as a URI reference. A backslash stays a backslash, because that is what
/// was requested.
pub fn encoded_target(target: &str) -> Cow<'_, str> {
    if is_reference(target) {
        return target.into();
    }
    let mut out = String::with_capacity(target.len() * 2);
    write(target, false, &mut out);
    out.into()
}

fn write(tail: &str, backslash_is_slash: bool, out: &mut String) {
    let bytes = tail.as_bytes();
    let mut part = Part::Path;
    for (at, byte) in bytes.iter().enumerate() {
        if is_plain(*byte) || stays(*byte, bytes.get(at + 1..).unwrap_or_default(), part) {
            out.push(char::from(*byte));
        } else if *byte == b'\\' && part == Part::Path && backslash_is_slash {
            out.push('/');
        } else {
            push_encoded(*byte, out);
        }
        part = part.after(*byte);
    }
}

impl Part {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (_, b'#') => Self::Fragment,
            (Self::Path, b'?') => Self::Query,
            _ => self,
        }
    }
}

/// What may stand anywhere after the host: unreserved, sub-delims, `:`, `@` and `/` (RFC 3986 §3.3).
fn is_plain(byte: u8) -> bool {
    matches!(byte,
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')'
        | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/')
}

/// Whether a byte outside [`is_plain`] is allowed in this part; `after` follows it.
fn stays(byte: u8, after: &[u8], part: Part) -> bool {
    match byte {
        b'%' => matches!(after, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()),
        b'?' => true,
        b'#' => part != Part::Fragment,
        b'[' | b']' => part != Part::Path,
        _ => false,
    }
}

fn push_encoded(byte: u8, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.push(HEX.get(usize::from(digit)).copied().map_or('0', char::from));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::destination::Destination;
    use super::*;

    /// The grammar of RFC 3986 §3 for what follows the host, but for brackets in query and fragment.
    fn is_in_the_grammar(tail: &str) -> bool {
        let pchar = |text: &str, more: &str| {
            let mut rest = text.as_bytes();
            while let [byte, after @ ..] = rest {
                rest = match (byte, after) {
                    (b'%', [a, b, after @ ..]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => after,
                    (b'%', _) => return false,
                    _ => after,
                };
                let allowed = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(byte);
                if !allowed && !more.as_bytes().contains(byte) {
                    return false;
                }
            }
            true
        };
        let (rest, fragment) = tail.split_once('#').unwrap_or((tail, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        (path.is_empty() || path.starts_with(['/', ':']))
            && pchar(path, "/")
            && pchar(query, "/?[]")
            && pchar(fragment, "/?[]")
    }

    /// What a browser makes of what follows the host (WHATWG URL): backslashes in the path are
    /// slashes. With all that is encoded decoded, so that two spellings of one place are equal.
    fn place(tail: &str) -> [Vec<u8>; 3] {
        let (rest, fragment) = tail.split_once('#').unwrap_or((tail, ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        [path.replace('\\', "/").as_str(), query, fragment].map(decode)
    }

    fn decode(text: &str) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), text.as_bytes());
        while let [byte, after @ ..] = rest {
            rest = after;
            let mut decoded = [0];
            match after {
                [a, b, after @ ..] if *byte == b'%' && hex::decode_to_slice([*a, *b], &mut decoded).is_ok() => {
                    out.push(decoded[0]);
                    rest = after;
                }
                _ => out.push(*byte),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_location_is_a_reference_to_the_same_place(tail in "(/[\\PC]{0,40}|\\?\\PC{0,40}|#\\PC{0,40}|/[%0-9a-f\\[\\]{}|\\\\^`<>\"?# ]{0,40})?") {
            let text = format!("https://example.com{tail}");
            let destination = Destination::new(&text).unwrap();
            let location = destination.location();
            let written = location.strip_prefix("https://example.com").unwrap();
            prop_assert!(is_in_the_grammar(written), "{}", location);
            prop_assert_eq!(place(written), place(destination.path()));
            // Once is enough.
            let again = Destination::new(&location).unwrap();
            prop_assert_eq!(again.location(), location.as_ref());
        }

        #[test]
        fn a_target_stays_what_was_asked_for(target in "/[%0-9a-f\\[\\]{}|\\\\^`<>\"? é]{0,40}") {
            let written = encoded_target(&target);
            prop_assert!(is_in_the_grammar(&written), "{}", written);
            prop_assert_eq!(decode(&written), decode(&target));
        }
    }
}
