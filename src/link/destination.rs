//! Where a click link may lead: an absolute http or https URL that every parser reads alike.

use std::borrow::Cow;
use std::fmt::Write;

/// The longest destination, in bytes of UTF-8.
pub const MAX_DESTINATION: usize = 4096;

/// A destination that passed the checks: http or https, a host, no userinfo, no control characters.
///
/// It is kept as it was written; [`Destination::location`] is what goes into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    text: &'a str,
    host: &'a str,
}

/// Why a text is no destination, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// Empty, or more than [`MAX_DESTINATION`] bytes.
    #[error("a destination has 1 to 4096 bytes")]
    Length,
    /// Not UTF-8.
    #[error("a destination is written in UTF-8")]
    NotUtf8,
    /// Neither http nor https, or not absolute.
    #[error("a destination begins with https:// or http://")]
    Scheme,
    /// A control character (C0, DEL or C1).
    #[error("a destination holds no control characters; write them percent-encoded")]
    ControlCharacter,
    /// A user name or password before the host.
    #[error("a destination holds no user name or password before its host")]
    UserInfo,
    /// No host, or one that programs would read differently.
    #[error("a destination needs a host name or address, and a numeric port if any")]
    Host,
}

impl<'a> Destination<'a> {
    /// Checks a text.
    pub fn new(text: &'a str) -> Result<Self, DestinationError> {
        if text.is_empty() || text.len() > MAX_DESTINATION {
            return Err(DestinationError::Length);
        }
        if has_control(text) {
            return Err(DestinationError::ControlCharacter);
        }
        let rest = after_scheme(text).ok_or(DestinationError::Scheme)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // Some programs end the authority at a backslash (WHATWG URL), some do not (RFC 3986 §3.2):
        // an `@` or a backslash here would lead them to different hosts.
        if authority.contains('@') {
            return Err(DestinationError::UserInfo);
        }
        let host = host_of(authority).ok_or(DestinationError::Host)?;
        // Some characters turn into `/`, `@`, space and the like when browsers map them (UTS 46).
        if !host.is_ascii() && to_ascii(host).is_none() {
            return Err(DestinationError::Host);
        }
        Ok(Self { text, host })
    }

    /// Checks bytes, as they stand in a token.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DestinationError> {
        Self::new(str::from_utf8(bytes).map_err(|_| DestinationError::NotUtf8)?)
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The host as it was written; an IPv6 address in its brackets.
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Whether it leads to `name`, a host name in lower-case ASCII.
    pub fn leads_to(&self, name: &str) -> bool {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        if host.is_ascii() {
            return host.eq_ignore_ascii_case(name);
        }
        to_ascii(host).is_some_and(|ascii| ascii == name)
    }

    /// The host as hosts are compared: lower-case ASCII, no dot at the end. `None`: IDNA does not
    /// allow it.
    pub fn ascii_host(&self) -> Option<Cow<'a, str>> {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        if !host.is_ascii() {
            let ascii = to_ascii(host)?;
            return Some(match ascii.strip_suffix('.') {
                Some(without) => without.to_owned().into(),
                None => ascii.into(),
            });
        }
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            return Some(host.to_ascii_lowercase().into());
        }
        Some(Cow::Borrowed(host))
    }

    /// What follows host and port: path, query and fragment as they were written.
    pub fn path(&self) -> &'a str {
        let rest = after_scheme(self.text).unwrap_or_default();
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest.get(at..).unwrap_or_default()
    }

    /// The URL in ASCII, as a `Location` header carries it (RFC 9110 §10.2.2, RFC 3986 §2.1):
    /// what is not ASCII percent-encoded, an internationalized host as A-labels.
    pub fn location(&self) -> Cow<'a, str> {
        if self.text.bytes().all(|b| b.is_ascii_graphic()) {
            return Cow::Borrowed(self.text);
        }
        let mut out = String::with_capacity(self.text.len() * 2);
        let start = self.text.len() - after_scheme(self.text).map_or(0, str::len);
        let (scheme, rest) = self.text.split_at(start);
        let tail = rest.get(self.host.len()..).unwrap_or_default();
        out.push_str(scheme);
        match to_ascii(self.host) {
            Some(host) if !self.host.is_ascii() => out.push_str(&host),
            _ => out.push_str(self.host),
        }
        encode(tail, &mut out);
        Cow::Owned(out)
    }
}

/// Control characters: C0 and DEL as single bytes, C1 (U+0080 to U+009F) as `C2 80` to `C2 9F`.
fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().any(|b| b.is_ascii_control());
    }
    text.chars().any(char::is_control)
}

/// What follows `http://` or `https://`, in any case (RFC 3986 §3.1).
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    (scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")).then_some(rest)
}

/// The host of an authority without userinfo. `None`: there is none, or it is ambiguous.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, port) = authority.split_at_checked(end)?;
        host.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>().ok()?;
        (host, port)
    } else {
        let end = authority.find(':').unwrap_or(authority.len());
        let (host, port) = authority.split_at_checked(end)?;
        let allowed = |c: char| {
            c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (!c.is_ascii() && !c.is_whitespace())
        };
        if host.trim_matches('.').is_empty() || !host.chars().all(allowed) {
            return None;
        }
        (host, port)
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let fine = digits.is_empty() || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok());
    fine.then_some(host)
}

/// An internationalized host as A-labels. `None`: IDNA does not allow it, or makes something of it
/// that is no host.
fn to_ascii(host: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL).ok()?;
    (!ascii.trim_matches('.').is_empty()).then(|| ascii.into_owned())
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_may_be_a_destination() {
        for (text, host) in [
            ("https://example.com", "example.com"),
            ("https://example.com/a/b?x=%2F#f", "example.com"),
            ("HTTP://Example.COM:8080/", "Example.COM"),
            ("http://example.com?q=a@b", "example.com"),
            ("http://example.com/a@b\\c d", "example.com"),
            ("http://[2001:db8::1]:80/", "[2001:db8::1]"),
            ("http://192.0.2.1/", "192.0.2.1"),
            ("https://bücher.example/", "bücher.example"),
            ("https://example.com:/", "example.com"),
        ] {
            assert_eq!(Destination::new(text).map(|d| d.host()), Ok(host), "{text}");
        }
    }

    #[test]
    fn what_may_not_and_why() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_DESTINATION));
        for (text, why) in [
            ("", DestinationError::Length),
            (long.as_str(), DestinationError::Length),
            ("example.com", DestinationError::Scheme),
            ("//example.com", DestinationError::Scheme),
            ("javascript:alert(1)", DestinationError::Scheme),
            ("javascript://example.com/%0aalert(1)", DestinationError::Scheme),
            ("data:text/html,x", DestinationError::Scheme),
            ("https:example.com", DestinationError::Scheme),
            (" https://example.com", DestinationError::Scheme),
            ("https://user@example.com/", DestinationError::UserInfo),
            ("https://user:pw@example.com/", DestinationError::UserInfo),
            ("https://good.example\\@evil.example/", DestinationError::UserInfo),
            ("https://good.example\\.evil.example/", DestinationError::Host),
            ("https://good.example%2f.evil.example/", DestinationError::Host),
            ("https://", DestinationError::Host),
            ("https:///path", DestinationError::Host),
            ("https://?q", DestinationError::Host),
            ("https://.", DestinationError::Host),
            ("https://:443/", DestinationError::Host),
            ("https://a b/", DestinationError::Host),
            ("https://example.com:x/", DestinationError::Host),
            ("https://good.example\u{ff0f}.evil.example/", DestinationError::Host),
            ("https://good\u{ff20}evil.example/", DestinationError::Host),
            ("http://\u{fe72}-/", DestinationError::Host),
            ("https://\u{ad}/", DestinationError::Host),
            ("https://example.com:65536/", DestinationError::Host),
            ("https://example.com:+1/", DestinationError::Host),
            ("https://[::1/", DestinationError::Host),
            ("https://[::1]x/", DestinationError::Host),
            (
                "https://example.com/\r\nSet-Cookie: a=b",
                DestinationError::ControlCharacter,
            ),
            ("https://example.com/\u{7f}", DestinationError::ControlCharacter),
            ("https://example.com/\u{85}", DestinationError::ControlCharacter),
            ("https://exam\tple.com/", DestinationError::ControlCharacter),
        ] {
            assert_eq!(Destination::new(text), Err(why), "{text}");
        }
        assert_eq!(
            Destination::from_bytes(b"https://example.com/\xff"),
            Err(DestinationError::NotUtf8)
        );
    }

    #[test]
    fn a_location_is_ascii() {
        for (text, location) in [
            ("https://example.com/a?b#c", "https://example.com/a?b#c"),
            (
                "https://example.com/ünï?q=日 x",
                "https://example.com/%C3%BCn%C3%AF?q=%E6%97%A5%20x",
            ),
            (
                "https://bücher.example:8443/ä",
                "https://xn--bcher-kva.example:8443/%C3%A4",
            ),
        ] {
            assert_eq!(Destination::new(text).unwrap().location(), location);
        }
    }

    #[test]
    fn spellings_of_one_host_are_one() {
        for text in [
            "https://xn--bcher-kva.example/",
            "https://XN--bcher-KVA.example./",
            "https://bücher.example:1/",
        ] {
            assert!(
                Destination::new(text).unwrap().leads_to("xn--bcher-kva.example"),
                "{text}"
            );
        }
        assert!(!Destination::new("https://example.com").unwrap().leads_to("example.org"));
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_location_is_a_header(text in "(https?://)?\\PC{0,60}") {
            if let Ok(d) = Destination::new(&text) {
                prop_assert!(http::HeaderValue::from_str(&d.location()).is_ok());
                prop_assert!(d.location().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(!d.host().is_empty());
            }
        }
    }
}
