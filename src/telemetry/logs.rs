//! The log: lines of text or JSON on stderr, at levels that can change while the edge runs.

use std::io::{self, IsTerminal};
use std::panic;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::bounded::Bounded;
use crate::config::log::{Format, Levels, Log};

/// Changes the levels of the log that was installed.
#[derive(Clone, Debug)]
pub struct LogHandle {
    levels: reload::Handle<Targets, Registry>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// This process has one already.
    #[error("the log cannot be set up: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The log that is to change is gone.
    #[error("the log's levels cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Installs the log of this process, and logs panics from then on.
pub fn install(config: &Log) -> Result<LogHandle, LogError> {
    let (levels, handle) = reload::Layer::new(targets(&config.level));
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
        // journald has the time of each line already.
        Format::Text if under_journald() => Box::new(lines.without_time()),
        Format::Text => Box::new(lines),
        Format::Json => Box::new(lines.json().flatten_event(true)),
    };
    tracing_subscriber::registry()
        .with(levels)
        .with(Bounded::default())
        .with(lines)
        .try_init()?;
    log_panics();
    Ok(LogHandle { levels: handle })
}

/// Whether stderr goes to systemd's journal.
fn under_journald() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal()
}

impl LogHandle {
    /// Takes over new levels. The format stays until a restart.
    pub fn set_levels(&self, levels: &Levels) -> Result<(), LogError> {
        Ok(self.levels.reload(targets(levels))?)
    }
}

/// Logs a panic of any task as an error: tokio keeps it in the task's handle, which nobody may ask.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(
            target: "linkseal::panic",
            place,
            thread = thread.name().unwrap_or("unnamed"),
            backtrace = matches!(backtrace.status(), std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string()),
            "panicked: {message}"
        );
    }));
}

/// Libraries that say more at info than an operator wants: at warn, unless asked for.
const QUIET: [&str; 4] = ["hyper", "rustls", "hickory", "tower"];
/// It warns of what clients do wrong, without saying which: at error, unless asked for. The
/// connection ends with a line of ours at debug.
const OF_CLIENTS: &str = "h2";
/// It logs account keys and nonces below info: never more than that, whatever is asked for.
const SECRETIVE: &str = "rustls_acme";

/// The filter for the levels configured. The longest target that matches decides.
fn targets(levels: &Levels) -> Targets {
    let mut all = LevelFilter::ERROR;
    let mut asked: Vec<(&str, LevelFilter)> = Vec::new();
    for (target, level) in levels.directives() {
        let level = level.parse().unwrap_or(LevelFilter::INFO);
        match target {
            "" => all = level,
            // LevelFilter orders the talkative ones as greater.
            target if target.starts_with(SECRETIVE) => asked.push((target, level.min(LevelFilter::INFO))),
            target => asked.push((target, level)),
        }
    }
    let capped = QUIET.map(|target| (target, all.min(LevelFilter::WARN)));
    let capped = capped
        .into_iter()
        .chain([(OF_CLIENTS, all.min(LevelFilter::ERROR))])
        .filter(|(quiet, _)| !asked.iter().any(|(target, _)| target == quiet));
    let mut filter = Targets::new().with_default(all).with_targets(capped);
    if !asked.iter().any(|(target, _)| *target == SECRETIVE) {
        filter = filter.with_target(SECRETIVE, all.min(LevelFilter::INFO));
    }
    filter.with_targets(asked)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn enabled(levels: &str, target: &str, level: Level) -> bool {
        targets(&levels.parse().unwrap()).would_enable(target, &level)
    }

    #[test]
    fn libraries_are_quiet_unless_asked() {
        assert!(enabled("info", "linkseal::edge", Level::INFO));
        assert!(!enabled("info", "linkseal::edge", Level::DEBUG));
        assert!(!enabled("debug", "hyper_util::client", Level::INFO));
        assert!(enabled("debug", "hyper_util::client", Level::WARN));
        assert!(enabled("info,hyper=debug", "hyper::proto", Level::DEBUG));
        assert!(enabled(
            "warn,linkseal::issuer=debug",
            "linkseal::issuer::order",
            Level::DEBUG
        ));
        assert!(!enabled("warn,linkseal::issuer=debug", "linkseal::edge", Level::INFO));
        assert!(!enabled("off", "hyper", Level::ERROR));
        assert!(
            !enabled("trace", "h2::proto::ping_pong", Level::WARN),
            "clients make it say so"
        );
        assert!(enabled("info", "h2::proto", Level::ERROR));
        assert!(enabled("info,h2=warn", "h2::proto::ping_pong", Level::WARN));
    }

    #[test]
    fn nothing_makes_the_acme_library_tell_secrets() {
        for levels in [
            "trace",
            "trace,rustls_acme=trace",
            "info,rustls_acme::acme=trace",
            "trace,rustls=trace",
        ] {
            assert!(!enabled(levels, "rustls_acme::acme", Level::DEBUG), "{levels}");
            assert!(enabled(levels, "rustls_acme::acme", Level::INFO), "{levels}");
        }
    }
}
