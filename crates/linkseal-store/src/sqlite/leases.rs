//! Leases, and the orders that are written under them.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{id_of, number, sql_int, step_of, step_text, stored_name};
use crate::{Fence, OrderRecord, StoreError, domain_lease};

/// No lease lasts longer.
const LONGEST_LEASE: Duration = Duration::from_secs(3_600);

pub(super) fn acquire(
    db: &Connection,
    key: &str,
    owner: &str,
    ttl: Duration,
    now: Timestamp,
) -> Result<Option<Fence>, StoreError> {
    let held: Option<(String, i64)> = db
        .prepare_cached("SELECT owner, expires FROM leases WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // A lease from a clock that was ahead must not last longer than any lease can.
    let is_live = |expires| Timestamp::from_millis(expires).is_ahead(now, LONGEST_LEASE);
    if held.is_some_and(|(holder, expires)| holder != owner && is_live(expires)) {
        return Ok(None);
    }
    let fence: i64 = db
        .prepare_cached("UPDATE fence SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    db.prepare_cached("INSERT OR REPLACE INTO leases (key, owner, fence, expires) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![key, owner, fence, (now + ttl).as_millis()])?;
    Ok(Some(Fence(number(fence))))
}

pub(super) fn release(db: &Connection, key: &str, fence: Fence) -> Result<(), StoreError> {
    let sql = "DELETE FROM leases WHERE key = ?1 AND fence = ?2";
    db.prepare_cached(sql)?.execute(params![key, sql_int(fence.0)])?;
    Ok(())
}

/// Ends a lease, whichever owner has it.
pub(super) fn revoke(db: &Connection, key: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM leases WHERE key = ?1")?.execute([key])?;
    Ok(())
}

/// Fails unless the fence is the newest grant. Whether the lease has expired does not matter: as long as
/// no other owner was granted it, no other has begun.
pub(super) fn check(db: &Connection, key: &str, fence: Fence) -> Result<(), StoreError> {
    let newest: Option<i64> = db
        .prepare_cached("SELECT fence FROM leases WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    if newest == Some(sql_int(fence.0)) {
        Ok(())
    } else {
        Err(StoreError::Fenced)
    }
}

pub(super) fn put_order(db: &Connection, order: &OrderRecord, fence: Fence) -> Result<(), StoreError> {
    let id = id_of(db, &order.name)?;
    check(db, &domain_lease(&order.name), fence)?;
    db.prepare_cached(
        "INSERT OR REPLACE INTO orders (domain, ca, url, sealed_key, step, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        id,
        order.ca,
        order.url,
        order.sealed_key,
        step_text(order.step),
        order.created.as_millis()
    ])?;
    Ok(())
}

pub(super) fn order(db: &Connection, name: &DomainName) -> Result<Option<OrderRecord>, StoreError> {
    let sql = "SELECT ca, url, sealed_key, step, created FROM orders JOIN domains ON domains.id = orders.domain
        WHERE domains.name = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([name.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(OrderRecord {
        name: name.clone(),
        ca: row.get(0)?,
        url: row.get(1)?,
        sealed_key: row.get(2)?,
        step: step_of(&row.get::<_, String>(3)?),
        created: Timestamp::from_millis(row.get(4)?),
    }))
}

pub(super) fn open_orders(db: &Connection) -> Result<Vec<DomainName>, StoreError> {
    let sql = "SELECT name FROM orders JOIN domains ON domains.id = orders.domain ORDER BY orders.created, name";
    let mut statement = db.prepare_cached(sql)?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut readable = Vec::new();
    for name in names {
        readable.extend(stored_name(&name?).ok());
    }
    Ok(readable)
}
