//! The store's traits: which call runs which room's statements.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;

use super::call::Repeat;
use super::pools::Purpose;
use super::{
    PostgresStore, budgets, cas, counts, domains, feed, history, links, listing, nodes, orders, outbox, secrets, time,
    work,
};
use crate::values::sql_int;
use crate::{
    AuditEntry, BudgetAnswer, BudgetStore, BudgetTake, CaAccount, CaStore, CaTrouble, Claim, Count, Creation,
    DomainQuery, DomainStore, Feed, FeedPosition, FeedStore, Fence, Freeze, HistoryStore, Lease, LeaseKey, LeaseStore,
    LinkStore, NewNode, NewTicketKey, Node, NodeStore, OrderRecord, OrderStore, OutboxEvent, OutboxStore, Owner,
    Position, RedirectQuery, RenewalDay, SecretStore, Store, StoreError, Stored, StoredCertificate, StoredKill,
    StoredRedirect, TicketKeyRow, TimelineEntry, Transition,
};

#[async_trait]
impl DomainStore for PostgresStore {
    async fn create(&self, new: Creation) -> Result<DomainRecord, StoreError> {
        let new = Arc::new(new);
        self.write("create", move |db| domains::create(db, Arc::clone(&new)))
            .await
    }

    async fn domain(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError> {
        let (name, inner) = (name.clone(), Arc::clone(&self.inner));
        let read = move |db| {
            let (name, inner) = (name.clone(), Arc::clone(&inner));
            async move { domains::read(db, name, &inner.unreadable).await }
        };
        self.read("domain", read).await
    }

    async fn domains(&self, names: &[DomainName]) -> Result<Vec<DomainRecord>, StoreError> {
        let names: Arc<Vec<String>> = Arc::new(names.iter().map(|name| name.as_str().to_owned()).collect());
        let inner = Arc::clone(&self.inner);
        let domains = move |db| {
            let (names, inner) = (Arc::clone(&names), Arc::clone(&inner));
            async move { listing::of_names(db, &names, &inner.unreadable).await }
        };
        self.read_for(Purpose::Apart, "domains", domains).await
    }

    async fn transition(&self, change: Transition) -> Result<DomainRecord, StoreError> {
        let change = Arc::new(change);
        self.write("transition", move |db| domains::transition(db, Arc::clone(&change)))
            .await
    }

    async fn purge(&self, name: &DomainName, version: Option<u64>, audit: AuditEntry) -> Result<u64, StoreError> {
        let (purged, audit) = (name.clone(), Arc::new(audit));
        let purge = move |db| domains::purge(db, purged.clone(), version, Arc::clone(&audit));
        let gone = self.write("purge", purge).await?;
        self.inner.unreadable.forget(name.as_str());
        Ok(gone)
    }

    async fn purge_unreadable(&self, name: &str, audit: AuditEntry) -> Result<(), StoreError> {
        let (purged, audit) = (name.to_owned(), Arc::new(audit));
        let purge = move |db| domains::purge_unreadable(db, purged.clone(), Arc::clone(&audit));
        self.write("purge", purge).await?;
        self.inner.unreadable.forget(name);
        Ok(())
    }

    fn unreadable(&self) -> Vec<(String, String)> {
        self.inner.unreadable.all()
    }

    async fn list(&self, query: &DomainQuery) -> Result<Vec<DomainRecord>, StoreError> {
        let (query, inner) = (query.clone(), Arc::clone(&self.inner));
        let list = move |db| {
            let (query, inner) = (query.clone(), Arc::clone(&inner));
            async move { listing::list(db, query, &inner.unreadable).await }
        };
        self.read("list", list).await
    }

    async fn stored(&self, after: Option<Position>, limit: usize) -> Result<Stored, StoreError> {
        let inner = Arc::clone(&self.inner);
        let stored = move |db| {
            let inner = Arc::clone(&inner);
            async move { listing::stored(db, after, limit, &inner.unreadable).await }
        };
        self.read("stored", stored).await
    }

    async fn counts(&self, tenant: Option<&str>) -> Result<Vec<Count>, StoreError> {
        let tenant = tenant.map(str::to_owned);
        self.read("counts", move |db| counts::by_reason(db, tenant.clone()))
            .await
    }

    async fn certificate(&self, name: &DomainName) -> Result<Option<StoredCertificate>, StoreError> {
        let name = name.clone();
        self.read("certificate", move |db| domains::certificate(db, name.clone()))
            .await
    }

    async fn renewals(&self, until: Timestamp) -> Result<Vec<RenewalDay>, StoreError> {
        self.read("renewals", move |db| counts::renewals(db, until)).await
    }
}

#[async_trait]
impl OrderStore for PostgresStore {
    async fn put_order(&self, order: &OrderRecord, fence: Fence) -> Result<(), StoreError> {
        let order = Arc::new(order.clone());
        self.write("put_order", move |db| orders::put(db, Arc::clone(&order), fence))
            .await
    }

    async fn order(&self, name: &DomainName) -> Result<Option<OrderRecord>, StoreError> {
        let name = name.clone();
        self.read("order", move |db| orders::of(db, name.clone())).await
    }

    async fn open_orders(&self) -> Result<Vec<DomainName>, StoreError> {
        self.read("open_orders", orders::open).await
    }
}

impl PostgresStore {
    /// A fence that this process has not had before.
    fn fence(&self, owner: Owner) -> Fence {
        Fence {
            owner,
            number: self.inner.grants.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }
}

#[async_trait]
impl LeaseStore for PostgresStore {
    async fn acquire_lease(&self, key: &LeaseKey, owner: Owner, ttl: Duration) -> Result<Option<Fence>, StoreError> {
        let (key, fence) = (key.clone(), self.fence(owner));
        let acquire = move |db| work::acquire(db, key.clone(), fence, ttl);
        self.write_for(Purpose::Apart, Repeat::Harmless, "acquire_lease", acquire)
            .await
    }

    async fn renew_leases(&self, leases: &[Lease], ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let leases = leases.to_vec();
        let renew = move |db| work::renew(db, leases.clone(), ttl);
        self.write_for(Purpose::Apart, Repeat::Harmless, "renew_leases", renew)
            .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        let release = move |db| work::release(db, lease.clone());
        self.write_for(Purpose::Apart, Repeat::Harmless, "release_lease", release)
            .await
    }

    async fn release_leases(&self, owner: Owner) -> Result<u64, StoreError> {
        let release = move |db| async move { work::release_all(&db, owner).await };
        self.write_for(Purpose::Apart, Repeat::Harmless, "release_leases", release)
            .await
    }

    async fn claim_due(&self, owner: Owner, ttl: Duration, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let (fence, inner) = (self.fence(owner), Arc::clone(&self.inner));
        let claim = move |db| {
            let inner = Arc::clone(&inner);
            async move { work::claim(db, fence, ttl, limit, &inner.unreadable).await }
        };
        self.write("claim_due", claim).await
    }

    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        self.read("next_due", work::next_due).await
    }
}

#[async_trait]
impl NodeStore for PostgresStore {
    async fn join(&self, node: &NewNode) -> Result<(), StoreError> {
        let node = node.clone();
        self.write("join", move |db| nodes::join(db, node.clone())).await
    }

    async fn heartbeat(&self, node: &str, owner: Owner, position: &FeedPosition) -> Result<(), StoreError> {
        let (node, position) = (node.to_owned(), position.clone());
        let beat = move |db| nodes::heartbeat(db, node.clone(), owner, position.clone());
        self.write_for(Purpose::Apart, Repeat::Harmless, "heartbeat", beat)
            .await
    }

    async fn leave(&self, node: &str, owner: Owner) -> Result<(), StoreError> {
        let node = node.to_owned();
        self.write("leave", move |db| nodes::leave(db, node.clone(), owner))
            .await
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.read("nodes", nodes::alive).await
    }
}

#[async_trait]
impl BudgetStore for PostgresStore {
    async fn take_budgets(&self, takes: &[BudgetTake]) -> Result<BudgetAnswer, StoreError> {
        let takes = takes.to_vec();
        self.write("take_budgets", move |db| budgets::take(db, takes.clone()))
            .await
    }

    async fn return_budgets(&self, takes: &[BudgetTake]) -> Result<(), StoreError> {
        let takes = takes.to_vec();
        let give_back = move |db| budgets::give_back(db, takes.clone());
        match self
            .write_for(Purpose::Work, Repeat::Never, "return_budgets", give_back)
            .await
        {
            // Rather too few tokens than too many.
            Err(StoreError::OutcomeUnknown) => Ok(()),
            answer => answer,
        }
    }

    async fn budget_left(&self, take: &BudgetTake) -> Result<f64, StoreError> {
        let take = take.clone();
        self.read("budget_left", move |db| budgets::left(db, take.clone()))
            .await
    }
}

#[async_trait]
impl CaStore for PostgresStore {
    async fn ca_account(&self, directory: &str) -> Result<Option<CaAccount>, StoreError> {
        let directory = directory.to_owned();
        let account = move |db| {
            let directory = directory.clone();
            async move { cas::account(&db, &directory).await }
        };
        self.read("ca_account", account).await
    }

    async fn put_ca_account(&self, account: &CaAccount, before: Option<&CaAccount>) -> Result<(), StoreError> {
        let (account, before) = (account.clone(), before.cloned());
        let put = move |db| cas::put_account(db, account.clone(), before.clone());
        self.write("put_ca_account", put).await
    }

    async fn hold_back(&self, ca: &str, until: Timestamp, before: Option<Timestamp>) -> Result<(), StoreError> {
        let ca = ca.to_owned();
        self.write("hold_back", move |db| cas::hold_back(db, ca.clone(), until, before))
            .await
    }

    async fn held_back(&self, ca: &str) -> Result<Option<Timestamp>, StoreError> {
        let ca = ca.to_owned();
        let held_back = move |db| {
            let ca = ca.clone();
            async move { cas::held_back(&db, &ca).await }
        };
        self.read("held_back", held_back).await
    }

    async fn ca_trouble(&self, directory: &str) -> Result<Option<CaTrouble>, StoreError> {
        let directory = directory.to_owned();
        let trouble = move |db| {
            let directory = directory.clone();
            async move { cas::trouble(&db, &directory).await }
        };
        self.read("ca_trouble", trouble).await
    }

    async fn change_ca_trouble(
        &self,
        directory: &str,
        before: Option<&CaTrouble>,
        after: Option<&CaTrouble>,
    ) -> Result<(), StoreError> {
        let (directory, before, after) = (directory.to_owned(), before.cloned(), after.cloned());
        let change = move |db| cas::change_trouble(db, directory.clone(), before.clone(), after.clone());
        self.write("change_ca_trouble", change).await
    }

    async fn release_ca(&self, directory: &str, audit: AuditEntry) -> Result<(), StoreError> {
        let directory = directory.to_owned();
        let release = move |db| cas::release(db, directory.clone(), audit.clone());
        self.write("release_ca", release).await
    }

    async fn freeze(&self) -> Result<Option<Freeze>, StoreError> {
        self.read("freeze", |db| async move { cas::freeze(&db).await }).await
    }

    async fn put_freeze(&self, freeze: &Freeze, audit: AuditEntry) -> Result<(), StoreError> {
        let freeze = freeze.clone();
        let put = move |db| cas::put_freeze(db, freeze.clone(), audit.clone());
        self.write("put_freeze", put).await
    }

    async fn end_freeze(&self, audit: AuditEntry) -> Result<(), StoreError> {
        self.write("end_freeze", move |db| cas::end_freeze(db, audit.clone()))
            .await
    }
}

#[async_trait]
impl OutboxStore for PostgresStore {
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEvent>, StoreError> {
        self.read("outbox", move |db| outbox::oldest(db, limit)).await
    }

    async fn ack_outbox(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let seqs: Vec<i64> = seqs.iter().copied().map(sql_int).collect();
        self.write("ack_outbox", move |db| outbox::forget(db, seqs.clone()))
            .await
    }
}

#[async_trait]
impl LinkStore for PostgresStore {
    async fn redirect(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        let key = Arc::new((domain.cloned(), slug.clone()));
        let redirect = move |db| {
            let key = Arc::clone(&key);
            async move { links::redirect(&db, key.0.as_ref(), &key.1).await }
        };
        self.read("redirect", redirect).await
    }

    async fn redirects(&self, query: &RedirectQuery) -> Result<Vec<StoredRedirect>, StoreError> {
        let query = query.clone();
        self.read("redirects", move |db| links::redirects(db, query.clone()))
            .await
    }

    async fn put_redirect(
        &self,
        redirect: &StoredRedirect,
        before: Option<&StoredRedirect>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (redirect, before) = (redirect.clone(), before.cloned());
        let put = move |db| links::put_redirect(db, redirect.clone(), before.clone(), audit.clone());
        self.write("put_redirect", put).await
    }

    async fn delete_redirect(&self, redirect: &StoredRedirect, audit: AuditEntry) -> Result<(), StoreError> {
        let redirect = redirect.clone();
        let delete = move |db| links::delete_redirect(db, redirect.clone(), audit.clone());
        self.write("delete_redirect", delete).await
    }

    async fn kills(&self) -> Result<Vec<StoredKill>, StoreError> {
        self.read("kills", links::kills).await
    }

    async fn put_kill(
        &self,
        kill: &StoredKill,
        before: Option<&StoredKill>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (kill, before) = (kill.clone(), before.cloned());
        let put = move |db| links::put_kill(db, kill.clone(), before.clone(), audit.clone());
        self.write("put_kill", put).await
    }

    async fn delete_kill(&self, kill: &StoredKill, audit: AuditEntry) -> Result<(), StoreError> {
        let kill = kill.clone();
        let delete = move |db| links::delete_kill(db, kill.clone(), audit.clone());
        self.write("delete_kill", delete).await
    }
}

#[async_trait]
impl SecretStore for PostgresStore {
    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        let secret = move |db| {
            let name = name.clone();
            async move { secrets::secret(&db, &name).await }
        };
        self.read("secret", secret).await
    }

    async fn secret_or_insert(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (name, sealed) = (name.to_owned(), sealed.to_vec());
        let insert = move |db| secrets::secret_or_insert(db, name.clone(), sealed.clone());
        self.write("secret_or_insert", insert).await
    }

    async fn ticket_keys(&self) -> Result<Vec<TicketKeyRow>, StoreError> {
        self.read("ticket_keys", secrets::ticket_keys).await
    }

    async fn add_ticket_key(
        &self,
        key: &NewTicketKey,
        after: Option<u64>,
        rotate: Duration,
        keep: Duration,
    ) -> Result<bool, StoreError> {
        let key = key.clone();
        let add = move |db| secrets::add_ticket_key(db, key.clone(), after, rotate, keep);
        self.write("add_ticket_key", add).await
    }
}

#[async_trait]
impl HistoryStore for PostgresStore {
    async fn timeline(
        &self,
        name: &DomainName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, StoreError> {
        let name = name.clone();
        let timeline = move |db| history::timeline(db, name.clone(), before, limit);
        self.read("timeline", timeline).await
    }

    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        let entry = Arc::new(entry);
        let append = move |db| history::append_line(db, Arc::clone(&entry));
        self.write("append_audit", append).await
    }

    async fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.read("audit", move |db| history::audit(db, before, limit)).await
    }

    async fn prune_audit(&self, before: Timestamp, keep: u64) -> Result<u64, StoreError> {
        self.write("prune_audit", move |db| history::prune_audit(db, before, keep))
            .await
    }
}

#[async_trait]
impl FeedStore for PostgresStore {
    async fn feed_end(&self) -> Result<FeedPosition, StoreError> {
        self.read_for(Purpose::Apart, "feed_end", feed::end).await
    }

    async fn changes_after(&self, position: &FeedPosition, limit: usize) -> Result<Feed, StoreError> {
        let position = position.clone();
        let after = move |db| feed::after(db, position.clone(), limit);
        self.read_for(Purpose::Apart, "changes_after", after).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.read("now", |db| async move { time::now(&db).await }).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let node = self.inner.node.clone();
        self.write("probe", move |db| secrets::probe(db, node.clone())).await
    }

    async fn backup(&self, _: &Path) -> Result<(), StoreError> {
        Err(StoreError::NotCopied(
            "PostgreSQL makes its own backups: pg_dump -Fc of this database, or its continuous archiving; keep the sealing key apart from them"
                .into(),
        ))
    }
}
