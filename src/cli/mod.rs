//! The command line, one file per command (docs/specification.md §2).
//!
//! Data goes to stdout, everything else to stderr. Every command that prints data prints JSON with `--json`.

mod admin_client;
mod api;
mod config;
mod dead_letters;
#[cfg(feature = "devca")]
mod demo;
mod doctor;
mod domain;
mod events;
mod issuer;
mod link;
mod output;
mod paging;
mod serve;
mod simulate;
mod store;

use std::any::TypeId;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use linkseal_config::ConfigError;
use uuid::Uuid;

use crate::app::sentence;

/// Exit status for wrong usage and for an invalid configuration (EX_USAGE of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// Exit status of `domain verify` while a record has to change or the certificate is not issued, and of `link
/// inspect` for a link that does not work.
const EXIT_NOT_YET: u8 = 2;

/// TLS-terminating tracking edge: the CNAME target for customers' open, click and redirect domains.
#[derive(Debug, Parser)]
#[command(name = "linkseal", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // Without a comment here, the one of the arguments is the help: a comment would replace it.
    Serve(serve::Args),
    #[cfg(feature = "devca")]
    Demo(demo::Args),
    /// Check a configuration, or print its schema or an example.
    #[command(subcommand)]
    Config(config::Command),
    Doctor(doctor::Args),
    /// Manage domains through the admin API of a running edge.
    Domain(domain::Args),
    Api(Box<api::Args>),
    /// Resume orders that are waiting for a CA.
    Issuer(issuer::Args),
    /// Make link keys and links, and find out why a link does not work.
    #[command(subcommand)]
    Link(link::Command),
    /// Read this node's events, and manage their delivery to sinks.
    #[command(subcommand)]
    Events(events::Command),
    /// Back up or restore the embedded store.
    #[command(subcommand)]
    Store(store::Command),
    Simulate(Box<simulate::Args>),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Wrong usage.
    #[error("linkseal: {0}")]
    Usage(String),
    /// An invalid configuration; each line begins with its place.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A failure at run time.
    #[error("linkseal: {0}")]
    Failed(String),
    /// A record has to be changed first, or the certificate is not issued; the details were printed.
    #[error("not right yet")]
    NotYet,
    /// Failed with this exit status; the failure was printed.
    #[error("see above")]
    Printed(u8),
    /// The link does not work; the reason was printed.
    #[error("the link does not work")]
    NotRight,
    /// The reader of the output has gone.
    #[error("the output was closed")]
    OutputClosed,
}

impl Failure {
    /// An error with its causes.
    fn chain(error: &anyhow::Error) -> Self {
        Self::Failed(sentence(error))
    }

    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Parses the arguments, the program's name first.
fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
    let mut command = taking_hyphens(Cli::command());
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Lets options accept `-5` and `-5s` as values, so that the error says what is allowed and not that there is
/// no option `-5`. Options that accept any text are left alone.
fn taking_hyphens(command: clap::Command) -> clap::Command {
    let texts = [TypeId::of::<String>(), TypeId::of::<PathBuf>()];
    command
        .mut_args(|arg| {
            let is_text = texts.iter().any(|text| arg.get_value_parser().type_id() == *text);
            let takes = arg.get_long().is_some() && arg.get_action().takes_values() && !is_text;
            if takes { arg.allow_hyphen_values(true) } else { arg }
        })
        .mut_subcommands(taking_hyphens)
}

/// Parses a whole number; the error names the allowed range.
fn whole<T>(allowed: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64> + 'static,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|n| allowed.contains(n));
        let number = number.and_then(|n| T::try_from(n).ok());
        number.ok_or_else(|| format!("must be a whole number from {} to {}", allowed.start(), allowed.end()))
    }
}

/// Parses a message id.
fn message_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| {
        "must be a message's id: a UUID such as 0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506, or its 32 hexadecimal digits"
            .to_owned()
    })
}

/// Runs the command that the arguments of this process name.
pub(crate) async fn main() -> ExitCode {
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors. If neither can be printed, there is nothing left to report to.
            error.print().ok();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match run(cli.command).await {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::NotYet | Failure::NotRight) => ExitCode::from(EXIT_NOT_YET),
        Err(Failure::Printed(code)) => ExitCode::from(code),
        Err(failure) => {
            crate::telemetry::journald::print_error(&failure.to_string());
            ExitCode::from(if matches!(failure, Failure::Usage(_) | Failure::Config(_)) {
                EXIT_USAGE
            } else {
                1
            })
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => Box::pin(serve::run(args)).await,
        #[cfg(feature = "devca")]
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Config(command) => config::run(command),
        Command::Doctor(args) => Box::pin(doctor::run(args)).await,
        Command::Domain(args) => domain::run(args).await,
        Command::Api(args) => api::run(*args).await,
        Command::Issuer(args) => issuer::run(args).await,
        Command::Link(command) => link::run(command),
        Command::Events(command) => events::run(command).await,
        Command::Store(command) => store::run(command),
        Command::Simulate(args) => simulate::run(&args),
    }
}

#[cfg(test)]
mod tests;
