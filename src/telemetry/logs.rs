//! The log: lines of text or JSON on stderr, at levels that can change while the edge runs.
//!
//! A thread of its own writes the lines: the reader (a journal, a container's driver, a
//! file on a disk) may hang, and no connection waits for that. Lines that find its queue full are
//! dropped and counted.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::time::Instant;

use linkseal_config::log::{Format, Levels, Log};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, Registry as Metrics};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use super::bounded::{Bounded, Panics, Passed};

/// Most lines that may wait to be written: some 3 MiB.
const LINES: usize = 16_384;

/// Changes the levels of the log that was installed.
#[derive(Clone, Debug)]
pub struct LogHandle {
    levels: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
}

/// Writes what waits when it is dropped, for a second at most: to be held to the end of the process.
#[must_use]
#[derive(Debug)]
pub(crate) struct LogGuard {
    _worker: WorkerGuard,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// This process has one already.
    #[error("the log cannot be set up: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The log that is to change is gone.
    #[error("the log's levels cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Installs the log of this process, and logs panics from then on.
pub(crate) fn install(config: &Log) -> Result<(LogHandle, LogGuard), LogError> {
    let (levels, handle) = reload::Layer::new(targets(&config.level));
    let (writer, guard) = queue(io::stderr());
    let dropped = writer.error_counter();
    let lines = fmt::layer().with_writer(writer).with_ansi(io::stderr().is_terminal());
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
    let handle = LogHandle {
        levels: handle,
        dropped,
    };
    Ok((handle, LogGuard { _worker: guard }))
}

/// A queue of lines, and the thread that writes them.
fn queue(to: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .lossy(true)
        .thread_name("log")
        .finish(to)
}

/// Whether stderr goes to systemd's journal.
fn under_journald() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal()
}

impl LogHandle {
    /// Takes over new levels. The format stays until a restart.
    pub(crate) fn set_levels(&self, levels: &Levels) -> Result<(), LogError> {
        Ok(self.levels.reload(targets(levels))?)
    }

    /// Shows how many lines were dropped.
    ///
    /// # Errors
    /// When the registry has such a metric already.
    pub(crate) fn register(&self, metrics: &Metrics) -> Result<(), prometheus::Error> {
        let total = IntCounter::new(
            "linkseal_log_lines_dropped_total",
            "Lines of the log that were dropped because stderr was not read in time.",
        )?;
        metrics.register(Box::new(Dropped {
            total,
            counter: self.dropped.clone(),
        }))
    }
}

/// Reads the count when metrics are collected.
struct Dropped {
    total: IntCounter,
    counter: ErrorCounter,
}

impl Collector for Dropped {
    fn desc(&self) -> Vec<&Desc> {
        self.total.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let dropped = u64::try_from(self.counter.dropped_lines()).unwrap_or(u64::MAX);
        self.total.inc_by(dropped.saturating_sub(self.total.get()));
        self.total.collect()
    }
}

/// Logs a panic of any task as an error: tokio keeps it in the task's handle, which no one may ask.
fn log_panics() {
    let panics = Panics::default();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().copied();
        let message = message
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = info
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let left_out = match panics.line(&place, Instant::now()) {
            Passed::Yes => None,
            Passed::No => return,
            Passed::After(lines) => Some(lines),
        };
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(
            target: "linkseal::panic",
            place,
            thread = thread.name().unwrap_or("unnamed"),
            left_out,
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
    let mut asked: Vec<(String, LevelFilter)> = Vec::new();
    for (target, level) in levels.directives() {
        let level = level.parse().unwrap_or(LevelFilter::INFO);
        match target {
            "" => all = level,
            // LevelFilter orders the talkative ones as greater.
            target if target.starts_with(SECRETIVE) => asked.push((target.to_owned(), level.min(LevelFilter::INFO))),
            target => {
                // Parts of linkseal that have become crates keep their old names as targets.
                if let Some(part) = target.strip_prefix("linkseal::") {
                    asked.push((format!("linkseal_{part}"), level));
                }
                asked.push((target.to_owned(), level));
            }
        }
    }
    let capped = QUIET.map(|target| (target, all.min(LevelFilter::WARN)));
    let capped = capped
        .into_iter()
        .chain([(OF_CLIENTS, all.min(LevelFilter::ERROR))])
        .filter(|(quiet, _)| !asked.iter().any(|(target, _)| target == quiet));
    let mut filter = Targets::new().with_default(all).with_targets(capped);
    if !asked.iter().any(|(target, _)| target == SECRETIVE) {
        filter = filter.with_target(SECRETIVE, all.min(LevelFilter::INFO));
    }
    filter.with_targets(asked)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// Never read.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            // Until the test lets it go.
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_hangs_holds_up_no_thread_and_what_is_dropped_is_counted() {
        let (go, stuck) = std::sync::mpsc::channel();
        let (writer, guard) = queue(Stuck(stuck));
        let (_, levels) = reload::Layer::new(targets(&Levels::default()));
        let handle = LogHandle {
            levels,
            dropped: writer.error_counter(),
        };
        let metrics = Metrics::new();
        handle.register(&metrics).unwrap();
        let shown = || metrics.gather()[0].get_metric()[0].get_counter().get_value();
        assert_eq!(shown(), 0.0, "from the start");
        let lines = tracing_subscriber::registry().with(fmt::layer().with_writer(writer));
        tracing::subscriber::with_default(lines, || {
            for n in 0..LINES + 1000 {
                tracing::info!(n, "a line");
            }
        });
        // One is being written.
        let dropped = shown();
        assert!((990.0..=1000.0).contains(&dropped), "{dropped}");
        assert_eq!(shown(), dropped);
        drop(go);
        drop(guard);
    }

    fn enabled(levels: &str, target: &str, level: Level) -> bool {
        targets(&levels.parse().unwrap()).would_enable(target, &level)
    }

    #[test]
    fn libraries_are_quiet_unless_asked() {
        assert!(enabled("info", "linkseal_edge", Level::INFO));
        assert!(!enabled("info", "linkseal_edge", Level::DEBUG));
        assert!(!enabled("debug", "hyper_util::client", Level::INFO));
        assert!(enabled("debug", "hyper_util::client", Level::WARN));
        assert!(enabled("info,hyper=debug", "hyper::proto", Level::DEBUG));
        assert!(enabled(
            "warn,linkseal_issuer=debug",
            "linkseal_issuer::order",
            Level::DEBUG
        ));
        assert!(enabled(
            "warn,linkseal::issuer=debug",
            "linkseal_issuer::order",
            Level::DEBUG
        ));
        assert!(enabled("warn,linkseal=debug", "linkseal_issuer::order", Level::DEBUG));
        assert!(!enabled("warn,linkseal_issuer=debug", "linkseal_edge", Level::INFO));
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
