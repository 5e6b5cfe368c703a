//! `linkseal config`: check a configuration, print its schema or an example.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, output};
use crate::config::{Config, EXAMPLE, Problem};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a file, with the files it names and the environment's overrides.
    Check {
        /// The configuration.
        file: PathBuf,
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
        Command::Check { file, json } => {
            let loaded = Config::load(&file);
            if json {
                let (problems, warnings) = match &loaded {
                    Ok(config) => (&[][..], &config.warnings[..]),
                    Err(error) => (&error.problems[..], &[][..]),
                };
                output::json(&json!({"ok": loaded.is_ok(), "problems": list(problems), "warnings": list(warnings)}))?;
            }
            let config = loaded?;
            if !json {
                config
                    .warnings
                    .iter()
                    .for_each(|warning| eprintln!("warning: {warning}"));
                output::line(&format!("{}: ok", file.display()))?;
            }
            Ok(())
        }
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&Config::schema()).map_err(Failure::failed)?;
            output::line(&schema)
        }
        Command::Example => output::text(EXAMPLE),
    }
}

fn list(problems: &[Problem]) -> Vec<serde_json::Value> {
    let entry = |p: &Problem| json!({"place": p.place.to_string(), "key": p.key, "message": p.message});
    problems.iter().map(entry).collect()
}
