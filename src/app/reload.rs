//! SIGHUP: applies a new configuration to a running edge. An invalid one changes nothing.

use std::sync::Arc;

use anyhow::Context as _;
use linkseal_control::Clients;

use super::{App, sentence, wiring};
use crate::descriptors;

/// What a reload reads from files.
struct Read {
    reloaded: linkseal_config::Reloaded,
    networks: linkseal_event::Networks,
    clients: Clients,
}

impl App {
    /// Reads the configuration again.
    pub(super) async fn reload(&self) {
        let ok = match self.try_reload().await {
            Ok(()) => true,
            Err(error) => {
                let error = sentence(&error);
                tracing::error!("configuration reload rejected; keeping the running configuration: {error}");
                false
            }
        };
        self.reloads.reloaded(ok, self.options.clock.now());
    }

    async fn try_reload(&self) -> anyhow::Result<()> {
        let Some(file) = self.options.config_file.clone() else {
            anyhow::bail!("there is no configuration file")
        };
        // On a blocking thread: a disk that hangs must not keep the process from stopping.
        let (old, factory) = (self.config.load_full(), Arc::clone(&self.clients));
        let read = self.tasks.spawn_blocking(move || {
            let reloaded = linkseal_config::reload(&old, &file)?;
            Ok::<_, anyhow::Error>(Read {
                networks: wiring::networks(&reloaded.config)?,
                clients: factory.make(&reloaded.config)?,
                reloaded,
            })
        });
        let Read {
            reloaded: linkseal_config::Reloaded { config, needs_restart },
            networks,
            clients,
        } = read.await.context("reading the configuration was aborted")??;
        // Everything that can fail comes before the first change.
        let old = self.context.settings.load();
        let upstreams = wiring::upstreams(&config, &old.upstreams, &self.context.metrics, &self.upstream_tasks)?;
        let http = wiring::http(&config, upstreams)?;
        let challenge_upstream = wiring::challenge_upstream(&config)?;
        let events = wiring::events(&config)?;
        linkseal_event::sink::check(&events.sinks)?;
        for key in needs_restart {
            tracing::warn!(key, "changed key takes effect at the next restart");
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(warning) = descriptors::warning(&config, descriptors::allowed()) {
            tracing::warn!("{warning}");
        }
        if let Some(log) = &self.options.log {
            log.set_levels(&config.log.level)?;
        }
        self.context.settings.store(Arc::new(http));
        self.connections.acceptor().set(wiring::acceptor(&config));
        self.context.challenge_upstream.store(challenge_upstream);
        self.context.recorder.classifier().set_networks(networks);
        self.journal.set_privacy(wiring::privacy(&config));
        self.journal.set_durability(events.durability);
        self.limits.set(wiring::connections(&config));
        self.control
            .set_settings(wiring::control(&config), clients, wiring::orders(&config));
        self.admin.set_settings(wiring::admin(&config, &self.context));
        let (control, names) = (self.control.clone(), wiring::edge_names(&config));
        self.tasks
            .spawn(async move { control.operator().register_own_names(&names).await });
        // Synchronously, so that of two reloads the later one's settings win.
        self.delivery.set_settings(events);
        let delivery = self.delivery.clone();
        self.tasks.spawn(async move { delivery.renew().await });
        self.config.store(Arc::new(config));
        tracing::info!("configuration reloaded");
        Ok(())
    }
}
