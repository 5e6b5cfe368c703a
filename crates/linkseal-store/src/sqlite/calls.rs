//! The store's traits: each call runs on a reader thread or on the writer thread. Those about work are in [`work`].

mod work;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;

use super::*;
use crate::{
    AuditEntry, Count, Creation, DomainQuery, DomainStore, Feed, FeedPosition, FeedStore, HistoryStore, LinkStore,
    NewTicketKey, OutboxEvent, OutboxStore, Position, RedirectQuery, RenewalDay, SecretStore, Store, StoreError,
    Stored, StoredCertificate, StoredKill, StoredRedirect, TicketKeyRow, TimelineEntry, Transition,
};

#[async_trait]
impl DomainStore for SqliteStore {
    async fn create(&self, new: Creation) -> Result<DomainRecord, StoreError> {
        self.write("create", move |db| domains::create(db, new)).await
    }

    async fn domain(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError> {
        let (name, unreadable) = (name.clone(), Arc::clone(&self.unreadable));
        self.read("domain", move |db| domains::read(db, &name, &unreadable))
            .await
    }

    async fn domains(&self, names: &[DomainName]) -> Result<Vec<DomainRecord>, StoreError> {
        let (names, unreadable) = (names.to_vec(), Arc::clone(&self.unreadable));
        self.read("domains", move |db| domains::read_some(db, &names, &unreadable))
            .await
    }

    async fn transition(&self, change: Transition) -> Result<DomainRecord, StoreError> {
        self.write("transition", move |db| domains::transition(db, change))
            .await
    }

    async fn purge(&self, name: &DomainName, version: Option<u64>, audit: AuditEntry) -> Result<u64, StoreError> {
        let purged = name.clone();
        let gone = self
            .write("purge", move |db| domains::purge(db, &purged, version, &audit))
            .await?;
        self.unreadable.forget(name.as_str());
        Ok(gone)
    }

    async fn purge_unreadable(&self, name: &str, audit: AuditEntry) -> Result<(), StoreError> {
        let purged = name.to_owned();
        self.write("purge", move |db| domains::purge_unreadable(db, &purged, &audit))
            .await?;
        self.unreadable.forget(name);
        Ok(())
    }

    fn unreadable(&self) -> Vec<(String, String)> {
        self.unreadable.all()
    }

    async fn list(&self, query: &DomainQuery) -> Result<Vec<DomainRecord>, StoreError> {
        let (query, unreadable) = (query.clone(), Arc::clone(&self.unreadable));
        self.read("list", move |db| domains::list(db, &query, &unreadable))
            .await
    }

    async fn stored(&self, after: Option<Position>, limit: usize) -> Result<Stored, StoreError> {
        let unreadable = Arc::clone(&self.unreadable);
        self.read("stored", move |db| stored::stored(db, after, limit, &unreadable))
            .await
    }

    async fn counts(&self, tenant: Option<&str>) -> Result<Vec<Count>, StoreError> {
        let tenant = tenant.map(str::to_owned);
        self.read("counts", move |db| domains::counts(db, tenant.as_deref()))
            .await
    }

    async fn certificate(&self, name: &DomainName) -> Result<Option<StoredCertificate>, StoreError> {
        let name = name.clone();
        self.read("certificate", move |db| domains::certificate(db, &name))
            .await
    }

    async fn renewals(&self, until: Timestamp) -> Result<Vec<RenewalDay>, StoreError> {
        self.read("renewals", move |db| issuing::renewals(db, until)).await
    }
}

#[async_trait]
impl OutboxStore for SqliteStore {
    async fn outbox(&self, limit: usize) -> Result<Vec<OutboxEvent>, StoreError> {
        self.read("outbox", move |db| outbox::oldest(db, limit)).await
    }

    async fn ack_outbox(&self, seqs: &[u64]) -> Result<(), StoreError> {
        let seqs = seqs.to_vec();
        self.write("ack_outbox", move |db| outbox::forget(db, &seqs)).await
    }
}

#[async_trait]
impl LinkStore for SqliteStore {
    async fn redirect(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        let (domain, slug) = (domain.cloned(), slug.clone());
        self.read("redirect", move |db| links::redirect(db, domain.as_ref(), &slug))
            .await
    }

    async fn redirects(&self, query: &RedirectQuery) -> Result<Vec<StoredRedirect>, StoreError> {
        let query = query.clone();
        self.read("redirects", move |db| links::redirects(db, &query)).await
    }

    async fn put_redirect(
        &self,
        redirect: &StoredRedirect,
        before: Option<&StoredRedirect>,
        audit: AuditEntry,
    ) -> Result<(), StoreError> {
        let (redirect, before) = (redirect.clone(), before.cloned());
        self.write("put_redirect", move |db| {
            links::put_redirect(db, &redirect, before.as_ref(), &audit)
        })
        .await
    }

    async fn delete_redirect(&self, redirect: &StoredRedirect, audit: AuditEntry) -> Result<(), StoreError> {
        let redirect = redirect.clone();
        self.write("delete_redirect", move |db| {
            links::delete_redirect(db, &redirect, &audit)
        })
        .await
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
        self.write("put_kill", move |db| {
            links::put_kill(db, &kill, before.as_ref(), &audit)
        })
        .await
    }

    async fn delete_kill(&self, kill: &StoredKill, audit: AuditEntry) -> Result<(), StoreError> {
        let kill = kill.clone();
        self.write("delete_kill", move |db| links::delete_kill(db, &kill, &audit))
            .await
    }
}

#[async_trait]
impl SecretStore for SqliteStore {
    async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read("secret", move |db| secrets::secret(db, &name)).await
    }

    async fn secret_or_insert(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (name, sealed) = (name.to_owned(), sealed.to_vec());
        self.write("secret_or_insert", move |db| {
            secrets::secret_or_insert(db, &name, &sealed)
        })
        .await
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
        let (key, clock) = (key.clone(), self.clock.clone());
        self.write("add_ticket_key", move |db| {
            secrets::add_ticket_key(db, &key, after, rotate, keep, clock.now())
        })
        .await
    }
}

#[async_trait]
impl HistoryStore for SqliteStore {
    async fn timeline(
        &self,
        name: &DomainName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, StoreError> {
        let name = name.clone();
        self.read("timeline", move |db| history::timeline(db, &name, before, limit))
            .await
    }

    async fn append_audit(&self, entry: AuditEntry) -> Result<(), StoreError> {
        self.write("append_audit", move |db| history::append_audit(db, &entry))
            .await
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
impl FeedStore for SqliteStore {
    async fn feed_end(&self) -> Result<FeedPosition, StoreError> {
        self.read("feed_end", feed::end).await
    }

    async fn changes_after(&self, position: &FeedPosition, limit: usize) -> Result<Feed, StoreError> {
        let position = position.clone();
        self.read("changes_after", move |db| feed::after(db, &position, limit))
            .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let live = self.live.load_full();
        let file = live.file.clone();
        let metrics = self.metrics.clone();
        let write = move |db: &Connection| {
            if let (Some(file), Some(metrics)) = (&file, &metrics) {
                metrics.file(file.bytes(), backup::last(file.path()));
            }
            secrets::write_probe(db)
        };
        let id = self.write("probe", write).await?;
        live.readers.call(DEADLINE, move |db| secrets::read_probe(db, id)).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let busy = || StoreError::NotCopied("a backup is being written already; wait until it has ended".into());
        let permit = Arc::clone(&self.backing_up).try_acquire_owned().map_err(|_| busy())?;
        let to = to.to_owned();
        let live = self.live.load_full();
        let file = live.file.clone();
        let copy = live.readers.call(BACKUP_DEADLINE, move |db| {
            // Kept until the backup has ended, even if the caller is gone.
            let _permit = permit;
            backup::copy(db, &to, backup::Owner::Caller)?;
            if let Some(file) = &file {
                backup::note(file.path());
            }
            Ok(())
        });
        self.measured("backup", copy).await
    }
}
