//! The log: lines of text or JSON on stderr, at levels that can change while the edge runs.
//!
//! A thread of its own writes the lines, because the reader (a journal, a container's log driver, a file on a disk)
//! may hang, and no connection must wait for it. When its queue is full, lines are dropped and counted.

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
use super::journald::{self, Lines};

/// Maximum number of lines that wait to be written, some 3 MiB.
const LINES: usize = 16_384;

/// Changes the levels of the installed log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    levels: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
}

/// Writes the waiting lines when it is dropped, for at most a second: keep it until the process ends.
#[must_use]
#[derive(Debug)]
pub(crate) struct LogGuard {
    _worker: WorkerGuard,
}

/// Why the log cannot be installed or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// This process has a log already.
    #[error("the log cannot be set up: {0}")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
    /// The log no longer exists.
    #[error("the log's levels cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Installs the log of this process, and a hook that logs panics.
pub(crate) fn install(config: &Log) -> Result<(LogHandle, LogGuard), LogError> {
    let (levels, handle) = reload::Layer::new(targets(&config.level));
    let (writer, guard) = queue(io::stderr());
    let dropped = writer.error_counter();
    let for_journal = journald::is_reader();
    let lines = fmt::layer()
        .with_writer(Lines::new(writer, for_journal))
        .with_ansi(io::stderr().is_terminal());
    let lines: Box<dyn Layer<_> + Send + Sync> = match config.format {
        // journald adds the time.
        Format::Text if for_journal => Box::new(lines.without_time()),
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

impl LogHandle {
    /// Applies new levels. The format changes with a restart only.
    pub(crate) fn set_levels(&self, levels: &Levels) -> Result<(), LogError> {
        Ok(self.levels.reload(targets(levels))?)
    }

    /// Registers the counter of dropped lines.
    ///
    /// # Errors
    /// The registry has that metric already.
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

/// Updates the counter when metrics are collected.
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

/// Logs every panic as an error: tokio only puts it into the task's handle, which may never be read.
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
        let suppressed = match panics.line(&place, Instant::now()) {
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
            suppressed,
            backtrace = matches!(backtrace.status(), std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string()),
            "panicked: {message}"
        );
    }));
}

/// Libraries that log at info what an operator does not need: limited to warn unless configured.
const QUIET: [&str; 5] = ["hyper", "rustls", "hickory", "tower", "tokio_postgres"];
/// Warns of clients' faults without naming the client: limited to error unless configured. We log the end of such
/// a connection at debug.
const OF_CLIENTS: &str = "h2";
/// Logs account keys and nonces below info: never below info, whatever is configured.
const SECRETIVE: &str = "rustls_acme";

/// The filter for the configured levels. The longest matching target decides.
fn targets(levels: &Levels) -> Targets {
    let mut all = LevelFilter::ERROR;
    let mut asked: Vec<(String, LevelFilter)> = Vec::new();
    for (target, level) in levels.directives() {
        let level = level.parse().unwrap_or(LevelFilter::INFO);
        match target {
            "" => all = level,
            // In the order of LevelFilter, more verbose is greater.
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

    /// A reader that hangs until the sender is dropped.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_hangs_blocks_no_thread_and_dropped_lines_are_counted() {
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
        // The queue holds LINES, and one more is being written.
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
    fn libraries_are_quiet_unless_configured() {
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
            "clients cause these lines"
        );
        assert!(enabled("info", "h2::proto", Level::ERROR));
        assert!(enabled("info,h2=warn", "h2::proto::ping_pong", Level::WARN));
    }

    #[test]
    fn no_level_makes_the_acme_library_log_secrets() {
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
