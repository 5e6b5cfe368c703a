//! The change feed. It has one shard: SQLite has one writer, so that numbers follow the commits.

use linkseal_base::random;
use linkseal_domain::DomainName;
use linkseal_link::Slug;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{limit_of, number, sql_int, stored_name, stored_slug};
use crate::feed::Mark;
use crate::{CHANGES_KEPT, Changed, Feed, FeedPosition, StoreError};

/// Old changes are deleted once per this many new ones: a delete costs about the same for one or many.
const PRUNE_EVERY: i64 = 1024;

/// Returns its place in the sequence.
pub(super) fn append(db: &Connection, what: &Changed) -> Result<u64, StoreError> {
    let (name, certificate, slug) = match what {
        Changed::Domain { name, certificate } => (Some(name), *certificate, None),
        Changed::Redirect { domain, slug } => (domain.as_ref(), false, Some(slug)),
        Changed::TicketKeys | Changed::Kills | Changed::Freeze => (None, false, None),
    };
    let sql = "INSERT INTO changes (tag, name, certificate, slug, kills, freeze) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(sql)?.execute(params![
        i64::from_le_bytes(random::bytes()),
        name.map(DomainName::as_str),
        certificate,
        slug.map(Slug::as_str),
        *what == Changed::Kills,
        *what == Changed::Freeze,
    ])?;
    let seq = db.last_insert_rowid();
    if seq % PRUNE_EVERY == 0 {
        let gone = seq.saturating_sub(sql_int(CHANGES_KEPT));
        db.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?
            .execute([gone])?;
    }
    Ok(number(seq))
}

pub(super) fn end(db: &Connection) -> Result<FeedPosition, StoreError> {
    // The newest are never pruned.
    let last = db
        .prepare_cached("SELECT seq, tag FROM changes ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| mark(row.get(0)?, row.get(1)?))
        .optional()?;
    Ok(FeedPosition::new(vec![last.unwrap_or_default()]))
}

pub(super) fn after(db: &Connection, position: &FeedPosition, limit: usize) -> Result<Feed, StoreError> {
    // Another engine's position has another number of shards.
    let &[mut last] = position.marks() else {
        return Ok(Feed::Broken);
    };
    // One snapshot: otherwise changes could be deleted after the mark was found.
    let snapshot = db.unchecked_transaction()?;
    if !is_there(&snapshot, last)? {
        return Ok(Feed::Broken);
    }
    let sql = "SELECT seq, tag, name, certificate, slug, kills, freeze FROM changes
        WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut rows = statement.query(params![sql_int(last.seq), limit_of(limit)])?;
    let (mut changes, mut read) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        last = mark(row.get(0)?, row.get(1)?)?;
        read += 1;
        let (name, slug): (Option<String>, Option<String>) = (row.get(2)?, row.get(4)?);
        // An unreadable name or slug is in no cache either.
        let (Ok(name), Ok(slug)) = (
            name.map(|name| stored_name(&name)).transpose(),
            slug.map(|slug| stored_slug(&slug)).transpose(),
        ) else {
            continue;
        };
        changes.push(match (name, slug) {
            (domain, Some(slug)) => Changed::Redirect { domain, slug },
            (Some(name), None) => Changed::Domain {
                name,
                certificate: row.get(3)?,
            },
            (None, None) if row.get(5)? => Changed::Kills,
            (None, None) if row.get(6)? => Changed::Freeze,
            (None, None) => Changed::TicketKeys,
        });
    }
    Ok(Feed::Changes {
        changes,
        position: FeedPosition::new(vec![last]),
        more: read == limit,
    })
}

/// Whether all changes after the mark are there, and the mark itself is the one that was seen.
fn is_there(db: &Connection, mark: Mark) -> Result<bool, StoreError> {
    if mark.seq == 0 {
        let first: Option<i64> = db
            .prepare_cached("SELECT min(seq) FROM changes")?
            .query_row([], |row| row.get(0))?;
        return Ok(first.is_none_or(|first| first == 1));
    }
    let tag: Option<i64> = db
        .prepare_cached("SELECT tag FROM changes WHERE seq = ?1")?
        .query_row([sql_int(mark.seq)], |row| row.get(0))
        .optional()?;
    Ok(tag == Some(mark.tag))
}

fn mark(seq: i64, tag: i64) -> rusqlite::Result<Mark> {
    Ok(Mark { seq: number(seq), tag })
}
