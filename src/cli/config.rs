//! `linkseal config`: check a configuration, print its schema or an example.

use std::path::{Path, PathBuf};
use std::{io, thread};

use clap::Subcommand;
use linkseal_config::{Config, ConfigError, EXAMPLE, Problem};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use serde_json::json;

use super::{Failure, output};
use crate::app::{sentence, store};
use crate::descriptors;

/// The key of the configuration that names the store.
const STORE: &str = "store.url";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a file, with the files it names and the environment's overrides.
    Check {
        /// The configuration.
        file: PathBuf,
        /// Check with the rights of this user, the one that `serve` runs as.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the file.
    Schema,
    /// Print an example with every key and its default.
    Example,
    /// Print the reference of all keys in Markdown: docs/configuration.md.
    #[command(hide = true)]
    Reference,
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
        Command::Reference => output::text(&linkseal_config::reference()),
    }
}

fn check(file: &Path, json: bool) -> Result<(), Failure> {
    let checked = Checked::of(file);
    if json {
        let (problems, warnings) = (list(&checked.problems), list(&checked.warnings));
        output::json(&json!({"ok": problems.is_empty(), "problems": problems, "warnings": warnings}))?;
    } else {
        for warning in &checked.warnings {
            eprintln!("warning: {warning}");
        }
    }
    if !checked.problems.is_empty() {
        return Err(ConfigError::new(checked.problems).into());
    }
    if json {
        Ok(())
    } else {
        output::line(&format!("{}: ok", file.display()))
    }
}

/// Problems and warnings of a configuration.
struct Checked {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Checked {
    fn of(file: &Path) -> Self {
        let config = match Config::load(file) {
            Ok(config) => config,
            Err(error) => {
                return Self {
                    problems: error.problems,
                    warnings: error.warnings,
                };
            }
        };
        let unusable = config.unusable().into_iter();
        let mut problems: Vec<_> = unusable.map(|u| config.problem(file, u.key, u.message)).collect();
        // A store that cannot be written is a problem already.
        if problems.iter().all(|p| p.key != STORE)
            && let Err(error) = store::check(&config)
        {
            problems.push(config.problem(file, STORE, sentence(&error)));
        }
        let mut warnings = config.warnings.clone();
        let few = files(&config).map(|message| config.problem(file, "edge.max_connections", message));
        warnings.extend(few);
        Self { problems, warnings }
    }
}

/// Runs the check as another user: what root can read and write says nothing about the service.
fn check_as(user: &str, file: &Path, json: bool) -> Result<(), Failure> {
    let read =
        |path: &str| std::fs::read_to_string(path).map_err(|e| Failure::Failed(format!("{path} cannot be read: {e}")));
    let ids = Ids::of(user, &read("/etc/passwd")?, &read("/etc/group")?).ok_or_else(|| {
        Failure::Usage(format!(
            "--user: /etc/passwd has no user {user}; `useradd --system {user}` creates one"
        ))
    })?;
    ids.act(|| check(file, json)).unwrap_or_else(|error| {
        Err(Failure::Failed(format!(
            "cannot check as {user} ({error}): only root can act as another user"
        )))
    })
}

/// The user and groups of a thread.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    uid: Uid,
    gid: Gid,
    /// The user's supplementary groups.
    others: Vec<Gid>,
}

impl Ids {
    /// A user's ids, from the contents of /etc/passwd and /etc/group.
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

    /// Runs `work` with these ids, on a thread of its own: the kernel keeps ids per thread.
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
        done.unwrap_or_else(|_| Err(io::Error::other("the check panicked")))
    }
}

/// The warning if the configuration needs more open files than this process may have. The service may have
/// another limit.
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

    /// A sink, a store and a journal as after a run; each file gets another owner in turn.
    #[test]
    fn files_of_another_user_are_reported_before_the_start() {
        let ids = Ids::of("linkseal", USERS, GROUPS).unwrap();
        if ids.act(|| ()).is_err() {
            // Only root can act as another user.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut config = Config::new("track.platform.test".parse().unwrap());
        config.store.url = format!("sqlite:{}", at("linkseal.db").display()).parse().unwrap();
        config.events.dir = at("events");
        config.events.networks_file = Some(at("networks"));
        let sink = json!({"name": "archive", "kind": "file", "path": at("archive/%Y.ndjson")});
        config.events.sink.push(serde_json::from_value(sink).unwrap());
        let files = [
            ("linkseal.db", "store.url"),
            ("linkseal.db-wal", "store.url"),
            ("linkseal.db.lock", "store.url"),
            ("linkseal.key", "store.key_file"),
            ("events/boot/segment", "events.dir"),
            ("archive/2026.ndjson", "events.sink[0].path"),
            ("networks", "events.networks_file"),
        ];
        fs::create_dir_all(at("events/boot")).unwrap();
        fs::create_dir_all(at("archive")).unwrap();
        let own = |path: &Path, uid: u32, mode: u32| {
            chown(path, Some(uid), Some(uid)).unwrap();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        for (name, _) in files {
            let content = if name == "linkseal.key" {
                "0a".repeat(32)
            } else {
                String::new()
            };
            fs::write(at(name), content).unwrap();
            own(&at(name), 990, 0o600);
        }
        let folders = ["", "events", "events/boot", "archive"].map(at);
        for folder in &folders {
            own(folder, 990, 0o700);
        }
        let unusable = || ids.act(|| config.unusable()).unwrap();
        assert!(unusable().is_empty(), "{:?}", unusable());
        for (name, key) in files {
            own(&at(name), 0, 0o600);
            let found = unusable();
            own(&at(name), 990, 0o600);
            assert!(found.len() == 1 && found[0].key == key, "{name}: {found:?}");
            assert!(found[0].message.contains(at(name).to_str().unwrap()), "{found:?}");
        }
        // The service's own files in a directory of another user.
        for (folder, key) in folders
            .iter()
            .zip(["store.url", "events.dir", "events.dir", "events.sink[0].path"])
        {
            own(folder, 0, 0o755);
            let found = unusable();
            own(folder, 990, 0o700);
            assert!(found.iter().any(|u| u.key == key), "{folder:?}: {found:?}");
        }
    }

    #[test]
    fn a_check_as_a_user_has_the_rights_of_all_its_groups() {
        let ids = Ids::of("linkseal", USERS, GROUPS).unwrap();
        assert_eq!((ids.uid.as_raw(), ids.gid.as_raw()), (990, 980));
        assert_eq!(ids.others, [Gid::from_raw(112)]);
        assert_eq!(Ids::of("nobody", USERS, GROUPS), None);
        let Ok(()) = ids.act(|| ()) else {
            // Only root can act as another user.
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
        assert!(rustix::process::getuid().is_root(), "the process keeps its own ids");
    }
}
