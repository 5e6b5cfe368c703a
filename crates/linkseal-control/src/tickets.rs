//! The keys that seal TLS session tickets: made here, kept in the store, rotated, and shared, so
//! that a client may resume on any node and after a restart.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::cert::tickets::TicketKey;
use linkseal_store::{StoreError, TicketKeyRow};

use super::Control;

/// A new key is made when the newest is that old.
const ROTATE: Duration = Duration::from_secs(12 * 3600);
/// A key opens tickets for that long: the longest a ticket lives, twice over.
const KEEP: Duration = Duration::from_secs(48 * 3600);
/// How often to look: another node may have made a new key.
const LOOK: Duration = Duration::from_secs(600);
/// Wait after the store failed.
const RETRY: Duration = Duration::from_secs(1);

impl Control {
    /// Keeps the data plane's ticket keys fresh for ever. Until there is one, clients make full handshakes.
    pub(super) async fn keep_ticket_keys(self) {
        loop {
            match self.refresh_ticket_keys().await {
                Ok(()) => self.inner.clock.sleep(LOOK).await,
                Err(error) => {
                    self.store_fails("read or make session ticket keys", None, &error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn refresh_ticket_keys(&self) -> Result<(), StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let mut rows = store.ticket_keys().await?;
        // Those there are first: a store that takes no new one must not cost them.
        self.set_ticket_keys(&rows, now);
        if rows.first().is_none_or(|newest| !newest.created.is_within(ROTATE, now)) {
            let newest = rows.first().map(|r| r.id);
            let id = newest.unwrap_or(0) + 1;
            let key = zeroize::Zeroizing::new(random::bytes::<32>());
            let row = TicketKeyRow {
                id,
                sealed: self.inner.sealer.seal(&place(id), key.as_slice()),
                created: now,
            };
            // One node of a fleet wins; the others read what it made.
            store.add_ticket_key(&row, newest, now.minus(KEEP)).await?;
            rows = store.ticket_keys().await?;
            self.set_ticket_keys(&rows, now);
        }
        Ok(())
    }

    fn set_ticket_keys(&self, rows: &[TicketKeyRow], now: Timestamp) {
        let keys = rows.iter().filter_map(|row| self.open_ticket_key(row, now)).collect();
        self.inner.tickets.set(keys);
    }

    fn open_ticket_key(&self, row: &TicketKeyRow, now: Timestamp) -> Option<TicketKey> {
        if row.created + KEEP <= now {
            return None;
        }
        match self.inner.sealer.open(&place(row.id), &row.sealed) {
            Ok(secret) => {
                let key = zeroize::Zeroizing::new(secret.as_slice().try_into().ok()?);
                Some(TicketKey {
                    id: row.id,
                    key,
                    created: row.created,
                })
            }
            Err(error) => {
                tracing::error!(id = row.id, %error, "a session ticket key cannot be opened");
                None
            }
        }
    }
}

fn place(id: u64) -> String {
    format!("ticket_keys/{id}")
}
