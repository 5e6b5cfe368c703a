//! What a running edge can apply of a new configuration (SIGHUP), and what needs a restart.

use std::path::Path;

use linkseal_base::clock::Timestamp;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::{Config, ConfigError};

/// A configuration read again by a running edge.
#[derive(Debug)]
pub struct Reloaded {
    /// The new configuration, with the old values of the keys that need a restart.
    pub config: Config,
    /// Changed keys that take effect at the next restart.
    pub needs_restart: Vec<&'static str>,
}

/// Reads the configuration again; on an error the caller keeps the old one.
pub fn reload(old: &Config, path: &Path) -> Result<Reloaded, ConfigError> {
    let mut config = Config::load(path)?;
    let needs_restart = changes_needing_restart(old, &config);
    config.listen.clone_from(&old.listen);
    config.store.clone_from(&old.store);
    config.secrets.store.clone_from(&old.secrets.store);
    config.edge.node.clone_from(&old.edge.node);
    config.events.dir.clone_from(&old.events.dir);
    Ok(Reloaded { config, needs_restart })
}

/// The keys that differ and that a running edge cannot change.
pub(crate) fn changes_needing_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (old, new);
    let keys = [
        ("listen.http", a.listen.http != b.listen.http),
        ("listen.https", a.listen.https != b.listen.https),
        ("listen.admin", a.listen.admin != b.listen.admin),
        ("listen.health", a.listen.health != b.listen.health),
        (
            "listen.proxy_protocol_from",
            a.listen.proxy_protocol_from != b.listen.proxy_protocol_from,
        ),
        ("store.url", a.store.url != b.store.url),
        ("store.password_file", a.store.password_file != b.store.password_file),
        ("store.key_file", a.store.key_file != b.store.key_file),
        ("store.connections", a.store.connections != b.store.connections),
        ("store.copy_dir", a.store.copy_dir != b.store.copy_dir),
        ("edge.node", a.edge.node != b.edge.node),
        ("events.dir", a.events.dir != b.events.dir),
        ("log.format", a.log.format != b.log.format),
    ];
    keys.into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
}

/// Metrics of reloads. Clones share the same series.
#[derive(Clone, Debug)]
pub struct Metrics {
    reloads: IntCounterVec,
    successful: IntGauge,
    read: IntGauge,
}

impl Metrics {
    /// Registers the `linkseal_config_*` family. `now` is when the first configuration was read.
    pub fn register(registry: &Registry, now: Timestamp) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "linkseal_config_reloads_total",
            "Configuration reloads, by result: ok or refused.",
        );
        let reloads = IntCounterVec::new(opts, &["result"])?;
        let successful = IntGauge::new(
            "linkseal_config_last_reload_successful",
            "Whether the last configuration reload was applied; 1 before the first reload.",
        )?;
        let read = IntGauge::new(
            "linkseal_config_last_reload_success_timestamp_seconds",
            "Unix time at which the running configuration was read.",
        )?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(successful.clone()))?;
        registry.register(Box::new(read.clone()))?;
        for result in ["ok", "refused"] {
            reloads.with_label_values(&[result]);
        }
        successful.set(1);
        read.set(now.as_secs());
        Ok(Self {
            reloads,
            successful,
            read,
        })
    }

    /// Counts one reload.
    pub fn reloaded(&self, ok: bool, now: Timestamp) {
        let result = if ok { "ok" } else { "refused" };
        self.reloads.with_label_values(&[result]).inc();
        self.successful.set(ok.into());
        if ok {
            self.read.set(now.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reload_keeps_the_time_of_the_running_configuration() {
        let at = Timestamp::from_secs;
        let metrics = Metrics::register(&Registry::new(), at(100)).unwrap();
        let shown = || (metrics.successful.get(), metrics.read.get());
        assert_eq!(shown(), (1, 100));
        metrics.reloaded(false, at(200));
        assert_eq!(shown(), (0, 100));
        metrics.reloaded(true, at(300));
        assert_eq!(shown(), (1, 300));
    }
}
