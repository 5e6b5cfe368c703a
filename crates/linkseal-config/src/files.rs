//! Whether the user of this process can use the files and folders that a configuration names: asked
//! by `linkseal config check` and `linkseal doctor`, as the user who runs the service. `serve` does
//! not ask: a disk that is full or away must not keep it from serving.
//!
//! Files that hold secrets, certificates or the logo are read when the configuration is loaded. What
//! is left is checked here: what is written, and what only the start reads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use linkseal_event::Networks;
use linkseal_event::sink::sink_files;
use zeroize::Zeroizing;

use super::Config;
use super::secrets::link_key;
use super::store::Store;

/// How deep the journal's folder goes: a folder for each boot, with its segments.
const JOURNAL_DEPTH: usize = 2;
/// Files beside the embedded store that belong to it: its log, its index of that, its lock.
const BESIDE_STORE: [&str; 4] = ["", "-wal", "-shm", ".lock"];
/// A sealing key is 64 digits; more of a file need not be read to know that it is none.
const KEY_READ: u64 = 1024;

/// A file or folder that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// The key that names it.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

/// What keeps a file or folder from being used, and which one.
type Refused = (PathBuf, io::Error);

impl Config {
    /// The files and folders that the user of this process cannot use.
    pub fn unusable(&self) -> Vec<Unusable> {
        let mut found = Vec::new();
        if let Some(store) = self.store.sqlite_path() {
            found.extend(
                check_store(store)
                    .err()
                    .map(|refused| to_be_written("store.url", &refused)),
            );
        }
        found.extend(sealing_key(&self.store));
        let journal = is_or_can_be_made(&self.events.dir).and_then(|()| usable(&self.events.dir, JOURNAL_DEPTH));
        found.extend(journal.err().map(|refused| to_be_written("events.dir", &refused)));
        for (i, sink) in self.events.sink.iter().enumerate() {
            let refused = sink.path.as_deref().and_then(|path| check_sink(path).err());
            found.extend(refused.map(|refused| to_be_written(&format!("events.sink[{i}].path"), &refused)));
        }
        if let Some(Err(error)) = self.events.networks_file.as_deref().map(Networks::read) {
            found.push(Unusable {
                key: "events.networks_file".to_owned(),
                message: error.without_key(),
            });
        }
        found
    }
}

fn to_be_written(key: &str, (path, error): &Refused) -> Unusable {
    Unusable {
        key: key.to_owned(),
        message: format!(
            "{} cannot be written to ({error}); give it to the service's user, or give another path, such as one below /var/lib/linkseal",
            path.display()
        ),
    }
}

/// The store's folder is written to as well: the files beside the store come and go.
fn check_store(store: &Path) -> Result<(), Refused> {
    let dir = folder_of(store);
    // The start makes the last folder only: a path mistyped further up is not made for real.
    let there = if dir.is_dir() { dir } else { folder_of(dir) };
    takes_files(there)?;
    for suffix in BESIDE_STORE {
        let mut file = store.as_os_str().to_owned();
        file.push(suffix);
        usable(Path::new(&file), 0)?;
    }
    Ok(())
}

/// Whether the key is there where it has to be, and can be read.
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
        Ok(_) if link_key(&text).is_none() => bad("must hold 64 hexadecimal digits (32 bytes)".to_owned()),
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match store.sqlite_path() {
            Some(file) if file.exists() => bad("is missing: put the store's own key there".to_owned()),
            // The start makes it together with the store.
            Some(_) if may_be_made => None,
            _ => bad("is missing; `openssl rand -hex 32` makes the content of one".to_owned()),
        },
        Err(error) => bad(format!(
            "cannot be read ({error}); let the service's user read it: `chgrp linkseal` and `chmod 640` it"
        )),
    }
}

/// A sink's folder, and the files that are there already: they are added to, compressed and erased from.
fn check_sink(path: &Path) -> Result<(), Refused> {
    is_or_can_be_made(folder_of(path))?;
    let files = sink_files(&path.to_string_lossy()).map_err(|error| (folder_of(path).to_owned(), error))?;
    files.iter().try_for_each(|file| usable(file, 0))
}

/// Whether files can be made in a folder, or in the nearest one above it where it is missing.
fn is_or_can_be_made(dir: &Path) -> Result<(), Refused> {
    let there = dir.ancestors().find(|dir| dir.as_os_str().is_empty() || dir.exists());
    takes_files(there.unwrap_or(dir))
}

/// Whether what is there can be read and written; folders with what they hold, down to a depth.
fn usable(path: &Path, depth: usize) -> Result<(), Refused> {
    let refused = |error| (path.to_owned(), error);
    // What is missing is made; neither a pipe nor a device is ours.
    let Ok(kind) = fs::metadata(path) else { return Ok(()) };
    if kind.is_file() {
        return match OpenOptions::new().read(true).append(true).open(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(error)),
            // Opened; or removed meanwhile, by a node that runs.
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

/// Whether a file can be made in a folder, found out by making one.
fn takes_files(dir: &Path) -> Result<(), Refused> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let probe = dir.join(format!(".linkseal-check-{}", std::process::id()));
    let made = OpenOptions::new().write(true).create_new(true).open(&probe);
    made.and_then(|_| fs::remove_file(&probe))
        .map_err(|error| (dir.to_owned(), error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A configuration whose files lie in a folder, all of them made as after a run.
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

    fn told(config: &Config) -> Vec<(String, String)> {
        let unusable = config.unusable().into_iter();
        unusable.map(|u| (u.key, u.message)).collect()
    }

    /// A folder can stand where a file belongs, and a file where a folder does: not even root can
    /// use those.
    #[test]
    fn what_cannot_be_used_is_named_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let config = after_a_run(dir.path());
        assert_eq!(told(&config), []);
        let left = fs::read_dir(dir.path()).unwrap().filter_map(Result::ok);
        let left = left.filter(|e| e.file_name().to_string_lossy().starts_with(".linkseal-check"));
        assert_eq!(left.count(), 0, "nothing is left behind");
        let refuses = |path: &str, key: &str, part: &str| {
            let path = dir.path().join(path);
            let kept = dir.path().join("kept");
            fs::rename(&path, &kept).unwrap();
            fs::write(&path, "x").unwrap();
            let told = told(&config);
            fs::remove_file(&path).unwrap();
            fs::rename(&kept, &path).unwrap();
            assert!(
                told.iter().any(|(k, m)| k == key && m.contains(part)),
                "{path:?}: {told:?}"
            );
        };
        refuses("events", "events.dir", "cannot be written to");
        refuses("archive", "events.sink[0].path", "cannot be written to");
        refuses("networks", "events.networks_file", "line 1");
        refuses("linkseal.key", "store.key_file", "64 hexadecimal digits");
        fs::remove_file(dir.path().join("linkseal.key")).unwrap();
        let without_key = told(&config);
        assert!(without_key[0].1.contains("store's own key"), "{without_key:?}");
        fs::remove_file(dir.path().join("networks")).unwrap();
        assert!(told(&config).iter().any(|(key, _)| key == "events.networks_file"));
    }

    #[test]
    fn only_the_last_folder_of_the_store_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new("track.platform.test".parse().unwrap());
        config.events.dir = dir.path().join("is/made/with/all/above/it");
        for (store, is_fine) in [("new/linkseal.db", true), ("mistyped/new/linkseal.db", false)] {
            let store = dir.path().join(store);
            config.store.url = format!("sqlite:{}", store.display()).parse().unwrap();
            let told = told(&config);
            assert_eq!(told.is_empty(), is_fine, "{told:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
