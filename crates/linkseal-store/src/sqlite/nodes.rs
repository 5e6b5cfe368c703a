//! The node that has the store open. There is one at most: the file is locked.

use linkseal_base::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::leases::{self, owner_of};
use crate::{FeedPosition, NODE_GONE, NewNode, Node, Owner, StoreError};

pub(super) fn join(db: &Connection, node: &NewNode, now: Timestamp) -> Result<(), StoreError> {
    let former = find(db, &node.name)?.filter(|(owner, _)| *owner != node.owner.to_string());
    if let Some((owner, seen)) = former {
        let has_ended = node.former.is_some_and(|former| former.to_string() == owner);
        if !has_ended && seen.is_within(NODE_GONE, now) {
            return Err(taken(&node.name, seen, now));
        }
        if let Some(owner) = owner_of(&owner) {
            leases::release_all(db, owner)?;
        }
    }
    let sql = "INSERT OR REPLACE INTO nodes (name, owner, version, joined, seen, position)
        VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
    // It has not followed any changes yet.
    let nowhere = FeedPosition::new(Vec::new());
    db.prepare_cached(sql)?.execute(params![
        node.name,
        node.owner.to_string(),
        node.version,
        now.as_millis(),
        nowhere.to_string()
    ])?;
    Ok(())
}

pub(super) fn heartbeat(
    db: &Connection,
    node: &str,
    owner: Owner,
    position: &FeedPosition,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE nodes SET seen = ?3, position = ?4 WHERE name = ?1 AND owner = ?2";
    let updated =
        db.prepare_cached(sql)?
            .execute(params![node, owner.to_string(), now.as_millis(), position.to_string()])?;
    match find(db, node)? {
        _ if updated > 0 => Ok(()),
        Some((_, seen)) => Err(taken(node, seen, now)),
        None => Err(StoreError::NotFound),
    }
}

pub(super) fn leave(db: &Connection, node: &str, owner: Owner) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM nodes WHERE name = ?1 AND owner = ?2")?
        .execute([node, &owner.to_string()])?;
    Ok(())
}

pub(super) fn nodes(db: &Connection, now: Timestamp) -> Result<Vec<Node>, StoreError> {
    let sql = "SELECT name, owner, version, joined, seen, position FROM nodes ORDER BY name";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut alive = Vec::new();
    while let Some(row) = rows.next()? {
        let seen = Timestamp::from_millis(row.get(4)?);
        let position = row.get::<_, String>(5)?.parse();
        let (Some(owner), Ok(position)) = (owner_of(&row.get::<_, String>(1)?), position) else {
            continue;
        };
        if seen.is_within(NODE_GONE, now) {
            alive.push(Node {
                name: row.get(0)?,
                owner,
                version: row.get(2)?,
                joined: Timestamp::from_millis(row.get(3)?),
                seen,
                position,
            });
        }
    }
    Ok(alive)
}

/// The process that is a node, and when it was last seen.
fn find(db: &Connection, node: &str) -> Result<Option<(String, Timestamp)>, StoreError> {
    let mut statement = db.prepare_cached("SELECT owner, seen FROM nodes WHERE name = ?1")?;
    let found = statement.query_row([node], |row| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?))));
    Ok(found.optional()?)
}

fn taken(node: &str, seen: Timestamp, now: Timestamp) -> StoreError {
    StoreError::NodeTaken {
        name: node.to_owned(),
        seen: now.saturating_since(seen).as_secs(),
    }
}
