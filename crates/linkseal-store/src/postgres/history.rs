//! Timelines of domains, and the audit log.

use std::borrow::Cow;
use std::sync::Arc;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;

use super::call::Db;
use super::failure::Failure;
use super::feed;
use super::params::{int, ints, plain, text, texts};
use crate::values::{json_of, limit_of, number, reason_of, sql_int, text_of};
use crate::{AuditEntry, TIMELINE_KEPT, TimelineEntry};

/// Lines examined per call, so that each transaction is short.
const PRUNED_AT_ONCE: i64 = 1_000;

/// Adds lines to the timeline of the domain with this row id, and deletes the oldest beyond [`TIMELINE_KEPT`]. The
/// domain's row is locked, so that its numbers are given once.
pub(super) async fn append_timeline(db: &Db, domain: i64, lines: &[TimelineEntry]) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    let times: Vec<i64> = lines.iter().map(|line| line.at.as_millis()).collect();
    let events: Vec<&str> = lines.iter().map(|line| line.event.as_str()).collect();
    let reasons: Vec<&str> = lines.iter().map(|line| line.reason.as_str()).collect();
    let details: Vec<Option<Cow<'_, str>>> = lines.iter().map(|line| line.detail.as_deref().map(plain)).collect();
    let details: Vec<Option<&str>> = details.iter().map(Option::as_deref).collect();
    let kept = sql_int(TIMELINE_KEPT);
    let sql = "WITH last AS (SELECT coalesce(max(id), 0) AS id FROM linkseal.timeline WHERE domain = $1),
        gone AS (
            DELETE FROM linkseal.timeline WHERE domain = $1
            AND id <= (SELECT id FROM last) + cardinality($2) - $6
        )
        INSERT INTO linkseal.timeline (domain, id, at, event, reason, detail)
        SELECT $1, last.id + l.n, l.at, l.event, l.reason, l.detail
        FROM last, unnest($2, $3, $4, $5) WITH ORDINALITY AS l(at, event, reason, detail, n)
        WHERE l.n > cardinality($2) - $6";
    let params = [
        int(&domain),
        ints(&times),
        texts(&events),
        texts(&reasons),
        texts(&details),
        int(&kept),
    ];
    db.execute(sql, &params).await?;
    Ok(())
}

pub(super) async fn timeline(
    db: Db,
    name: DomainName,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<TimelineEntry>, Failure> {
    let sql = "SELECT t.id, t.at, t.event, t.reason, t.detail FROM linkseal.timeline t
        JOIN linkseal.domains d ON d.id = t.domain WHERE d.name = $1 AND t.id < $2 ORDER BY t.id DESC";
    let before = before.map_or(i64::MAX, sql_int);
    let mut lines = Vec::new();
    for row in db.rows(sql, &[text(&name.as_str()), int(&before)]).await? {
        if lines.len() >= limit {
            break;
        }
        // A line with a reason that only a newer version knows is left out.
        let Some(reason) = reason_of(&row.try_get::<_, String>(3)?) else {
            continue;
        };
        lines.push(TimelineEntry {
            id: number(row.try_get(0)?),
            at: Timestamp::from_millis(row.try_get(1)?),
            event: row.try_get(2)?,
            reason,
            detail: row.try_get(4)?,
        });
    }
    Ok(lines)
}

pub(super) async fn append_audit(db: &Db, line: &AuditEntry) -> Result<(), Failure> {
    let (at, before, after) = (line.at.as_millis(), text_of(&line.before)?, text_of(&line.after)?);
    let sql = "INSERT INTO linkseal.audit (at, who, from_addr, action, subject, before, after)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let [who, from, action, subject] = [&line.who, &line.from, &line.action, &line.subject].map(|text| plain(text));
    let [who, from, action, subject] = [&*who, &*from, &*action, &*subject];
    let params = [
        int(&at),
        text(&who),
        text(&from),
        text(&action),
        text(&subject),
        text(&before),
        text(&after),
    ];
    db.execute(sql, &params).await?;
    Ok(())
}

pub(super) async fn append_audit_of(db: &Db, line: Option<&AuditEntry>) -> Result<(), Failure> {
    match line {
        Some(line) => append_audit(db, line).await,
        None => Ok(()),
    }
}

pub(super) async fn audit(db: Db, before: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, Failure> {
    let sql = "SELECT id, at, who, from_addr, action, subject, before, after FROM linkseal.audit
        WHERE id < $1 ORDER BY id DESC LIMIT $2";
    let (before, limit) = (before.map_or(i64::MAX, sql_int), limit_of(limit));
    let mut lines = Vec::new();
    for row in db.rows(sql, &[int(&before), int(&limit)]).await? {
        lines.push(AuditEntry {
            id: number(row.try_get(0)?),
            at: Timestamp::from_millis(row.try_get(1)?),
            who: row.try_get(2)?,
            from: row.try_get(3)?,
            action: row.try_get(4)?,
            subject: row.try_get(5)?,
            before: json_of(row.try_get(6)?),
            after: json_of(row.try_get(7)?),
        });
    }
    Ok(lines)
}

pub(super) async fn append_line(db: Db, line: Arc<AuditEntry>) -> Result<(), Failure> {
    append_audit(&db, &line).await?;
    feed::mark(&db, &line.subject).await
}

/// Numbers may have gaps here, so what is beyond `keep` is found by counting back from the newest.
pub(super) async fn prune_audit(db: Db, before: Timestamp, keep: u64) -> Result<u64, Failure> {
    // By number: a line with a wrong time is examined when it is among the oldest.
    let sql = "WITH beyond AS (SELECT id FROM linkseal.audit ORDER BY id DESC OFFSET $3 LIMIT 1)
        DELETE FROM linkseal.audit WHERE id IN (SELECT id FROM linkseal.audit ORDER BY id LIMIT $1)
        AND (at < $2 OR id <= coalesce((SELECT id FROM beyond), 0))";
    let (before, keep) = (before.as_millis(), sql_int(keep));
    db.execute(sql, &[int(&PRUNED_AT_ONCE), int(&before), int(&keep)]).await
}
