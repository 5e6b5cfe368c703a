//! The nodes that share the store.

use linkseal_base::clock::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::call::Db;
use super::failure::Failure;
use super::params::{int, text, uuid};
use super::time::{self, millis};
use super::work;
use crate::values::number;
use crate::{FeedPosition, NODE_GONE, NewNode, Node, Owner, StoreError};

/// A node's row is kept this long after it was last seen, in milliseconds.
const FORGOTTEN_AFTER: i64 = 7 * 86_400_000;

pub(super) async fn join(db: Db, node: NewNode) -> Result<(), Failure> {
    let owner = node.owner.uuid();
    let sql = "INSERT INTO linkseal.nodes (name, owner, version, joined, seen, position)
        VALUES ($1, $2, $3, linkseal.now_ms(), linkseal.now_ms(), '') ON CONFLICT DO NOTHING";
    let params = [text(&node.name), uuid(&owner), text(&node.version)];
    if db.execute(sql, &params).await? > 0 {
        return Ok(());
    }
    let sql = "SELECT owner, seen FROM linkseal.nodes WHERE name = $1 FOR UPDATE";
    let row = db.row(sql, &[text(&node.name)]).await?;
    let row = row.ok_or_else(|| Failure::RolledBack {
        why: "the node has left meanwhile".into(),
        reconnect: false,
    })?;
    let (former, seen): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
    let absent = time::now(&db).await?.saturating_since(Timestamp::from_millis(seen));
    let has_ended = node.former.is_some_and(|ended| ended.uuid() == former);
    if former != owner && !has_ended && absent < NODE_GONE {
        return Err(StoreError::NodeTaken {
            name: node.name,
            seen: absent.as_secs(),
        }
        .into());
    }
    let sql = "UPDATE linkseal.nodes SET owner = $2, version = $3, joined = linkseal.now_ms(),
            seen = linkseal.now_ms(), position = '' WHERE name = $1";
    db.execute(sql, &params).await?;
    if former != owner {
        work::release_all(&db, Owner::of(former)).await?;
    }
    Ok(())
}

pub(super) async fn heartbeat(db: Db, name: String, owner: Owner, position: FeedPosition) -> Result<(), Failure> {
    db.batch(work::LAZY).await?;
    let (owner, position) = (owner.uuid(), position.to_string());
    let sql = "UPDATE linkseal.nodes SET seen = linkseal.now_ms(), position = $3 WHERE name = $1 AND owner = $2";
    let params = [text(&name), uuid(&owner), text(&position)];
    if db.execute(sql, &params).await? > 0 {
        return Ok(());
    }
    let sql = "SELECT (linkseal.now_ms() - seen) / 1000 FROM linkseal.nodes WHERE name = $1";
    match db.row(sql, &[text(&name)]).await? {
        Some(row) => {
            let seen = number(row.try_get(0)?);
            Err(StoreError::NodeTaken { name, seen }.into())
        }
        None => Err(StoreError::NotFound.into()),
    }
}

pub(super) async fn leave(db: Db, name: String, owner: Owner) -> Result<(), Failure> {
    let owner = owner.uuid();
    let sql = "DELETE FROM linkseal.nodes WHERE name = $1 AND owner = $2";
    db.execute(sql, &[text(&name), uuid(&owner)]).await?;
    Ok(())
}

pub(super) async fn alive(db: Db) -> Result<Vec<Node>, Failure> {
    let gone = millis(NODE_GONE);
    let sql = "SELECT name, owner, version, joined, seen, position FROM linkseal.nodes
        WHERE seen > linkseal.now_ms() - $1 ORDER BY name";
    let rows = db.rows(sql, &[int(&gone)]).await?;
    let node = |row: &Row| {
        Ok(Node {
            name: row.try_get(0)?,
            owner: Owner::of(row.try_get(1)?),
            version: row.try_get(2)?,
            joined: Timestamp::from_millis(row.try_get(3)?),
            seen: Timestamp::from_millis(row.try_get(4)?),
            // One that a newer version writes counts as the beginning.
            position: row
                .try_get::<_, String>(5)?
                .parse()
                .unwrap_or_else(|_| FeedPosition::default()),
        })
    };
    rows.iter().map(node).collect()
}

/// Deletes the rows of nodes that have been gone for long.
pub(super) async fn forget(db: Db) -> Result<u64, Failure> {
    let sql = "DELETE FROM linkseal.nodes WHERE seen < linkseal.now_ms() - $1";
    db.execute(sql, &[int(&FORGOTTEN_AFTER)]).await
}
