//! The documents are true where a program can check it: links and paths lead somewhere, commands
//! parse, every metric has its line in the operator's page, and sections that the code cites exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_linkseal");
/// Names that look like metrics and are none: the cookie of the pages' language.
const NO_METRICS: [&str; 1] = ["linkseal_lang"];
/// Folders and files whose paths the documents quote.
const TOP: [&str; 9] = [
    "crates/",
    "docs/",
    "deploy/",
    "tests/",
    "benches/",
    "examples/",
    "fuzz/",
    "src/",
    ".ci/",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder that end so, build output and packages aside.
fn files(dir: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("UTF-8").to_owned();
        if path.is_dir() {
            if !["target", "node_modules", ".git"].contains(&name.as_str()) {
                files(&path, ending, into);
            }
        } else if name.ends_with(ending) {
            into.push(path);
        }
    }
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    files(root(), ".md", &mut all);
    assert!(all.len() > 10, "{all:?}");
    all.into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            (path, text)
        })
        .collect()
}

/// A document's lines, each with the language of the fenced block it stands in.
fn lines(text: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let mut fence = None;
    text.lines().filter_map(move |line| {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = fence.is_none().then_some(language.trim());
            return None;
        }
        Some((fence, line))
    })
}

/// Lines that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    lines(text).filter(|(fence, _)| fence.is_none()).map(|(_, line)| line)
}

/// A heading's anchor, as forges make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text).filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let documents = documents();
    let all: BTreeMap<PathBuf, BTreeSet<String>> = documents
        .iter()
        .map(|(path, text)| (path.canonicalize().expect("a file"), anchors(text)))
        .collect();
    let mut wrong = Vec::new();
    for (path, text) in &documents {
        for line in prose(text) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, heading) = target.split_once('#').map_or((target, None), |(f, h)| (f, Some(h)));
                let file = match file {
                    "" => path.clone(),
                    file => path.parent().expect("a folder").join(file),
                };
                let Ok(file) = file.canonicalize() else {
                    wrong.push(format!("{}: {target}: no such file", path.display()));
                    continue;
                };
                if let (Some(heading), Some(anchors)) = (heading, all.get(&file))
                    && !anchors.contains(heading)
                {
                    wrong.push(format!("{}: {target}: no such heading", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_of_the_project_exist() {
    let mut wrong = Vec::new();
    for (path, text) in documents() {
        let within = path.parent().expect("a folder");
        for line in prose(&text) {
            for quoted in line.split('`').skip(1).step_by(2) {
                let is_path = TOP.iter().any(|top| quoted.starts_with(top))
                    && quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                if is_path && !root().join(quoted).exists() && !within.join(quoted).exists() {
                    wrong.push(format!("{}: `{quoted}` does not exist", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The calls of `linkseal` in a shell line: their arguments, up to a pipe, a redirection or a comment.
fn calls(line: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let words: Vec<&str> = line.split_whitespace().collect();
    for (at, word) in words.iter().enumerate() {
        let first = at == 0 || ["--", "|", "&&", ";"].contains(&words[at - 1]) || words[at - 1].contains('=');
        if *word != "linkseal" || !first {
            continue;
        }
        let ends = |word: &&&str| ["|", "&&", ";", ">", ">>", "\\", "&"].contains(*word) || word.starts_with('#');
        let arguments = words[at + 1..].iter().take_while(|word| !ends(word));
        let plain = arguments.map(|word| word.trim_matches(['\'', '"', ';']).to_owned());
        all.push(plain.filter(|word| !word.is_empty()).collect());
    }
    all
}

#[test]
fn commands_parse() {
    let mut wrong = Vec::new();
    let mut tried = BTreeSet::new();
    for (path, text) in documents() {
        let is_shell = |fence: &Option<&str>| fence.is_some_and(|language| ["", "sh", "console"].contains(&language));
        for (_, line) in lines(&text).filter(|(fence, _)| is_shell(fence)) {
            // A synopsis names alternatives and optional parts; what the shell puts in is any word.
            if line.contains(['[', '…', '{']) {
                continue;
            }
            let plain = line.split("$(").enumerate().map(|(i, part)| match i {
                0 => part,
                _ => part.split_once(')').map_or("", |(_, rest)| rest),
            });
            for mut arguments in calls(&plain.collect::<String>()) {
                arguments.push("--help".to_owned());
                if !tried.insert(arguments.clone()) {
                    continue;
                }
                let mut command = Command::new(BINARY);
                let ran = command.args(&arguments).stdin(Stdio::null()).output().expect("it runs");
                if !ran.status.success() {
                    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
                    wrong.push(format!("{}: {line}\n{said}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried.len() > 10, "{tried:?}");
}

/// Lines of code before a file's unit tests, comments aside.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    production.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// Sources that are not tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    files(&root().join("src"), ".rs", &mut all);
    files(&root().join("crates"), ".rs", &mut all);
    let is_test = |path: &PathBuf| {
        let mut parts = path.iter().filter_map(|part| part.to_str());
        parts.any(|part| ["tests", "tests.rs", "testing", "testing.rs"].contains(&part))
    };
    all.retain(|path| !is_test(path));
    all.into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            (path, text)
        })
        .collect()
}

fn is_metric(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let family = name.starts_with("linkseal_") || name.starts_with("process_");
    family && name.bytes().all(allowed) && !NO_METRICS.contains(&name)
}

#[test]
fn every_metric_has_its_line_for_operators() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("UTF-8");
    let sources = sources();
    let mut found = BTreeSet::new();
    for (_, text) in &sources {
        for line in code(text) {
            let quoted = line.split('"').skip(1).step_by(2);
            found.extend(quoted.filter(|name| is_metric(name)).map(str::to_owned));
        }
    }
    assert!(found.len() > 50, "{found:?}");
    let missing: Vec<_> = found
        .iter()
        .filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("`{name}{{")))
        .collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:#?}");
    // And none that is not there; histograms have parts, and log filters name crates.
    let is_known = |name: &str| {
        let base = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|part| name.strip_suffix(part));
        let name = base.unwrap_or(name);
        root().join("crates").join(name.replace('_', "-")).exists()
            || sources.iter().any(|(_, text)| text.contains(name))
    };
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let unknown: BTreeSet<_> = words
        .filter(|word| word.starts_with("linkseal_") && is_metric(word) && !is_known(word))
        .collect();
    assert!(
        unknown.is_empty(),
        "docs/operations.md has metrics that are not in the source: {unknown:#?}"
    );
}

#[test]
fn sections_that_the_code_cites_exist() {
    let page = fs::read_to_string(root().join("docs/specification.md")).expect("UTF-8");
    let headings: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("## ")?.split(['.', ' ']).next())
        .collect();
    let mut cited = 0;
    for (path, text) in sources() {
        for rest in text.split("specification.md §").skip(1) {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            cited += 1;
            assert!(headings.contains(number.as_str()), "{}: §{number}", path.display());
        }
    }
    assert!(cited > 0, "the code cites the specification");
}
