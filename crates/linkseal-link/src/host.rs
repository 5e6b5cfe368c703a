//! Hosts as browsers parse them (WHATWG URL standard, "host parsing"). An address has many spellings, and an
//! attacker who picks the spelling must not escape a comparison.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address, if the host is one. `Err` if browsers take it for an address and reject it. `host` has no
/// port; an IPv6 address keeps its brackets.
pub(super) fn address(host: &str) -> Result<Option<IpAddr>, ()> {
    if let Some(rest) = host.strip_prefix('[') {
        let v6 = rest.strip_suffix(']').ok_or(())?;
        let v6: Ipv6Addr = v6.parse().map_err(|_| ())?;
        // An IPv4-mapped address connects to the IPv4 one.
        return Ok(Some(IpAddr::V6(v6).to_canonical()));
    }
    let ascii = if host.is_ascii() {
        Cow::Borrowed(host)
    } else {
        to_ascii(host).ok_or(())?.into()
    };
    let host = ascii.strip_suffix('.').unwrap_or(&ascii);
    if !ends_in_a_number(host) {
        return Ok(None);
    }
    v4(host).map(|v4| Some(v4.into())).ok_or(())
}

/// The IPv4 address that an IPv6 address reaches through a translator or tunnel, mapped addresses
/// excluded: NAT64 (RFC 6052 §2.1, RFC 8215), 6to4 (RFC 3056 §2), Teredo (RFC 4380 §4), ISATAP (RFC 5214
/// §6.1), IPv4-translated (RFC 2765 §2.1) and IPv4-compatible addresses (RFC 4291 §2.5.5.1).
pub(super) fn wrapped_v4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let bits = v6.to_bits();
    let [low, upper] = [0, 80].map(|shift| Ipv4Addr::from((bits >> shift & 0xffff_ffff) as u32));
    match v6.segments() {
        [0x64, 0xff9b, 0 | 1, ..] => Some(low),
        [0x2002, ..] => Some(upper),
        [0x2001, 0, ..] => Some(Ipv4Addr::from(!low.to_bits())),
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(low),
        [0, 0, 0, 0, 0xffff, 0, ..] => Some(low),
        // `::` and `::1` are not IPv4-compatible addresses.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(low),
        _ => None,
    }
}

/// The canonical spelling of an address as a host.
pub(super) fn spelled(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// An internationalized host as A-labels; `None` if IDNA does not allow it or maps it to something that is
/// not a host.
pub(super) fn to_ascii(host: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL).ok()?;
    (!ascii.trim_matches('.').is_empty()).then(|| ascii.into_owned())
}

/// "Ends in a number": such a host is an IPv4 address or invalid.
fn ends_in_a_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (!last.is_empty() && digits(last)) || number(last).is_some()
}

/// The IPv4 parser: one to four parts, each decimal, octal or hexadecimal; the last fills the remaining bytes.
fn v4(host: &str) -> Option<Ipv4Addr> {
    let mut parts = host.split('.');
    let (mut address, mut left) = (0_u64, 32_u32);
    let mut part = parts.next()?;
    for next in parts {
        let value = number(part).filter(|n| *n <= 0xff)?;
        left = left.checked_sub(8).filter(|left| *left > 0)?;
        address |= value << left;
        part = next;
    }
    let last = number(part).filter(|n| *n < 1 << left)?;
    u32::try_from(address | last).ok().map(Ipv4Addr::from)
}

/// The IPv4 number parser; `None` if it is not a number or exceeds 32 bits.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [] => return None,
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    if digits.is_empty() {
        return Some(0);
    }
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix)
        .ok()
        .filter(|n| *n <= u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::spelling;

    #[test]
    fn addresses_as_browsers_read_them() {
        let right: IpAddr = "203.0.113.5".parse().unwrap();
        for text in [
            "203.0.113.5",
            "203.0.113.5.",
            "3405803781",
            "0xcb007105",
            "0XCB007105",
            "203.0.28933",
            "203.28933",
            "0313.0.0161.05",
            "0313.0x0.113.0x5",
            "203。0。113。5",
            "２０３.０.１１３.５",
            "[::ffff:203.0.113.5]",
            "[::FFFF:CB00:7105]",
        ] {
            assert_eq!(address(text), Ok(Some(right)), "{text}");
        }
        let v6: IpAddr = "2001:db8::5".parse().unwrap();
        for text in ["[2001:db8::5]", "[2001:DB8:0:0:0:0:0:5]", "[2001:0db8::0.0.0.5]"] {
            assert_eq!(address(text), Ok(Some(v6)), "{text}");
        }
        for text in [
            "example.com",
            "1.example",
            "0x.example",
            "a.0xg",
            "1.2.3.4a",
            "xn--1",
            "1..",
        ] {
            assert_eq!(address(text), Ok(None), "{text}");
        }
        assert_eq!(address("0x."), Ok(Some("0.0.0.0".parse().unwrap())));
        for text in [
            "256.0.0.1",
            "1.2.3.4.5",
            "203.0.113.256",
            "203.0.65536",
            "4294967296",
            "09",
            "a.1",
            "1..2",
            ".1",
            "1.2.3.08",
            "99999999999999999999999",
            "[::1",
            "[[::1]",
            "[::1]]",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
        ] {
            assert_eq!(address(text), Err(()), "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_may_lead_to_an_ipv4_address() {
        for (text, v4) in [
            ("64:ff9b::203.0.113.5", Some("203.0.113.5")),
            ("64:ff9b:1::203.0.113.5", Some("203.0.113.5")),
            ("2002:cb00:7105::", Some("203.0.113.5")),
            ("2002:cb00:7105:1::1", Some("203.0.113.5")),
            ("2001:0:4136:e378:8000:63bf:34ff:8efa", Some("203.0.113.5")),
            ("fe80::5efe:203.0.113.5", Some("203.0.113.5")),
            ("2001:db8::200:5efe:203.0.113.5", Some("203.0.113.5")),
            ("::203.0.113.5", Some("203.0.113.5")),
            ("::ffff:0:203.0.113.5", Some("203.0.113.5")),
            ("::1", None),
            ("::", None),
            ("2001:db8::203.0.113.5", None),
            ("192.0.2.1", None),
        ] {
            let found = wrapped_v4(text.parse().unwrap()).map(|v4| v4.to_string());
            assert_eq!(found.as_deref(), v4, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_an_address_is_that_address(bits: u32, parts in 1usize..=4, radix in prop::array::uniform4(0u8..3), zeros in 0usize..4, dot: bool, wide: bool) {
            let text = spelling(bits, parts, radix, zeros, dot, wide);
            prop_assert_eq!(address(&text), Ok(Some(IpAddr::V4(bits.into()))), "{}", text);
            prop_assert_eq!(spelled(IpAddr::V4(bits.into())), Ipv4Addr::from(bits).to_string());
        }

        #[test]
        fn every_spelling_of_an_ipv6_address_is_that_address(bits: u128, full: bool, upper: bool) {
            let v6 = Ipv6Addr::from(bits);
            let text = if full { v6.segments().map(|s| format!("{s:04x}")).join(":") } else { v6.to_string() };
            let text = if upper { text.to_uppercase() } else { text };
            prop_assert_eq!(address(&format!("[{text}]")), Ok(Some(IpAddr::V6(v6).to_canonical())));
        }

        #[test]
        fn any_host_is_read_without_a_panic(host in "\\PC{0,40}") {
            let _ = address(&host);
        }
    }
}
