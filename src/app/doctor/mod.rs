//! `linkseal doctor`: whether an edge with this configuration can do its work on this machine. All of
//! the checks run concurrently, each for a bounded time; nothing is changed, ordered or delivered.

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
use linkseal_store::sqlite;
use serde::Serialize;
use tokio::time::timeout;

use super::wiring;
use crate::descriptors;

/// The time each check has.
const TIME: Duration = Duration::from_secs(10);
/// The key of the configuration that names the sealing key.
const KEY_FILE: &str = "store.key_file";

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, or cannot be told from here.
    Warning,
    /// It has to be put right.
    Failed,
}

impl Outcome {
    /// As people read it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One line of the outcome.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// What was checked: a key of the configuration where there is one.
    pub(crate) check: String,
    /// What came of it.
    pub(crate) outcome: Outcome,
    /// What was found, and what to do where it is not right.
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

/// How the world is seen; tests bring their own.
pub(crate) struct Surroundings {
    /// The clock that is compared with the CA's.
    pub(crate) clock: Clock,
    /// How DNS is asked; the configuration's resolvers go over these.
    pub(crate) dns: ResolverSettings,
    /// The port at which CAs come.
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

/// Some of the checks, each with the time it has.
type Checks<'a> = Pin<Box<dyn Future<Output = Vec<Finding>> + 'a>>;

/// Checks everything. The findings stand in the order of the configuration's sections.
pub(crate) async fn examine(config: &Config, around: &Surroundings) -> Vec<Finding> {
    let mut checks: Vec<Checks<'_>> = vec![
        Box::pin(async { offline(config) }),
        Box::pin(ports::check(config, around)),
        Box::pin(names::check(config, around)),
    ];
    for ca in config.authorities() {
        checks.push(Box::pin(peers::authority(config, ca, around)));
    }
    for (i, sink) in config.events.sink.iter().enumerate() {
        checks.push(Box::pin(peers::sink(config, i, sink)));
    }
    checks.extend(peers::ask(config).map(|c| Box::pin(c) as Checks<'_>));
    join_all(checks).await.concat()
}

/// A check within its time.
async fn in_time(check: &str, what: impl Future<Output = Finding>) -> Finding {
    match timeout(TIME, what).await {
        Ok(finding) => finding,
        Err(_) => Finding::failed(check, format!("no answer within {} s", TIME.as_secs())),
    }
}

/// What needs no network: the checks of `config check`, and the sealing key.
fn offline(config: &Config) -> Vec<Finding> {
    let warnings = config.warnings.iter();
    let mut found: Vec<_> = warnings
        .map(|w| Finding::warning(w.key.clone(), w.message.clone()))
        .collect();
    if found.is_empty() {
        found.push(Finding::ok("configuration", "read, with the files it names"));
    }
    found.push(match descriptors::warning(config, descriptors::highest()) {
        Some(message) => Finding::warning("edge.max_connections", message),
        None => Finding::ok("edge.max_connections", "this user may have enough files open"),
    });
    let unusable = config.unusable();
    let has_key = unusable.iter().all(|u| u.key != KEY_FILE);
    if unusable.is_empty() {
        found.push(Finding::ok(
            "store.url, events.dir, events.sink",
            "what is written can be written by this user",
        ));
    }
    found.extend(unusable.into_iter().map(|u| Finding::failed(u.key, u.message)));
    if let Some(store) = config.store.sqlite_path().filter(|_| has_key) {
        let (key, may_be_made) = config.store.key_path();
        found.push(sealing_key(store, &key, may_be_made));
    }
    found
}

/// Whether the sealing key is there and opens what the store holds.
fn sealing_key(store: &Path, key: &Path, may_be_made: bool) -> Finding {
    if !store.exists() && !key.exists() && may_be_made {
        return Finding::ok(KEY_FILE, "is made with the store, at the first start");
    }
    let sealer = match Sealer::from_file(key, false) {
        Ok(sealer) => sealer,
        Err(error) => return Finding::failed(KEY_FILE, format!("{error}: put the store's own key there")),
    };
    if !store.exists() {
        return Finding::ok(KEY_FILE, "can be read");
    }
    match sqlite::sealed_secret(store) {
        Ok(None) => Finding::ok(KEY_FILE, "can be read; the store holds no secret yet"),
        Ok(Some(blob)) if Sealer::key_of(&blob).is_some_and(|id| sealer.has(id)) => {
            Finding::ok(KEY_FILE, "opens what the store holds")
        }
        Ok(Some(_)) => Finding::failed(
            KEY_FILE,
            format!(
                "{} is not the key that sealed the store: put the store's own key there",
                key.display()
            ),
        ),
        Err(error) => Finding::warning(
            KEY_FILE,
            format!("can be read; the store cannot be looked into ({error})"),
        ),
    }
}
