//! Timelines of domains, the audit log, and the change feed.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_link::Slug;
use rusqlite::{Connection, params};

use super::rows::{json_of, limit_of, number, reason_of, sql_int, stored_name, stored_slug, text_of};
use crate::{AuditEntry, CHANGES_KEPT, Change, Changed, StoreError, TIMELINE_KEPT, TimelineEntry};

/// Old changes are deleted once per this many new ones: a delete costs about the same for one or many.
const PRUNE_EVERY: i64 = 1024;

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

/// Returns its place in the sequence.
pub(super) fn append_change(db: &Connection, what: &Changed) -> Result<u64, StoreError> {
    let (name, certificate, slug, kills) = match what {
        Changed::Domain { name, certificate } => (Some(name.as_str()), *certificate, None, false),
        Changed::TicketKeys => (None, false, None, false),
        Changed::Redirect { domain, slug } => (domain.as_ref().map(DomainName::as_str), false, Some(slug), false),
        Changed::Kills => (None, false, None, true),
    };
    let sql = "INSERT INTO changes (name, certificate, slug, kills) VALUES (?1, ?2, ?3, ?4)";
    db.prepare_cached(sql)?
        .execute(params![name, certificate, slug.map(Slug::as_str), kills])?;
    let seq = db.last_insert_rowid();
    if seq % PRUNE_EVERY == 0 {
        let gone = seq.saturating_sub(sql_int(CHANGES_KEPT));
        db.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?
            .execute([gone])?;
    }
    Ok(number(seq))
}

pub(super) fn changes_since(db: &Connection, seq: u64, limit: usize) -> Result<Vec<Change>, StoreError> {
    let sql = "SELECT seq, name, certificate, slug, kills FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params![sql_int(seq), limit_of(limit)])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, slug): (Option<String>, Option<String>) = (row.get(1)?, row.get(3)?);
        // An unreadable name or slug is in no cache either.
        let (Ok(name), Ok(slug)) = (
            name.map(|name| stored_name(&name)).transpose(),
            slug.map(|slug| stored_slug(&slug)).transpose(),
        ) else {
            continue;
        };
        let what = match (name, slug) {
            (domain, Some(slug)) => Changed::Redirect { domain, slug },
            (Some(name), None) => Changed::Domain {
                name,
                certificate: row.get(2)?,
            },
            (None, None) if row.get(4)? => Changed::Kills,
            (None, None) => Changed::TicketKeys,
        };
        changes.push(Change {
            seq: number(row.get(0)?),
            what,
        });
    }
    Ok(changes)
}

pub(super) fn change_head(db: &Connection) -> Result<u64, StoreError> {
    // The newest are never pruned.
    let head: i64 = db
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM changes")?
        .query_row([], |row| row.get(0))?;
    Ok(number(head))
}
