//! DNS names, labels and tenants.

use std::str::FromStr;

use linkseal_domain::DomainName;
use linkseal_domain::record::is_tenant;

use super::{InvalidValue, text_value};

/// A DNS name whose labels may contain underscores, in lower case and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(String);

impl FromStr for DnsName {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // The rules of host names apply, with underscores counting as letters.
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        if !name.is_ascii() || DomainName::parse(&name.replace('_', "x")).is_err() {
            return Err(InvalidValue);
        }
        Ok(Self(name))
    }
}

text_value!(
    DnsName,
    "a DNS name such as \"_spf.platform.example\"",
    "_spf.platform.example"
);

/// A short name for logs, labels and file names: letters, digits, `.`, `_` and `-`, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(String);

/// Longest [`Label`] in characters: it becomes part of file names.
const LONGEST_LABEL: usize = 64;

impl FromStr for Label {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let fine = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= LONGEST_LABEL
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(
    Label,
    "a name of 1 to 64 letters, digits, '.', '_' or '-' that starts with a letter or digit",
    "edge-1"
);

/// A tenant, as the platform names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant(String);

impl FromStr for Tenant {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if is_tenant(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue)
        }
    }
}

text_value!(
    Tenant,
    "a tenant of 1 to 253 bytes without control characters or slashes",
    "customer"
);
