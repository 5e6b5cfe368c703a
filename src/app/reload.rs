//! SIGHUP: what of a new configuration a running edge takes over. A bad one changes nothing.

use std::sync::Arc;

use anyhow::Context as _;
use linkseal_control::Clients;

use super::{App, wiring};
use crate::descriptors;

/// What is read from files for a reload.
struct Read {
    reloaded: linkseal_config::Reloaded,
    networks: linkseal_event::Networks,
    tools: Clients,
}

impl App {
    /// Reads the configuration again.
    pub(super) async fn reload(&self) {
        let ok = match self.try_reload().await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("the configuration is not taken over, the old one stays: {error:#}");
                false
            }
        };
        self.reloads.reloaded(ok, self.options.clock.now());
    }

    async fn try_reload(&self) -> anyhow::Result<()> {
        let Some(file) = self.options.config_file.clone() else {
            anyhow::bail!("there is no configuration file")
        };
        // Elsewhere: a disk that hangs must not keep the program from being stopped.
        let (old, workshop) = (self.config.load_full(), Arc::clone(&self.workshop));
        let read = self.tasks.spawn_blocking(move || {
            let reloaded = linkseal_config::reload(&old, &file)?;
            Ok::<_, anyhow::Error>(Read {
                networks: wiring::networks(&reloaded.config)?,
                tools: workshop.make(&reloaded.config)?,
                reloaded,
            })
        });
        let Read {
            reloaded: linkseal_config::Reloaded { config, needs_restart },
            networks,
            tools,
        } = read.await.context("reading broke off")??;
        // Everything that can be wrong is made before anything is taken over.
        let old = self.context.settings.load();
        let upstreams = wiring::upstreams(&config, &old.upstreams, &self.context.metrics, &self.tasks)?;
        let http = wiring::http(&config, upstreams)?;
        let challenge_upstream = wiring::challenge_upstream(&config)?;
        let events = wiring::events(&config)?;
        linkseal_event::sink::check(&events.sinks)?;
        for key in needs_restart {
            tracing::warn!(key, "this key was changed; it takes effect by a restart only");
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
        self.context.rules.set_networks(networks);
        self.journal.set_privacy(wiring::privacy(&config));
        self.journal.set_durability(events.durability);
        self.limits.set(wiring::connections(&config));
        self.control
            .set_settings(wiring::control(&config), tools, wiring::orders(&config));
        self.admin.set_settings(wiring::admin(&config, &self.context));
        let (control, names) = (self.control.clone(), wiring::own_names(&config));
        self.tasks.spawn(async move { control.own_names(&names).await });
        // At once, so that of two reloads the later one's settings stay.
        self.delivery.set_settings(events);
        let (delivery, tasks) = (self.delivery.clone(), self.tasks.clone());
        self.tasks.spawn(async move { delivery.renew(&tasks).await });
        self.config.store(Arc::new(config));
        tracing::info!("the configuration was read again");
        Ok(())
    }
}
