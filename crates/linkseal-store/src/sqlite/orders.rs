//! Open orders.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use rusqlite::{Connection, params};

use super::leases;
use super::rows::{id_of, step_of, step_text, stored_name};
use crate::{Fence, OrderRecord, StoreError};

pub(super) fn put_order(db: &Connection, order: &OrderRecord, fence: Fence) -> Result<(), StoreError> {
    let id = id_of(db, &order.name)?;
    leases::check(db, &order.name, fence)?;
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
