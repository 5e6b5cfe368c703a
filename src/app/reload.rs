//! SIGHUP: what of a new configuration a running edge takes over. A bad one changes nothing.

use std::sync::Arc;

use super::{App, wiring};
use crate::config;
use crate::event;

impl App {
    /// Reads the configuration again.
    pub(super) fn reload(&self) {
        let ok = match self.try_reload() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("the configuration is not taken over, the old one stays: {error:#}");
                false
            }
        };
        self.reloads.reloaded(ok);
    }

    fn try_reload(&self) -> anyhow::Result<()> {
        let Some(file) = &self.options.config_file else {
            anyhow::bail!("there is no configuration file")
        };
        let config::Reloaded { config, needs_restart } = config::reload(&self.config.load(), file)?;
        // Everything that can be wrong is made before anything is taken over.
        let old = self.context.settings.load();
        let upstreams = wiring::upstreams(&config, &old.upstreams, &self.context.metrics, &self.tasks)?;
        let http = wiring::http(&config, upstreams)?;
        let challenge_upstream = wiring::challenge_upstream(&config)?;
        let networks = wiring::networks(&config)?;
        let events = wiring::events(&config)?;
        event::sink::check(&events.sinks)?;
        let tools = self.workshop.make(&config)?;
        for key in needs_restart {
            tracing::warn!(key, "this key was changed; it takes effect by a restart only");
        }
        for warning in &config.warnings {
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
        self.eraser.set_settings(events.clone());
        let (delivery, journal, tasks) = (self.delivery.clone(), self.journal.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            if let Err(error) = delivery.restart(&journal, &events, &tasks).await {
                tracing::error!(%error, "events are not delivered until the next reload; they stay in the journal");
            }
        });
        self.config.store(Arc::new(config));
        tracing::info!("the configuration was read again");
        Ok(())
    }
}
