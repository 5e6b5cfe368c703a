//! `linkseal config`: check a configuration, print its schema or an example.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;

use clap::Subcommand;
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
    let (uid, gid) = ids_of(user)?;
    let mut check = process::Command::new(std::env::current_exe().map_err(Failure::failed)?);
    check.args(["config", "check"]).arg(file).uid(uid).gid(gid);
    if json {
        check.arg("--json");
    }
    let status = check.status().map_err(|e| {
        Failure::Failed(format!(
            "cannot run as {user} ({e}): only root can, and {user} must be able to run this program"
        ))
    })?;
    match status.code() {
        Some(0) => Ok(()),
        // What is wrong was printed.
        Some(code) => Err(Failure::Printed(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::Failed(format!("the check as {user} was ended: {status}"))),
    }
}

/// A user's ids, from the file that has the system's own users.
fn ids_of(user: &str) -> Result<(u32, u32), Failure> {
    let users = std::fs::read_to_string("/etc/passwd").map_err(Failure::failed)?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(user);
        let (uid, gid) = (fields.nth(1)?, fields.next()?);
        found.then_some((uid.parse().ok()?, gid.parse().ok()?))
    });
    ids.ok_or_else(|| {
        Failure::Usage(format!(
            "--user: /etc/passwd has no user {user}; `useradd --system {user}` makes one"
        ))
    })
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
