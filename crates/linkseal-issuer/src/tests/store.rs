//! A store in memory with only the calls that an issuer makes.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;
use linkseal_store::{
    AuditEntry, BudgetAnswer, BudgetStore, BudgetTake, CaAccount, CaStore, CaTrouble, Claim, Count, Creation,
    DomainQuery, DomainStore, Feed, FeedPosition, FeedStore, Fence, Freeze, HistoryStore, Lease, LeaseKey, LeaseStore,
    LinkStore, NewNode, NewTicketKey, Node, NodeStore, OrderRecord, OrderStore, OutboxEvent, OutboxStore, Owner,
    Position, RedirectQuery, RenewalDay, SecretStore, Store, StoreError, Stored, StoredCertificate, StoredKill,
    StoredRedirect, TicketKeyRow, TimelineEntry, Transition,
};
use parking_lot::Mutex;
use uuid::Uuid;

/// The valid fence of a [`MemoryStore`].
pub(super) const FENCE: Fence = Fence {
    owner: Owner::of(Uuid::from_u128(1)),
    number: 7,
};

#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) orders: Mutex<HashMap<DomainName, OrderRecord>>,
    /// Every write of an order, oldest first.
    pub(super) written: Mutex<Vec<OrderRecord>>,
    pub(super) secrets: Mutex<HashMap<String, Vec<u8>>>,
    pub(super) accounts: Mutex<HashMap<String, CaAccount>>,
}

fn unused<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("an issuer does not use this".into()))
}

#[async_trait]
impl DomainStore for MemoryStore {
    async fn create(&self, _: Creation) -> Result<DomainRecord, StoreError> {
        unused()
    }
    async fn domain(&self, _: &DomainName) -> Result<Option<DomainRecord>, StoreError> {
        unused()
    }
    async fn domains(&self, _: &[DomainName]) -> Result<Vec<DomainRecord>, StoreError> {
        unused()
    }

    async fn transition(&self, _: Transition) -> Result<DomainRecord, StoreError> {
        unused()
    }
    async fn purge(&self, _: &DomainName, _: Option<u64>, _: AuditEntry) -> Result<u64, StoreError> {
        unused()
    }
    async fn purge_unreadable(&self, _: &str, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
    fn unreadable(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    async fn list(&self, _: &DomainQuery) -> Result<Vec<DomainRecord>, StoreError> {
        unused()
    }
    async fn stored(&self, _: Option<Position>, _: usize) -> Result<Stored, StoreError> {
        unused()
    }
    async fn counts(&self, _: Option<&str>) -> Result<Vec<Count>, StoreError> {
        unused()
    }
    async fn certificate(&self, _: &DomainName) -> Result<Option<StoredCertificate>, StoreError> {
        unused()
    }
    async fn renewals(&self, _: Timestamp) -> Result<Vec<RenewalDay>, StoreError> {
        unused()
    }
}

#[async_trait]
impl OrderStore for MemoryStore {
    async fn put_order(&self, order: &OrderRecord, fence: Fence) -> Result<(), StoreError> {
        if fence != FENCE {
            return Err(StoreError::Fenced);
        }
        self.written.lock().push(order.clone());
        self.orders.lock().insert(order.name.clone(), order.clone());
        Ok(())
    }
    async fn order(&self, name: &DomainName) -> Result<Option<OrderRecord>, StoreError> {
        Ok(self.orders.lock().get(name).cloned())
    }
    async fn open_orders(&self) -> Result<Vec<DomainName>, StoreError> {
        unused()
    }
}

#[async_trait]
impl LeaseStore for MemoryStore {
    async fn acquire_lease(&self, _: &LeaseKey, _: Owner, _: Duration) -> Result<Option<Fence>, StoreError> {
        unused()
    }
    async fn renew_leases(&self, _: &[Lease], _: Duration) -> Result<Vec<Lease>, StoreError> {
        unused()
    }
    async fn release_lease(&self, _: &Lease) -> Result<(), StoreError> {
        unused()
    }
    async fn release_leases(&self, _: Owner) -> Result<u64, StoreError> {
        unused()
    }
    async fn claim_due(&self, _: Owner, _: Duration, _: usize) -> Result<Vec<Claim>, StoreError> {
        unused()
    }
    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        unused()
    }
}

#[async_trait]
impl NodeStore for MemoryStore {
    async fn join(&self, _: &NewNode) -> Result<(), StoreError> {
        unused()
    }
    async fn heartbeat(&self, _: &str, _: Owner, _: &FeedPosition) -> Result<(), StoreError> {
        unused()
    }
    async fn leave(&self, _: &str, _: Owner) -> Result<(), StoreError> {
        unused()
    }
    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        unused()
    }
}

#[async_trait]
impl BudgetStore for MemoryStore {
    async fn take_budgets(&self, _: &[BudgetTake]) -> Result<BudgetAnswer, StoreError> {
        unused()
    }
    async fn return_budgets(&self, _: &[BudgetTake]) -> Result<(), StoreError> {
        unused()
    }
    async fn budget_left(&self, _: &BudgetTake) -> Result<f64, StoreError> {
        unused()
    }
}

#[async_trait]
impl CaStore for MemoryStore {
    async fn ca_account(&self, directory: &str) -> Result<Option<CaAccount>, StoreError> {
        Ok(self.accounts.lock().get(directory).cloned())
    }
    async fn put_ca_account(&self, account: &CaAccount, before: Option<&CaAccount>) -> Result<(), StoreError> {
        let mut accounts = self.accounts.lock();
        if accounts.get(&account.directory) != before {
            return Err(StoreError::Conflict);
        }
        accounts.insert(account.directory.clone(), account.clone());
        Ok(())
    }
    async fn hold_back(&self, _: &str, _: Timestamp, _: Option<Timestamp>) -> Result<(), StoreError> {
        unused()
    }
    async fn held_back(&self, _: &str) -> Result<Option<Timestamp>, StoreError> {
        unused()
    }
    async fn ca_trouble(&self, _: &str) -> Result<Option<CaTrouble>, StoreError> {
        unused()
    }
    async fn change_ca_trouble(&self, _: &str, _: Option<&CaTrouble>, _: Option<&CaTrouble>) -> Result<(), StoreError> {
        unused()
    }
    async fn release_ca(&self, _: &str, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
    async fn freeze(&self) -> Result<Option<Freeze>, StoreError> {
        unused()
    }
    async fn put_freeze(&self, _: &Freeze, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
    async fn end_freeze(&self, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
}

#[async_trait]
impl OutboxStore for MemoryStore {
    async fn outbox(&self, _: usize) -> Result<Vec<OutboxEvent>, StoreError> {
        unused()
    }
    async fn ack_outbox(&self, _: &[u64]) -> Result<(), StoreError> {
        unused()
    }
}

#[async_trait]
impl LinkStore for MemoryStore {
    async fn redirect(&self, _: Option<&DomainName>, _: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        unused()
    }
    async fn redirects(&self, _: &RedirectQuery) -> Result<Vec<StoredRedirect>, StoreError> {
        unused()
    }
    async fn put_redirect(
        &self,
        _: &StoredRedirect,
        _: Option<&StoredRedirect>,
        _: AuditEntry,
    ) -> Result<(), StoreError> {
        unused()
    }
    async fn delete_redirect(&self, _: &StoredRedirect, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
    async fn kills(&self) -> Result<Vec<StoredKill>, StoreError> {
        unused()
    }
    async fn put_kill(&self, _: &StoredKill, _: Option<&StoredKill>, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
    async fn delete_kill(&self, _: &StoredKill, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
}

#[async_trait]
impl SecretStore for MemoryStore {
    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.secrets.lock().get(name).cloned())
    }
    async fn secret_or_insert(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        Ok(self
            .secrets
            .lock()
            .entry(name.to_owned())
            .or_insert_with(|| sealed.to_vec())
            .clone())
    }
    async fn ticket_keys(&self) -> Result<Vec<TicketKeyRow>, StoreError> {
        unused()
    }
    async fn add_ticket_key(
        &self,
        _: &NewTicketKey,
        _: Option<u64>,
        _: Duration,
        _: Duration,
    ) -> Result<bool, StoreError> {
        unused()
    }
}

#[async_trait]
impl HistoryStore for MemoryStore {
    async fn timeline(&self, _: &DomainName, _: Option<u64>, _: usize) -> Result<Vec<TimelineEntry>, StoreError> {
        unused()
    }
    async fn append_audit(&self, _: AuditEntry) -> Result<(), StoreError> {
        unused()
    }
    async fn audit(&self, _: Option<u64>, _: usize) -> Result<Vec<AuditEntry>, StoreError> {
        unused()
    }
    async fn prune_audit(&self, _: Timestamp, _: u64) -> Result<u64, StoreError> {
        unused()
    }
}

#[async_trait]
impl FeedStore for MemoryStore {
    async fn feed_end(&self) -> Result<FeedPosition, StoreError> {
        unused()
    }
    async fn changes_after(&self, _: &FeedPosition, _: usize) -> Result<Feed, StoreError> {
        unused()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        unused()
    }
    async fn probe(&self) -> Result<(), StoreError> {
        unused()
    }
    async fn backup(&self, _: &Path) -> Result<(), StoreError> {
        unused()
    }
}
