//! `[[upstream]]`: existing back ends behind this edge.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::check::Findings;
use super::text::{ByteSize, ConfigDuration, HttpUrl, InvalidValue, PathPrefix, written_as_text};

/// A back end for the paths below a prefix. The longest prefix wins; a host's own rules go before those for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// For which host.
    #[serde(default)]
    pub host: HostPattern,
    /// For paths that start with this.
    pub prefix: PathPrefix,
    /// Where requests are passed on to: scheme, host and port. Paths stay as clients send them, to the byte.
    pub to: HttpUrl,
    /// PEM file of the only CAs trusted for `to`. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Which version of HTTP is spoken with `to`.
    #[serde(default)]
    pub http2: Http2,
    /// How long a connection to it may take, TLS included.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: ConfigDuration,
    /// From the end of a request to the head of its response.
    #[serde(default = "response_timeout")]
    pub response_timeout: ConfigDuration,
    /// How long nothing at all may come while a body is on its way.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: ConfigDuration,
    /// The largest request body; more is answered with 413.
    #[serde(default = "max_body")]
    pub max_body: ByteSize,
    /// Requests at once; more are answered with 503. Rules with the same connection share it.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: NonZeroU32,
    /// How many of them may be for one client network (a /24 of IPv4, a /48 of IPv6); more wait for at most 5 s.
    /// Default: a quarter. Set it to max_concurrent where a balancer in front hides who the clients are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_per_network: Option<NonZeroU32>,
    /// Whether what passes through is an event.
    #[serde(default)]
    pub events: bool,
}

/// Which version of HTTP is spoken with a back end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Http2 {
    /// Over TLS what both prefer (ALPN); else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/2 at once, over TLS and without.
    PriorKnowledge,
    /// HTTP/1.1.
    Off,
}

/// A back end nearby answers within milliseconds; one lost packet costs a second, two cost three.
const fn connect_timeout() -> ConfigDuration {
    ConfigDuration::secs(5)
}

/// As long as people wait for a page.
const fn response_timeout() -> ConfigDuration {
    ConfigDuration::secs(30)
}

/// As common servers have it.
const fn idle_timeout() -> ConfigDuration {
    ConfigDuration::secs(60)
}

/// Forms with a few pictures; tracking itself needs none.
const fn max_body() -> ByteSize {
    ByteSize::mib(10)
}

/// What common application servers take without queueing.
const fn max_concurrent() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(255)
}

/// Longest time a back end may be waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Upstream {
    /// Requests at once for one client network.
    pub fn max_per_network(&self) -> usize {
        let set = self.max_concurrent_per_network;
        let each = set.map_or_else(|| self.max_concurrent.get().div_ceil(4), NonZeroU32::get);
        usize::try_from(each).unwrap_or(usize::MAX)
    }

    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
        self.ca_file.iter_mut().for_each(|file| paths.resolve(file));
    }
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
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "*" => Ok(Self::Any),
            name => DomainName::parse(name).map(Self::One).map_err(|_| InvalidValue),
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
        let uri = rule.to.uri();
        if uri.path() != "/" || uri.query().is_some() {
            found.problem(
                &format!("upstream[{i}].to"),
                "must end after host and port: paths are passed on as clients send them",
            );
        }
        if rule.ca_file.is_some() && !rule.to.is_https() {
            found.warn(
                &format!("upstream[{i}].ca_file"),
                "is of use only where `to` is an https URL",
            );
        }
        for (key, wait) in [
            ("connect_timeout", rule.connect_timeout),
            ("response_timeout", rule.response_timeout),
            ("idle_timeout", rule.idle_timeout),
        ] {
            if wait.is_zero() || wait.get() > LONGEST_WAIT {
                found.problem(&format!("upstream[{i}].{key}"), "must be above 0s and at most 1h");
            }
        }
    }
}
