//! Which host a request is for, compared as in RFC 9110 §4.2.3: ignoring case, port and a trailing dot.

use std::net::IpAddr;

use http::header::HOST;
use http::{Version, request};

/// Bytes of the longest name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// The host a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host<'r> {
    /// As written, without port and trailing dot; an IPv6 address in its brackets.
    text: &'r str,
}

/// The request names no single valid host: 400 (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHost;

impl<'r> Host<'r> {
    /// From `:authority` or an absolute target, else from the Host header. `None`: HTTP/1.0 without one.
    pub(super) fn of(head: &'r request::Parts) -> Result<Option<Self>, BadHost> {
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(BadHost);
        }
        if let Some(authority) = head.uri.authority() {
            return Self::parse(authority.as_str()).map(Some);
        }
        let Some(host) = host else {
            return if head.version == Version::HTTP_10 {
                Ok(None)
            } else {
                Err(BadHost)
            };
        };
        Self::parse(host.to_str().map_err(|_| BadHost)?).map(Some)
    }

    fn parse(text: &'r str) -> Result<Self, BadHost> {
        let (host, port) = if text.starts_with('[') {
            text.split_at_checked(text.find(']').ok_or(BadHost)? + 1)
                .ok_or(BadHost)?
        } else {
            text.split_at_checked(text.find(':').unwrap_or(text.len()))
                .ok_or(BadHost)?
        };
        let digits = match port.strip_prefix(':') {
            Some(digits) => digits,
            None if port.is_empty() => "",
            None => return Err(BadHost),
        };
        // The characters of a host (RFC 3986 §3.2.2): it may be copied into a `Location`.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
        if host.is_empty() || !host.bytes().all(allowed) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadHost);
        }
        Ok(Self {
            text: host.strip_suffix('.').unwrap_or(host),
        })
    }

    /// `name`: in lower-case ASCII.
    pub(super) fn is(&self, name: &str) -> bool {
        self.text.eq_ignore_ascii_case(name)
    }

    /// Whether it is an address literal.
    pub(super) fn is_address(&self) -> bool {
        match self.text.strip_prefix('[') {
            Some(v6) => v6
                .strip_suffix(']')
                .is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()),
            None => self.text.parse::<IpAddr>().is_ok_and(|a| a.is_ipv4()),
        }
    }

    /// As written by the client.
    pub(super) fn as_str(&self) -> &'r str {
        self.text
    }

    /// Calls `f` with the name in lower case, without allocating. `None` if it is too long for a name.
    pub(super) fn lower<T>(&self, f: impl FnOnce(&str) -> T) -> Option<T> {
        let mut buffer = [0; MAX_NAME];
        let lower = buffer.get_mut(..self.text.len())?;
        lower.copy_from_slice(self.text.as_bytes());
        lower.make_ascii_lowercase();
        str::from_utf8(lower).ok().map(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_port_and_dot_are_ignored() {
        for text in [
            "links.example",
            "LINKS.Example",
            "links.example.",
            "links.example:443",
            "links.example.:8443",
            "links.example:",
        ] {
            assert!(Host::parse(text).unwrap().is("links.example"), "{text}");
        }
        assert!(!Host::parse("links.example.evil").unwrap().is("links.example"));
        assert_eq!(
            Host::parse("Links.Example:80").unwrap().lower(str::to_owned).unwrap(),
            "links.example"
        );
        assert_eq!(Host::parse(&"a".repeat(300)).unwrap().lower(|_| ()), None);
    }

    #[test]
    fn addresses() {
        for (text, is) in [
            ("127.0.0.1:80", true),
            ("[::1]:443", true),
            ("[::1]", true),
            ("links.example", false),
            ("[links]", false),
            ("1.2.3", false),
        ] {
            assert_eq!(Host::parse(text).unwrap().is_address(), is, "{text}");
        }
    }

    #[test]
    fn invalid_hosts() {
        for text in [
            "",
            ":80",
            "a b",
            "a/b",
            "user@a.example",
            "a.example:x",
            "[::1",
            "[::1]x",
            "a,b",
            "a%00",
        ] {
            assert_eq!(Host::parse(text), Err(BadHost), "{text}");
        }
    }

    #[test]
    fn one_host_and_only_one() {
        let get = |version: Version, uri: &str, hosts: &[&str]| {
            let mut request = http::Request::get(uri).version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            Host::of(&request.body(()).unwrap().into_parts().0).map(|h| h.map(|h| h.as_str().to_owned()))
        };
        assert_eq!(get(Version::HTTP_11, "/", &["a.example"]), Ok(Some("a.example".into())));
        assert_eq!(get(Version::HTTP_11, "/", &[]), Err(BadHost));
        assert_eq!(get(Version::HTTP_10, "/", &[]), Ok(None));
        assert_eq!(get(Version::HTTP_11, "/", &["a.example", "b.example"]), Err(BadHost));
        // An absolute target takes precedence over Host (RFC 9112 §3.2.2).
        assert_eq!(
            get(Version::HTTP_11, "http://b.example/", &["a.example"]),
            Ok(Some("b.example".into()))
        );
        assert_eq!(
            get(Version::HTTP_11, "http://b.example/", &["b.example", "b.example"]),
            Err(BadHost),
            "two are refused beside an absolute target too"
        );
        assert_eq!(
            get(Version::HTTP_2, "https://b.example:1/", &[]),
            Ok(Some("b.example".into()))
        );
    }

    proptest! {
        #[test]
        fn no_host_panics(text in "\\PC{0,300}") {
            if let Ok(host) = Host::parse(&text) {
                host.is_address();
                host.lower(|_| ());
            }
        }
    }
}
