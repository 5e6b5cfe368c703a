//! Domains: creation, reading, changes, purge.

use std::sync::Arc;

use futures_util::try_join;
use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use tokio_postgres::Row;

use super::call::Db;
use super::counts::{self, Counted};
use super::failure::Failure;
use super::params::{bytes, int, text};
use super::{feed, history, outbox, work};
use crate::unreadable::Unreadable;
use crate::values::{number, record_of, sql_int, stored_name, text_of};
use crate::{AuditEntry, Changed, Creation, StoreError, StoredCertificate, Transition};

pub(super) async fn create(db: Db, new: Arc<Creation>) -> Result<DomainRecord, Failure> {
    let mut record = new.record.clone();
    let name = record.name.as_str();
    let next_due = record.next_due().map(Timestamp::as_millis);
    let sql = "INSERT INTO linkseal.work (name, due_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if db.execute(sql, &[text(&name), int(&next_due)]).await? == 0 {
        return Err(StoreError::Exists.into());
    }
    let (counted, record_text) = (Counted::of(&record), text_of(&record)?);
    let sql = "INSERT INTO linkseal.domains (name, tenant, reason, next_due, renew_day, version, record)
        VALUES ($1, $2, $3, $4, $5, 0, $6) RETURNING id";
    let params = [
        text(&name),
        text(&counted.tenant),
        text(&counted.reason),
        int(&next_due),
        int(&counted.renew_day),
        text(&record_text),
    ];
    let id: i64 = match db.row(sql, &params).await? {
        Some(row) => row.try_get(0)?,
        None => return Err(StoreError::Exists.into()),
    };
    let changed = Changed::Domain {
        name: record.name.clone(),
        certificate: false,
    };
    let ((), (), (), number) = try_join!(
        history::append_timeline(&db, id, &new.timeline),
        history::append_audit_of(&db, new.audit.as_ref()),
        counts::append(&db, None, Some(&counted)),
        feed::append(&db, &changed),
    )?;
    // Every change of a domain adds one to its version and at least one to the sequence of its shard: no domain
    // of this name has had a version as high.
    record.version = number;
    db.execute(
        "UPDATE linkseal.domains SET version = $2 WHERE id = $1",
        &[int(&id), int(&sql_int(number))],
    )
    .await?;
    Ok(record)
}

pub(super) async fn read(db: Db, name: DomainName, unreadable: &Unreadable) -> Result<Option<DomainRecord>, Failure> {
    let sql = "SELECT record, version FROM linkseal.domains WHERE name = $1";
    let Some(row) = db.row(sql, &[text(&name.as_str())]).await? else {
        return Ok(None);
    };
    let (record, version): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Some(unreadable.read(&name, &record, number(version))?))
}

pub(super) async fn transition(db: Db, change: Arc<Transition>) -> Result<DomainRecord, Failure> {
    let mut record = change.record.clone();
    let row = find(&db, record.name.as_str()).await?.ok_or(StoreError::NotFound)?;
    if let Some(fence) = change.fence
        && row.holder != Some((fence.owner.uuid(), sql_int(fence.number)))
    {
        return Err(StoreError::Fenced.into());
    }
    if row.version != record.version {
        return Err(StoreError::Conflict.into());
    }
    record.version = record.version.saturating_add(1);
    let counted = Counted::of(&record);
    let changed = Changed::Domain {
        name: record.name.clone(),
        certificate: change.certificate.is_some(),
    };
    // Sent together; the server runs them in this order.
    try_join!(
        update(&db, row.id, &record, &counted),
        work::reschedule(&db, &record),
        put_certificate(&db, row.id, change.certificate.as_ref()),
        end_order(&db, row.id, change.order_ended),
        history::append_timeline(&db, row.id, &change.timeline),
        outbox::append(&db, row.id, &change.outbox_events),
        history::append_audit_of(&db, change.audit.as_ref()),
        counts::append(&db, Some(&row.counted), Some(&counted)),
        feed::append(&db, &changed),
    )?;
    Ok(record)
}

async fn update(db: &Db, id: i64, record: &DomainRecord, counted: &Counted) -> Result<(), Failure> {
    let (version, record_text) = (sql_int(record.version), text_of(record)?);
    let next_due = record.next_due().map(Timestamp::as_millis);
    let sql = "UPDATE linkseal.domains
        SET tenant = $2, reason = $3, next_due = $4, renew_day = $5, version = $6, record = $7 WHERE id = $1";
    let params = [
        int(&id),
        text(&counted.tenant),
        text(&counted.reason),
        int(&next_due),
        int(&counted.renew_day),
        int(&version),
        text(&record_text),
    ];
    db.execute(sql, &params).await?;
    Ok(())
}

async fn put_certificate(db: &Db, id: i64, certificate: Option<&StoredCertificate>) -> Result<(), Failure> {
    let Some(certificate) = certificate else { return Ok(()) };
    let sql = "INSERT INTO linkseal.certificates (domain, chain_pem, sealed_key) VALUES ($1, $2, $3)
        ON CONFLICT (domain) DO UPDATE SET chain_pem = excluded.chain_pem, sealed_key = excluded.sealed_key";
    let key = certificate.sealed_key.as_slice();
    db.execute(sql, &[int(&id), text(&certificate.chain_pem), bytes(&key)])
        .await?;
    Ok(())
}

async fn end_order(db: &Db, id: i64, ended: bool) -> Result<(), Failure> {
    if ended {
        db.execute("DELETE FROM linkseal.orders WHERE domain = $1", &[int(&id)])
            .await?;
    }
    Ok(())
}

pub(super) async fn purge(
    db: Db,
    name: DomainName,
    version: Option<u64>,
    audit: Arc<AuditEntry>,
) -> Result<u64, Failure> {
    let row = find(&db, name.as_str()).await?.ok_or(StoreError::NotFound)?;
    if version.is_some_and(|version| version != row.version) {
        return Err(StoreError::Conflict.into());
    }
    delete(&db, name.as_str(), &row).await?;
    history::append_audit(&db, &audit).await?;
    let changed = Changed::Domain {
        name,
        certificate: true,
    };
    feed::append(&db, &changed).await
}

/// Deletes the row of exactly this name, if it cannot be read.
pub(super) async fn purge_unreadable(db: Db, name: String, audit: Arc<AuditEntry>) -> Result<(), Failure> {
    let row = find(&db, &name).await?.ok_or(StoreError::NotFound)?;
    let readable = stored_name(&name).ok();
    if readable.is_some() && record_of(&name, &row.record, row.version).is_ok() {
        return Err(StoreError::Conflict.into());
    }
    delete(&db, &name, &row).await?;
    history::append_audit(&db, &audit).await?;
    match readable {
        Some(name) => {
            let changed = Changed::Domain {
                name,
                certificate: true,
            };
            feed::append(&db, &changed).await?;
        }
        // It is in no cache.
        None => feed::mark(&db, &name).await?,
    }
    Ok(())
}

/// Its foreign keys delete certificate, order, timeline and outbox events with it. Without the row in `work`, a
/// node that works on it can no longer write, not even to a later domain of the same name.
async fn delete(db: &Db, name: &str, row: &Found) -> Result<(), Failure> {
    let name = &name;
    db.execute("DELETE FROM linkseal.work WHERE name = $1", &[text(name)])
        .await?;
    db.execute("DELETE FROM linkseal.domains WHERE id = $1", &[int(&row.id)])
        .await?;
    db.execute("DELETE FROM linkseal.redirects WHERE domain = $1", &[text(name)])
        .await?;
    counts::append(db, Some(&row.counted), None).await
}

pub(super) async fn certificate(db: Db, name: DomainName) -> Result<Option<StoredCertificate>, Failure> {
    let sql = "SELECT c.chain_pem, c.sealed_key FROM linkseal.certificates c
        JOIN linkseal.domains d ON d.id = c.domain WHERE d.name = $1";
    let row = db.row(sql, &[text(&name.as_str())]).await?;
    let certificate = |row: Row| {
        Ok(StoredCertificate {
            chain_pem: row.try_get(0)?,
            sealed_key: row.try_get(1)?,
        })
    };
    row.map(certificate).transpose()
}

/// What a change has to know about the row that it changes.
struct Found {
    id: i64,
    version: u64,
    counted: Counted,
    record: String,
    /// Owner and number of its lease's newest grant.
    holder: Option<(uuid::Uuid, i64)>,
}

/// Finds and locks a domain and its lease.
async fn find(db: &Db, name: &str) -> Result<Option<Found>, Failure> {
    let sql = "SELECT d.id, d.version, d.tenant, d.reason, d.renew_day, d.record, w.owner, w.fence
        FROM linkseal.work w JOIN linkseal.domains d ON d.name = w.name WHERE w.name = $1 FOR UPDATE OF w, d";
    let Some(row) = db.row(sql, &[text(&name)]).await? else {
        return Ok(None);
    };
    let (owner, fence): (Option<uuid::Uuid>, i64) = (row.try_get(6)?, row.try_get(7)?);
    Ok(Some(Found {
        id: row.try_get(0)?,
        version: number(row.try_get(1)?),
        counted: Counted {
            tenant: row.try_get(2)?,
            reason: row.try_get(3)?,
            renew_day: row.try_get(4)?,
        },
        record: row.try_get(5)?,
        holder: owner.map(|owner| (owner, fence)),
    }))
}
