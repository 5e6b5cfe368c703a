//! `[[upstream]]`: back ends behind this edge.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{ByteSize, ConfigDuration, HttpUrl, InvalidValue, PathPrefix, written_as_text};

/// A back end for the paths with a prefix. The longest prefix wins; rules for a host precede those for all hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// The host that the rule applies to.
    #[serde(default)]
    pub host: HostPattern,
    /// The path prefix that the rule applies to.
    pub prefix: PathPrefix,
    /// Where requests are forwarded: scheme, host and port. Paths are forwarded byte for byte.
    pub to: HttpUrl,
    /// PEM file of the CA certificates to trust for `to`, instead of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Which HTTP version is used with the back end.
    #[serde(default)]
    pub http2: Http2,
    /// How long connecting may take, TLS included. At most 1h.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: ConfigDuration,
    /// Maximum time from the end of a request to the head of its response. At most 1h.
    #[serde(default = "response_timeout")]
    pub response_timeout: ConfigDuration,
    /// Maximum pause while a body is transferred. At most 1h.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: ConfigDuration,
    /// Maximum size of a request body; larger ones are answered with 413.
    #[serde(default = "max_body")]
    pub max_body: ByteSize,
    /// Concurrent requests to the back end; more are answered with 503. Rules with the same back end share it.
    #[serde(default = "max_concurrent")]
    pub max_concurrent: NonZeroU32,
    /// Concurrent requests per client network (an IPv4 /24 or IPv6 /48); more wait up to 5 s. Default: a quarter. Set it to max_concurrent if a load balancer hides the clients' addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_per_network: Option<NonZeroU32>,
    /// Whether forwarded requests are recorded as events.
    #[serde(default)]
    pub events: bool,
}

/// Which HTTP version is used with a back end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Http2 {
    /// Over TLS the version negotiated by ALPN, otherwise HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/2 with prior knowledge, with or without TLS.
    PriorKnowledge,
    /// HTTP/1.1 only.
    Off,
}

/// A nearby back end connects within milliseconds; one lost SYN costs a second, two cost three.
const fn connect_timeout() -> ConfigDuration {
    ConfigDuration::secs(5)
}

/// About as long as people wait for a page.
const fn response_timeout() -> ConfigDuration {
    ConfigDuration::secs(30)
}

/// The default of common servers.
const fn idle_timeout() -> ConfigDuration {
    ConfigDuration::secs(60)
}

/// Forms with a few pictures; tracking itself has no bodies.
const fn max_body() -> ByteSize {
    ByteSize::mib(10)
}

/// What common application servers accept without queueing.
const fn max_concurrent() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(255)
}

/// The longest configurable wait for a back end.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl Upstream {
    /// Concurrent requests per client network.
    pub fn max_per_network(&self) -> usize {
        let set = self.max_concurrent_per_network;
        let each = set.map_or_else(|| self.max_concurrent.get().div_ceil(4), NonZeroU32::get);
        usize::try_from(each).unwrap_or(usize::MAX)
    }

    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        self.ca_file.iter_mut().for_each(|file| paths.resolve(file));
    }
}

/// A host, or all hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum HostPattern {
    #[default]
    Any,
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

pub(crate) fn check(rules: &[Upstream], found: &mut Findings<'_>) {
    let mut seen = HashSet::new();
    for (i, rule) in rules.iter().enumerate() {
        if !seen.insert((&rule.host, &rule.prefix)) {
            found.problem(
                &format!("upstream[{i}].prefix"),
                format!(
                    "an earlier rule already has host \"{}\" and prefix \"{}\"",
                    rule.host, rule.prefix
                ),
            );
        }
        let uri = rule.to.uri();
        if uri.path() != "/" || uri.query().is_some() {
            found.problem(
                &format!("upstream[{i}].to"),
                "must end after host and port: paths are forwarded as clients send them",
            );
        }
        if rule.ca_file.is_some() && !rule.to.is_https() {
            found.warn(
                &format!("upstream[{i}].ca_file"),
                "has no effect: `to` is not an https URL",
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
