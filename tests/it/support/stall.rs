//! A disk that stalls below a process: `stall.c`, which the process is started with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::until;

/// A disk that a test stalls and heals.
pub(crate) struct StallingDisk {
    library: PathBuf,
    /// What lies on it.
    disk: PathBuf,
    /// While these are there, everything stalls, or what waits until data is on the disk.
    all: PathBuf,
    sync: PathBuf,
    /// Which threads were held.
    held: PathBuf,
}

impl StallingDisk {
    /// On which this directory lies; what it needs is kept in another.
    pub(crate) fn new(disk: &Path, dir: &Path) -> Self {
        let library = dir.join("stall.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/stall.c");
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
            held: dir.join("stall-held"),
        }
    }

    /// Has a process live on it.
    pub(crate) fn below(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("STALL_DISK", &self.disk)
            .env("STALL_ALL", &self.all)
            .env("STALL_SYNC", &self.sync)
            .env("STALL_HELD", &self.held);
    }

    /// Whatever touches it waits from now on.
    pub(crate) fn stall(&self) {
        fs::write(&self.all, "").expect("written");
    }

    /// It takes data, and what waits until it is safe waits.
    pub(crate) fn stall_syncs(&self) {
        fs::write(&self.sync, "").expect("written");
    }

    /// It goes on.
    pub(crate) fn heal(&self) {
        for file in [&self.all, &self.sync] {
            drop(fs::remove_file(file));
        }
    }

    /// Waits until it has held a thread whose name begins so.
    pub(crate) async fn until_held(&self, thread: &str) {
        until(&format!("the disk holds {thread}"), async || {
            let held = fs::read_to_string(&self.held).unwrap_or_default();
            held.lines().any(|name| name.starts_with(thread)).then_some(())
        })
        .await;
    }
}
