//! The database of a fleet: reached as the start would reach it, its clock beside this machine's, and whether the
//! sealing key opens its secrets. Nothing is written.

use std::time::Instant;

use linkseal_base::clock::WOBBLE;
use linkseal_config::Config;
use linkseal_config::store::PostgresUrl;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_issuer::AccountKey;
use linkseal_store::SecretStore;
use linkseal_store::postgres::PostgresStore;

use super::{Finding, KEY_FILE, STORE, Surroundings, opens};
use crate::app::{fleet, sentence};

const WRONG_KEY: &str = "is not the key that sealed the database's secrets: every node of a fleet has the same one";

pub(super) async fn check(config: &Config, url: &PostgresUrl, around: &Surroundings) -> Vec<Finding> {
    let store = match fleet::postgres(config, url) {
        Ok(settings) => PostgresStore::connect(&settings, None),
        Err(error) => return vec![Finding::failed(STORE, sentence(&error))],
    };
    let store = match store {
        Ok(store) => store,
        Err(error) => return vec![Finding::failed(STORE, error.to_string())],
    };
    let begun = Instant::now();
    let server = match store.server().await {
        Ok(server) => server,
        Err(error) => return vec![Finding::failed(STORE, error.to_string())],
    };
    let took = begun.elapsed().as_millis();
    let now = around.clock.now();
    let apart = now.saturating_since(server.time).max(server.time.saturating_since(now));
    let mut found = vec![if apart > WOBBLE {
        Finding::warning(
            STORE,
            format!(
                "its clock and this machine's are {} s apart: check NTP on both (leases and budgets follow the database's)",
                apart.as_secs()
            ),
        )
    } else {
        Finding::ok(
            STORE,
            format!("accepts connections and writes; first answer after {took} ms"),
        )
    }];
    // Otherwise the key's own check says what is wrong with it.
    if let Ok(sealer) = Sealer::from_file(&config.store.key_path().0, false) {
        found.push(if server.has_schema {
            match store.secret(AccountKey::SECRET).await {
                Ok(secret) => opens(&sealer, "database", secret.as_deref(), WRONG_KEY.to_owned()),
                Err(error) => Finding::failed(STORE, error.to_string()),
            }
        } else {
            Finding::ok(
                KEY_FILE,
                "can be read; the database is empty, the first start makes its schema",
            )
        });
    }
    found
}
