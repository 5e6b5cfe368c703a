//! What the checks find: problems, which keep linkseal from running, and warnings.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::source::{KeyPath, Node, Place, Problem, Source};

/// Collects problems and warnings while a configuration is checked.
pub(crate) struct Findings<'a> {
    file: &'a Path,
    tree: &'a Node,
    /// Keys that could not be read; what is near them cannot be judged.
    unread: &'a [KeyPath],
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(file: &'a Path, tree: &'a Node, unread: &'a [KeyPath]) -> Self {
        Self {
            file,
            tree,
            unread,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Whether the file or the environment sets a key, be it to its default.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.tree.contains(&KeyPath::parse(key))
    }

    /// Reports something that keeps linkseal from running.
    pub(crate) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.at(key, message.into());
        self.problems.extend(problem);
    }

    /// Reports a problem with `key`, unless `other` could not be read and may be its cause.
    pub(crate) fn problem_unless_unread(&mut self, key: &str, other: &str, message: impl Into<String>) {
        let other = KeyPath::parse(other);
        if !self.unread.iter().any(|unread| unread.is_near(&other)) {
            self.problem(key, message);
        }
    }

    /// Reports something that is allowed but probably a mistake.
    pub(crate) fn warn(&mut self, key: &str, message: impl Into<String>) {
        let warning = self.at(key, message.into());
        self.warnings.extend(warning);
    }

    fn at(&self, key: &str, message: String) -> Option<Problem> {
        let path = KeyPath::parse(key);
        if self.unread.iter().any(|unread| unread.is_near(&path)) {
            return None;
        }
        Some(Problem {
            place: place(self.file, self.tree.source_of(&path)),
            key: key.to_owned(),
            message,
        })
    }
}

/// The tree that a configuration was read from, for checks that run later.
#[derive(Clone, Default)]
pub(crate) struct Origin(Option<Arc<Node>>);

impl Origin {
    pub(crate) fn of(tree: Node) -> Self {
        Self(Some(Arc::new(tree)))
    }

    /// The origin of a key. A configuration that was not read has none, as a default.
    pub(crate) fn source_of(&self, key: &KeyPath) -> Source {
        self.0.as_ref().map_or(Source::File(None), |tree| tree.source_of(key))
    }
}

/// The configuration has the values.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin(…)")
    }
}

/// The place of a value, for people.
pub(crate) fn place(file: &Path, source: Source) -> Place {
    match source {
        Source::File(line) => Place::File {
            path: file.to_owned(),
            line,
        },
        Source::Environment(variable) => Place::Environment { variable },
    }
}
