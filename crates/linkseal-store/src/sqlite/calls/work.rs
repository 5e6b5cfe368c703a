//! The traits about who works on what, and within which limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use rusqlite::Connection;

use super::super::{SqliteStore, budgets, issuing, leases, nodes, orders, secrets};
use crate::{
    AuditEntry, BudgetAnswer, BudgetStore, BudgetTake, CaAccount, CaStore, CaTrouble, Claim, FeedPosition, Fence,
    Freeze, Lease, LeaseKey, LeaseStore, NewNode, Node, NodeStore, OrderRecord, OrderStore, Owner, StoreError,
};

#[async_trait]
impl OrderStore for SqliteStore {
    async fn put_order(&self, order: &OrderRecord, fence: Fence) -> Result<(), StoreError> {
        let order = order.clone();
        self.write("put_order", move |db| orders::put_order(db, &order, fence))
            .await
    }

    async fn order(&self, name: &DomainName) -> Result<Option<OrderRecord>, StoreError> {
        let name = name.clone();
        self.read("order", move |db| orders::order(db, &name)).await
    }

    async fn open_orders(&self) -> Result<Vec<DomainName>, StoreError> {
        self.read("open_orders", orders::open_orders).await
    }
}

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire_lease(&self, key: &LeaseKey, owner: Owner, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let (key, clock) = (key.clone(), self.clock.clone());
        self.write("acquire_lease", move |db| {
            leases::acquire(db, &key, owner, ttl, clock.now())
        })
        .await
    }

    async fn renew_leases(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let (leases, clock) = (leases.to_vec(), self.clock.clone());
        self.write("renew_leases", move |db| leases::renew(db, leases, ttl, clock.now()))
            .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.write("release_lease", move |db| leases::release(db, &lease)).await
    }

    async fn release_leases(&self, owner: Owner) -> Result<u64, StoreError> {
        self.write("release_leases", move |db| leases::release_all(db, owner))
            .await
    }

    async fn claim_due(&self, owner: Owner, ttl: Duration, limit: usize) -> Result<Vec<Claim>, StoreError> {
        // Most often there is none. The writer is not kept busy to find that out.
        let (clock, unreadable) = (self.clock.clone(), Arc::clone(&self.unreadable));
        let look = move |db: &Connection| leases::due(db, limit.min(1), clock.now(), &unreadable);
        if self.read("due", look).await?.is_empty() {
            return Ok(Vec::new());
        }
        let (clock, unreadable) = (self.clock.clone(), Arc::clone(&self.unreadable));
        self.write("claim_due", move |db| {
            leases::claim_due(db, owner, ttl, limit, clock.now(), &unreadable)
        })
        .await
    }

    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        let clock = self.clock.clone();
        self.read("next_due", move |db| leases::next_due(db, clock.now())).await
    }
}

#[async_trait]
impl NodeStore for SqliteStore {
    async fn join(&self, node: &NewNode) -> Result<(), StoreError> {
        let (node, clock) = (node.clone(), self.clock.clone());
        self.write("join", move |db| nodes::join(db, &node, clock.now())).await
    }

    async fn heartbeat(&self, node: &str, owner: Owner, position: &FeedPosition) -> Result<(), StoreError> {
        let (node, position, clock) = (node.to_owned(), position.clone(), self.clock.clone());
        self.write("heartbeat", move |db| {
            nodes::heartbeat(db, &node, owner, &position, clock.now())
        })
        .await
    }

    async fn leave(&self, node: &str, owner: Owner) -> Result<(), StoreError> {
        let node = node.to_owned();
        self.write("leave", move |db| nodes::leave(db, &node, owner)).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let clock = self.clock.clone();
        self.read("nodes", move |db| nodes::nodes(db, clock.now())).await
    }
}

#[async_trait]
impl BudgetStore for SqliteStore {
    async fn take_budgets(&self, takes: &[BudgetTake]) -> Result<BudgetAnswer, StoreError> {
        let (takes, clock) = (takes.to_vec(), self.clock.clone());
        self.write("take_budgets", move |db| budgets::take(db, &takes, clock.now()))
            .await
    }

    async fn return_budgets(&self, takes: &[BudgetTake]) -> Result<(), StoreError> {
        let (takes, clock) = (takes.to_vec(), self.clock.clone());
        self.write("return_budgets", move |db| budgets::give_back(db, &takes, clock.now()))
            .await
    }

    async fn budget_left(&self, take: &BudgetTake) -> Result<f64, StoreError> {
        let (take, clock) = (take.clone(), self.clock.clone());
        self.read("budget_left", move |db| budgets::left(db, &take, clock.now()))
            .await
    }
}

#[async_trait]
impl CaStore for SqliteStore {
    async fn ca_account(&self, directory: &str) -> Result<Option<CaAccount>, StoreError> {
        let directory = directory.to_owned();
        self.read("ca_account", move |db| secrets::ca_account(db, &directory))
            .await
    }

    async fn put_ca_account(&self, account: &CaAccount, before: Option<&CaAccount>) -> Result<(), StoreError> {
        let (account, before) = (account.clone(), before.cloned());
        self.write("put_ca_account", move |db| {
            secrets::put_ca_account(db, &account, before.as_ref())
        })
        .await
    }

    async fn hold_back(&self, ca: &str, until: Timestamp, before: Option<Timestamp>) -> Result<(), StoreError> {
        let (ca, clock) = (ca.to_owned(), self.clock.clone());
        self.write("hold_back", move |db| {
            budgets::hold_back(db, &ca, until, before, clock.now())
        })
        .await
    }

    async fn held_back(&self, ca: &str) -> Result<Option<Timestamp>, StoreError> {
        let (ca, clock) = (ca.to_owned(), self.clock.clone());
        self.read("held_back", move |db| budgets::held_back(db, &ca, clock.now()))
            .await
    }

    async fn ca_trouble(&self, directory: &str) -> Result<Option<CaTrouble>, StoreError> {
        let directory = directory.to_owned();
        self.read("ca_trouble", move |db| issuing::ca_trouble(db, &directory))
            .await
    }

    async fn change_ca_trouble(
        &self,
        directory: &str,
        before: Option<&CaTrouble>,
        after: Option<&CaTrouble>,
    ) -> Result<(), StoreError> {
        let (directory, before, after) = (directory.to_owned(), before.cloned(), after.cloned());
        self.write("change_ca_trouble", move |db| {
            issuing::change_ca_trouble(db, &directory, before.as_ref(), after.as_ref())
        })
        .await
    }

    async fn release_ca(&self, directory: &str, audit: AuditEntry) -> Result<(), StoreError> {
        let directory = directory.to_owned();
        self.write("release_ca", move |db| issuing::release_ca(db, &directory, &audit))
            .await
    }

    async fn freeze(&self) -> Result<Option<Freeze>, StoreError> {
        self.read("freeze", issuing::freeze).await
    }

    async fn put_freeze(&self, freeze: &Freeze, audit: AuditEntry) -> Result<(), StoreError> {
        let freeze = freeze.clone();
        self.write("put_freeze", move |db| issuing::put_freeze(db, &freeze, &audit))
            .await
    }

    async fn end_freeze(&self, audit: AuditEntry) -> Result<(), StoreError> {
        self.write("end_freeze", move |db| issuing::end_freeze(db, &audit))
            .await
    }
}
