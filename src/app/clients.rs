//! The control plane's clients (CAs, resolver, preflight, permission endpoint), made from the configuration
//! at the start and at every reload.

use std::sync::Arc;

use anyhow::Context as _;
use linkseal_base::clock::Clock;
use linkseal_config::Config;
use linkseal_control::{Asker, CaPool, Clients, ConfiguredCa, Preflighter};
use linkseal_dns::{Checker, Resolver, ResolverSettings};
use linkseal_domain::cert::sealed::Sealer;
use linkseal_issuer::{AccountKey, Issuer};
use linkseal_store::SharedStore;

use super::wiring;

/// What survives a reload.
pub(super) struct ClientFactory {
    pub(super) key: Arc<AccountKey>,
    pub(super) store: SharedStore,
    pub(super) sealer: Arc<Sealer>,
    pub(super) clock: Clock,
    pub(super) dns: ResolverSettings,
    pub(super) issuer_metrics: linkseal_issuer::Metrics,
    pub(super) dns_metrics: linkseal_dns::Metrics,
    pub(super) ask_total: prometheus::IntCounterVec,
    /// The ports used instead of 80 and 443 if everything is on loopback.
    pub(super) loopback_ports: Option<(u16, u16)>,
}

impl ClientFactory {
    /// Makes the clients; sends nothing.
    pub(super) fn make(&self, config: &Config) -> anyhow::Result<Clients> {
        let mut authorities = Vec::new();
        for (settings, limits) in wiring::authorities(config) {
            let issuer = Issuer::new(
                settings,
                Arc::clone(&self.key),
                Arc::clone(&self.store),
                Arc::clone(&self.sealer),
                self.clock.clone(),
                self.issuer_metrics.clone(),
            )?;
            authorities.push(ConfiguredCa::new(issuer, limits));
        }
        let fallback = authorities.split_off(authorities.len().min(1));
        let first = authorities.pop().context("acme.directory is not configured")?;
        let resolver = Arc::new(Resolver::new(wiring::resolver(config, &self.dns))?);
        let preflight = wiring::preflight(config, self.loopback_ports).map(|settings| {
            let thumbprint = self.key.thumbprint().to_owned();
            Arc::new(Preflighter::new(settings, resolver.clone(), thumbprint))
        });
        let checker = Checker::new(
            wiring::checker(config),
            resolver,
            self.clock.clone(),
            self.dns_metrics.clone(),
        );
        let asker = wiring::ask(config).map(|settings| Asker::new(settings, self.ask_total.clone()));
        let asker = asker.transpose()?;
        Ok(Clients {
            authorities: CaPool::new(first, fallback),
            checker: Arc::new(checker),
            asker,
            preflight,
        })
    }
}
