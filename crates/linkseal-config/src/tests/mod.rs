//! The configuration as a whole: what is accepted, what is rejected, and the wording of its errors.

mod environment;
mod example;
mod mistakes;
mod reload;
mod renamed;
mod secrets;
mod store;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::paths::Paths;
use crate::source::Variable;

/// The shortest complete configuration, four lines.
const SHORTEST: &str = "[edge]\nname = \"track.platform.internal\"\n[acme]\naccept_terms = true\n";

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables: Vec<_> = variables
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect();
    Config::parse(Path::new("dir/linkseal.toml"), text, &variables).map_err(|e| e.to_string())
}

#[test]
fn the_shortest_configuration_gets_the_defaults() {
    let config = load(SHORTEST, &[]).unwrap();
    let mut wanted = Config::new("track.platform.internal".parse().unwrap());
    wanted.acme.accept_terms = true;
    wanted.resolve(&Paths { base: Path::new("dir") });
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        serde_json::to_value(&wanted).unwrap()
    );
    assert_eq!(config.store.sqlite_path(), Some(Path::new("dir/linkseal.db")));
    assert_eq!(config.listen.http[0].to_string(), "[::]:80");
    assert_eq!(config.authorities().len(), 1);
}

/// A directory with the files that the example names.
fn example_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("linkseal.toml"), EXAMPLE).unwrap();
    let key = dir.path().join("link-1.key");
    fs::write(&key, "0f".repeat(32) + "\n").unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    dir
}

/// What the reader of the example has to fill in: real names, and consent to the terms.
fn filled_in() -> Vec<Variable> {
    [
        ("LINKSEAL_ACME__ACCEPT_TERMS", "true"),
        ("LINKSEAL_ACME__CONTACT", "[\"mailto:ops@platform.internal\"]"),
        ("LINKSEAL_EDGE__NAME", "track.platform.internal"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
