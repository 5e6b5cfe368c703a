//! Open orders.

use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;

use super::call::Db;
use super::failure::Failure;
use super::params::{bytes, int, text};
use super::work;
use crate::values::{step_of, step_text, stored_name};
use crate::{Fence, OrderRecord, StoreError};

pub(super) async fn put(db: Db, order: Arc<OrderRecord>, fence: Fence) -> Result<(), Failure> {
    work::check(&db, &order.name, fence).await?;
    let (name, url, key) = (order.name.as_str(), order.url.as_deref(), order.sealed_key.as_slice());
    let (step, created) = (step_text(order.step), order.created.as_millis());
    let sql = "INSERT INTO linkseal.orders (domain, ca, url, sealed_key, step, created)
        SELECT id, $2, $3, $4, $5, $6 FROM linkseal.domains WHERE name = $1
        ON CONFLICT (domain) DO UPDATE SET ca = excluded.ca, url = excluded.url, sealed_key = excluded.sealed_key,
            step = excluded.step, created = excluded.created";
    let params = [
        text(&name),
        text(&order.ca),
        text(&url),
        bytes(&key),
        text(&step),
        int(&created),
    ];
    match db.execute(sql, &params).await? {
        0 => Err(StoreError::NotFound.into()),
        _ => Ok(()),
    }
}

pub(super) async fn of(db: Db, name: DomainName) -> Result<Option<OrderRecord>, Failure> {
    let sql = "SELECT o.ca, o.url, o.sealed_key, o.step, o.created FROM linkseal.orders o
        JOIN linkseal.domains d ON d.id = o.domain WHERE d.name = $1";
    let Some(row) = db.row(sql, &[text(&name.as_str())]).await? else {
        return Ok(None);
    };
    Ok(Some(OrderRecord {
        name,
        ca: row.try_get(0)?,
        url: row.try_get(1)?,
        sealed_key: row.try_get(2)?,
        step: step_of(&row.try_get::<_, String>(3)?),
        created: Timestamp::from_millis(row.try_get(4)?),
    }))
}

pub(super) async fn open(db: Db) -> Result<Vec<DomainName>, Failure> {
    let sql = "SELECT d.name FROM linkseal.orders o JOIN linkseal.domains d ON d.id = o.domain
        ORDER BY o.created, d.name";
    let mut names = Vec::new();
    for row in db.rows(sql, &[]).await? {
        names.extend(stored_name(&row.try_get::<_, String>(0)?).ok());
    }
    Ok(names)
}
