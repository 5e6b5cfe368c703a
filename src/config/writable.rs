//! Whether what linkseal writes to can be written to: asked by `linkseal config check`, as the user
//! who runs it. `serve` does not ask: a disk that is full or away must not keep it from serving.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use super::Config;

/// A place that cannot be written to.
#[derive(Debug)]
pub struct Unwritable {
    /// The key that names it.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Config {
    /// The places that cannot be written to by the user of this process.
    pub fn unwritable(&self) -> Vec<Unwritable> {
        let mut places = Vec::new();
        if let Some(store) = self.store.sqlite_path() {
            places.push(("store.url".to_owned(), store));
        }
        // A name below it stands for what the journal makes there.
        let journal = self.events.dir.join("boot");
        places.push(("events.dir".to_owned(), &journal));
        for (i, sink) in self.events.sink.iter().enumerate() {
            if let Some(path) = &sink.path {
                places.push((format!("events.sink[{i}].path"), path));
            }
        }
        let bad = |(key, path): (String, &Path)| {
            let (at, error) = check(path)?;
            let message = format!(
                "{} cannot be written to ({error}); give it to the service's user, or give another path, such as one below /var/lib/linkseal",
                at.display()
            );
            Some(Unwritable { key, message })
        };
        places.into_iter().filter_map(bad).collect()
    }
}

/// What keeps a file from being written. `None`: it can be.
fn check(file: &Path) -> Option<(&Path, io::Error)> {
    if file.is_file() {
        return OpenOptions::new().append(true).open(file).err().map(|e| (file, e));
    }
    // What is missing is made at the start; what is there already has to allow that.
    let there = file
        .ancestors()
        .skip(1)
        .find(|dir| dir.as_os_str().is_empty() || dir.exists())?;
    let there = if there.as_os_str().is_empty() {
        Path::new(".")
    } else {
        there
    };
    let probe = there.join(format!(".linkseal-check-{}", std::process::id()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => fs::remove_file(&probe).err().map(|e| (there, e)),
        Err(e) => Some((there, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_to_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check(&dir.path().join("not/there/yet/linkseal.db")).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        // Below a file nothing can be made, not even by root.
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check(&file).is_none());
        assert_eq!(check(&file.join("events/boot")).unwrap().0, file);
    }
}
