//! Finished files of a file sink: numbered as parts, compressed, and removed when they expire.
//!
//! Every step leaves either the old file or the new one whole after a crash. zstd is the reference
//! implementation in C (built from source, like SQLite and the cryptography), because these files are
//! read by other programs years later and pure Rust encoders were not mature.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use linkseal_base::clock::Timestamp;

use super::pattern::{COMPRESSED, Pattern, part};
use crate::files;
use crate::files::sync_parent;
use crate::settings::FileSettings;

/// A file for an earlier time is finished when it has not been written for this long. Events that
/// arrive even later become a part of their own.
const SETTLED: Duration = Duration::from_secs(10 * 60);
/// The default of zstd: about a tenth of the size, at hundreds of MB per second.
const LEVEL: i32 = 3;

/// Renames a file that is no longer written to the next free part number.
pub(super) fn rotate(path: &Path) -> io::Result<()> {
    let free = (1..u32::MAX)
        .map(|n| part(path, n))
        .find(|p| !p.exists() && !compressed(p).exists());
    let free = free.ok_or_else(|| io::Error::other("no free part number is left"))?;
    fs::rename(path, free)?;
    sync_parent(path)
}

/// Removes expired files and compresses finished ones. Failures are logged and retried the next time.
pub(super) fn maintain(pattern: &Pattern, settings: &FileSettings, now: Timestamp) {
    let files = match pattern.files() {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(%error, path = settings.path, "a sink's files cannot be listed");
            return;
        }
    };
    for path in files {
        if let Err(error) = maintain_file(&path, pattern, settings, now) {
            tracing::error!(%error, path = %path.display(), "a finished file of a sink cannot be compressed or removed; retrying");
        }
    }
}

fn maintain_file(path: &Path, pattern: &Pattern, settings: &FileSettings, now: Timestamp) -> io::Result<()> {
    let modified = fs::metadata(path)?.modified()?;
    let age = now.saturating_since(timestamp(modified));
    if settings.keep.is_some_and(|keep| age > keep) {
        fs::remove_file(path)?;
        tracing::info!(path = %path.display(), "expired file of a sink removed");
        return sync_parent(path);
    }
    let current = pattern.at(&now.to_string());
    let finished = path != current && (is_part(path, pattern) || age > SETTLED);
    if settings.compress && finished && path.extension().is_none_or(|e| e != COMPRESSED.trim_start_matches('.')) {
        compress(path, modified)?;
    }
    Ok(())
}

/// Whether a file is a numbered part, which is not written any more.
fn is_part(path: &Path, pattern: &Pattern) -> bool {
    path.to_str().is_some_and(|text| !pattern.is(text))
}

fn compress(path: &Path, modified: SystemTime) -> io::Result<()> {
    let target = compressed(path);
    match fs::metadata(&target).and_then(|m| m.modified()) {
        // A crash came before the removal below: it is the same file.
        Ok(time) if time == modified => return remove(path),
        // Late events become a part of their own, which is compressed the next time.
        Ok(_) => return rotate(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // The age of a file is that of its last event.
    files::replace(&target, path, Some(modified), |out| {
        let mut encoder = encoder(out)?;
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish().map(drop)
    })?;
    remove(path)
}

/// The encoder for compressed files.
pub(crate) fn encoder<W: io::Write>(out: W) -> io::Result<zstd::Encoder<'static, W>> {
    let mut encoder = zstd::Encoder::new(out, LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    sync_parent(path)
}

/// The path of a file once it is compressed.
pub(crate) fn compressed(path: &Path) -> PathBuf {
    files::with_suffix(path, COMPRESSED)
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use linkseal_base::clock::Clock;

    use super::*;

    fn settings(dir: &Path, compress: bool, keep: Option<Duration>) -> (Pattern, FileSettings) {
        let path = dir.join("%Y-%m-%d.ndjson").to_str().unwrap().to_owned();
        let settings = FileSettings {
            path,
            max_bytes: None,
            compress,
            keep,
        };
        (Pattern::parse(&settings.path).unwrap(), settings)
    }

    fn names(dir: &Path) -> Vec<String> {
        let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn finished_files_are_compressed_and_expired_ones_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (pattern, settings) = settings(dir.path(), true, Some(Duration::from_secs(7200)));
        let now = Clock::system().now();
        // At midnight the day changes before the second look.
        let current = pattern.at(&(now + SETTLED * 2).to_string());
        let text = "{\"seq\":1}\n".repeat(1000);
        fs::write(&current, &text).unwrap();
        fs::write(dir.path().join("2020-01-01.ndjson"), &text).unwrap();
        fs::write(dir.path().join("2020-01-02.part-0001.ndjson"), &text).unwrap();
        fs::write(dir.path().join("other.txt"), &text).unwrap();
        // The one of another day may still get late events, a part does not.
        maintain(&pattern, &settings, now);
        let current = current.file_name().unwrap().to_str().unwrap().to_owned();
        let part = "2020-01-02.part-0001.ndjson.zst";
        assert_eq!(names(dir.path()), ["2020-01-01.ndjson", part, &current, "other.txt"]);
        maintain(&pattern, &settings, now + SETTLED * 2);
        assert_eq!(
            names(dir.path()),
            ["2020-01-01.ndjson.zst", part, &current, "other.txt"]
        );
        let packed = fs::read(dir.path().join("2020-01-01.ndjson.zst")).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), text.as_bytes());
        // Compressing did not make it younger.
        maintain(&pattern, &settings, now + Duration::from_secs(7300));
        assert_eq!(names(dir.path()), ["other.txt"]);
    }

    #[test]
    fn a_crash_at_any_step_of_compressing_neither_loses_nor_duplicates_events() {
        let dir = tempfile::tempdir().unwrap();
        let (pattern, settings) = settings(dir.path(), true, None);
        let later = Clock::system().now() + SETTLED * 2;
        let path = dir.path().join("2020-01-01.ndjson");
        let packed = dir.path().join("2020-01-01.ndjson.zst");
        fs::write(&path, "one\n").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        // While it was written.
        fs::write(dir.path().join("2020-01-01.ndjson.zst.new"), "torn").unwrap();
        maintain(&pattern, &settings, later);
        assert_eq!(names(dir.path()), ["2020-01-01.ndjson.zst"]);
        // Before the old one was removed.
        fs::write(&path, "one\n").unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        maintain(&pattern, &settings, later);
        assert_eq!(names(dir.path()), ["2020-01-01.ndjson.zst"]);
        assert_eq!(zstd::decode_all(&fs::read(&packed).unwrap()[..]).unwrap(), b"one\n");
        // Late events are no crash.
        fs::write(&path, "two\n").unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(modified + Duration::from_secs(1))
            .unwrap();
        maintain(&pattern, &settings, later);
        maintain(&pattern, &settings, later);
        let part = dir.path().join("2020-01-01.part-0001.ndjson.zst");
        assert_eq!(zstd::decode_all(&fs::read(part).unwrap()[..]).unwrap(), b"two\n");
        assert_eq!(zstd::decode_all(&fs::read(&packed).unwrap()[..]).unwrap(), b"one\n");
    }
}
