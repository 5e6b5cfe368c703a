//! `[links]`: the tracking links' keys and paths.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Paths;
use super::check::Findings;
use super::text::{ConfigDuration, HttpUrl, LinkPrefix};

/// The tracking links' keys and paths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// What stands in paths before /o/, /c/, /r/ and /u/.
    pub prefix: LinkPrefix,
    /// Where a broken click link leads. Absent: a 404 page.
    pub fallback_url: Option<HttpUrl>,
    /// How old a click or open link may be; an older click link leads where a broken one does, an
    /// older pixel is no event any more. Unsubscribing always works. Absent: they never get too old.
    pub max_age: Option<ConfigDuration>,
    /// The keys links are made with. The last one mints, all verify that are not revoked.
    pub keys: Vec<LinkKey>,
}

/// A key links are made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkKey {
    /// Its id, which every link carries.
    pub id: u8,
    /// The file that holds its 32 bytes as 64 hexadecimal digits.
    pub secret_file: PathBuf,
    /// Whether it is revoked, because another got hold of it: its links then lead where
    /// broken ones do. Takes effect by a reload.
    #[serde(default)]
    pub revoked: bool,
}

impl Links {
    pub(super) fn resolve(&mut self, paths: &Paths<'_>) {
        self.keys.iter_mut().for_each(|key| paths.resolve(&mut key.secret_file));
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if self.keys.is_empty() {
            found.warn(
                "links.keys",
                "is empty: no tracking link will verify; `linkseal link keygen` makes a key",
            );
        }
        if let Some(last) = self.keys.last().filter(|key| key.revoked) {
            found.warn(
                "links.keys",
                format!(
                    "its last key, {}, mints and is revoked: add a new key behind it",
                    last.id
                ),
            );
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            found.problem("links.max_age", "must be longer than nothing: no link would ever work");
        }
        let mut ids = BTreeSet::new();
        for (i, key) in self.keys.iter().enumerate() {
            if !ids.insert(key.id) {
                found.problem(
                    &format!("links.keys[{i}].id"),
                    format!("{} is an earlier key's id; each key has its own, from 0 to 255", key.id),
                );
            }
        }
    }
}
