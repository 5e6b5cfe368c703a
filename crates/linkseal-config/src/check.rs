//! What types alone cannot tell: whether the values of a configuration go together. Each section
//! checks its own; this collects what they find.

use std::path::Path;

use super::Config;
use super::problem::{KeyPath, Place, Problem};
use super::tree::{Node, Source};
use super::upstream;

/// What is wrong with a configuration, and what is only odd.
pub(super) struct Findings<'a> {
    file: &'a Path,
    tree: &'a Node,
    /// Keys that could not be read: what lies near them cannot be judged.
    unread: &'a [KeyPath],
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a Path, tree: &'a Node, unread: &'a [KeyPath]) -> Self {
        Self {
            file,
            tree,
            unread,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Something that keeps linkseal from running with it.
    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.at(key, message.into());
        self.problems.extend(problem);
    }

    /// A problem with `key` that may only be there since `other` could not be read.
    pub(super) fn problem_unless_unread(&mut self, key: &str, other: &str, message: impl Into<String>) {
        let other = KeyPath::parse(other);
        if !self.unread.iter().any(|unread| unread.is_near(&other)) {
            self.problem(key, message);
        }
    }

    /// Something that is allowed and yet probably not meant.
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>) {
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

/// Where a source is, for people.
pub(super) fn place(file: &Path, source: Source) -> Place {
    match source {
        Source::File(line) => Place::File {
            path: file.to_owned(),
            line,
        },
        Source::Environment(variable) => Place::Environment { variable },
    }
}

/// Checks every section, and the sections against each other.
pub(super) fn check(config: &Config, found: &mut Findings<'_>) {
    config.listen.check(found);
    config.edge.check(found);
    config.admission.check(found);
    config.acme.check(found);
    config.acme.check_names(&config.edge, found);
    config.store.check(found);
    config.links.check(found);
    config.events.check(found);
    upstream::check(&config.upstream, found);
    config.dns.check(found);
    config.admin.check(&config.listen, found);
    config.pages.check(found);
}
