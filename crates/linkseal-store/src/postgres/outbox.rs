//! Lifecycle events that wait for a journal.

use linkseal_base::clock::Timestamp;
use uuid::Uuid;

use super::call::Db;
use super::failure::Failure;
use super::params::{int, ints, texts, uuids};
use crate::values::{json_of, lifecycle_event_of, limit_of, number, sql_int, stored_name, text_of};
use crate::{OUTBOX_KEPT, OutboxEvent};

/// Rows read beyond those asked for, which only a newer version may know.
const AHEAD: usize = 1_000;

/// Adds events of the domain with this row id.
pub(super) async fn append(db: &Db, domain: i64, events: &[OutboxEvent]) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let what: Vec<&str> = events.iter().map(|event| event.what.as_str()).collect();
    let times: Vec<i64> = events.iter().map(|event| event.at.as_millis()).collect();
    let tenants: Vec<&str> = events.iter().map(|event| event.tenant.as_str()).collect();
    let ssl: Vec<String> = events
        .iter()
        .map(|event| text_of(&event.ssl))
        .collect::<Result<_, _>>()?;
    let sql = "INSERT INTO linkseal.outbox (domain, id, what, at, tenant, ssl)
        SELECT $1, e.id, e.what, e.at, e.tenant, e.ssl
        FROM unnest($2, $3, $4, $5, $6) WITH ORDINALITY AS e(id, what, at, tenant, ssl, n) ORDER BY e.n";
    let params = [
        int(&domain),
        uuids(&ids),
        texts(&what),
        ints(&times),
        texts(&tenants),
        texts(&ssl),
    ];
    db.execute(sql, &params).await?;
    Ok(())
}

pub(super) async fn oldest(db: Db, limit: usize) -> Result<Vec<OutboxEvent>, Failure> {
    let sql = "SELECT o.seq, o.id, o.what, o.at, d.name, o.tenant, o.ssl FROM linkseal.outbox o
        JOIN linkseal.domains d ON d.id = o.domain ORDER BY o.seq LIMIT $1";
    let read = limit_of(limit.saturating_add(AHEAD));
    let mut events = Vec::new();
    for row in db.rows(sql, &[int(&read)]).await? {
        if events.len() >= limit {
            break;
        }
        // An event that only a newer version knows waits for that version, and does not block others.
        let (Some(what), Ok(domain)) = (
            lifecycle_event_of(&row.try_get::<_, String>(2)?),
            stored_name(&row.try_get::<_, String>(4)?),
        ) else {
            continue;
        };
        events.push(OutboxEvent {
            seq: number(row.try_get(0)?),
            id: row.try_get(1)?,
            what,
            at: Timestamp::from_millis(row.try_get(3)?),
            domain,
            tenant: row.try_get(5)?,
            ssl: json_of(row.try_get(6)?),
        });
    }
    Ok(events)
}

pub(super) async fn forget(db: Db, seqs: Vec<i64>) -> Result<(), Failure> {
    db.execute("DELETE FROM linkseal.outbox WHERE seq = ANY($1)", &[ints(&seqs)])
        .await?;
    Ok(())
}

/// Deletes the oldest beyond [`OUTBOX_KEPT`]. Returns how many.
pub(super) async fn prune(db: Db) -> Result<u64, Failure> {
    let sql = "DELETE FROM linkseal.outbox WHERE seq <= (
            SELECT seq FROM linkseal.outbox ORDER BY seq DESC OFFSET $1 LIMIT 1)";
    db.execute(sql, &[int(&sql_int(OUTBOX_KEPT))]).await
}
