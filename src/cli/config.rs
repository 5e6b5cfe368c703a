//! `linkseal config`: check a configuration, print its schema or an example.

use std::path::{Path, PathBuf};
use std::{io, thread};

use clap::Subcommand;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde_json::json;

use super::{Failure, output};
use crate::config::{Config, EXAMPLE, Problem};
use crate::descriptors;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a file, with the files it names and the environment's overrides.
    Check {
        /// The configuration.
        file: PathBuf,
        /// Check as this user: the one that `serve` will run as.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the file.
    Schema,
    /// Print an example with every key and its default.
    Example,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check { file, user: None, json } => check(&file, json),
        Command::Check {
            file,
            user: Some(user),
            json,
        } => check_as(&user, &file, json),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&Config::schema()).map_err(Failure::failed)?;
            output::line(&schema)
        }
        Command::Example => output::text(EXAMPLE),
    }
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let loaded = Config::load(file);
    let unwritable = loaded.as_ref().map(Config::unwritable).unwrap_or_default();
    if json {
        let (problems, warnings) = match &loaded {
            Ok(config) => (&[][..], &config.warnings[..]),
            Err(error) => (&error.problems[..], &[][..]),
        };
        let mut problems = list(problems);
        problems.extend(unwritable.iter().map(|u| {
            let place = file.display().to_string();
            json!({"place": place, "key": u.key, "message": u.message})
        }));
        let mut warnings = list(warnings);
        warnings.extend(loaded.as_ref().ok().and_then(files).map(|message| {
            let place = file.display().to_string();
            json!({"place": place, "key": "edge.max_connections", "message": message})
        }));
        output::json(&json!({"ok": problems.is_empty(), "problems": problems, "warnings": warnings}))?;
    }
    let config = loaded?;
    if !json {
        for warning in &config.warnings {
            eprintln!("warning: {warning}");
        }
        if let Some(warning) = files(&config) {
            eprintln!("warning: {}: edge.max_connections: {warning}", file.display());
        }
    }
    if !unwritable.is_empty() {
        let lines = unwritable
            .iter()
            .map(|u| format!("{}: {}: {}", file.display(), u.key, u.message));
        return Err(Failure::Usage(lines.collect::<Vec<_>>().join("\nlinkseal: ")));
    }
    if !json {
        output::line(&format!("{}: ok", file.display()))?;
    }
    Ok(())
}

/// Runs the same check as another user: what root may read and write says nothing about the service.
fn check_as(user: &str, file: &Path, json: bool) -> Result<(), Failure> {
    let read = |path| std::fs::read_to_string(path).map_err(Failure::failed);
    let ids = Ids::of(user, &read("/etc/passwd")?, &read("/etc/group")?).ok_or_else(|| {
        Failure::Usage(format!(
            "--user: /etc/passwd has no user {user}; `useradd --system {user}` makes one"
        ))
    })?;
    ids.act(|| check(file, json)).unwrap_or_else(|error| {
        Err(Failure::Failed(format!(
            "cannot check as {user} ({error}): only root can"
        )))
    })
}

/// Whose rights a thread has.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    uid: Uid,
    gid: Gid,
    /// The groups that a user is in beside its own: a service has their rights as well.
    others: Vec<Gid>,
}

impl Ids {
    /// A user's, from the files that have the system's own users and groups.
    fn of(user: &str, users: &str, groups: &str) -> Option<Self> {
        let (uid, gid) = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next() == Some(user);
            let (uid, gid) = (fields.nth(1)?, fields.next()?);
            found.then_some((Uid::from_raw(uid.parse().ok()?), Gid::from_raw(gid.parse().ok()?)))
        })?;
        let others = groups.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (id, mut members) = (fields.nth(2)?, fields.next()?.split(','));
            let is_member = members.any(|member| member.trim() == user);
            is_member.then_some(Gid::from_raw(id.parse().ok()?))
        });
        let others = others.collect();
        Some(Self { uid, gid, others })
    }

    /// Does something with these rights and no others, on a thread that ends with it: the system
    /// keeps rights by thread.
    fn act<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let done = thread::scope(|scope| {
            let acting = scope.spawn(|| {
                set_thread_groups(&self.others)?;
                set_thread_gid(self.gid)?;
                set_thread_uid(self.uid)?;
                Ok(work())
            });
            acting.join()
        });
        done.unwrap_or_else(|_| Err(io::Error::other("the check broke off")))
    }
}

/// Whether a process may have as many files open as the configuration needs, as far as this one can
/// tell: a service may have a limit of its own.
fn files(config: &Config) -> Option<String> {
    descriptors::warning(config, descriptors::highest())
}

fn list(problems: &[Problem]) -> Vec<serde_json::Value> {
    let entry = |p: &Problem| json!({"place": p.place.to_string(), "key": p.key, "message": p.message});
    problems.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nlinkseal:x:990:980::/nonexistent:/usr/sbin/nologin\n";
    const GROUPS: &str = "root:x:0:\nlinkseal:x:980:\nssl-cert:x:112:postgres,linkseal\nlinks:x:113:linkseals\n";

    #[test]
    fn a_user_has_the_rights_of_all_groups_it_is_in() {
        let ids = Ids::of("linkseal", USERS, GROUPS).unwrap();
        assert_eq!((ids.uid.as_raw(), ids.gid.as_raw()), (990, 980));
        assert_eq!(ids.others, [Gid::from_raw(112)]);
        assert_eq!(Ids::of("nobody", USERS, GROUPS), None);
        let Ok(()) = ids.act(|| ()) else {
            // Only root can have others' rights.
            assert!(!rustix::process::getuid().is_root());
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for (group, mode, is_readable) in [
            (112, 0o640, true),
            (113, 0o640, false),
            (980, 0o640, true),
            (112, 0o600, false),
        ] {
            let file = dir.path().join("secret");
            fs::write(&file, "secret").unwrap();
            chown(&file, Some(0), Some(group)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let read = ids.act(|| fs::read(&file).is_ok()).unwrap();
            assert_eq!(read, is_readable, "group {group}, mode {mode:o}");
        }
        assert!(rustix::process::getuid().is_root(), "this process keeps its own");
    }
}
