//! The change feed: appended to by the last statement of a transaction, read by every node.

use std::collections::BTreeMap;

use linkseal_domain::DomainName;
use linkseal_link::Slug;
use tokio_postgres::Row;

use super::call::Db;
use super::failure::Failure;
use super::params::{self, flag, int, text};
use crate::feed::Mark;
use crate::values::{limit_of, number, sql_int, stored_name, stored_slug};
use crate::{Changed, Feed, FeedPosition};

/// Rows of `feed_heads`.
pub(super) const SHARDS: i16 = 16;

/// The shard of a change: by the name it is about, so that the changes of a name follow each other.
pub(super) fn shard_of(name: &str) -> i16 {
    // FNV-1a: any version of the program on any machine must come to the same.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    i16::try_from(hash % SHARDS.unsigned_abs() as u64).unwrap_or_default()
}

/// Appends a change; returns its number in its shard. Nothing that takes another lock may follow it.
pub(super) async fn append(db: &Db, changed: &Changed) -> Result<u64, Failure> {
    let (what, name, slug, certificate) = match changed {
        Changed::Domain { name, certificate } => ("domain", Some(name.as_str()), None, *certificate),
        Changed::Redirect { domain, slug } => (
            "redirect",
            domain.as_ref().map(DomainName::as_str),
            Some(slug.as_str()),
            false,
        ),
        Changed::TicketKeys => ("tickets", None, None, false),
        Changed::Kills => ("kills", None, None, false),
        Changed::Freeze => ("freeze", None, None, false),
    };
    insert(db, name.unwrap_or_default(), what, name, slug, certificate).await
}

/// Appends what followers pass over: by it, a transaction whose commit lost its answer finds out whether it took
/// place. `key` chooses the shard.
pub(super) async fn mark(db: &Db, key: &str) -> Result<(), Failure> {
    insert(db, key, "mark", None, None, false).await?;
    Ok(())
}

async fn insert(
    db: &Db,
    key: &str,
    what: &str,
    name: Option<&str>,
    slug: Option<&str>,
    certificate: bool,
) -> Result<u64, Failure> {
    let (shard, tag) = (shard_of(key), db.tag());
    db.wrote_to(shard);
    let sql = "WITH h AS (UPDATE linkseal.feed_heads SET seq = seq + 1 WHERE shard = $1 RETURNING seq)
        INSERT INTO linkseal.changes (shard, seq, tag, what, name, slug, certificate)
        SELECT $1, h.seq, $2, $3, $4, $5, $6 FROM h RETURNING seq";
    let params = [
        params::shard(&shard),
        int(&tag),
        text(&what),
        text(&name),
        text(&slug),
        flag(&certificate),
    ];
    match db.row(sql, &params).await? {
        Some(row) => Ok(number(row.try_get(0)?)),
        None => Err(Failure::Rejected(
            "the row of a shard is missing in linkseal.feed_heads".into(),
        )),
    }
}

/// Where the feed ends.
pub(super) async fn end(db: Db) -> Result<FeedPosition, Failure> {
    let heads = heads(&db).await?;
    Ok(FeedPosition::new(heads.into_values().collect()))
}

/// The last change of each shard. One that was trimmed has no tag that a mark has.
async fn heads(db: &Db) -> Result<BTreeMap<i16, Mark>, Failure> {
    let sql = "SELECT h.shard, h.seq, coalesce(c.tag, 0) FROM linkseal.feed_heads h
        LEFT JOIN linkseal.changes c ON c.shard = h.shard AND c.seq = h.seq";
    let mark = |row: &Row| {
        let (seq, tag) = (number(row.try_get(1)?), row.try_get(2)?);
        Ok((row.try_get(0)?, Mark { seq, tag }))
    };
    db.rows(sql, &[]).await?.iter().map(mark).collect()
}

/// Changes after a position. The heads are read first, in one statement: a shard that has none is not looked at.
pub(super) async fn after(db: Db, position: FeedPosition, limit: usize) -> Result<Feed, Failure> {
    let heads = heads(&db).await?;
    let mut marks = position.marks().to_vec();
    // Another engine's position has another number of shards.
    if marks.len() != heads.len() {
        return Ok(Feed::Broken);
    }
    let (mut changes, mut more) = (Vec::new(), false);
    for (shard, head) in heads {
        let Some(mark) = usize::try_from(shard).ok().and_then(|shard| marks.get_mut(shard)) else {
            return Ok(Feed::Broken);
        };
        if head == *mark {
            continue;
        }
        if head.seq <= mark.seq {
            return Ok(Feed::Broken);
        }
        let room = limit.saturating_sub(changes.len());
        if room == 0 {
            more = true;
            continue;
        }
        let rows = shard_after(&db, shard, *mark, room).await?;
        if !begins_with(*mark, &rows)? {
            return Ok(Feed::Broken);
        }
        for row in &rows {
            let next = Mark {
                seq: number(row.try_get(0)?),
                tag: row.try_get(1)?,
            };
            if next.seq > mark.seq {
                *mark = next;
                changes.extend(changed_of(row)?);
            }
        }
        more |= mark.seq < head.seq;
    }
    Ok(Feed::Changes {
        changes,
        position: FeedPosition::new(marks),
        more,
    })
}

/// The change that a mark names, and those after it.
async fn shard_after(db: &Db, shard: i16, mark: Mark, room: usize) -> Result<Vec<Row>, Failure> {
    let (from, limit) = (sql_int(mark.seq), limit_of(room.saturating_add(1)));
    let sql = "SELECT seq, tag, what, name, slug, certificate FROM linkseal.changes
        WHERE shard = $1 AND seq >= $2 ORDER BY seq LIMIT $3";
    db.rows(sql, &[params::shard(&shard), int(&from), int(&limit)]).await
}

/// Whether the rows go on where the mark is: with the change that it names, or from the first one.
fn begins_with(mark: Mark, rows: &[Row]) -> Result<bool, Failure> {
    let Some(first) = rows.first() else {
        return Ok(mark.seq == 0);
    };
    let (seq, tag): (i64, i64) = (first.try_get(0)?, first.try_get(1)?);
    Ok(match mark.seq {
        0 => seq == 1,
        _ => number(seq) == mark.seq && tag == mark.tag,
    })
}

/// `None`: one that only a newer version knows, or whose name is in no cache because it cannot be read.
fn changed_of(row: &Row) -> Result<Option<Changed>, Failure> {
    let (what, name, slug): (String, Option<String>, Option<String>) =
        (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    let name = name.map(|name| stored_name(&name)).transpose();
    let slug: Result<Option<Slug>, _> = slug.map(|slug| stored_slug(&slug)).transpose();
    let (Ok(name), Ok(slug)) = (name, slug) else {
        return Ok(None);
    };
    Ok(match (what.as_str(), name, slug) {
        ("domain", Some(name), _) => Some(Changed::Domain {
            name,
            certificate: row.try_get(5)?,
        }),
        ("redirect", domain, Some(slug)) => Some(Changed::Redirect { domain, slug }),
        ("tickets", ..) => Some(Changed::TicketKeys),
        ("kills", ..) => Some(Changed::Kills),
        ("freeze", ..) => Some(Changed::Freeze),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes of different versions must agree.
    #[test]
    fn a_name_stays_in_its_shard() {
        assert_eq!(shard_of(""), 5);
        assert_eq!(shard_of("links.customer.example"), shard_of("links.customer.example"));
        let mut seen = [0; 16];
        for n in 0..1_600 {
            seen[usize::try_from(shard_of(&format!("links.c{n}.example"))).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| (50..150).contains(n)), "{seen:?}");
    }
}
