//! Paths of files that are named after time: filled in for writing, and recognised on disk.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Length of `2026-11-22T09:30`: a minute is the finest field of a pattern.
pub(super) const MINUTE: usize = 16;
/// Between a file's name and the number of its part.
const PART: &str = ".part-";
/// Suffix of compressed files.
pub(crate) const COMPRESSED: &str = ".zst";

/// The path of a file sink, with fields for the time.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    /// This part of `2026-11-22T09:30:00Z`.
    Time(Range<usize>),
}

impl Pattern {
    /// Parses a pattern; the error is the unknown field.
    pub(super) fn parse(path: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = path.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            let range = match chars.next() {
                Some('%') => {
                    text.push('%');
                    continue;
                }
                Some('Y') => 0..4,
                Some('m') => 5..7,
                Some('d') => 8..10,
                Some('H') => 11..13,
                Some('M') => 14..MINUTE,
                other => return Err(other.map_or("%".into(), |c| format!("%{c}"))),
            };
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::Time(range));
        }
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    /// The path for a time in RFC 3339 (UTC).
    pub(super) fn at(&self, time: &str) -> PathBuf {
        let part = |p: &Part| match p {
            Part::Text(text) => text.clone(),
            Part::Time(range) => time.get(range.clone()).unwrap_or("0").to_owned(),
        };
        self.0.iter().map(part).collect::<String>().into()
    }

    /// Whether a path is that of a file being written, without part number or compression suffix.
    pub(super) fn is(&self, path: &str) -> bool {
        self.matches(path, true)
    }

    /// Whether a path matches: as a whole, or as a folder on the way.
    fn matches(&self, path: &str, whole: bool) -> bool {
        let mut rest = path;
        for part in &self.0 {
            let text;
            let (taken, expected) = match part {
                Part::Text(t) => (t.len(), Some(t.as_str())),
                Part::Time(range) => (range.len(), None),
            };
            if !whole && rest.len() < taken {
                // A folder's path ends within a literal part.
                return expected.is_some_and(|t| t.starts_with(rest) && t.as_bytes().get(rest.len()) == Some(&b'/'));
            }
            (text, rest) = match rest.split_at_checked(taken) {
                Some(split) => split,
                None => return false,
            };
            let fits = match expected {
                Some(expected) => text == expected,
                None => text.bytes().all(|b| b.is_ascii_digit()),
            };
            if !fits {
                return false;
            }
        }
        rest.is_empty()
    }

    /// All existing files of this pattern, those being written and finished ones.
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let first = match self.0.first() {
            Some(Part::Text(text)) => text.as_str(),
            _ => "",
        };
        let root = first
            .rfind('/')
            .and_then(|at| first.get(..at.max(1)))
            .unwrap_or_default();
        let mut found = Vec::new();
        self.walk(Path::new(root), &mut found)?;
        found.sort();
        Ok(found)
    }

    fn walk(&self, folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
        let here = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        let entries = match fs::read_dir(here) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let Some(text) = path.to_str() else { continue };
            if entry.file_type()?.is_dir() {
                if self.matches(text, false) {
                    self.walk(&path, found)?;
                }
            } else if self.matches(&plain(text), true) {
                found.push(path);
            }
        }
        Ok(())
    }
}

/// The path of a file's part of that number, such as `2026-11-22.part-0001.ndjson`.
pub(super) fn part(path: &Path, part: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A leading dot hides a file; it does not begin an extension.
    let dot = name.rfind('.').filter(|at| *at > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    path.with_file_name(format!("{stem}{PART}{part:04}{extension}"))
}

/// The path of a finished file while it was being written.
fn plain(path: &str) -> String {
    let path = path.strip_suffix(COMPRESSED).unwrap_or(path);
    let Some((stem, rest)) = path.rsplit_once(PART) else {
        return path.to_owned();
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match rest.get(digits..) {
        Some(extension) if digits > 0 && (extension.is_empty() || extension.starts_with('.')) => {
            format!("{stem}{extension}")
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_pattern_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let own = [
            "2026/e-22.ndjson",
            "2026/e-22.part-0001.ndjson",
            "2026/e-22.part-12345.ndjson.zst",
            "2027/e-01.ndjson.zst",
        ];
        let others = [
            "2026/e-2x.ndjson",
            "2026/e-22.ndjson.bak",
            "2026/e-22.part-x.ndjson",
            "2026/e-22.ndjson.zst.new",
            "20267/e-22.ndjson",
            "abcd/e-22.ndjson",
            "e-22.ndjson",
        ];
        for name in own.iter().chain(&others) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let pattern = Pattern::parse(dir.path().join("%Y/e-%d.ndjson").to_str().unwrap()).unwrap();
        let mut expected: Vec<_> = own.iter().map(|n| dir.path().join(n)).collect();
        expected.sort();
        assert_eq!(pattern.files().unwrap(), expected);
        let missing = Pattern::parse(dir.path().join("none/%Y").to_str().unwrap()).unwrap();
        assert!(missing.files().unwrap().is_empty());
    }

    #[test]
    fn parts_have_numbered_names() {
        assert_eq!(
            part(Path::new("a/2026.ndjson"), 7),
            Path::new("a/2026.part-0007.ndjson")
        );
        assert_eq!(part(Path::new(".events"), 7), Path::new(".events.part-0007"));
        assert_eq!(
            part(Path::new("a.b/events"), 10_000),
            Path::new("a.b/events.part-10000")
        );
        assert_eq!(plain("a/2026.part-0007.ndjson.zst"), "a/2026.ndjson");
        assert_eq!(plain("a.part-7"), "a");
        assert_eq!(plain("a.part-.x"), "a.part-.x");
    }
}
