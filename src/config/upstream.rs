//! `[[upstream]]`: existing back ends behind this edge.

use std::collections::HashSet;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{HttpUrl, NotAllowed, PathPrefix, written_as_text};
use crate::domain::DomainName;

/// A back end for the paths below a prefix. The longest prefix wins; a host's own rules go before those for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// For which host.
    #[serde(default)]
    pub host: HostPattern,
    /// For paths that start with this.
    pub prefix: PathPrefix,
    /// Where requests are passed on to.
    pub to: HttpUrl,
}

/// A host or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// All.
    #[default]
    Any,
    /// This one.
    One(DomainName),
}

impl FromStr for HostPattern {
    type Err = NotAllowed;
    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        match text {
            "*" => Ok(Self::Any),
            name => DomainName::parse(name).map(Self::One).map_err(|_| NotAllowed),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::One(name) => f.write_str(name.as_str()),
        }
    }
}

written_as_text!(
    HostPattern,
    "\"*\" for all hosts, or a host name such as \"links.customer.example\"",
    "*"
);

pub(super) fn check(rules: &[Upstream], found: &mut Findings<'_>) {
    let mut seen = HashSet::new();
    for (i, rule) in rules.iter().enumerate() {
        if !seen.insert((&rule.host, &rule.prefix)) {
            found.problem(
                &format!("upstream[{i}].prefix"),
                format!(
                    "an earlier rule has host \"{}\" and prefix \"{}\" already",
                    rule.host, rule.prefix
                ),
            );
        }
    }
}
