//! What no compiler checks: who may use rustls-acme, and that the documents name every metric. Which
//! crate may know which is in their manifests.

use std::fs;
use std::path::{Path, PathBuf};

/// Names that look like metrics and are none: the cookie of the pages' language.
const NO_METRICS: [&str; 1] = ["linkseal_lang"];

/// All files of a module that are not tests.
fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("UTF-8").to_owned();
        let is_test = stem == "tests" || stem.ends_with("_tests") || stem == "testing" || stem == "conformance";
        if is_test {
            continue;
        }
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The lines of a file before its unit tests, comments aside, with their numbers.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    let mut tests = false;
    lines
        .take_while(move |(_, line)| {
            tests |= line.trim() == "#[cfg(test)]";
            // An item that is for tests only may stand anywhere; the module stands at the end.
            !(tests && line.trim_start().starts_with("mod tests"))
        })
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The sources of all crates.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&root.join("src"), &mut all);
    files(&root.join("crates"), &mut all);
    all
}

#[test]
fn rustls_acme_is_known_to_the_issuer_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join("crates")).expect("a folder") {
        let folder = entry.expect("an entry").path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("UTF-8");
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        assert!(
            !dependencies.contains("rustls-acme") || folder.ends_with("linkseal-issuer"),
            "{} depends on rustls-acme",
            folder.display()
        );
    }
}

/// The name of a metric wherever the source has one in quotation marks.
fn metrics(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|name| {
        let is_named = name.starts_with("linkseal_") || name.starts_with("process_");
        is_named
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}

#[test]
fn every_metric_stands_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("UTF-8");
    let mut found = 0;
    for file in sources() {
        let text = fs::read_to_string(&file).expect("UTF-8");
        for (number, line) in code(&text) {
            for name in metrics(line).filter(|name| !NO_METRICS.contains(name)) {
                found += 1;
                let is_told = [format!("`{name}`"), format!("`{name}{{")];
                assert!(
                    is_told.iter().any(|told| readme.contains(told.as_str())),
                    "{}:{number}: README.md lacks {name}",
                    file.display()
                );
            }
        }
    }
    assert!(found > 50, "{found}");
}
