//! Relative paths of a configuration.

use std::path::{Path, PathBuf};

/// Resolves relative paths against the directory of the configuration file.
pub(crate) struct Paths<'a> {
    pub(crate) base: &'a Path,
}

impl Paths<'_> {
    pub(crate) fn resolve(&self, path: &mut PathBuf) {
        *path = self.base.join(&*path);
    }
}
