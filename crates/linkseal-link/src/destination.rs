//! The destination of a click link: an absolute http or https URL that every parser reads alike.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use super::host::{address, spelled, to_ascii, wrapped_v4};
use super::reference::{encode, is_reference};

/// The longest destination, in bytes of UTF-8.
pub const MAX_DESTINATION: usize = 4096;
/// Whitespace that is stripped around a pasted URL.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\u{c}'];

/// A destination that passed the checks: http or https, a host, no userinfo, no control characters.
///
/// The spelling is kept, except for surrounding blanks, which browsers strip too (WHATWG URL);
/// [`Destination::location`] is the form for a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    text: &'a str,
    host: &'a str,
    /// Set if the host is an IP address.
    address: Option<IpAddr>,
}

/// Why a text is not a destination, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// Empty, or more than [`MAX_DESTINATION`] bytes.
    #[error("a destination must be 1 to 4096 bytes long")]
    Length,
    /// Not UTF-8.
    #[error("a destination must be valid UTF-8")]
    NotUtf8,
    /// Neither http nor https, or not absolute.
    #[error("a destination must begin with https:// or http://")]
    Scheme,
    /// A control character (C0, DEL or C1).
    #[error("a destination must not contain control characters; percent-encode them")]
    ControlCharacter,
    /// A user name or password before the host.
    #[error("a destination must not contain a user name or password before its host")]
    UserInfo,
    /// No host, or one that programs parse differently.
    #[error("a destination needs a host name or address, and a port, if any, from 0 to 65535")]
    Host,
}

impl<'a> Destination<'a> {
    /// Checks a text. Surrounding blanks are stripped.
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
        // an `@` or a backslash here would send them to different hosts.
        if authority.contains('@') {
            return Err(DestinationError::UserInfo);
        }
        let host = host_of(authority).ok_or(DestinationError::Host)?;
        // Browsers map some characters to `/`, `@`, space and the like (UTS 46).
        let address = address(host).map_err(|()| DestinationError::Host)?;
        if address.is_none() && !host.is_ascii() && to_ascii(host).is_none() {
            return Err(DestinationError::Host);
        }
        Ok(Self { text, host, address })
    }

    /// Checks the bytes of a token.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, DestinationError> {
        Self::new(str::from_utf8(bytes).map_err(|_| DestinationError::NotUtf8)?)
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The host as it was written; an IPv6 address with its brackets.
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// Whether its host is `name`, a host name in lower-case ASCII.
    pub fn has_host(&self, name: &str) -> bool {
        if self.address.is_none() && self.host.is_ascii() {
            return self
                .host
                .strip_suffix('.')
                .unwrap_or(self.host)
                .eq_ignore_ascii_case(name);
        }
        self.ascii_host().is_some_and(|host| host == name)
    }

    /// The host in the form for comparison: an address in its canonical spelling, else the name in
    /// lower-case ASCII without a trailing dot. `None` if IDNA does not allow the name.
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

    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The IPv4 address embedded in its IPv6 address (NAT64, 6to4, Teredo, ISATAP), if the host has one.
    pub fn embedded_v4(&self) -> Option<Ipv4Addr> {
        self.address.and_then(wrapped_v4)
    }

    /// What follows host and port: path, query and fragment, as they were written.
    pub fn path(&self) -> &'a str {
        let rest = after_scheme(self.text).unwrap_or_default();
        let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest.get(at..).unwrap_or_default()
    }

    /// The URL for a `Location` header (RFC 9110 §10.2.2): an RFC 3986 URI that takes browsers where the
    /// URL as written takes them. An internationalized host becomes A-labels, an IPv4 address dotted
    /// decimal.
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

/// The host of an authority without userinfo; `None` if it is missing or ambiguous.
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
mod tests;
