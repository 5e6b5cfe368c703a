//! `linkseal doctor`: checks whether an edge with this configuration can work on this machine. The checks run
//! concurrently, each for a bounded time; nothing is changed, ordered or delivered.

mod database;
mod names;
mod peers;
mod ports;
#[cfg(test)]
#[cfg(feature = "devca")]
mod tests;

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use linkseal_base::clock::Clock;
use linkseal_config::Config;
use linkseal_dns::ResolverSettings;
use linkseal_domain::cert::sealed::Sealer;
use serde::Serialize;
use tokio::time::timeout;

use super::{sentence, store, wiring};
use crate::descriptors;

/// The time limit of each check.
const TIME: Duration = Duration::from_secs(10);
/// The key of the configuration that names the sealing key.
const KEY_FILE: &str = "store.key_file";
/// The key of the configuration that names the store.
const STORE: &str = "store.url";

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    /// It works but should be looked at, or it cannot be checked from here.
    Warning,
    /// It has to be fixed.
    Failed,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was checked: a key of the configuration where there is one.
    pub(crate) check: String,
    pub(crate) outcome: Outcome,
    /// What was found, and what to do if it is not right.
    pub(crate) message: String,
}

impl Finding {
    fn new(check: impl Into<String>, outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            outcome,
            message: message.into(),
        }
    }

    fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(check, Outcome::Ok, message)
    }

    fn warning(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(check, Outcome::Warning, message)
    }

    fn failed(check: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(check, Outcome::Failed, message)
    }
}

/// The surroundings of the machine; tests replace them.
pub(crate) struct Surroundings {
    /// The clock that is compared with the CA's.
    pub(crate) clock: Clock,
    /// Resolver settings; the configuration's resolvers take precedence.
    pub(crate) dns: ResolverSettings,
    /// The port to which CAs connect.
    pub(crate) challenge_port: u16,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            dns: ResolverSettings::default(),
            challenge_port: 80,
        }
    }
}

/// Some of the checks.
type Checks<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

/// Runs all checks. Local checks are first, then DNS, then the servers that the edge calls.
pub(crate) async fn examine(config: &Config, around: &Surroundings) -> Vec<Finding> {
    let mut checks: Vec<Checks<'_>> = vec![
        Box::pin(async { offline(config) }),
        Box::pin(ports::check(config, around)),
        Box::pin(names::check(config, around)),
    ];
    if let Some(url) = config.store.postgres() {
        checks.push(Box::pin(database::check(config, url, around)));
    }
    for ca in config.authorities() {
        checks.push(Box::pin(peers::authority(config, ca, around)));
    }
    for (i, sink) in config.events.sink.iter().enumerate() {
        checks.push(Box::pin(peers::sink(config, i, sink)));
    }
    checks.extend(peers::ask(config).map(|c| Box::pin(c) as Checks<'_>));
    join_all(checks).await.concat()
}

/// Runs a check within its time limit.
async fn in_time(check: &str, what: impl Future<Output = Finding>) -> Finding {
    match timeout(TIME, what).await {
        Ok(finding) => finding,
        Err(_) => timed_out(check),
    }
}

fn timed_out(check: impl Into<String>) -> Finding {
    Finding::failed(
        check,
        format!(
            "no answer within {} s: check the network, and that the server runs",
            TIME.as_secs()
        ),
    )
}

/// The checks without network: those of `config check`, and whether the sealing key opens the store.
fn offline(config: &Config) -> Vec<Finding> {
    let warnings = config.warnings.iter();
    let mut found: Vec<_> = warnings
        .map(|w| Finding::warning(w.key.clone(), w.message.clone()))
        .collect();
    if found.is_empty() {
        found.push(Finding::ok(
            "configuration",
            "valid, and the files it names can be read",
        ));
    }
    found.push(match descriptors::warning(config, descriptors::highest()) {
        Some(message) => Finding::warning("edge.max_connections", message),
        None => Finding::ok("edge.max_connections", "the limit of open files is high enough"),
    });
    let unusable = config.unusable();
    let is_usable = |key| unusable.iter().all(|u| u.key != key);
    let (has_store, has_key) = (is_usable(STORE), is_usable(KEY_FILE));
    if unusable.is_empty() {
        found.push(Finding::ok(
            "store.url, events.dir, events.sink",
            "this user can write there",
        ));
    }
    found.extend(unusable.into_iter().map(|u| Finding::failed(u.key, u.message)));
    let secret = match store::check(config) {
        Ok(secret) => secret,
        Err(error) => {
            // A store that cannot be written has its finding already.
            found.extend(has_store.then(|| Finding::failed(STORE, sentence(&error))));
            return found;
        }
    };
    if let Some(store) = config.store.sqlite_path().filter(|_| has_key) {
        let (key, may_be_made) = config.store.key_path();
        found.push(sealing_key(store, (&key, may_be_made), secret.as_deref()));
    }
    found
}

/// Whether the sealing key is present and opens a secret of the store. `key` is its file, and whether
/// linkseal creates it.
fn sealing_key(store: &Path, (key, may_be_made): (&Path, bool), secret: Option<&[u8]>) -> Finding {
    if !store.exists() && !key.exists() && may_be_made {
        return Finding::ok(KEY_FILE, "will be created with the store at the first start");
    }
    let sealer = match Sealer::from_file(key, false) {
        Ok(sealer) => sealer,
        Err(error) => return Finding::failed(KEY_FILE, format!("{error}: put the store's own key there")),
    };
    if !store.exists() {
        return Finding::ok(KEY_FILE, "can be read");
    }
    let wrong = format!(
        "{} is not the key that sealed the store: put the store's own key there",
        key.display()
    );
    opens(&sealer, "store", secret, wrong)
}

/// Whether the sealing key opens a secret of the store, which is called `name`; `wrong` says what to do if it does
/// not.
fn opens(sealer: &Sealer, name: &str, secret: Option<&[u8]>, wrong: String) -> Finding {
    match secret {
        None => Finding::ok(KEY_FILE, format!("can be read; the {name} contains no secret yet")),
        Some(secret) if Sealer::key_of(secret).is_some_and(|id| sealer.has(id)) => {
            Finding::ok(KEY_FILE, format!("opens the {name}'s secrets"))
        }
        Some(_) => Finding::failed(KEY_FILE, wrong),
    }
}
