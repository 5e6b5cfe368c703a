//! Where a click link may lead: an absolute http or https URL that every parser reads alike.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use super::host::{address, spelled, to_ascii, wrapped_v4};
use super::reference::{encode, is_reference};

/// The longest destination, in bytes of UTF-8.
pub const MAX_DESTINATION: usize = 4096;
/// What stands around a pasted URL and is no part of it.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\u{c}'];

/// A destination that passed the checks: http or https, a host, no userinfo, no control characters.
///
/// It is kept as it was written, but for blanks around it, which browsers cut off too (WHATWG URL);
/// [`Destination::location`] is what goes into a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    text: &'a str,
    host: &'a str,
    /// `None`: the host is a name.
    address: Option<IpAddr>,
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
    /// Checks a text. Blanks at its ends are no part of it.
    pub fn new(text: &'a str) -> Result<Self, DestinationError> {
        let text = text.trim_matches(BLANKS);
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
        let address = address(host).map_err(|()| DestinationError::Host)?;
        if address.is_none() && !host.is_ascii() && to_ascii(host).is_none() {
            return Err(DestinationError::Host);
        }
        Ok(Self { text, host, address })
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
        if self.address.is_none() && self.host.is_ascii() {
            return self
                .host
                .strip_suffix('.')
                .unwrap_or(self.host)
                .eq_ignore_ascii_case(name);
        }
        self.ascii_host().is_some_and(|host| host == name)
    }

    /// The host as hosts are compared: an address in its one spelling, else the name in lower-case
    /// ASCII without a dot at the end. `None`: IDNA does not allow it.
    pub fn ascii_host(&self) -> Option<Cow<'a, str>> {
        if let Some(address) = self.address {
            return Some(spelled(address).into());
        }
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

    /// The address, where the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The IPv4 address embedded in its IPv6 address (NAT64, 6to4, Teredo, ISATAP, mapped), where
    /// the host is one.
    pub fn embedded_v4(&self) -> Option<Ipv4Addr> {
        self.address.and_then(wrapped_v4)
    }

    /// What follows host and port: path, query and fragment as they were written.
    pub fn path(&self) -> &'a str {
        let rest = after_scheme(self.text).unwrap_or_default();
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest.get(at..).unwrap_or_default()
    }

    /// The URL as a `Location` header carries it (RFC 9110 §10.2.2): a URI reference by RFC 3986 that
    /// leads where browsers go from the URL as it was written. An internationalized host stands as
    /// A-labels, an IPv4 address in decimal.
    pub fn location(&self) -> Cow<'a, str> {
        let host = match self.address {
            Some(IpAddr::V4(v4)) if !self.host.starts_with('[') => Some(v4.to_string()).filter(|v4| v4 != self.host),
            _ if self.host.is_ascii() => None,
            _ => to_ascii(self.host),
        };
        let start = self.text.len() - after_scheme(self.text).map_or(0, str::len);
        let (scheme, rest) = self.text.split_at(start);
        let tail = rest.get(self.host.len()..).unwrap_or_default();
        if host.is_none() && is_reference(tail) {
            return Cow::Borrowed(self.text);
        }
        let mut out = String::with_capacity(self.text.len() * 2);
        out.push_str(scheme);
        out.push_str(host.as_deref().unwrap_or(self.host));
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
            ("\u{a0}https://example.com", DestinationError::Scheme),
            (" \t ", DestinationError::Length),
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
            ("https://[[::1]:80/", DestinationError::Host),
            ("https://[::1]]:80/", DestinationError::Host),
            ("https://256.0.0.1/", DestinationError::Host),
            ("https://1.2.3.4.5/", DestinationError::Host),
            ("https://example.09/", DestinationError::Host),
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
    fn blanks_around_a_destination_are_no_part_of_it() {
        for text in [
            " https://example.com/a b",
            "https://example.com/a b ",
            "\r\n\thttps://example.com/a b\u{c} \n",
        ] {
            let destination = Destination::new(text).unwrap();
            assert_eq!(destination.as_str(), "https://example.com/a b");
            assert_eq!(destination.location(), "https://example.com/a%20b");
        }
        // Browsers keep this one.
        let other = Destination::new("https://example.com/ok\u{a0}").unwrap();
        assert_eq!(other.location(), "https://example.com/ok%C2%A0");
        let longest = format!("  https://example.com/{}  ", "a".repeat(MAX_DESTINATION - 20));
        assert!(Destination::new(&longest).is_ok());
    }

    #[test]
    fn a_location_is_a_uri_reference() {
        for (text, location) in [
            (
                "https://a.example/f[0]?f[0]=themes:2#f[0]",
                "https://a.example/f%5B0%5D?f[0]=themes:2#f[0]",
            ),
            (
                "https://a.example/{b}|c?t={{x}}#{y}",
                "https://a.example/%7Bb%7D%7Cc?t=%7B%7Bx%7D%7D#%7By%7D",
            ),
            (
                "https://a.example/?q=\"a\"<b>^`\\",
                "https://a.example/?q=%22a%22%3Cb%3E%5E%60%5C",
            ),
            (
                "https://a.example/a\\b\\?c\\d#e\\f",
                "https://a.example/a/b/?c%5Cd#e%5Cf",
            ),
            (
                "https://a.example/100%off?x=%&y=%2&z=%zz#%",
                "https://a.example/100%25off?x=%25&y=%252&z=%25zz#%25",
            ),
            (
                "https://a.example/a%20b+c?x=1+1&y=%2B%2f",
                "https://a.example/a%20b+c?x=1+1&y=%2B%2f",
            ),
            (
                "https://a.example/files/App (1).png?q=a+b c",
                "https://a.example/files/App%20(1).png?q=a+b%20c",
            ),
            ("https://a.example/#a#b", "https://a.example/#a%23b"),
            ("https://a.example?a?b/c", "https://a.example?a?b/c"),
            (
                "https://a.example/käse?q=日本 🎉#fräg",
                "https://a.example/k%C3%A4se?q=%E6%97%A5%E6%9C%AC%20%F0%9F%8E%89#fr%C3%A4g",
            ),
            ("http://0xcb007105:8080/x", "http://203.0.113.5:8080/x"),
            ("http://２０３.0.113.5/{", "http://203.0.113.5/%7B"),
            ("http://[2001:DB8::5]/", "http://[2001:DB8::5]/"),
        ] {
            assert_eq!(Destination::new(text).unwrap().location(), location, "{text}");
        }
    }

    #[test]
    fn spellings_of_one_host_are_one() {
        for text in [
            "https://xn--bcher-kva.example/",
            "https://XN--bcher-KVA.example./",
            "https://bücher.example:1/",
            "https://BÜCHER。example。/",
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
