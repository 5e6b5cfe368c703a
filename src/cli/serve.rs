//! `linkseal serve`: the edge, until it is told to stop.

use std::io;
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::app::{App, Options};
use crate::config::Config;
use crate::shutdown::Tasks;
use crate::telemetry::logs;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    logs::install(&config.log).map_err(Failure::failed)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // From here on no signal ends the process by itself.
    let mut ends = Ends::new().map_err(Failure::failed)?;
    let tasks = Tasks::new();
    let reload = reloads(&tasks).map_err(Failure::failed)?;
    let options = Options { config_file: Some(args.config), ..Options::default() };
    let failed = |e: anyhow::Error| Failure::Failed(format!("{e:#}"));
    let app = Box::pin(App::bind(config, options)).await.map_err(failed)?;
    let stop = CancellationToken::new();
    let outcome = tokio::select! {
        outcome = Box::pin(app.run(stop.clone().cancelled_owned(), reload)) => outcome.map_err(failed),
        () = ends.twice(&stop) => Err(Failure::failed("a second signal ended it before it had drained")),
    };
    tasks.stop();
    outcome
}

/// The signals that end an edge.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The first signal stops the edge in order; this ends at the second.
    async fn twice(&mut self, stop: &CancellationToken) {
        self.next().await;
        stop.cancel();
        self.next().await;
    }
}

/// One `()` for each SIGHUP; those that come while one waits are one with it.
fn reloads(tasks: &Tasks) -> io::Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = mpsc::channel(1);
    tasks.spawn_until_stop(async move {
        while hangup.recv().await.is_some() {
            // Full: a reload is due already.
            sender.try_send(()).ok();
        }
    });
    Ok(receiver)
}
