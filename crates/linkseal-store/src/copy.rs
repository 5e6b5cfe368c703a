//! A node's own copy of what it serves, so that it goes on, and starts again, while the fleet's store is away.
//!
//! It has the records of all domains that the data plane knows, the certificates and redirects that this node has
//! served, the kill switches, the ticket keys and the secrets that a start needs. Keys stay sealed as in the store.
//! It is no source of truth: the node's follower fills it, and whatever decides about work reads the store.
//!
//! The file has the schema of the embedded store. What is lost on a failure: a power cut may cost its last writes,
//! and its position with them, from which the node follows on. A damaged copy is replaced by an empty one.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use linkseal_base::clock::Clock;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;

use crate::sqlite::{SqliteStore, copied, with_suffix};
use crate::{
    DomainStore as _, FeedPosition, LinkStore as _, Pages, SecretStore as _, SharedStore, StoreError,
    StoredCertificate, StoredKill, StoredRedirect, TicketKeyRow,
};

/// Records read at once.
const PAGE: usize = 1_000;

/// A node's own copy.
pub struct LocalCopy {
    file: Arc<SqliteStore>,
    /// Whether something could not be written: the position stays, and the next start follows on from there.
    behind: AtomicBool,
}

impl LocalCopy {
    /// Opens the copy at `path`; creates it if it does not exist. One that cannot be read is replaced by an empty
    /// one. Blocks.
    ///
    /// # Errors
    /// When its disk is full or read-only, or another process has it open.
    pub fn open(path: &Path, clock: Clock) -> Result<Self, StoreError> {
        let file = match SqliteStore::open_copy(path, clock.clone()) {
            Err(error @ (StoreError::Full | StoreError::ReadOnly | StoreError::Locked { .. })) => return Err(error),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the node's copy of the store cannot be used; beginning a new one");
                for suffix in ["", "-wal", "-shm"] {
                    match std::fs::remove_file(with_suffix(path, suffix)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(StoreError::Unavailable(format!(
                                "{} cannot be removed ({error})",
                                path.display()
                            )));
                        }
                        _ => {}
                    }
                }
                SqliteStore::open_copy(path, clock)?
            }
            Ok(file) => file,
        };
        Ok(Self {
            file: Arc::new(file),
            behind: AtomicBool::new(false),
        })
    }

    /// Up to which change of the feed it has everything; `None` if it was never filled.
    pub async fn position(&self) -> Result<Option<FeedPosition>, StoreError> {
        self.file.read("copy_position", copied::position).await
    }

    /// Notes that everything up to a position was written. Without effect once a write has failed.
    pub async fn set_position(&self, position: &FeedPosition) -> Result<(), StoreError> {
        if self.behind.load(Ordering::Relaxed) {
            return Ok(());
        }
        let position = position.clone();
        self.write("copy_position", move |db| copied::set_position(db, &position))
            .await
    }

    /// Writes records, except where it has a newer one.
    pub async fn put_records(&self, records: Vec<DomainRecord>) -> Result<(), StoreError> {
        self.write("copy_records", move |db| copied::put_records(db, &records, false))
            .await
    }

    /// Writes records, even over newer ones: the store has lost what came after them.
    pub async fn put_back(&self, records: Vec<DomainRecord>) -> Result<(), StoreError> {
        self.write("copy_records", move |db| copied::put_records(db, &records, true))
            .await
    }

    /// Deletes domains with everything that belongs to them.
    pub async fn remove(&self, names: Vec<DomainName>) -> Result<(), StoreError> {
        self.write("copy_remove", move |db| copied::remove(db, &names)).await
    }

    /// Deletes all domains for which `stays` is false.
    pub async fn sweep(&self, stays: impl Fn(&DomainName) -> bool + Send) -> Result<(), StoreError> {
        let mut pages = self.pages(PAGE);
        while let Some(page) = pages.next().await? {
            let gone = page.into_iter().map(|record| record.name).filter(|name| !stays(name));
            let gone: Vec<DomainName> = gone.collect();
            if !gone.is_empty() {
                self.remove(gone).await?;
            }
        }
        Ok(())
    }

    /// The record of a domain.
    pub async fn record(&self, name: &DomainName) -> Result<Option<DomainRecord>, StoreError> {
        self.file.domain(name).await
    }

    /// All records, in the order in which they are stored.
    pub fn pages(&self, limit: usize) -> Pages {
        let store: SharedStore = self.file.clone();
        Pages::stored(&store, limit)
    }

    /// Writes the certificate of a domain. Returns false if it does not have the domain.
    pub async fn put_certificate(&self, name: &DomainName, certificate: StoredCertificate) -> Result<bool, StoreError> {
        let name = name.clone();
        self.write("copy_certificate", move |db| {
            copied::put_certificate(db, &name, &certificate)
        })
        .await
    }

    /// The certificate of a domain, if this node has served it.
    pub async fn certificate(&self, name: &DomainName) -> Result<Option<StoredCertificate>, StoreError> {
        self.file.certificate(name).await
    }

    /// The names among these whose certificate it has.
    pub async fn with_certificate(&self, names: Vec<DomainName>) -> Result<HashSet<DomainName>, StoreError> {
        let with = move |db: &_| copied::with_certificate(db, names);
        self.file.read("copy_certificates", with).await
    }

    /// Deletes a domain's certificate.
    pub async fn remove_certificate(&self, name: &DomainName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write("copy_certificate", move |db| copied::remove_certificate(db, &name))
            .await
    }

    /// Replaces all kill switches.
    pub async fn set_kills(&self, kills: Vec<StoredKill>) -> Result<(), StoreError> {
        self.write("copy_kills", move |db| copied::set_kills(db, &kills)).await
    }

    /// All kill switches.
    pub async fn kills(&self) -> Result<Vec<StoredKill>, StoreError> {
        self.file.kills().await
    }

    /// Replaces all ticket keys.
    pub async fn set_ticket_keys(&self, keys: Vec<TicketKeyRow>) -> Result<(), StoreError> {
        self.write("copy_ticket_keys", move |db| copied::set_ticket_keys(db, &keys))
            .await
    }

    /// All ticket keys, newest first.
    pub async fn ticket_keys(&self) -> Result<Vec<TicketKeyRow>, StoreError> {
        self.file.ticket_keys().await
    }

    /// Writes a sealed secret.
    pub async fn put_secret(&self, name: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("copy_secret", move |db| copied::put_secret(db, &name, &sealed))
            .await
    }

    /// A sealed secret.
    pub async fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.file.secret(name).await
    }

    /// Writes what a domain answered for a slug: its own redirect or that for all domains, whose `domain` is
    /// replaced by this one. The oldest go if there are many.
    pub async fn put_redirect(&self, domain: &DomainName, answered: StoredRedirect) -> Result<(), StoreError> {
        let answered = StoredRedirect {
            domain: Some(domain.clone()),
            ..answered
        };
        self.write("copy_redirect", move |db| copied::put_redirect(db, &answered))
            .await
    }

    /// What a domain answered for a slug.
    pub async fn redirect(&self, domain: &DomainName, slug: &Slug) -> Result<Option<StoredRedirect>, StoreError> {
        self.file.redirect(Some(domain), slug).await
    }

    /// Deletes what a domain answered for a slug; with `None`, what any of them did.
    pub async fn remove_redirect(&self, domain: Option<&DomainName>, slug: &Slug) -> Result<(), StoreError> {
        let (domain, slug) = (domain.cloned(), slug.clone());
        self.write("copy_redirect", move |db| {
            copied::remove_redirect(db, domain.as_ref(), &slug)
        })
        .await
    }

    /// Deletes all redirects.
    pub async fn remove_redirects(&self) -> Result<(), StoreError> {
        self.write("copy_redirect", copied::remove_redirects).await
    }

    async fn write<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let answer = self.file.write(operation, work).await;
        if answer.is_err() {
            self.behind.store(true, Ordering::Relaxed);
        }
        answer
    }
}

/// A secret that all nodes share: the stored one, or `make`'s if there is none yet. While the store is away, that
/// of the node's copy.
///
/// # Errors
/// When the store fails, and the copy does not have it.
pub async fn shared_secret(
    store: &SharedStore,
    copy: Option<&LocalCopy>,
    name: &str,
    make: impl FnOnce() -> Vec<u8> + Send,
) -> Result<Vec<u8>, StoreError> {
    let stored = match store.secret(name).await {
        Ok(Some(sealed)) => Ok(sealed),
        Ok(None) => store.secret_or_insert(name, &make()).await,
        Err(error) => Err(error),
    };
    match (stored, copy) {
        (Ok(sealed), Some(copy)) => {
            if let Err(error) = copy.put_secret(name, sealed.clone()).await {
                tracing::error!(%error, name, "a secret cannot be written to the node's copy of the store");
            }
            Ok(sealed)
        }
        (Err(error), Some(copy)) => copy.secret(name).await.ok().flatten().ok_or(error),
        (stored, None) => stored,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use linkseal_domain::links::Kill;
    use linkseal_domain::ssl::Reason;
    use linkseal_link::KillKind;

    use super::*;
    use crate::feed::Mark;
    use crate::testing::{NOW, name, record};

    fn certificate(text: &str) -> StoredCertificate {
        StoredCertificate {
            chain_pem: text.into(),
            sealed_key: text.into(),
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.db");
        let copy = LocalCopy::open(&path, Clock::system()).unwrap();
        assert_eq!(copy.position().await.unwrap(), None);
        let (mut kept, gone) = (record("a.example", "acme", Reason::Ok), name("b.example"));
        kept.version = 7;
        let records = vec![kept.clone(), record("b.example", "acme", Reason::Ok)];
        copy.put_records(records).await.unwrap();
        for (domain, there) in [(&kept.name, true), (&gone, true), (&name("c.example"), false)] {
            let put = copy
                .put_certificate(domain, certificate(domain.as_str()))
                .await
                .unwrap();
            assert_eq!(put, there, "{domain}");
        }
        let kill = StoredKill {
            kill: Kill::new(KillKind::Host, "evil.example").unwrap(),
            note: None,
            by: "ops".into(),
            since: NOW,
        };
        copy.set_kills(vec![kill.clone()]).await.unwrap();
        let key = |id| TicketKeyRow {
            id,
            sealed: vec![1],
            created: NOW,
        };
        copy.set_ticket_keys(vec![key(1)]).await.unwrap();
        copy.set_ticket_keys(vec![key(3), key(2)]).await.unwrap();
        copy.put_secret("key", vec![9]).await.unwrap();
        let redirect = StoredRedirect {
            domain: None,
            slug: Slug::parse("sale").unwrap(),
            url: "https://shop.example/".into(),
            expires: None,
            changed: NOW,
        };
        copy.put_redirect(&kept.name, redirect.clone()).await.unwrap();
        copy.put_redirect(&gone, redirect.clone()).await.unwrap();
        copy.remove(vec![gone.clone()]).await.unwrap();
        let position = FeedPosition::new(vec![Mark { seq: 5, tag: -3 }]);
        copy.set_position(&position).await.unwrap();
        drop(copy);

        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let copy = LocalCopy::open(&path, Clock::system()).unwrap();
        assert_eq!(copy.position().await.unwrap(), Some(position));
        assert_eq!(copy.record(&kept.name).await.unwrap(), Some(kept.clone()));
        assert_eq!(copy.pages(10).next().await.unwrap(), Some(vec![kept.clone()]));
        assert_eq!(
            copy.certificate(&kept.name).await.unwrap(),
            Some(certificate("a.example"))
        );
        assert_eq!(copy.certificate(&gone).await.unwrap(), None);
        assert_eq!(copy.kills().await.unwrap(), [kill]);
        assert_eq!(copy.ticket_keys().await.unwrap(), [key(3), key(2)]);
        assert_eq!(copy.secret("key").await.unwrap(), Some(vec![9]));
        let answered = copy.redirect(&kept.name, &redirect.slug).await.unwrap().unwrap();
        assert_eq!(answered.url, redirect.url);
        assert_eq!(copy.redirect(&gone, &redirect.slug).await.unwrap(), None);
        // That of all domains was changed.
        copy.remove_redirect(None, &redirect.slug).await.unwrap();
        assert_eq!(copy.redirect(&kept.name, &redirect.slug).await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_older_record_replaces_a_newer_one_only_where_the_store_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let copy = LocalCopy::open(&dir.path().join("copy.db"), Clock::system()).unwrap();
        let of = |version| {
            let mut record = record("a.example", "acme", Reason::Ok);
            record.version = version;
            record
        };
        let version = async || copy.record(&name("a.example")).await.unwrap().unwrap().version;
        copy.put_records(vec![of(5)]).await.unwrap();
        copy.put_records(vec![of(4)]).await.unwrap();
        assert_eq!(version().await, 5);
        assert!(
            copy.put_certificate(&name("a.example"), certificate("x"))
                .await
                .unwrap()
        );
        copy.put_back(vec![of(4)]).await.unwrap();
        assert_eq!(version().await, 4);
        assert!(copy.certificate(&name("a.example")).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_damaged_copy_is_replaced_by_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.db");
        std::fs::write(&path, [7; 8192]).unwrap();
        let copy = LocalCopy::open(&path, Clock::system()).unwrap();
        assert_eq!(copy.position().await.unwrap(), None);
        assert!(matches!(
            LocalCopy::open(&path, Clock::system()),
            Err(StoreError::Locked { .. })
        ));
    }

    /// Otherwise the next start would not read again what is missing.
    #[tokio::test]
    async fn a_copy_that_could_not_be_written_keeps_its_position() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.db");
        let copy = LocalCopy::open(&path, Clock::system()).unwrap();
        let position = |seq| FeedPosition::new(vec![Mark { seq, tag: 1 }]);
        copy.set_position(&position(1)).await.unwrap();
        let beside = rusqlite::Connection::open(&path).unwrap();
        beside.execute_batch("DROP TABLE kills").unwrap();
        assert!(copy.set_kills(Vec::new()).await.is_err());
        copy.set_position(&position(2)).await.unwrap();
        assert_eq!(copy.position().await.unwrap(), Some(position(1)));
    }
}
