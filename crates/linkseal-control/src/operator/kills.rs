//! Kill switches: what operators block, effective in the data plane at once.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Clock;
use linkseal_domain::links::{Kill, KillSwitches};
use linkseal_store::copy::LocalCopy;
use linkseal_store::{SharedStore, StoreError, StoredKill};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Operator, OperatorError};
use crate::core::Actor;
use crate::core::audit::audit_entry;
use crate::core::change::until_no_conflict;

/// The longest note, in bytes.
const MAX_NOTE: usize = 1_024;

/// The details of a kill switch.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(example = serde_json::json!({"note": "incident 7"}))]
pub struct NewKill {
    /// Why, for other operators; null for no note.
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
}

/// Changes kill switches and puts them in force. Clones share their state.
#[derive(Clone)]
pub struct KillSwitchStore {
    store: SharedStore,
    copy: Option<Arc<LocalCopy>>,
    clock: Clock,
    switches: KillSwitches,
    /// One change or reading at a time, so that the snapshot put in force last is the newest.
    changing: Arc<Mutex<()>>,
}

/// Wait after the store failed.
const RETRY: Duration = Duration::from_secs(2);

impl Operator {
    /// Puts the stored switches in force as soon as the store answers.
    pub async fn load_kills(self: Arc<Self>) {
        while let Err(error) = self.kills.load().await {
            self.core.store_failed("read the kill switches", None, &error);
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!("kill switches in force");
    }

    /// Puts in force what another node has changed.
    pub(crate) async fn reload_kills(&self) -> Result<(), StoreError> {
        self.kills.load().await
    }
}

impl KillSwitchStore {
    /// For the data plane's switches. `copy`: the node's; `None` with a store that no other node uses.
    pub fn new(store: SharedStore, copy: Option<Arc<LocalCopy>>, clock: Clock, switches: KillSwitches) -> Self {
        Self {
            store,
            copy,
            clock,
            switches,
            changing: Arc::default(),
        }
    }

    /// Puts the stored switches in force: before anything is served, and when another node has changed
    /// them.
    pub async fn load(&self) -> Result<(), StoreError> {
        let _changing = self.changing.lock().await;
        self.put_in_force().await
    }

    /// Puts the switches of the node's copy in force, at a start without the store. Returns whether there is a copy.
    pub async fn load_copied(&self) -> Result<bool, StoreError> {
        let Some(copy) = &self.copy else { return Ok(false) };
        let _changing = self.changing.lock().await;
        let all = copy.kills().await?;
        self.switches.set(all.into_iter().map(|k| k.kill).collect());
        Ok(true)
    }

    /// The switches in force.
    pub fn switches(&self) -> &KillSwitches {
        &self.switches
    }

    /// All of them, sorted by kind and value.
    pub async fn list(&self) -> Result<Vec<StoredKill>, StoreError> {
        self.store.kills().await
    }

    /// One of them, if it is stored.
    pub async fn get(&self, kill: &Kill) -> Result<Option<StoredKill>, StoreError> {
        Ok(self.list().await?.into_iter().find(|k| k.kill == *kill))
    }

    /// Sets a switch, in force when this returns; returns whether it is new.
    pub async fn put(&self, kill: Kill, new: NewKill, actor: &Actor) -> Result<(StoredKill, bool), OperatorError> {
        if new.note.as_ref().is_some_and(|note| note.len() > MAX_NOTE) {
            return Err(OperatorError::Invalid(format!("note: at most {MAX_NOTE} bytes")));
        }
        let _changing = self.changing.lock().await;
        let stored = until_no_conflict(|| async {
            let before = self.get(&kill).await?;
            let after = StoredKill {
                kill: kill.clone(),
                note: new.note.clone(),
                by: actor.who.clone(),
                since: before.as_ref().map_or_else(|| self.clock.now(), |k| k.since),
            };
            let audit = self.audit(actor, "kill", &kill, before.as_ref(), Some(&after));
            self.store.put_kill(&after, before.as_ref(), audit).await?;
            Ok((after, before.is_none()))
        });
        let stored = stored.await?;
        self.put_in_force().await?;
        Ok(stored)
    }

    /// Removes a switch.
    pub async fn delete(&self, kill: &Kill, actor: &Actor) -> Result<(), OperatorError> {
        let _changing = self.changing.lock().await;
        let deleted = until_no_conflict(|| async {
            let before = self.get(kill).await?.ok_or(StoreError::NotFound)?;
            let audit = self.audit(actor, "unkill", kill, Some(&before), None);
            self.store.delete_kill(&before, audit).await
        });
        deleted.await?;
        Ok(self.put_in_force().await?)
    }

    async fn put_in_force(&self) -> Result<(), StoreError> {
        let all = self.store.kills().await?;
        self.switches.set(all.iter().map(|k| k.kill.clone()).collect());
        if let Some(copy) = &self.copy
            && let Err(error) = copy.set_kills(all).await
        {
            tracing::error!(%error, "kill switches cannot be written to the node's copy of the store");
        }
        Ok(())
    }

    fn audit(
        &self,
        actor: &Actor,
        action: &str,
        kill: &Kill,
        before: Option<&StoredKill>,
        after: Option<&StoredKill>,
    ) -> linkseal_store::AuditEntry {
        let view = |k: Option<&StoredKill>| k.map_or(Value::Null, |k| json!({"note": k.note, "by": k.by}));
        let now = self.clock.now();
        audit_entry(actor, now, action, kill.to_string(), view(before), view(after))
    }
}

#[cfg(test)]
mod tests {
    use linkseal_link::{Destination, KillKind};

    use super::*;
    use crate::tests::{actor, fresh};

    #[tokio::test]
    async fn a_switch_is_in_force_at_once_and_after_a_restart() {
        let (store, _dir) = fresh();
        let switches = KillSwitches::new();
        let kills = KillSwitchStore::new(store.clone(), None, Clock::system(), switches.clone());
        let evil = Destination::new("https://www.evil.example/").unwrap();
        let kill = || Kill::new(KillKind::Host, "Evil.example").unwrap();
        let (_, created) = kills.put(kill(), NewKill::default(), &actor()).await.unwrap();
        assert!(created);
        assert_eq!(switches.hit("acme", None, &evil), Some(KillKind::Host));
        let note = NewKill {
            note: Some("phishing".into()),
        };
        let (stored, created) = kills.put(kill(), note, &actor()).await.unwrap();
        assert!(!created);
        assert_eq!(kills.get(&kill()).await.unwrap(), Some(stored));

        let restarted = KillSwitches::new();
        let later = KillSwitchStore::new(store.clone(), None, Clock::system(), restarted.clone());
        later.load().await.unwrap();
        assert_eq!(restarted.hit("acme", None, &evil), Some(KillKind::Host));

        kills.delete(&kill(), &actor()).await.unwrap();
        assert_eq!(switches.hit("acme", None, &evil), None);
        assert!(matches!(
            kills.delete(&kill(), &actor()).await,
            Err(OperatorError::Store(StoreError::NotFound))
        ));
        let long = NewKill {
            note: Some("x".repeat(MAX_NOTE + 1)),
        };
        assert!(kills.put(kill(), long, &actor()).await.is_err());
        let entries: Vec<_> = store
            .audit(None, 10)
            .await
            .unwrap()
            .into_iter()
            .map(|l| (l.action, l.subject))
            .collect();
        let line = |action: &str| (action.to_owned(), "host/evil.example".to_owned());
        assert_eq!(entries, [line("unkill"), line("kill"), line("kill")]);
    }
}
