//! The configuration: the file, its sections and their checks, and reloading it.
//!
//! [`Config::load`] returns a configuration that is complete and valid, or a [`ConfigError`] with everything
//! that is wrong at once, each with file, line and key. An invalid value cannot get past reading: the types
//! hold only what is allowed.
//!
//! | room | does |
//! |---|---|
//! | `sections` | one file per section: its keys, defaults and checks; doc comments there are the reference |
//! | `values` | durations, sizes, limits, addresses, URLs: types that parse from text |
//! | `source` | file and environment as one tree that knows lines and variables; reading types out of it |
//! | `load` | reads, resolves paths, checks, reads secrets; `renamed` accepts old spellings of keys |
//! | `check`, `findings` | what fits together; problems and warnings |
//! | `secrets` | the contents of the files that hold keys, tokens and certificates |
//! | `files` | whether this user can use the files that are named; for `config check` and `doctor` |
//! | `reload` | what a running edge can apply, and what needs a restart |
//! | `reference` | docs/configuration.md, generated from the schema |
//!
//! The binary's composition root (`app::wiring` in the root crate) translates sections into each crate's
//! settings; no other crate but the admin port reads them.

mod check;
mod files;
mod findings;
mod load;
mod paths;
mod reference;
mod reload;
mod renamed;
mod secrets;
mod sections;
mod source;
mod values;

#[cfg(test)]
mod tests;

use linkseal_domain::DomainName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::files::Unusable;
pub use self::reference::reference;
pub use self::reload::{Metrics, Reloaded, reload};
pub use self::secrets::{AdminToken, CaConfig, CaSecrets, LinkSecret, Secrets, SinkSecrets, StoreSecrets};
pub use self::sections::{acme, admin, admission, dns, edge, events, links, listen, log, pages, store, upstream};
pub use self::source::{ADMIN_TOKEN_VARIABLE, ConfigError, Place, Problem, admin_token};
pub use self::values::{
    Address, ByteSize, ConfigDuration, DnsName, HttpProbeAddr, HttpUrl, Interval, InvalidValue, Label, Limit,
    LinkPrefix, ListenAddr, Network, PathPrefix, Tenant, Written, argument,
};

/// An example configuration with every key and its default.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The configuration of linkseal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "linkseal", description = "The configuration of linkseal (TOML).")]
pub struct Config {
    #[serde(default)]
    pub listen: listen::Listen,
    pub edge: edge::Edge,
    #[serde(default)]
    pub admission: admission::Admission,
    #[serde(default)]
    pub acme: acme::Acme,
    #[serde(default)]
    pub store: store::Store,
    #[serde(default)]
    pub links: links::Links,
    #[serde(default)]
    pub events: events::Events,
    #[serde(default)]
    pub upstream: Vec<upstream::Upstream>,
    #[serde(default)]
    pub dns: dns::Dns,
    #[serde(default)]
    pub admin: admin::Admin,
    #[serde(default)]
    pub pages: pages::Pages,
    #[serde(default)]
    pub log: log::Log,
    /// The contents of the files named above.
    #[serde(skip)]
    pub secrets: Secrets,
    /// What is allowed and yet probably a mistake.
    #[serde(skip)]
    pub warnings: Vec<Problem>,
    /// Where each key was set.
    #[serde(skip)]
    pub(crate) origin: findings::Origin,
}

impl Config {
    /// The defaults under a name: what `demo` and tests start from. Paths are relative to the working
    /// directory.
    pub fn new(name: DomainName) -> Self {
        Self {
            listen: listen::Listen::default(),
            edge: edge::Edge::new(name),
            admission: admission::Admission::default(),
            acme: acme::Acme::default(),
            store: store::Store::default(),
            links: links::Links::default(),
            events: events::Events::default(),
            upstream: Vec::new(),
            dns: dns::Dns::default(),
            admin: admin::Admin::default(),
            pages: pages::Pages::default(),
            log: log::Log::default(),
            secrets: Secrets::default(),
            warnings: Vec::new(),
            origin: findings::Origin::default(),
        }
    }
}
