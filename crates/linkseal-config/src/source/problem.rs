//! What can be wrong with a configuration, reported so that its author can fix it: the place (file and line,
//! or environment variable), the key, and what is allowed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that is wrong with a configuration, by line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(problems))]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<Problem>,
    /// Renamed keys, which may be the cause of a problem.
    pub warnings: Vec<Problem>,
}

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// The key, such as `acme.fallback[0].directory`; empty when it is about the whole file.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// The origin of a value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    File {
        /// As it was given.
        path: PathBuf,
        /// Counted from 1; `None` for a key that is missing or a default.
        line: Option<usize>,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        variable: Arc<str>,
    },
}

impl Place {
    /// The file, without a line.
    pub(crate) fn of_file(path: &Path) -> Self {
        Self::File {
            path: path.to_owned(),
            line: None,
        }
    }

    fn order(&self) -> (bool, usize) {
        match self {
            Self::File { line, .. } => (false, line.unwrap_or(usize::MAX)),
            Self::Environment { .. } => (true, 0),
        }
    }
}

impl ConfigError {
    /// Sorts the problems as a reader of the file meets them.
    pub fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|p| p.place.order());
        Self {
            problems,
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// One step of a key path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Key(String),
    Index(usize),
}

/// The path of a key, from the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyPath(pub(crate) Vec<Segment>);

impl KeyPath {
    /// Parses a path such as `acme.fallback[0].directory`. For paths written in this program: none of its keys
    /// contains a dot or a bracket.
    pub(crate) fn parse(text: &str) -> Self {
        let mut path = Vec::new();
        for part in text.split('.').filter(|p| !p.is_empty()) {
            let mut pieces = part.split('[');
            path.extend(pieces.next().map(|key| Segment::Key(key.to_owned())));
            path.extend(pieces.filter_map(|p| p.trim_end_matches(']').parse().ok().map(Segment::Index)));
        }
        Self(path)
    }

    /// The keys of the path, without indices.
    pub(crate) fn keys(&self) -> Vec<String> {
        let key = |segment: &Segment| match segment {
            Segment::Key(key) => Some(key.clone()),
            Segment::Index(_) => None,
        };
        self.0.iter().filter_map(key).collect()
    }

    /// Whether both are in the same `section.key`, so that a fault in one may be why the other looks wrong.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        let head = |path: &Self| path.0.iter().take(2).cloned().collect::<Vec<_>>();
        let (a, b) = (head(self), head(other));
        a == b || (a.len() < 2 && b.starts_with(&a)) || (b.len() < 2 && a.starts_with(&b))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_paths_parse_and_print() {
        for text in ["edge", "edge.name", "acme.fallback[1].eab.key_id", "listen.http[0]"] {
            assert_eq!(KeyPath::parse(text).to_string(), text);
        }
    }

    #[test]
    fn keys_of_the_same_section_key_are_near() {
        let near = |a, b| KeyPath::parse(a).is_near(&KeyPath::parse(b));
        assert!(near("listen.http[1]", "listen.http"));
        assert!(near("edge", "edge.name"));
        assert!(!near("edge.name", "edge.node"));
    }
}
