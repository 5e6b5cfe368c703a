//! `[log]`: format and level of the log.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::values::{InvalidValue, written_as_text};

/// Format and level of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The format of log lines. Changes need a restart.
    pub format: Format,
    /// The log level, overall and per target.
    pub level: Levels,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Readable text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The crates that were modules of `linkseal` before, when their targets began with `linkseal::`.
const CRATES: [&str; 13] = [
    "admin", "base", "config", "control", "devca", "dns", "domain", "edge", "event", "issuer", "link", "net", "store",
];

impl Log {
    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        for (target, _) in self.level.directives() {
            let module = target
                .strip_prefix("linkseal::")
                .and_then(|rest| rest.split("::").next());
            if let Some(module) = module.filter(|module| CRATES.contains(module)) {
                found.warn(
                    "log.level",
                    format!(
                        "the target linkseal::{module} was renamed to linkseal_{module}; the old name works until the next release"
                    ),
                );
            }
        }
    }
}

/// Levels, quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// An overall level, and levels for single targets: `info,linkseal_issuer=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Target and level; the empty target is the overall level.
    directives: Vec<(String, &'static str)>,
}

impl Levels {
    /// Targets and their levels; the empty target is the overall level.
    pub fn directives(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.directives.iter().map(|(target, level)| (target.as_str(), *level))
    }
}

impl Levels {
    /// One level for everything.
    pub fn of_all(level: &'static str) -> Self {
        Self {
            directives: vec![(String::new(), level)],
        }
    }
}

impl Default for Levels {
    fn default() -> Self {
        Self::of_all("info")
    }
}

impl FromStr for Levels {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let directives = text.split(',').map(|directive| {
            let (target, level) = directive.trim().rsplit_once('=').unwrap_or(("", directive.trim()));
            let level = LEVELS
                .iter()
                .find(|l| l.eq_ignore_ascii_case(level.trim()))
                .ok_or(InvalidValue)?;
            let target = target.trim();
            let is_path = target
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
            // `=info` lacks a target.
            if !is_path || (target.is_empty() && directive.contains('=')) {
                return Err(InvalidValue);
            }
            Ok((target.to_owned(), *level))
        });
        directives
            .collect::<Result<_, _>>()
            .map(|directives| Self { directives })
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (target, level)) in self.directives.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let equals = if target.is_empty() { "" } else { "=" };
            write!(f, "{comma}{target}{equals}{level}")?;
        }
        Ok(())
    }
}

written_as_text!(
    Levels,
    "a level (off, error, warn, info, debug, trace), or more such as \"info,linkseal_issuer=debug\"",
    "info,linkseal_issuer=debug"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_words() {
        let text = "info,linkseal_issuer=debug";
        assert_eq!(text.parse::<Levels>().unwrap().to_string(), text);
        assert_eq!("WARN".parse::<Levels>().unwrap().to_string(), "warn");
        for bad in ["", "infoo", "linkseal", "=info", "a=b", "info,", "a b=info"] {
            assert!(bad.parse::<Levels>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_crate_is_known_by_its_old_target() {
        let crates = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).unwrap();
        let names = crates.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // The peers of tests have never had another target.
        let mut names: Vec<_> = names
            .filter_map(|name| Some(name.strip_prefix("linkseal-")?.to_owned()))
            .filter(|name| name != "peers")
            .collect();
        names.sort_unstable();
        assert_eq!(names, CRATES);
    }
}
