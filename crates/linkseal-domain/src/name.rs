//! Host names that a certificate can be issued for. A parsed name is always valid.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name in its textual form (RFC 1035 §2.3.4, less the root label).
pub(crate) const MAX_NAME: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// A fully qualified host name in lower-case ASCII (A-labels), without a trailing dot.
///
/// Cheap to clone. At least two labels, each of letters, digits and inner hyphens (RFC 952,
/// RFC 1123 §2.1); no wildcard, no IP address; internationalized names are accepted and kept as
/// A-labels (RFC 5891).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Arc<str>);

/// Why a text is not a domain name, and what is allowed instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty; give a host name such as links.customer.example")]
    Empty,
    /// More than 253 characters.
    #[error("the name is longer than 253 characters")]
    TooLong,
    /// A label of more than 63 characters.
    #[error("a label (the part between dots) is longer than 63 characters")]
    LabelTooLong,
    /// Two dots in a row, or a leading dot.
    #[error("a label (the part between dots) is empty")]
    EmptyLabel,
    /// A character that host names cannot have, or a hyphen at an end of a label.
    #[error("a label may contain letters, digits and, except at its ends, hyphens")]
    BadLabel,
    /// A `*` label.
    #[error("wildcards are not supported: a certificate is issued for one exact name")]
    Wildcard,
    /// An IP address.
    #[error("this is an IP address; give a host name such as links.customer.example")]
    Address,
    /// One label only.
    #[error("the name has only one label; give a full host name such as links.customer.example")]
    SingleLabel,
    /// Not convertible by IDNA.
    #[error("the name is not a valid internationalized name (IDNA)")]
    Idna,
    /// A URL or an e-mail address, with the host name that is in it.
    #[error("give the host name only, without https://, port and path: {0}")]
    NotHostOnly(DomainName),
    /// A character that no registry allows in a name, such as a typographic quotation mark.
    #[error("the name contains the character {0}, which domain names cannot have; remove it")]
    Character(char),
    /// A public suffix, below which anyone can register a domain.
    #[error("{0} is a public suffix, under which others register their domains; give a name below it")]
    PublicSuffix(DomainName),
}

/// The registered domain of a name by the public suffix list; the name itself where it has none.
pub fn registered_domain(name: &str) -> &str {
    psl::domain_str(name).unwrap_or(name)
}

impl DomainName {
    /// Reads a name as people write it: any case, Unicode or ASCII, one trailing dot allowed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.starts_with("*.") || text == "*" {
            return Err(NameError::Wildcard);
        }
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(NameError::Address);
        }
        if let Some(host) = host_within(text) {
            return Err(Self::parse(host).map_or_else(|e| e, NameError::NotHostOnly));
        }
        if text.is_ascii() && !has_a_label(text) {
            return Self::from_ascii(text.to_ascii_lowercase());
        }
        // IDNA checks A-labels too: a name that pretends to be one must decode and round-trip.
        let ascii =
            idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::URL).map_err(|_| NameError::Idna)?;
        Self::from_ascii(ascii.into_owned())
    }

    /// The checks of RFC 1035 and RFC 1123 on a lower-case ASCII name.
    fn from_ascii(name: String) -> Result<Self, NameError> {
        if name.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let mut labels = 0;
        let mut last = "";
        for label in name.split('.') {
            check_label(label)?;
            labels += 1;
            last = label;
        }
        if labels < 2 {
            return Err(NameError::SingleLabel);
        }
        // `1.2.3` and `0x7f.1` are read as addresses by some software: no top-level domain is numeric.
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
            return Err(NameError::Address);
        }
        Ok(Self(name.into()))
    }

    /// Whether a customer can register it. Checked at registration only, so that stored names stay readable.
    ///
    /// # Errors
    /// A character that no registry allows (RFC 5892 leaves out punctuation), or a public suffix.
    pub fn registrable(&self) -> Result<(), NameError> {
        let (unicode, _) = idna::domain_to_unicode(self.as_str());
        if let Some(bad) = unicode.chars().find(|c| !in_names(*c)) {
            return Err(NameError::Character(bad));
        }
        let suffix = psl::suffix(self.0.as_bytes());
        let is_suffix = suffix.is_some_and(|s| s == self.as_str() && s.typ() == Some(psl::Type::Icann));
        if is_suffix {
            return Err(NameError::PublicSuffix(self.clone()));
        }
        Ok(())
    }

    /// The name in lower-case ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many labels it has.
    pub fn label_count(&self) -> usize {
        self.0.split('.').count()
    }

    /// The name without its first label, while two labels are left.
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        rest.contains('.').then(|| Self(rest.into()))
    }

    /// Whether the name is below `localhost`, which is loopback everywhere (RFC 6761 §6.3).
    pub fn is_localhost(&self) -> bool {
        self.0.ends_with(".localhost")
    }
}

/// The host in a text that is more than a host name: a URL, an e-mail address, or a host with port or path.
fn host_within(text: &str) -> Option<&str> {
    if !text.contains(['/', ':', '@', '?', '#', '\\']) {
        return None;
    }
    let scheme = text.find("://").or_else(|| text.find(":\\\\"));
    let rest = scheme.map_or(text, |at| &text[at + 1..]);
    let rest = rest
        .strip_prefix("mailto:")
        .unwrap_or(rest)
        .trim_start_matches(['/', '\\']);
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let port = |(host, port): (&'_ str, &str)| port.bytes().all(|b| b.is_ascii_digit()).then_some(host.len());
    let host = &host[..host.rsplit_once(':').and_then(port).unwrap_or(host.len())];
    (!host.is_empty() && !host.contains([':', '[', ']'])).then_some(host)
}

/// Whether a character occurs in names: letters, digits, marks and symbols. No registry allows
/// punctuation, except for the few marks that IDNA 2008 names (RFC 5892 §2.6, Appendix A).
fn in_names(c: char) -> bool {
    use icu_properties::props::{EnumeratedProperty, GeneralCategory, GeneralCategoryGroup};
    const NAMED: [char; 10] = [
        '-', '.', '\u{b7}', '\u{375}', '\u{5f3}', '\u{5f4}', '\u{f0b}', '\u{30fb}', '\u{200c}', '\u{200d}',
    ];
    let group = GeneralCategoryGroup::Letter
        .union(GeneralCategoryGroup::Mark)
        .union(GeneralCategoryGroup::Number)
        .union(GeneralCategoryGroup::Symbol);
    NAMED.contains(&c) || group.contains(GeneralCategory::for_char(c))
}

fn has_a_label(text: &str) -> bool {
    text.split('.')
        .any(|l| l.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("xn--")))
}

fn check_label(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::EmptyLabel);
    }
    if label == "*" {
        return Err(NameError::Wildcard);
    }
    if label.len() > MAX_LABEL {
        return Err(NameError::LabelTooLong);
    }
    let inner = label
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !inner || label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::BadLabel);
    }
    Ok(())
}

impl FromStr for DomainName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for DomainName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).map_err(|e| de::Error::custom(format!("`{text}`: {e}")))
    }
}

/// As `/openapi.json` and the configuration's schema describe it.
impl JsonSchema for DomainName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DomainName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["track.platform.example"]})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_accepted_in_many_spellings() {
        for (given, kept) in [
            ("links.customer.example", "links.customer.example"),
            ("LINKS.Customer.Example.", "links.customer.example"),
            (" go.example.com ", "go.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("a.localhost", "a.localhost"),
            ("3com.example", "3com.example"),
        ] {
            assert_eq!(DomainName::parse(given).unwrap().as_str(), kept, "{given}");
        }
    }

    #[test]
    fn an_invalid_name_is_refused_with_the_reason() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "a2345678.".repeat(28));
        for (given, why) in [
            ("", NameError::Empty),
            (".", NameError::Empty),
            ("*.example.com", NameError::Wildcard),
            ("a.*.example.com", NameError::Wildcard),
            ("127.0.0.1", NameError::Address),
            ("[::1]", NameError::Address),
            ("::1", NameError::Address),
            ("1.2.3", NameError::Address),
            ("localhost", NameError::SingleLabel),
            ("a..example", NameError::EmptyLabel),
            (".example.com", NameError::EmptyLabel),
            ("-a.example", NameError::BadLabel),
            ("a-.example", NameError::BadLabel),
            ("a_b.example", NameError::BadLabel),
            ("a b.example", NameError::BadLabel),
            ("https://[::1]/", NameError::BadLabel),
            ("https://", NameError::BadLabel),
            ("https://127.0.0.1:80/x", NameError::Address),
            ("xn--a.example", NameError::Idna),
            (long_label.as_str(), NameError::LabelTooLong),
            (long_name.as_str(), NameError::TooLong),
        ] {
            assert_eq!(DomainName::parse(given), Err(why), "{given}");
        }
    }

    #[test]
    fn a_pasted_url_is_answered_with_the_host_in_it() {
        let host = DomainName::parse("links.a.example").unwrap();
        for pasted in [
            "https://links.a.example/",
            "HTTP://Links.A.example",
            "links.a.example/",
            "links.a.example/path?q#f",
            "links.a.example:443",
            "https://user:pw@links.a.example:8443/x",
            "user@links.a.example",
            "mailto:user@links.a.example",
            "//links.a.example",
            "https:\\\\links.a.example\\x",
            "links.a.example?x=1",
        ] {
            assert_eq!(
                DomainName::parse(pasted),
                Err(NameError::NotHostOnly(host.clone())),
                "{pasted}"
            );
        }
        let error = NameError::NotHostOnly(host).to_string();
        assert!(
            error.ends_with("without https://, port and path: links.a.example"),
            "{error}"
        );
    }

    #[test]
    fn a_name_that_no_customer_can_have_is_not_registrable() {
        let check = |text: &str| DomainName::parse(text).unwrap().registrable();
        for allowed in [
            "links.customer.example",
            "customer.co.uk",
            "links.bücher.example",
            "ελλάδα.example",
            "नमस्ते.example",
            "l·l.example",
            "i❤.example",
            "shop.github.io",
            "github.io",
            "a.local",
        ] {
            assert_eq!(check(allowed), Ok(()), "{allowed}");
        }
        for (refused, bad) in [
            ("“links.a.example", '“'),
            ("links…a.example", '…'),
            ("«a».example", '«'),
        ] {
            if let Ok(name) = DomainName::parse(refused) {
                assert_eq!(name.registrable(), Err(NameError::Character(bad)), "{refused}");
            }
        }
        assert_eq!(check("“links.a.example"), Err(NameError::Character('“')));
        for suffix in ["co.uk", "com.au"] {
            assert!(matches!(check(suffix), Err(NameError::PublicSuffix(_))), "{suffix}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in "\\PC{0,80}") {
            if let Ok(name) = DomainName::parse(&text) {
                prop_assert_eq!(DomainName::parse(name.as_str()), Ok(name));
            }
        }
    }
}
