//! `[links]`: keys, paths and lifetime of tracking links.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::paths::Paths;
use crate::values::{ConfigDuration, HttpUrl, LinkPrefix};

/// Keys, paths and lifetime of tracking links.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Links {
    /// Path prefix before /o/, /c/, /r/ and /u/.
    pub prefix: LinkPrefix,
    /// Where invalid click links redirect to. Without one they get a 404 page.
    pub fallback_url: Option<HttpUrl>,
    /// Maximum age of click and open links. An older click link is treated as invalid, an older pixel records no event. Unsubscribe links always work. Without it links do not expire.
    pub max_age: Option<ConfigDuration>,
    /// The link keys. The last one mints; all that are not revoked verify.
    pub keys: Vec<LinkKey>,
}

/// A link key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkKey {
    /// The key's id, which every link carries (0 to 255).
    pub id: u8,
    /// File with the 32-byte key as 64 hexadecimal digits, as `linkseal link keygen` writes it.
    pub secret_file: PathBuf,
    /// Whether the key is revoked, for instance because it leaked: its links are then invalid. A reload applies it.
    #[serde(default)]
    pub revoked: bool,
}

impl Links {
    pub(crate) fn resolve(&mut self, paths: &Paths<'_>) {
        self.keys.iter_mut().for_each(|key| paths.resolve(&mut key.secret_file));
    }

    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        if self.keys.is_empty() {
            found.warn(
                "links.keys",
                "is empty: no tracking link will verify; `linkseal link keygen` creates a key",
            );
        }
        if let Some(last) = self.keys.last().filter(|key| key.revoked) {
            found.warn(
                "links.keys",
                format!(
                    "the last key, {}, mints but is revoked: add a new key after it",
                    last.id
                ),
            );
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            found.problem("links.max_age", "must be longer than zero: no link would ever work");
        }
        let mut ids = BTreeSet::new();
        for (i, key) in self.keys.iter().enumerate() {
            if !ids.insert(key.id) {
                found.problem(
                    &format!("links.keys[{i}].id"),
                    format!(
                        "{} is the id of an earlier key; ids must be unique, from 0 to 255",
                        key.id
                    ),
                );
            }
        }
    }
}
