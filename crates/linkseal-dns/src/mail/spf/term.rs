//! The terms of an SPF record (RFC 7208 §4.6.1). Receivers ignore the whole record if they cannot
//! read one of them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A term that receivers can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term<'a> {
    /// As published.
    pub(crate) text: &'a str,
    pub(crate) kind: Kind<'a>,
}

/// The meaning of a term, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    All,
    Include {
        target: &'a str,
        /// Whether a match passes: no qualifier, or `+`.
        passes: bool,
    },
    /// `a` or `mx`: the addresses of a host, or of a domain's mail hosts.
    Hosts {
        mx: bool,
        /// `None`: the domain of the record.
        name: Option<&'a str>,
        /// The dual CIDR length with its first slash; empty if there is none.
        length: &'a str,
    },
    Exists {
        target: &'a str,
    },
    Ptr,
    /// `ip4` or `ip6`; apart from `all`, the only mechanisms that need no look-up.
    Address,
    Redirect {
        target: &'a str,
    },
    /// `exp`, or an unknown modifier, which receivers ignore.
    Modifier,
}

/// The terms of a record, in order. `Err`: a term that receivers cannot read.
pub(crate) fn terms(record: &str) -> Vec<Result<Term<'_>, &str>> {
    let texts = record.split(' ').filter(|t| !t.is_empty()).skip(1);
    let mut seen = Vec::new();
    let read = texts.map(|text| {
        let term = term(text).ok_or(text)?;
        // Twice is an error (§6).
        if let Some(name) = ["redirect=", "exp="].into_iter().find(|n| begins(text, n)) {
            if seen.contains(&name) {
                return Err(text);
            }
            seen.push(name);
        }
        Ok(term)
    });
    read.collect()
}

/// One term. `None`: receivers cannot read it.
pub(crate) fn term(text: &str) -> Option<Term<'_>> {
    kind(text).map(|kind| Term { text, kind })
}

pub(crate) fn begins(text: &str, name: &str) -> bool {
    text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name))
}

fn kind(text: &str) -> Option<Kind<'_>> {
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let name_end = text.find([':', '/', '=']).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    if let Some(value) = rest.strip_prefix('=') {
        return modifier(name, value);
    }
    let bare = name
        .strip_prefix(['+', '-', '~', '?'])
        .unwrap_or(name)
        .to_ascii_lowercase();
    let value = rest.strip_prefix(':');
    match bare.as_str() {
        "all" if rest.is_empty() => Some(Kind::All),
        "include" => domain(value?).map(|target| Kind::Include {
            target,
            passes: !text.starts_with(['-', '~', '?']),
        }),
        "exists" => domain(value?).map(|target| Kind::Exists { target }),
        "ptr" => (rest.is_empty() || domain(value?).is_some()).then_some(Kind::Ptr),
        "a" | "mx" => {
            let (host, length) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let name = match host.strip_prefix(':') {
                Some(name) => Some(domain(name)?),
                None => None,
            };
            let readable = length.strip_prefix('/').is_none_or(dual_length);
            readable.then_some(Kind::Hosts {
                mx: bare == "mx",
                name,
                length,
            })
        }
        "ip4" => network::<Ipv4Addr>(value?, 32).then_some(Kind::Address),
        "ip6" => network::<Ipv6Addr>(value?, 128).then_some(Kind::Address),
        _ => None,
    }
}

fn modifier<'a>(name: &str, value: &'a str) -> Option<Kind<'a>> {
    let word = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    match name.to_ascii_lowercase().as_str() {
        _ if !word => None,
        "redirect" => domain(value).map(|target| Kind::Redirect { target }),
        "exp" => domain(value).map(|_| Kind::Modifier),
        _ => Some(Kind::Modifier),
    }
}

/// A domain-spec (§7.1): it ends in a top-level label or in a macro.
fn domain(text: &str) -> Option<&str> {
    if text.ends_with('}') && text.contains("%{") {
        return Some(text);
    }
    let (rest, top) = text.strip_suffix('.').unwrap_or(text).rsplit_once('.')?;
    let label = top.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !top.starts_with('-')
        && !top.ends_with('-')
        && !top.bytes().all(|b| b.is_ascii_digit());
    (!rest.is_empty() && !top.is_empty() && label && !text.contains('/') || text.contains("%{") && label)
        .then_some(text)
}

/// `n`, `n//m` or `/m`: what follows the first slash of a dual CIDR length.
fn dual_length(text: &str) -> bool {
    match text.split_once("//") {
        Some((v4, v6)) => length(v4, 32) && length(v6, 128),
        None => match text.strip_prefix('/') {
            Some(v6) => length(v6, 128),
            None => length(text, 32),
        },
    }
}

fn length(text: &str, max: u8) -> bool {
    let canonical = text == "0" || !text.starts_with('0');
    canonical && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u8>().is_ok_and(|n| n <= max)
}

fn network<A: std::str::FromStr>(text: &str, max: u8) -> bool {
    let (address, bits) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    address.parse::<A>().is_ok() && bits.is_none_or(|l| length(l, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_by_the_grammar() {
        for (term, readable) in [
            ("all", true),
            ("~ALL", true),
            ("all:x.example", false),
            ("include:spf.platform.example", true),
            ("-Include:spf.platform.example.", true),
            ("include", false),
            ("include:", false),
            ("include:localhost", false),
            ("include=spf.platform.example", true), // an unknown modifier, ignored
            ("include:%{i}.spf.example", true),
            ("exists:%{i}._spf.%{d}", true),
            ("a", true),
            ("a:mail.customer.example/24//64", true),
            ("mx/24", true),
            ("mx//64", true),
            ("a/33", false),
            ("a/024", false),
            ("ptr", true),
            ("ip4:192.0.2.0/24", true),
            ("ip4:192.0.2.0/33", false),
            ("ip4:192.0.2", false),
            ("ipv4:192.0.2.1", false),
            ("ip4=192.0.2.1", true), // likewise
            ("ip6:2001:db8::/32", true),
            ("ip6:192.0.2.1", false),
            ("redirect=_spf.example.net", true),
            ("REDIRECT=_spf.example.net", true),
            ("redirect=", false),
            ("-redirect=_spf.example.net", false),
            ("exp=explain._spf.%{d}", true),
            ("x-note=anything", true),
            ("192.0.2.1", false),
            ("mx,", false),
            ("v=spf1", true), // by the grammar a modifier
            (";", false),
            ("“mx”", false),
        ] {
            let record = format!("v=spf1 {term}");
            assert_eq!(terms(&record).iter().all(Result::is_ok), readable, "{term}");
        }
        assert_eq!(terms("v=spf1 exp=a.b exp=a.b").get(1), Some(&Err("exp=a.b")));
        assert_eq!(terms("v=spf1  mx   a ").len(), 2);
    }
}
