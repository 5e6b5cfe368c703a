//! Lifecycle events that wait for the journal.

use linkseal_base::clock::Timestamp;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::rows::{json_of, lifecycle_event_of, number, sql_int, stored_name, text_of};
use crate::{OUTBOX_KEPT, OutboxEvent, StoreError};

/// The oldest beyond [`OUTBOX_KEPT`] are deleted once per this many new ones.
const PRUNE_EVERY: i64 = 256;

/// Adds events of the domain with this row id.
pub(super) fn append(db: &Connection, domain: i64, outbox_events: &[OutboxEvent]) -> Result<(), StoreError> {
    for outbox_event in outbox_events {
        let sql = "INSERT INTO outbox (domain, id, what, at, tenant, ssl) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        db.prepare_cached(sql)?.execute(params![
            domain,
            outbox_event.id.to_string(),
            outbox_event.what.as_str(),
            outbox_event.at.as_millis(),
            outbox_event.tenant,
            text_of(&outbox_event.ssl)?,
        ])?;
        let seq = db.last_insert_rowid();
        if seq % PRUNE_EVERY == 0 {
            prune(db, seq.saturating_sub(sql_int(OUTBOX_KEPT)))?;
        }
    }
    Ok(())
}

/// Deletes the events up to `last`.
fn prune(db: &Connection, last: i64) -> Result<(), StoreError> {
    let lost = db
        .prepare_cached("DELETE FROM outbox WHERE seq <= ?1")?
        .execute([last])?;
    if lost > 0 {
        tracing::error!(
            lost,
            "lifecycle events dropped: more than {OUTBOX_KEPT} wait for the journal"
        );
    }
    Ok(())
}

pub(super) fn oldest(db: &Connection, limit: usize) -> Result<Vec<OutboxEvent>, StoreError> {
    let sql = "SELECT seq, outbox.id, what, at, name, outbox.tenant, ssl FROM outbox
        JOIN domains ON domains.id = outbox.domain ORDER BY seq";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut outbox_events = Vec::new();
    while outbox_events.len() < limit
        && let Some(row) = rows.next()?
    {
        // An event that only a newer version knows waits for that version, and does not block others.
        let (Ok(id), Some(what), Ok(domain)) = (
            Uuid::parse_str(&row.get::<_, String>(1)?),
            lifecycle_event_of(&row.get::<_, String>(2)?),
            stored_name(&row.get::<_, String>(4)?),
        ) else {
            continue;
        };
        outbox_events.push(OutboxEvent {
            seq: number(row.get(0)?),
            id,
            what,
            at: Timestamp::from_millis(row.get(3)?),
            domain,
            tenant: row.get(5)?,
            ssl: json_of(row.get(6)?),
        });
    }
    Ok(outbox_events)
}

pub(super) fn forget(db: &Connection, seqs: &[u64]) -> Result<(), StoreError> {
    let mut delete = db.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?;
    for seq in seqs {
        delete.execute([sql_int(*seq)])?;
    }
    Ok(())
}
