//! An issuer for tests of what stands above it.
#![allow(clippy::unwrap_used, reason = "what tests use may panic")]

use std::sync::Arc;

use linkseal_base::clock::Clock;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_store::SharedStore;
use prometheus::Registry;

use crate::{AccountKey, CaSettings, Issuer, Metrics};

/// For the CA of a directory URL, with no more than the account key that the store has or gets.
pub async fn issuer(
    directory: &str,
    store: &SharedStore,
    sealer: &Arc<Sealer>,
    clock: &Clock,
    metrics: &Registry,
) -> Issuer {
    let key = AccountKey::load_or_create(store, sealer).await.unwrap();
    let settings = CaSettings {
        directory: directory.to_owned(),
        contact: Vec::new(),
        trust: Vec::new(),
        eab: None,
        profile: None,
    };
    let metrics = Metrics::register(metrics).unwrap();
    let (store, sealer) = (Arc::clone(store), Arc::clone(sealer));
    Issuer::new(settings, key, store, sealer, clock.clone(), metrics).unwrap()
}
