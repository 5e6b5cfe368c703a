//! What no compiler checks of the workspace: the crate graph of docs/architecture.md is the one of
//! the manifests, and rustls-acme stays behind the issuer.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The manifests of all packages.
fn manifests() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).expect("a folder");
    let folders = crates.map(|entry| entry.expect("an entry").path());
    std::iter::once(root.to_path_buf())
        .chain(folders)
        .map(|folder| folder.join("Cargo.toml"))
        .collect()
}

/// A package's name and its `[dependencies]`.
fn dependencies(manifest: &Path) -> (String, Vec<String>) {
    let text = fs::read_to_string(manifest).expect("UTF-8");
    let table: toml::Table = text.parse().expect("TOML");
    let name = table["package"]["name"].as_str().expect("a name").to_owned();
    let of = |table: &toml::Value| table.as_table().expect("a table").keys().cloned().collect();
    (name, table.get("dependencies").map(of).unwrap_or_default())
}

#[test]
fn the_crate_graph_is_the_one_of_the_architecture_page() {
    let mut found = BTreeSet::new();
    for manifest in manifests() {
        let (name, dependencies) = dependencies(&manifest);
        let ours = dependencies.into_iter().filter(|d| d.starts_with("linkseal-"));
        found.extend(ours.map(|dependency| format!("{name} --> {dependency}")));
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).expect("UTF-8");
    let drawn: BTreeSet<String> = page
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("linkseal") && line.contains(" --> "))
        .map(str::to_owned)
        .collect();
    let missing: Vec<_> = found.difference(&drawn).collect();
    let gone: Vec<_> = drawn.difference(&found).collect();
    assert!(missing.is_empty(), "docs/architecture.md lacks {missing:#?}");
    assert!(
        gone.is_empty(),
        "docs/architecture.md has edges that no manifest has: {gone:#?}"
    );
}

#[test]
fn only_the_issuer_depends_on_rustls_acme() {
    for manifest in manifests() {
        let (name, dependencies) = dependencies(&manifest);
        let knows = dependencies.iter().any(|d| d == "rustls-acme");
        assert!(!knows || name == "linkseal-issuer", "{name} depends on rustls-acme");
    }
}
