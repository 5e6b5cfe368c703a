//! A disk that stalls under a process, by preloading `stalling_disk.c`. Needs a C compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::until;

/// A directory whose file operations a test stalls and resumes.
pub(crate) struct StallingDisk {
    library: PathBuf,
    /// The directory that stalls.
    disk: PathBuf,
    /// While the first file exists every operation stalls; while the second does, only syncs.
    all: PathBuf,
    sync: PathBuf,
    /// The names of the threads that were stalled, one per line.
    stalled: PathBuf,
}

impl StallingDisk {
    /// Prepares a stalling `disk`; the library and its switches go into `dir`, which must not be
    /// on that disk.
    pub(crate) fn new(disk: &Path, dir: &Path) -> Self {
        let library = dir.join("stalling_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/stalling_disk.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([library.as_os_str(), source.as_ref()])
            .status();
        assert!(built.expect("a C compiler").success());
        Self {
            library,
            disk: disk.to_owned(),
            all: dir.join("stall-all"),
            sync: dir.join("stall-sync"),
            stalled: dir.join("stalled-threads"),
        }
    }

    /// Makes a process see this disk.
    pub(crate) fn preload(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("STALL_DISK", &self.disk)
            .env("STALL_ALL", &self.all)
            .env("STALL_SYNC", &self.sync)
            .env("STALL_THREADS", &self.stalled);
    }

    /// Stalls every operation from now on.
    pub(crate) fn stall(&self) {
        fs::write(&self.all, "").expect("written");
    }

    /// Stalls syncs only: writes succeed, but nothing becomes durable.
    pub(crate) fn stall_syncs(&self) {
        fs::write(&self.sync, "").expect("written");
    }

    /// Lets all operations continue.
    pub(crate) fn resume(&self) {
        for file in [&self.all, &self.sync] {
            drop(fs::remove_file(file));
        }
    }

    /// Waits until a thread whose name starts with `thread` is stalled.
    pub(crate) async fn until_stalled(&self, thread: &str) {
        until(&format!("{thread} is stalled"), async || {
            let stalled = fs::read_to_string(&self.stalled).unwrap_or_default();
            stalled.lines().any(|name| name.starts_with(thread)).then_some(())
        })
        .await;
    }
}
