//! An issuer for the tests of other crates.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::sync::Arc;

use linkseal_base::clock::Clock;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_store::SharedStore;
use prometheus::Registry;

use crate::{AccountKey, CaSettings, Issuer, Metrics};

/// An issuer for the CA of a directory URL, with the account key of the store, which is created if absent.
pub async fn issuer(
    directory: &str,
    store: &SharedStore,
    sealer: &Arc<Sealer>,
    clock: &Clock,
    metrics: &Registry,
) -> Issuer {
    let key = AccountKey::load_or_create(store, None, sealer).await.unwrap();
    let settings = settings(directory);
    let metrics = Metrics::register(metrics).unwrap();
    let (store, sealer) = (Arc::clone(store), Arc::clone(sealer));
    Issuer::new(settings, key, store, sealer, clock.clone(), metrics).unwrap()
}

/// A CA with nothing configured but its directory.
pub(crate) fn settings(directory: &str) -> CaSettings {
    CaSettings {
        directory: directory.to_owned(),
        contact: Vec::new(),
        trust: Vec::new(),
        eab: None,
        profile: None,
    }
}
