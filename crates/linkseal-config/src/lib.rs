//! The configuration: one file a section; load, check, reload.
//!
//! [`Config::load`] gives a configuration that is whole and right, or a [`ConfigError`] that tells
//! everything that is wrong with it at once, each with file, line and key. A value that is not
//! allowed cannot get past reading: the types hold only what is.

mod check;
mod env;
mod files;
mod problem;
mod read;
mod reload;
mod secrets;
mod text;
mod tree;

pub mod acme;
pub mod admin;
pub mod admission;
pub mod dns;
pub mod edge;
pub mod events;
pub mod links;
pub mod listen;
pub mod log;
pub mod pages;
pub mod store;
pub mod upstream;

#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use env::{ADMIN_TOKEN_VARIABLE, Variable, admin_token};
pub use files::Unusable;
pub use problem::{ConfigError, Place, Problem};
pub use reload::{Metrics, Reloaded, changes_needing_restart, reload};
pub use secrets::{AdminToken, AuthoritySecrets, CaConfig, LinkSecret, Secrets, SinkSecrets};
pub use text::{
    Address, ByteSize, ConfigDuration, DnsName, HttpProbeAddr, HttpUrl, Interval, InvalidValue, Label, Limit,
    LinkPrefix, ListenAddr, Network, PathPrefix, Tenant, Written, argument,
};

use check::Findings;
use linkseal_domain::DomainName;
use problem::{KeyPath, Segment};
use read::What;
use tree::{Node, Value};

/// An example of a configuration, with every key and its default.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The configuration of linkseal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "linkseal", description = "The configuration of linkseal (TOML).")]
pub struct Config {
    /// Where connections come in.
    #[serde(default)]
    pub listen: listen::Listen,
    /// What this edge is called and how it takes and ends connections.
    pub edge: edge::Edge,
    /// Which names may get a certificate.
    #[serde(default)]
    pub admission: admission::Admission,
    /// Where certificates come from, and when.
    #[serde(default)]
    pub acme: acme::Acme,
    /// Where everything durable lives.
    #[serde(default)]
    pub store: store::Store,
    /// The tracking links' keys and paths.
    #[serde(default)]
    pub links: links::Links,
    /// The journal, and the sinks events are delivered to.
    #[serde(default)]
    pub events: events::Events,
    /// Existing back ends behind this edge.
    #[serde(default)]
    pub upstream: Vec<upstream::Upstream>,
    /// Whom to ask, and what customers are asked to publish beside the CNAME.
    #[serde(default)]
    pub dns: dns::Dns,
    /// Who may use the admin API.
    #[serde(default)]
    pub admin: admin::Admin,
    /// The pages for people.
    #[serde(default)]
    pub pages: pages::Pages,
    /// What is logged, and how.
    #[serde(default)]
    pub log: log::Log,
    /// What the files named above hold.
    #[serde(skip)]
    pub secrets: Secrets,
    /// What is allowed and yet probably not meant.
    #[serde(skip)]
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Everything by default, under a name: what `demo` and tests start from. Paths are relative to
    /// the working directory.
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
        }
    }

    /// Reads a file and the environment's overrides, and checks them.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &env::of_process())
    }

    /// Reads a file with the overrides given.
    pub fn load_with(path: &Path, variables: &[Variable]) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|e| {
            let message = format!("cannot be read: {e}; `linkseal config example` prints one to start from");
            ConfigError::new(vec![Problem {
                place: Place::of_file(path),
                key: String::new(),
                message,
            }])
        })?;
        Self::parse(path, &text, variables)
    }

    /// Reads a text as if it stood in the file `path`, whose directory relative paths start from.
    pub fn parse(path: &Path, text: &str, variables: &[Variable]) -> Result<Self, ConfigError> {
        let (mut tree, mut problems) = Node::parse(path, text);
        if !problems.is_empty() {
            // Of a text that is no TOML, any part may have been read wrongly.
            return Err(ConfigError::new(problems));
        }
        problems.extend(env::lay_over(&mut tree, variables).into_iter().map(|bad| Problem {
            place: Place::Environment { variable: bad.variable },
            key: String::new(),
            message: bad.message,
        }));
        let mut unread = Vec::new();
        let config = read_all(path, &mut tree, &mut problems, &mut unread);
        let Some(mut config) = config else {
            return Err(ConfigError::new(problems));
        };
        config.resolve(&Paths {
            base: path.parent().unwrap_or(Path::new("")),
        });
        let mut found = Findings::new(path, &tree, &unread);
        check::check(&config, &mut found);
        config.secrets = Secrets::read(&config, &mut found);
        problems.append(&mut found.problems);
        config.warnings = found.warnings;
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::new(problems))
        }
    }

    /// The JSON Schema of the file.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self).to_value();
        // This machine's name is no one else's default.
        if let Some(node) = schema
            .pointer_mut("/$defs/Edge/properties/node")
            .and_then(|n| n.as_object_mut())
        {
            node.remove("default");
        }
        schema
    }

    fn resolve(&mut self, paths: &Paths<'_>) {
        self.acme.resolve(paths);
        self.store.resolve(paths);
        self.links.resolve(paths);
        self.events.resolve(paths);
        self.upstream.iter_mut().for_each(|rule| rule.resolve(paths));
        self.admin.resolve(paths);
        self.pages.resolve(paths);
    }
}

/// Where relative paths start from.
struct Paths<'a> {
    base: &'a Path,
}

impl Paths<'_> {
    fn resolve(&self, path: &mut PathBuf) {
        *path = self.base.join(&*path);
    }
}

/// Stands for edge.name while the rest is read, when that is missing or bad; never gets out.
const NO_NAME: &str = "unnamed.invalid";

/// Reads the tree. Each key that is bad is told and taken out, and the rest read again, so that all
/// of them are told at once. `None`: not even the rest makes a configuration.
fn read_all(file: &Path, tree: &mut Node, problems: &mut Vec<Problem>, unread: &mut Vec<KeyPath>) -> Option<Config> {
    loop {
        let error = match Config::deserialize(&*tree) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let mut path = error.path();
        let is_missing = matches!(error.what, What::Missing);
        let nameless = is_missing && (path == KeyPath::parse("edge") || path == KeyPath::parse("edge.name"));
        if nameless {
            path = KeyPath::parse("edge.name");
        }
        // A key taken out for its value is not missing.
        if !(is_missing && unread.contains(&path)) {
            let place = check::place(file, tree.source_of(&path));
            problems.push(Problem {
                place,
                key: path.to_string(),
                message: error.what.to_string(),
            });
        }
        unread.push(path.clone());
        let goes_on = if nameless {
            let source = tree.source_of(&path);
            let name = Node {
                source,
                value: Value::Text(NO_NAME.to_owned()),
                raw: None,
            };
            tree.set(&["edge".to_owned(), "name".to_owned()], name).is_ok()
        } else if is_missing {
            // The table that lacks it goes as a whole.
            path.0
                .split_last()
                .is_some_and(|(_, table): (&Segment, _)| tree.take_out(table))
        } else {
            tree.take_out(&path.0)
        };
        if !goes_on {
            return None;
        }
    }
}
