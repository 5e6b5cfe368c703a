//! Hosts as browsers read them (WHATWG URL standard, "host parsing"): an address has many spellings,
//! and who chooses the spelling must not choose what is compared.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, if the host is one. `Err`: browsers take it for an address, and for a wrong one.
/// `host`: without port; an IPv6 address in its brackets.
pub(super) fn address(host: &str) -> Result<Option<IpAddr>, ()> {
    if let Some(rest) = host.strip_prefix('[') {
        let v6 = rest.strip_suffix(']').ok_or(())?;
        let v6: Ipv6Addr = v6.parse().map_err(|_| ())?;
        // An IPv4-mapped address leads to the IPv4 one.
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

/// An address in its one spelling as a host.
pub(super) fn spelled(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// An internationalized host as A-labels. `None`: IDNA does not allow it, or makes something of it
/// that is no host.
pub(super) fn to_ascii(host: &str) -> Option<String> {
    let ascii = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL).ok()?;
    (!ascii.trim_matches('.').is_empty()).then(|| ascii.into_owned())
}

/// "Ends in a number": then it is an IPv4 address or nothing.
fn ends_in_a_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (!last.is_empty() && digits(last)) || number(last).is_some()
}

/// The IPv4 parser: one to four parts, each decimal, octal or hexadecimal; the last fills what is left.
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

/// The IPv4 number parser. `None`: it is no number, or more than any address.
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
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

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

    /// One of the ways to write an IPv4 address.
    pub(crate) fn spelling(bits: u32, parts: usize, radix: [u8; 4], zeros: usize, dot: bool, wide: bool) -> String {
        let octets = bits.to_be_bytes();
        let mut values: Vec<u32> = octets[..parts - 1].iter().map(|o| u32::from(*o)).collect();
        values.push(octets[parts - 1..].iter().fold(0, |all, o| all << 8 | u32::from(*o)));
        let zeros = "0".repeat(zeros);
        let written = values.iter().zip(radix).map(|(value, radix)| match radix {
            0 => value.to_string(),
            1 => format!("0{zeros}{value:o}"),
            _ => format!("0x{zeros}{value:X}"),
        });
        let mut text = written.collect::<Vec<_>>().join(".");
        if dot {
            text.push('.');
        }
        if wide {
            text = text
                .chars()
                .map(|c| {
                    if c.is_ascii_digit() {
                        char::from_u32(c as u32 + 0xfee0).unwrap()
                    } else {
                        c
                    }
                })
                .collect();
        }
        text
    }
}
