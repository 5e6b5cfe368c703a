//! The keys that seal TLS session tickets (RFC 8446 §4.6.1): created here, stored, rotated and shared, so
//! that a client may resume on any node and after a restart.

use std::sync::Arc;
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::cert::tickets::{TicketKey, TicketKeys};
use linkseal_store::{NewTicketKey, StoreError, TicketKeyRow};

use crate::core::Core;

/// A new key is created when the newest one is this old.
const ROTATE: Duration = Duration::from_secs(12 * 3600);
/// How long a key opens tickets: twice the longest lifetime of a ticket.
const KEEP: Duration = Duration::from_secs(48 * 3600);
/// How often the keys are read: another node may have created a new one.
const INTERVAL: Duration = Duration::from_secs(600);
/// Wait after the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the data plane's ticket keys up to date.
pub(crate) struct TicketKeeper {
    core: Arc<Core>,
    keys: TicketKeys,
}

impl TicketKeeper {
    pub(crate) fn new(core: Arc<Core>, keys: TicketKeys) -> Arc<Self> {
        Arc::new(Self { core, keys })
    }

    /// Runs until shutdown. Without a key, clients make full handshakes.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut known = false;
        loop {
            let refreshed = self.refresh().await;
            if refreshed.is_err() && !known {
                self.set_copied().await;
            }
            known = true;
            match refreshed {
                Ok(()) => self.core.clock.sleep(INTERVAL).await,
                Err(error) => {
                    self.core
                        .store_failed("read or create session ticket keys", None, &error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Reads the keys, and adds one if the newest is old.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        // By the store's clock, as it rotates them: nodes whose clocks differ agree on when.
        let store = &self.core.store;
        let now = store.now().await?;
        let mut rows = store.ticket_keys().await?;
        // The existing keys first: they are needed even if the store accepts no new one.
        self.set(&rows, now);
        if rows.first().is_none_or(|newest| !newest.created.is_within(ROTATE, now)) {
            let newest = rows.first().map(|r| r.id);
            let id = newest.unwrap_or(0) + 1;
            let key = zeroize::Zeroizing::new(random::bytes::<32>());
            let new = NewTicketKey {
                id,
                sealed: self.core.sealer.seal(&place(id), key.as_slice()),
            };
            // One node of a fleet wins; the others read its key.
            store.add_ticket_key(&new, newest, ROTATE, KEEP).await?;
            rows = store.ticket_keys().await?;
            self.set(&rows, now);
        }
        if let Some(copy) = &self.core.copy
            && let Err(error) = copy.set_ticket_keys(rows).await
        {
            self.core.copy_failed(&error);
        }
        Ok(())
    }

    /// Sets the keys of the node's copy, until the store gives newer ones.
    async fn set_copied(&self) {
        if let Some(copy) = &self.core.copy
            && let Ok(rows) = copy.ticket_keys().await
        {
            self.set(&rows, self.core.clock.now());
        }
    }

    fn set(&self, rows: &[TicketKeyRow], now: Timestamp) {
        let keys = rows.iter().filter_map(|row| self.open(row, now)).collect();
        self.keys.set(keys);
    }

    fn open(&self, row: &TicketKeyRow, now: Timestamp) -> Option<TicketKey> {
        if row.created + KEEP <= now {
            return None;
        }
        match self.core.sealer.open(&place(row.id), &row.sealed) {
            Ok(secret) => {
                let key = zeroize::Zeroizing::new(secret.as_slice().try_into().ok()?);
                Some(TicketKey {
                    id: row.id,
                    key,
                    created: row.created,
                })
            }
            Err(error) => {
                tracing::error!(id = row.id, %error, "session ticket key cannot be opened; ignored");
                None
            }
        }
    }
}

fn place(id: u64) -> String {
    format!("ticket_keys/{id}")
}
