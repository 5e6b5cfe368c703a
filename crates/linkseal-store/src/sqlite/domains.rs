//! Creates, changes, purges, lists and counts domains.

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::Reason;
use linkseal_domain::{DomainName, DomainRecord};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::rows::{certificate_of, limit_of, number, reason_of, record_of, sql_int, stored_name, text_of};
use super::{feed, history, issuing, leases, outbox};
use crate::unreadable::Unreadable;
use crate::{AuditEntry, Changed, Count, Creation, DomainQuery, StoreError, StoredCertificate, Transition};

/// The queries of [`list`], by filter. They name the index: without statistics SQLite might choose
/// another, and read all domains of a tenant to find three.
pub(super) const PAGE: &str = "SELECT name, id FROM domains INDEXED BY sqlite_autoindex_domains_1
    WHERE name >= :from AND name < :to ORDER BY name LIMIT :limit";
pub(super) const PAGE_TENANT: &str = "SELECT name, id FROM domains INDEXED BY domains_by_tenant
    WHERE tenant = :tenant AND name >= :from AND name < :to ORDER BY name LIMIT :limit";
pub(super) const PAGE_REASON: &str = "SELECT name, id FROM domains INDEXED BY domains_by_reason
    WHERE reason = :reason AND name >= :from AND name < :to ORDER BY name LIMIT :limit";
pub(super) const PAGE_TENANT_REASON: &str = "SELECT name, id FROM domains INDEXED BY domains_by_tenant_and_reason
    WHERE tenant = :tenant AND reason = :reason AND name >= :from AND name < :to ORDER BY name LIMIT :limit";

pub(super) fn create(db: &Connection, new: Creation) -> Result<DomainRecord, StoreError> {
    let mut record = new.record;
    if find(db, record.name.as_str())?.is_some() {
        return Err(StoreError::Exists);
    }
    let what = Changed::Domain {
        name: record.name.clone(),
        certificate: false,
    };
    // Every change of a domain adds one to its version and at least one to this sequence: no domain
    // of this name has had a version as high.
    record.version = feed::append(db, &what)?;
    db.prepare_cached(
        "INSERT INTO domains (name, tenant, reason, next_due, version, record, renew_day)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        record.name.as_str(),
        record.tenant,
        record.ssl.reason.as_str(),
        record.next_due().map(Timestamp::as_millis),
        sql_int(record.version),
        text_of(&record)?,
        issuing::renew_day(&record),
    ])?;
    let id = db.last_insert_rowid();
    count_one_more(db, &record.tenant, record.ssl.reason.as_str())?;
    issuing::move_renewal(db, None, issuing::renew_day(&record))?;
    history::append_timeline(db, id, &new.timeline)?;
    if let Some(audit) = &new.audit {
        history::append_audit(db, audit)?;
    }
    Ok(record)
}

pub(super) fn read(
    db: &Connection,
    name: &DomainName,
    unreadable: &Unreadable,
) -> Result<Option<DomainRecord>, StoreError> {
    let row: Option<(String, i64)> = db
        .prepare_cached("SELECT record, version FROM domains WHERE name = ?1")?
        .query_row([name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((text, version)) = row else { return Ok(None) };
    unreadable.read(name, &text, number(version)).map(Some)
}

pub(super) fn read_some(
    db: &Connection,
    names: &[DomainName],
    unreadable: &Unreadable,
) -> Result<Vec<DomainRecord>, StoreError> {
    let mut records = Vec::with_capacity(names.len());
    for name in names {
        match read(db, name, unreadable) {
            Err(StoreError::Unreadable { .. }) => {}
            record => records.extend(record?),
        }
    }
    Ok(records)
}

pub(super) fn transition(db: &Connection, change: Transition) -> Result<DomainRecord, StoreError> {
    let mut record = change.record;
    let row = find(db, record.name.as_str())?.ok_or(StoreError::NotFound)?;
    if let Some(fence) = change.fence {
        leases::check(db, &record.name, fence)?;
    }
    if row.version != record.version {
        return Err(StoreError::Conflict);
    }
    record.version = record.version.saturating_add(1);
    let reason = record.ssl.reason.as_str();
    db.prepare_cached(
        "UPDATE domains SET tenant = ?2, reason = ?3, next_due = ?4, version = ?5, record = ?6, renew_day = ?7
         WHERE id = ?1",
    )?
    .execute(params![
        row.id,
        record.tenant,
        reason,
        record.next_due().map(Timestamp::as_millis),
        sql_int(record.version),
        text_of(&record)?,
        issuing::renew_day(&record),
    ])?;
    issuing::move_renewal(db, row.renew_day, issuing::renew_day(&record))?;
    if (row.tenant.as_str(), row.reason.as_str()) != (record.tenant.as_str(), reason) {
        count_one_less(db, &row.tenant, &row.reason)?;
        count_one_more(db, &record.tenant, reason)?;
    }
    if let Some(certificate) = &change.certificate {
        db.prepare_cached("INSERT OR REPLACE INTO certificates (domain, chain_pem, sealed_key) VALUES (?1, ?2, ?3)")?
            .execute(params![row.id, certificate.chain_pem, certificate.sealed_key])?;
    }
    if change.order_ended {
        db.prepare_cached("DELETE FROM orders WHERE domain = ?1")?
            .execute([row.id])?;
    }
    history::append_timeline(db, row.id, &change.timeline)?;
    outbox::append(db, row.id, &change.outbox_events)?;
    if let Some(audit) = &change.audit {
        history::append_audit(db, audit)?;
    }
    let what = Changed::Domain {
        name: record.name.clone(),
        certificate: change.certificate.is_some(),
    };
    feed::append(db, &what)?;
    Ok(record)
}

pub(super) fn purge(
    db: &Connection,
    name: &DomainName,
    version: Option<u64>,
    audit: &AuditEntry,
) -> Result<u64, StoreError> {
    let row = find(db, name.as_str())?.ok_or(StoreError::NotFound)?;
    if version.is_some_and(|version| version != row.version) {
        return Err(StoreError::Conflict);
    }
    delete(db, name.as_str(), &row)?;
    // A node that works on it can no longer write, not even to a later domain of the same name.
    leases::revoke(db, &leases::domain_key(name))?;
    history::append_audit(db, audit)?;
    feed::append(
        db,
        &Changed::Domain {
            name: name.clone(),
            certificate: true,
        },
    )
}

fn delete(db: &Connection, name: &str, row: &Row) -> Result<(), StoreError> {
    // Their foreign keys delete certificate, order, timeline and outbox events with it.
    db.prepare_cached("DELETE FROM domains WHERE id = ?1")?
        .execute([row.id])?;
    db.prepare_cached("DELETE FROM redirects WHERE domain = ?1")?
        .execute([name])?;
    count_one_less(db, &row.tenant, &row.reason)?;
    issuing::move_renewal(db, row.renew_day, None)
}

/// Deletes the row of exactly this name, if it cannot be read.
pub(super) fn purge_unreadable(db: &Connection, name: &str, audit: &AuditEntry) -> Result<(), StoreError> {
    let row = find(db, name)?.ok_or(StoreError::NotFound)?;
    let text: String = db
        .prepare_cached("SELECT record FROM domains WHERE id = ?1")?
        .query_row([row.id], |row| row.get(0))?;
    let readable = stored_name(name).ok();
    if readable.is_some() && record_of(name, &text, row.version).is_ok() {
        return Err(StoreError::Conflict);
    }
    delete(db, name, &row)?;
    history::append_audit(db, audit)?;
    // A name that cannot be read is in no cache.
    if let Some(name) = readable {
        leases::revoke(db, &leases::domain_key(&name))?;
        feed::append(
            db,
            &Changed::Domain {
                name,
                certificate: true,
            },
        )?;
    }
    Ok(())
}

pub(super) fn list(
    db: &Connection,
    query: &DomainQuery,
    unreadable: &Unreadable,
) -> Result<Vec<DomainRecord>, StoreError> {
    // One snapshot for all statements below.
    let snapshot = db.unchecked_transaction()?;
    let mut records = Vec::new();
    let mut after = query.after.as_ref().map(|name| name.as_str().to_owned());
    // Unreadable records are skipped, and the page is filled with those after them.
    loop {
        let missing = query.limit.saturating_sub(records.len());
        let rows = page(&snapshot, query, after.as_deref(), missing)?;
        let is_last = rows.len() < missing;
        after = rows.last().map(|(name, _)| name.clone());
        for (name, id) in rows {
            let (text, version): (String, i64) = snapshot
                .prepare_cached("SELECT record, version FROM domains WHERE id = ?1")?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            match record_of(&name, &text, number(version)) {
                Ok(record) => records.push(record),
                Err(why) => unreadable.note(&name, &why),
            }
        }
        if is_last || records.len() >= query.limit {
            break;
        }
    }
    snapshot.commit()?;
    Ok(records)
}

pub(super) fn counts(db: &Connection, tenant: Option<&str>) -> Result<Vec<Count>, StoreError> {
    let mut statement = match tenant {
        None => db.prepare_cached("SELECT reason, n FROM totals WHERE ?1 IS NULL AND n > 0")?,
        Some(_) => db.prepare_cached("SELECT reason, n FROM counts WHERE tenant = ?1")?,
    };
    let rows = statement.query_map([tenant], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    let mut counts = Vec::new();
    for row in rows {
        let (reason, n) = row?;
        // A reason that only a newer version knows is left out.
        counts.extend(reason_of(&reason).map(|reason| Count {
            reason,
            domains: number(n),
        }));
    }
    counts.sort_by_key(|count| count.reason);
    Ok(counts)
}

pub(super) fn certificate(db: &Connection, name: &DomainName) -> Result<Option<StoredCertificate>, StoreError> {
    let sql = "SELECT chain_pem, sealed_key FROM certificates JOIN domains ON domains.id = certificates.domain
        WHERE domains.name = ?1";
    Ok(db
        .prepare_cached(sql)?
        .query_row([name.as_str()], certificate_of)
        .optional()?)
}

/// What a change has to know about the row that it changes.
struct Row {
    id: i64,
    version: u64,
    tenant: String,
    reason: String,
    renew_day: Option<i64>,
}

fn find(db: &Connection, name: &str) -> Result<Option<Row>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT id, version, tenant, reason, renew_day FROM domains WHERE name = ?1")?;
    let row = statement.query_row([name], |row| {
        Ok(Row {
            id: row.get(0)?,
            version: number(row.get(1)?),
            tenant: row.get(2)?,
            reason: row.get(3)?,
            renew_day: row.get(4)?,
        })
    });
    Ok(row.optional()?)
}

/// The rows of one page after a name, in order. A page of several reasons is merged from one page of each,
/// so that at most a page per reason is read.
fn page(
    db: &Connection,
    query: &DomainQuery,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, i64)>, StoreError> {
    let Some((from, to)) = query.range(after) else {
        return Ok(Vec::new());
    };
    let (rows, limit) = (limit, limit_of(limit));
    let mut found: Vec<(String, i64)> = Vec::new();
    let reasons: Vec<Option<Reason>> = query
        .reasons()
        .map_or_else(|| vec![None], |reasons| reasons.into_iter().map(Some).collect());
    for reason in reasons.into_iter().map(|reason| reason.map(Reason::as_str)) {
        let key = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (from, to) = (&from, &to);
        let mut take = |sql: &str, values: &[(&str, &dyn rusqlite::ToSql)]| -> Result<(), StoreError> {
            for row in db.prepare_cached(sql)?.query_map(values, key)? {
                found.push(row?);
            }
            Ok(())
        };
        match (query.tenant.as_deref(), reason) {
            (None, None) => take(PAGE, named_params! { ":from": from, ":to": to, ":limit": limit })?,
            (Some(tenant), None) => {
                take(
                    PAGE_TENANT,
                    named_params! { ":tenant": tenant, ":from": from, ":to": to, ":limit": limit },
                )?;
            }
            (None, Some(reason)) => {
                take(
                    PAGE_REASON,
                    named_params! { ":reason": reason, ":from": from, ":to": to, ":limit": limit },
                )?;
            }
            (Some(tenant), Some(reason)) => take(
                PAGE_TENANT_REASON,
                named_params! { ":tenant": tenant, ":reason": reason, ":from": from, ":to": to, ":limit": limit },
            )?,
        }
    }
    found.sort_unstable();
    found.truncate(rows);
    Ok(found)
}

fn count_one_more(db: &Connection, tenant: &str, reason: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO counts (tenant, reason, n) VALUES (?1, ?2, 1) ON CONFLICT DO UPDATE SET n = n + 1";
    db.prepare_cached(sql)?.execute([tenant, reason])?;
    let sql = "INSERT INTO totals (reason, n) VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1";
    db.prepare_cached(sql)?.execute([reason])?;
    Ok(())
}

/// A count that is too low (the file was edited, a table restored) is counted again: it must not block a
/// change.
fn count_one_less(db: &Connection, tenant: &str, reason: &str) -> Result<(), StoreError> {
    let counted = db
        .prepare_cached("UPDATE counts SET n = n - 1 WHERE tenant = ?1 AND reason = ?2 AND n > 0")?
        .execute([tenant, reason])?;
    if counted == 0 {
        let sql = "INSERT OR REPLACE INTO counts (tenant, reason, n)
            SELECT ?1, ?2, count(*) FROM domains WHERE tenant = ?1 AND reason = ?2";
        db.prepare_cached(sql)?.execute([tenant, reason])?;
    }
    // Otherwise rows of former tenants would stay indefinitely.
    db.prepare_cached("DELETE FROM counts WHERE tenant = ?1 AND reason = ?2 AND n = 0")?
        .execute([tenant, reason])?;
    let counted = db
        .prepare_cached("UPDATE totals SET n = n - 1 WHERE reason = ?1 AND n > 0")?
        .execute([reason])?;
    if counted == 0 {
        let sql = "INSERT OR REPLACE INTO totals (reason, n) SELECT ?1, count(*) FROM domains WHERE reason = ?1";
        db.prepare_cached(sql)?.execute([reason])?;
    }
    Ok(())
}
