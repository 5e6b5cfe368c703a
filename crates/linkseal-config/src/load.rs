//! Loading: the file and the environment become a tree, the tree becomes a [`Config`], and the checks run.

use std::path::Path;
use std::{fs, io};

use serde::Deserialize;

use crate::findings::{Findings, Origin, place};
use crate::paths::Paths;
use crate::renamed::Renamed;
use crate::secrets::{Secrets, advice};
use crate::source::{ConfigError, KeyPath, Node, Place, Problem, Segment, Value, Variable, What, lay_over, of_process};
use crate::{Config, check, renamed};

/// Stands for edge.name while the rest is read, if that is missing or invalid; never leaves this module.
const NO_NAME: &str = "unnamed.invalid";

impl Config {
    /// Reads a file with the overrides from this process's environment, and checks the result.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, &of_process())
    }

    /// [`Config::load`] with the given overrides.
    pub(crate) fn load_with(path: &Path, variables: &[Variable]) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|e| {
            ConfigError::new(vec![Problem {
                place: Place::of_file(path),
                key: String::new(),
                message: unreadable(&e),
            }])
        })?;
        Self::parse(path, &text, variables)
    }

    /// Reads a text as the content of the file `path`; relative paths start from its directory.
    pub(crate) fn parse(path: &Path, text: &str, variables: &[Variable]) -> Result<Self, ConfigError> {
        let (mut tree, mut problems) = Node::parse(path, text);
        if !problems.is_empty() {
            // If the text is not TOML, any part of it may have been misread.
            return Err(ConfigError::new(problems));
        }
        problems.extend(lay_over(&mut tree, variables).into_iter().map(|bad| Problem {
            place: Place::Environment { variable: bad.variable },
            key: String::new(),
            message: bad.message,
        }));
        let mut renamed = renamed::apply(path, &mut tree);
        problems.append(&mut renamed.problems);
        let rejected = |mut problems: Vec<Problem>, renamed: Renamed| {
            renamed.respell(&mut problems);
            let warnings = renamed.warnings;
            ConfigError {
                warnings,
                ..ConfigError::new(problems)
            }
        };
        let mut unread = Vec::new();
        let config = read_all(path, &mut tree, &mut problems, &mut unread);
        let Some(mut config) = config else {
            return Err(rejected(problems, renamed));
        };
        config.resolve(&Paths {
            base: path.parent().unwrap_or(Path::new("")),
        });
        let mut found = Findings::new(path, &tree, &unread);
        check::check(&config, &mut found);
        config.secrets = Secrets::read(&config, &mut found);
        problems.append(&mut found.problems);
        if !problems.is_empty() {
            return Err(rejected(problems, renamed));
        }
        renamed.respell(&mut found.warnings);
        config.warnings = renamed.warnings;
        config.warnings.append(&mut found.warnings);
        config.origin = Origin::of(tree);
        Ok(config)
    }

    /// A problem with a key of this configuration, which was read from `file`.
    pub fn problem(&self, file: &Path, key: impl Into<String>, message: impl Into<String>) -> Problem {
        let key = key.into();
        Problem {
            place: place(file, self.origin.source_of(&KeyPath::parse(&key))),
            key,
            message: message.into(),
        }
    }

    /// The JSON Schema of the file.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self).to_value();
        // This machine's name is not the default of others.
        if let Some(node) = schema
            .pointer_mut("/$defs/Edge/properties/node")
            .and_then(|n| n.as_object_mut())
        {
            node.remove("default");
        }
        schema
    }

    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        self.acme.resolve(paths);
        self.store.resolve(paths);
        self.links.resolve(paths);
        self.events.resolve(paths);
        self.upstream.iter_mut().for_each(|rule| rule.resolve(paths));
        self.admin.resolve(paths);
        self.pages.resolve(paths);
    }
}

/// Why the configuration itself cannot be read, and what to do.
fn unreadable(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "; `linkseal config example` prints one to start from",
        _ => advice(error),
    };
    format!("cannot be read: {error}{advice}")
}

/// Reads the tree. Each invalid key is reported and removed, then the rest is read again, so that one run
/// reports them all. `None` if not even the rest is a configuration.
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
        // A key that was removed for its value is not missing.
        if !(is_missing && unread.contains(&path)) {
            let place = place(file, tree.source_of(&path));
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
            // Remove the whole table that lacks it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_for_an_unreadable_configuration_fits_its_cause() {
        let missing = unreadable(&io::ErrorKind::NotFound.into());
        assert!(missing.contains("config example"), "{missing}");
        let refused = unreadable(&io::ErrorKind::PermissionDenied.into());
        assert!(refused.contains("`chgrp linkseal` and `chmod 640`"), "{refused}");
        assert!(!refused.contains("config example"), "{refused}");
    }
}
