//! Whether the user of this process can use the files and directories that a configuration names. `linkseal
//! config check` and `linkseal doctor` run this as the service's user; `serve` does not, because a disk that
//! is full or unavailable must not keep it from serving.
//!
//! Secrets, certificates and the logo are read when the configuration is loaded. This checks the rest: what
//! is written, and what only the start reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use linkseal_event::sink::sink_files;
use linkseal_event::{Networks, NetworksError};
use zeroize::Zeroizing;

use crate::Config;
use crate::secrets::{advice, link_key};
use crate::sections::store::Store;

/// The depth of the journal: a directory per boot, with its segments.
const JOURNAL_DEPTH: usize = 2;
/// The depth of a node's copy of PostgreSQL: its files.
const COPY_DEPTH: usize = 1;
/// The embedded store's files: database, write-ahead log, its index, lock.
const BESIDE_STORE: [&str; 4] = ["", "-wal", "-shm", ".lock"];
/// A sealing key is 64 digits; a longer file is not one.
const KEY_READ: u64 = 1024;
/// Bytes that are written as a trial: a file without content can be created on a full disk.
const TRIAL: usize = 4096;

/// A file or directory that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// The key of the configuration that names it.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// A path and why it cannot be used.
type Refused = (PathBuf, io::Error);

impl Config {
    /// The files and directories that the user of this process cannot use.
    pub fn unusable(&self) -> Vec<Unusable> {
        let mut found = Vec::new();
        if let Some(store) = self.store.sqlite_path() {
            found.extend(
                check_store(store)
                    .err()
                    .map(|refused| to_be_written("store.url", &refused)),
            );
        }
        if self.store.postgres().is_some() {
            let copy = &self.store.copy_dir;
            let copy = is_creatable(copy).and_then(|()| usable(copy, COPY_DEPTH));
            found.extend(copy.err().map(|refused| to_be_written("store.copy_dir", &refused)));
        }
        found.extend(sealing_key(&self.store));
        let journal = is_creatable(&self.events.dir).and_then(|()| usable(&self.events.dir, JOURNAL_DEPTH));
        found.extend(journal.err().map(|refused| to_be_written("events.dir", &refused)));
        for (i, sink) in self.events.sink.iter().enumerate() {
            let refused = sink.path.as_deref().and_then(|path| check_sink(path).err());
            found.extend(refused.map(|refused| to_be_written(&format!("events.sink[{i}].path"), &refused)));
        }
        if let Some(Err(error)) = self.events.networks_file.as_deref().map(Networks::read) {
            let advice = match &error {
                NetworksError::File { source, .. } => advice(source),
                _ => "",
            };
            found.push(Unusable {
                key: "events.networks_file".to_owned(),
                message: format!("{}{advice}", error.without_key()),
            });
        }
        found
    }
}

fn to_be_written(key: &str, (path, error): &Refused) -> Unusable {
    let advice = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "its disk is full: free some space",
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only: repair it and mount it writable",
        _ => "give it to the service's user",
    };
    Unusable {
        key: key.to_owned(),
        message: format!(
            "{} cannot be written to ({error}); {advice}, or give another path, such as one below /var/lib/linkseal",
            path.display()
        ),
    }
}

/// The store's directory must be writable too: files beside the store come and go.
fn check_store(store: &Path) -> Result<(), Refused> {
    let dir = folder_of(store);
    // The start creates only the last directory, so that a path mistyped further up is not created.
    let there = if dir.is_dir() { dir } else { folder_of(dir) };
    takes_files(there)?;
    for suffix in BESIDE_STORE {
        let mut file = store.as_os_str().to_owned();
        file.push(suffix);
        usable(Path::new(&file), 0)?;
    }
    Ok(())
}

/// Whether the key exists where it must, and can be read.
fn sealing_key(store: &Store) -> Option<Unusable> {
    let (path, may_be_made) = store.key_path();
    let bad = |what: String| {
        Some(Unusable {
            key: "store.key_file".to_owned(),
            message: format!("the sealing key {} {what}", path.display()),
        })
    };
    let mut text = Zeroizing::new(String::new());
    match File::open(&path).and_then(|file| file.take(KEY_READ).read_to_string(&mut text)) {
        Ok(_) if link_key(&text).is_none() => bad("must contain 64 hexadecimal digits (32 bytes)".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match store.sqlite_path() {
            Some(file) if file.exists() => bad("is missing: put the store's own key there".to_owned()),
            // The start creates it together with the store.
            Some(_) if may_be_made => None,
            Some(_) => bad("is missing; `openssl rand -hex 32` generates one".to_owned()),
            None => bad(
                "is missing: copy the fleet's own key there; for the first node `openssl rand -hex 32` generates it"
                    .to_owned(),
            ),
        },
        Err(error) => bad(format!("cannot be read ({error}){}", advice(&error))),
    }
}

/// A sink's directory, and the files in it: they are appended to, compressed and erased from.
fn check_sink(path: &Path) -> Result<(), Refused> {
    is_creatable(folder_of(path))?;
    let files = sink_files(&path.to_string_lossy()).map_err(|error| (folder_of(path).to_owned(), error))?;
    files.iter().try_for_each(|file| usable(file, 0))
}

/// Whether files can be created in a directory, or in its nearest existing ancestor.
fn is_creatable(dir: &Path) -> Result<(), Refused> {
    let there = dir.ancestors().find(|dir| dir.as_os_str().is_empty() || dir.exists());
    takes_files(there.unwrap_or(dir))
}

/// Whether an existing path can be read and written; a directory with its content, down to a depth.
fn usable(path: &Path, depth: usize) -> Result<(), Refused> {
    let refused = |error| (path.to_owned(), error);
    // What is missing will be created; pipes and devices are not checked.
    let Ok(kind) = fs::metadata(path) else { return Ok(()) };
    if kind.is_file() {
        return match OpenOptions::new().read(true).append(true).open(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(error)),
            // Opened, or just removed by a running node.
            _ => Ok(()),
        };
    }
    if !kind.is_dir() || depth == 0 {
        return Ok(());
    }
    takes_files(path)?;
    for entry in fs::read_dir(path).map_err(refused)? {
        usable(&entry.map_err(refused)?.path(), depth - 1)?;
    }
    Ok(())
}

/// Whether a file can be created in a directory, and written; creates and removes one.
fn takes_files(dir: &Path) -> Result<(), Refused> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let probe = dir.join(format!(".linkseal-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.and_then(|mut file| {
        let written = file.write_all(&[0; TRIAL]);
        fs::remove_file(&probe).and(written)
    })
    .map_err(|error| (dir.to_owned(), error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A configuration with all of its files in one directory, as after a run.
    fn after_a_run(dir: &Path) -> Config {
        let mut config = Config::new("track.platform.test".parse().unwrap());
        let store = dir.join("linkseal.db");
        for suffix in BESIDE_STORE {
            fs::write(dir.join(format!("linkseal.db{suffix}")), "").unwrap();
        }
        fs::write(dir.join("linkseal.key"), format!("{}\n", "0a".repeat(32))).unwrap();
        config.store.url = format!("sqlite:{}", store.display()).parse().unwrap();
        config.events.dir = dir.join("events");
        fs::create_dir_all(dir.join("events/boot")).unwrap();
        fs::write(dir.join("events/boot/segment"), "").unwrap();
        fs::create_dir_all(dir.join("archive/2026")).unwrap();
        fs::write(dir.join("archive/2026/11.ndjson"), "").unwrap();
        let sink = json!({"name": "archive", "kind": "file", "path": dir.join("archive/%Y/%m.ndjson")});
        config.events.sink.push(serde_json::from_value(sink).unwrap());
        fs::write(dir.join("networks"), "203.0.113.0/24 scanner gateway\n").unwrap();
        config.events.networks_file = Some(dir.join("networks"));
        config
    }

    fn unusable(config: &Config) -> Vec<(String, String)> {
        config.unusable().into_iter().map(|u| (u.key, u.message)).collect()
    }

    /// Files in place of directories and of other files, which not even root could use.
    #[test]
    fn an_unusable_file_is_reported_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let config = after_a_run(dir.path());
        assert_eq!(unusable(&config), []);
        let left = fs::read_dir(dir.path()).unwrap().filter_map(Result::ok);
        let left = left.filter(|e| e.file_name().to_string_lossy().starts_with(".linkseal-check"));
        assert_eq!(left.count(), 0, "nothing is left behind");
        let refuses = |path: &str, key: &str, part: &str| {
            let path = dir.path().join(path);
            let kept = dir.path().join("kept");
            fs::rename(&path, &kept).unwrap();
            fs::write(&path, "x").unwrap();
            let unusable = unusable(&config);
            fs::remove_file(&path).unwrap();
            fs::rename(&kept, &path).unwrap();
            assert!(
                unusable.iter().any(|(k, m)| k == key && m.contains(part)),
                "{path:?}: {unusable:?}"
            );
        };
        refuses("events", "events.dir", "cannot be written to");
        refuses("archive", "events.sink[0].path", "cannot be written to");
        refuses("networks", "events.networks_file", "line 1");
        refuses("linkseal.key", "store.key_file", "64 hexadecimal digits");
        fs::remove_file(dir.path().join("linkseal.key")).unwrap();
        let without_key = unusable(&config);
        assert!(without_key[0].1.contains("store's own key"), "{without_key:?}");
        fs::remove_file(dir.path().join("networks")).unwrap();
        assert!(unusable(&config).iter().any(|(key, _)| key == "events.networks_file"));
    }

    #[test]
    fn a_fleet_needs_its_key_and_a_directory_for_its_copy() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = after_a_run(dir.path());
        config.store.url = "postgres://u@db/linkseal".parse().unwrap();
        config.store.key_file = Some(dir.path().join("linkseal.key"));
        config.store.copy_dir = dir.path().join("is/made");
        assert_eq!(unusable(&config), []);
        fs::remove_file(dir.path().join("linkseal.key")).unwrap();
        let without_key = unusable(&config);
        assert!(
            without_key.len() == 1 && without_key[0].1.contains("copy the fleet's own key there"),
            "{without_key:?}"
        );
        fs::write(dir.path().join("linkseal.key"), "0a".repeat(32)).unwrap();
        fs::write(dir.path().join("is"), "a file").unwrap();
        let without_copy = unusable(&config);
        assert!(
            without_copy.len() == 1 && without_copy[0].0 == "store.copy_dir",
            "{without_copy:?}"
        );
    }

    #[test]
    fn the_advice_is_that_for_the_cause() {
        for (kind, advice) in [
            (io::ErrorKind::StorageFull, "its disk is full: free some space"),
            (io::ErrorKind::ReadOnlyFilesystem, "its file system is read-only"),
            (io::ErrorKind::PermissionDenied, "give it to the service's user"),
        ] {
            let unusable = to_be_written("events.dir", &("/mnt/events".into(), kind.into()));
            assert!(unusable.message.contains(advice), "{}", unusable.message);
        }
    }

    #[test]
    fn only_the_last_directory_of_the_store_is_created() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("track.platform.test".parse().unwrap());
        config.events.dir = dir.path().join("is/made/with/all/above/it");
        for (store, is_fine) in [("new/linkseal.db", true), ("mistyped/new/linkseal.db", false)] {
            let store = dir.path().join(store);
            config.store.url = format!("sqlite:{}", store.display()).parse().unwrap();
            let unusable = unusable(&config);
            assert_eq!(unusable.is_empty(), is_fine, "{unusable:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
