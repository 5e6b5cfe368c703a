//! Data runs one way through the house: which module may know which (design, "Three planes").

use std::fs;
use std::path::{Path, PathBuf};

/// Modules that know nothing of those to their right, each with its tests left out.
const RULES: [(&str, &[&str]); 9] = [
    (
        "edge",
        &[
            "control", "issuer", "dns", "admin", "store", "app", "cli", "config", "devca",
        ],
    ),
    (
        "domain",
        &[
            "edge", "control", "issuer", "dns", "admin", "store", "app", "cli", "config", "event", "devca",
        ],
    ),
    (
        "cert",
        &[
            "edge", "control", "issuer", "dns", "admin", "store", "app", "cli", "config", "event", "devca",
        ],
    ),
    (
        "link",
        &[
            "edge", "control", "issuer", "dns", "admin", "store", "app", "cli", "config", "event", "devca",
        ],
    ),
    (
        "event",
        &[
            "edge", "control", "issuer", "dns", "admin", "store", "app", "cli", "config", "devca",
        ],
    ),
    (
        "store",
        &[
            "edge", "control", "issuer", "dns", "admin", "app", "cli", "config", "event", "devca",
        ],
    ),
    (
        "dns",
        &[
            "edge", "control", "issuer", "admin", "store", "app", "cli", "config", "event", "devca",
        ],
    ),
    (
        "issuer",
        &[
            "edge", "control", "dns", "admin", "app", "cli", "config", "event", "devca",
        ],
    ),
    ("control", &["admin", "app", "cli", "config", "event", "devca"]),
];

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

#[test]
fn no_module_knows_what_stands_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (module, forbidden) in RULES {
        let mut all = Vec::new();
        files(&source.join(module), &mut all);
        assert!(!all.is_empty(), "src/{module} has files");
        for file in all {
            let text = fs::read_to_string(&file).expect("UTF-8");
            for (number, line) in code(&text) {
                for other in forbidden {
                    let knows = [
                        format!("crate::{other}::"),
                        format!("crate::{other};"),
                        format!("crate::{other},"),
                    ];
                    if knows.iter().any(|k| line.contains(k.as_str())) {
                        let place = file.strip_prefix(&source).expect("in src").display().to_string();
                        wrong.push(format!(
                            "src/{place}:{number}: {module} must not know {other}: {}",
                            line.trim()
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn modules_are_imported_one_a_line_so_that_the_rules_see_them() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    for (module, _) in RULES {
        files(&source.join(module), &mut all);
    }
    for file in all {
        let text = fs::read_to_string(&file).expect("UTF-8");
        for (number, line) in code(&text) {
            assert!(!line.contains("use crate::{"), "{}:{number}: {line}", file.display());
        }
    }
}

#[test]
fn rustls_acme_is_known_in_the_files_of_the_issuer_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    for file in all {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let knows = code(&text).any(|(_, line)| line.contains("rustls_acme::"));
        assert!(
            !knows || file.starts_with(source.join("issuer")),
            "{} uses rustls-acme",
            file.display()
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
    let mut all = Vec::new();
    files(&root.join("src"), &mut all);
    let mut found = 0;
    for file in all {
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
