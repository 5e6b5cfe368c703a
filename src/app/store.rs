//! Opening the store at the start, and refusing to begin with an empty embedded one where a store was lost.
//! `config check` and `doctor` find out here whether the start would refuse it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_config::Config;
use linkseal_domain::cert::sealed::Sealer;
use linkseal_store::SharedStore;
use linkseal_store::metrics::Metrics;
use linkseal_store::postgres::PostgresStore;
use linkseal_store::sqlite::{SqliteStore, sealed_secret};

use super::fleet::{self, Shared};

/// The store that a configuration names, with the key that seals its secrets.
pub(super) struct Opened {
    pub(super) sealer: Sealer,
    pub(super) store: SharedStore,
    /// With a store that the nodes of a fleet share.
    pub(super) shared: Option<Shared>,
}

/// Opens the sealing key and the store.
pub(super) async fn open_store(
    config: &Config,
    clock: Clock,
    registry: &prometheus::Registry,
    tasks: &Tasks,
) -> anyhow::Result<Opened> {
    let metrics = Metrics::register(registry);
    if let Some(url) = config.store.postgres() {
        // Never created here: every node of the fleet has the same.
        let sealer = Sealer::from_file(&config.store.key_path().0, false)?;
        let store = PostgresStore::connect(&fleet::postgres(config, url)?, Some(metrics))?;
        let shared = fleet::open(store, &config.store.copy_dir, clock, tasks).await?;
        return Ok(Opened {
            sealer,
            store: Arc::new(shared.store.clone()),
            shared: Some(shared),
        });
    }
    let (config, journal) = (config.store.clone(), config.events.dir.clone());
    let opening = tasks.spawn_blocking(move || open_embedded(&config, &journal, clock, metrics));
    let (sealer, store) = opening.await.context("the store")??;
    Ok(Opened {
        sealer,
        store,
        shared: None,
    })
}

/// Blocks.
fn open_embedded(
    config: &linkseal_config::store::Store,
    journal: &Path,
    clock: Clock,
    metrics: Metrics,
) -> anyhow::Result<(Sealer, SharedStore)> {
    let path = config.sqlite_path().context("store.url: no file")?;
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty() && !d.exists()) {
        // Only the last component: a path mistyped further up must not be created.
        std::fs::create_dir(dir).with_context(|| {
            format!(
                "the store's directory {} does not exist and cannot be created; create it for the service's user, or set \
                 store.url",
                dir.display()
            )
        })?;
        tracing::info!(directory = %dir.display(), "created the store's directory");
    }
    // The key first. Never a new key beside an existing store: its secrets were sealed with another one.
    let (key_file, create) = config.key_path();
    not_lost(path, (&key_file, create), journal)?;
    let sealer = Sealer::from_file(&key_file, create && !path.exists())?;
    let store = SqliteStore::open_to_serve(path, clock, Some(metrics))?;
    Ok((sealer, Arc::new(store)))
}

/// Fails where the start would refuse the store: it was lost, is damaged, another program's, or a newer
/// version's. Returns one of its secrets, which names the sealing key it needs; `None`: there is none yet.
/// The store is only read, also while an edge runs on it. Blocks.
pub(crate) fn check(config: &Config) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = config.store.sqlite_path() else {
        return Ok(None);
    };
    let (key_file, create) = config.store.key_path();
    not_lost(path, (&key_file, create), &config.events.dir)?;
    if !path.exists() {
        return Ok(None);
    }
    Ok(sealed_secret(path)?)
}

/// Refuses to start with an empty store where there was one before: its domains, certificates and ACME
/// account would be lost silently. `key` is the sealing key's file and whether linkseal creates it; a key
/// that an operator provides exists before the first start and proves nothing.
fn not_lost(store: &Path, key: (&Path, bool), journal: &Path) -> anyhow::Result<()> {
    if store.exists() {
        return Ok(());
    }
    let has_events = std::fs::read_dir(journal).is_ok_and(|mut entries| entries.next().is_some());
    let left = match key {
        (file, true) if file.exists() => file,
        _ if has_events => journal,
        _ => return Ok(()),
    };
    // A key that linkseal makes is not made beside a store that exists, not even beside an empty one.
    let (key_file, create) = key;
    let new_key = if create && !key_file.exists() {
        format!(
            ", and a new sealing key: (umask 077; openssl rand -hex 32 > {})",
            key_file.display()
        )
    } else {
        String::new()
    };
    anyhow::bail!(
        "the store {store} is missing, but {left} of an earlier start exists: mount its disk, correct store.url, or \
         restore a backup (linkseal store restore); to start with an empty store, create an empty file first: install \
         -m 600 /dev/null {store}{new_key}",
        store = store.display(),
        left = left.display(),
    );
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_store_that_the_start_would_refuse_is_found_without_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("linkseal.db");
        let mut config = Config::new("track.platform.test".parse().unwrap());
        config.store.url = format!("sqlite:{}", path.display()).parse().unwrap();
        config.events.dir = dir.path().join("events");
        let found = || check(&config).map_err(|error| error.to_string());
        assert_eq!(found(), Ok(None), "before the first start");
        fs::write(&path, "").unwrap();
        assert_eq!(found(), Ok(None), "an empty file");
        drop(SqliteStore::open(&path, Clock::system(), None).unwrap());
        assert_eq!(found(), Ok(None), "a store without secrets");

        let whole = fs::read(&path).unwrap();
        // The schema's version, in SQLite's header.
        let mut newer = whole.clone();
        newer[60..64].copy_from_slice(&9_999u32.to_be_bytes());
        let mut damaged = whole.clone();
        damaged[..16].fill(0);
        for (content, says) in [(newer, "has schema 9999"), (damaged, "damaged")] {
            fs::write(&path, content).unwrap();
            let error = found().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::write(dir.path().join("linkseal.key"), "key").unwrap();
        let error = found().unwrap_err();
        assert!(error.contains("linkseal.key of an earlier start exists"), "{error}");
    }

    #[test]
    fn a_missing_store_is_not_replaced_by_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (store, key, journal) = (at("linkseal.db"), at("linkseal.key"), at("events"));
        not_lost(&store, (&key, true), &journal).unwrap();
        fs::create_dir(&journal).unwrap();
        fs::write(&key, "key").unwrap();
        not_lost(&store, (&key, false), &journal).unwrap();
        let error = not_lost(&store, (&key, true), &journal).unwrap_err().to_string();
        assert!(error.contains("linkseal.key of an earlier start exists"), "{error}");
        fs::write(journal.join("1.journal"), "").unwrap();
        let error = not_lost(&store, (&key, false), &journal).unwrap_err().to_string();
        assert!(error.contains("events of an earlier start exists"), "{error}");
        assert!(!error.contains("openssl"), "the operator provides the key: {error}");
        fs::remove_file(&key).unwrap();
        let error = not_lost(&store, (&key, true), &journal).unwrap_err().to_string();
        assert!(error.contains("openssl rand -hex 32 > "), "{error}");
        fs::write(&store, "").unwrap();
        not_lost(&store, (&key, true), &journal).unwrap();
    }
}
