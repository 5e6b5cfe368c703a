//! `linkseal serve`: runs the edge until a signal stops it.

use std::path::PathBuf;

use linkseal_config::Config;
use linkseal_net::listener::Inherited;
use listenfd::ListenFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::Failure;
use crate::app::{App, Options};
use crate::telemetry::logs;

/// Run the edge.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "linkseal.toml")]
    config: PathBuf,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let config = Config::load(&args.config)?;
    let (log, _lines) = logs::install(&config.log).map_err(Failure::failed)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %args.config.display(),
        node = config.edge.node.as_str(),
        edge = %config.edge.name,
        ca = %config.acme.directory,
        store = %config.store.url,
        events = %config.events.dir.display(),
        "starting"
    );
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let options = Options {
        config_file: Some(args.config),
        inherited: inherited(),
        log: Some(log),
        ..Options::default()
    };
    // Before anything that may take long: a signal that is not caught yet kills the process.
    let (stop, reload) = signals()?;
    let mut stop = Box::pin(stop);
    let app = tokio::select! {
        app = App::bind(config, options) => app.map_err(|e| Failure::chain(&e))?,
        () = &mut stop => {
            tracing::info!("stopped before the start was complete");
            return Ok(());
        }
    };
    app.run(stop, reload).await.map_err(|e| Failure::chain(&e))
}

/// The sockets passed by systemd or another parent (LISTEN_FDS).
fn inherited() -> Inherited {
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for n in 0..handed.len() {
        match handed.take_tcp_listener(n) {
            Ok(socket) => sockets.extend(socket),
            Err(error) => {
                tracing::warn!(%error, number = n, "inherited descriptor is not a listening TCP socket; ignored")
            }
        }
    }
    Inherited::new(sockets)
}

/// SIGTERM and SIGINT stop, SIGHUP reloads.
pub(super) fn signals() -> Result<(impl Future<Output = ()>, mpsc::Receiver<()>), Failure> {
    let mut term = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut hup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    let (reload, reloads) = mpsc::channel(1);
    let stop = async move {
        loop {
            tokio::select! {
                _ = term.recv() => return,
                _ = int.recv() => return,
                // Signals during a reload cause one more reload.
                _ = hup.recv() => drop(reload.try_send(())),
            }
        }
    };
    Ok((stop, reloads))
}
