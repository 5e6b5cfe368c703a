//! Timelines of domains, and the audit log.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use rusqlite::{Connection, params};

use super::rows::{json_of, limit_of, number, reason_of, sql_int, text_of};
use crate::{AuditEntry, StoreError, TIMELINE_KEPT, TimelineEntry};

/// Adds lines to the timeline of the domain with this row id, and deletes the oldest beyond
/// [`TIMELINE_KEPT`].
pub(super) fn append_timeline(db: &Connection, domain: i64, lines: &[TimelineEntry]) -> Result<(), StoreError> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut last: i64 = db
        .prepare_cached("SELECT coalesce(max(id), 0) FROM timeline WHERE domain = ?1")?
        .query_row([domain], |row| row.get(0))?;
    let mut insert = db.prepare_cached(
        "INSERT INTO timeline (domain, id, at, event, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for line in lines {
        last += 1;
        insert.execute(params![
            domain,
            last,
            line.at.as_millis(),
            line.event,
            line.reason.as_str(),
            line.detail
        ])?;
    }
    db.prepare_cached("DELETE FROM timeline WHERE domain = ?1 AND id <= ?2")?
        .execute(params![domain, last.saturating_sub(sql_int(TIMELINE_KEPT))])?;
    Ok(())
}

pub(super) fn timeline(
    db: &Connection,
    name: &DomainName,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<TimelineEntry>, StoreError> {
    let sql = "SELECT timeline.id, at, event, timeline.reason, detail FROM timeline
        JOIN domains ON domains.id = timeline.domain
        WHERE domains.name = ?1 AND timeline.id < ?2 ORDER BY timeline.id DESC";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![name.as_str(), before.map_or(i64::MAX, sql_int)])?;
    let mut lines = Vec::new();
    while lines.len() < limit
        && let Some(row) = rows.next()?
    {
        // A line with a reason that only a newer version knows is left out.
        let Some(reason) = reason_of(&row.get::<_, String>(3)?) else {
            continue;
        };
        lines.push(TimelineEntry {
            id: number(row.get(0)?),
            at: Timestamp::from_millis(row.get(1)?),
            event: row.get(2)?,
            reason,
            detail: row.get(4)?,
        });
    }
    Ok(lines)
}

pub(super) fn append_audit(db: &Connection, line: &AuditEntry) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO audit (at, who, from_addr, action, subject, before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.prepare_cached(sql)?.execute(params![
        line.at.as_millis(),
        line.who,
        line.from,
        line.action,
        line.subject,
        text_of(&line.before)?,
        text_of(&line.after)?,
    ])?;
    Ok(())
}

pub(super) fn audit(db: &Connection, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
    let sql = "SELECT id, at, who, from_addr, action, subject, before, after FROM audit
        WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![before.map_or(i64::MAX, sql_int), limit_of(limit)])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push(AuditEntry {
            id: number(row.get(0)?),
            at: Timestamp::from_millis(row.get(1)?),
            who: row.get(2)?,
            from: row.get(3)?,
            action: row.get(4)?,
            subject: row.get(5)?,
            before: json_of(row.get(6)?),
            after: json_of(row.get(7)?),
        });
    }
    Ok(lines)
}

/// Lines examined per call, so that each write is short.
const PRUNED_AT_ONCE: i64 = 1_000;

pub(super) fn prune_audit(db: &Connection, before: Timestamp, keep: u64) -> Result<u64, StoreError> {
    let newest: i64 = db
        .prepare_cached("SELECT coalesce(max(id), 0) FROM audit")?
        .query_row([], |row| row.get(0))?;
    let beyond = newest.saturating_sub(sql_int(keep));
    // By number: a line with a wrong time is examined when it is among the oldest.
    let sql = "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?1) AND (at < ?2 OR id <= ?3)";
    let gone = db
        .prepare_cached(sql)?
        .execute(params![PRUNED_AT_ONCE, before.as_millis(), beyond])?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}
