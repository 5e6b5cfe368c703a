//! Stored redirects and kill switches. Changes compare what they replace, so that the audit log shows it.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_link::Slug;
use tokio_postgres::Row;

use super::call::Db;
use super::failure::Failure;
use super::params::{int, plain, text};
use super::{feed, history};
use crate::values::{limit_of, sql_int, stored_kill, stored_name, stored_slug};
use crate::{AuditEntry, Changed, KILLS_KEPT, RedirectQuery, StoreError, StoredKill, StoredRedirect};

const REDIRECT: &str = "SELECT domain, slug, url, expires, changed FROM linkseal.redirects
    WHERE domain = $1 AND slug = $2";

pub(super) async fn redirect(
    db: &Db,
    domain: Option<&DomainName>,
    slug: &Slug,
) -> Result<Option<StoredRedirect>, Failure> {
    let (domain, slug) = (stored_domain(domain), slug.as_str());
    let row = db.row(REDIRECT, &[text(&domain), text(&slug)]).await?;
    row.map(|row| redirect_of(&row)).transpose()
}

pub(super) async fn redirects(db: Db, query: RedirectQuery) -> Result<Vec<StoredRedirect>, Failure> {
    let only = query.domain.as_ref().map(DomainName::as_str);
    let mut after = query.after.as_ref().map_or_else(
        || (String::new(), String::new()),
        |(domain, slug)| (stored_domain(domain.as_ref()).to_owned(), slug.as_str().to_owned()),
    );
    let mut found = Vec::new();
    // Unreadable rows are skipped, and the page is filled with those after them.
    loop {
        let missing = query.limit.saturating_sub(found.len());
        let limit = limit_of(missing);
        let sql = "SELECT domain, slug, url, expires, changed FROM linkseal.redirects
            WHERE ($1::text IS NULL OR domain = $1) AND (domain, slug) > ($2, $3) ORDER BY domain, slug LIMIT $4";
        let params = [text(&only), text(&after.0), text(&after.1), int(&limit)];
        let rows = db.rows(sql, &params).await?;
        for row in &rows {
            after = (row.try_get(0)?, row.try_get(1)?);
            match redirect_of(row) {
                Ok(redirect) => found.push(redirect),
                Err(failure) => {
                    let error = failure.into_error();
                    tracing::error!(%error, "a stored redirect cannot be read and is skipped");
                }
            }
        }
        if rows.len() < missing || found.len() >= query.limit {
            return Ok(found);
        }
    }
}

pub(super) async fn put_redirect(
    db: Db,
    redirect: StoredRedirect,
    before: Option<StoredRedirect>,
    audit: AuditEntry,
) -> Result<(), Failure> {
    if let Some(name) = &redirect.domain {
        // Held, so that the domain is not purged meanwhile.
        let sql = "SELECT 1 FROM linkseal.domains WHERE name = $1 FOR KEY SHARE";
        let there = db.row(sql, &[text(&name.as_str())]).await?;
        there.ok_or(StoreError::NotFound)?;
    }
    if locked(&db, &redirect).await? != before {
        return Err(StoreError::Conflict.into());
    }
    let (domain, slug) = (stored_domain(redirect.domain.as_ref()), redirect.slug.as_str());
    let (expires, changed) = (redirect.expires.map(Timestamp::as_millis), redirect.changed.as_millis());
    let sql = match before {
        None => {
            "INSERT INTO linkseal.redirects (domain, slug, url, expires, changed) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING"
        }
        Some(_) => "UPDATE linkseal.redirects SET url = $3, expires = $4, changed = $5 WHERE domain = $1 AND slug = $2",
    };
    let params = [
        text(&domain),
        text(&slug),
        text(&redirect.url),
        int(&expires),
        int(&changed),
    ];
    if db.execute(sql, &params).await? == 0 {
        return Err(StoreError::Conflict.into());
    }
    note(db, redirect, &audit).await
}

pub(super) async fn delete_redirect(db: Db, redirect: StoredRedirect, audit: AuditEntry) -> Result<(), Failure> {
    match locked(&db, &redirect).await? {
        None => return Err(StoreError::NotFound.into()),
        Some(there) if there != redirect => return Err(StoreError::Conflict.into()),
        Some(_) => {}
    }
    let (domain, slug) = (stored_domain(redirect.domain.as_ref()), redirect.slug.as_str());
    let sql = "DELETE FROM linkseal.redirects WHERE domain = $1 AND slug = $2";
    db.execute(sql, &[text(&domain), text(&slug)]).await?;
    note(db, redirect, &audit).await
}

/// What is stored in the place of a redirect, locked.
async fn locked(db: &Db, redirect: &StoredRedirect) -> Result<Option<StoredRedirect>, Failure> {
    let (domain, slug) = (stored_domain(redirect.domain.as_ref()), redirect.slug.as_str());
    let sql = format!("{REDIRECT} FOR UPDATE");
    let row = db.row(&sql, &[text(&domain), text(&slug)]).await?;
    row.map(|row| redirect_of(&row)).transpose()
}

async fn note(db: Db, redirect: StoredRedirect, audit: &AuditEntry) -> Result<(), Failure> {
    history::append_audit(&db, audit).await?;
    let StoredRedirect { domain, slug, .. } = redirect;
    feed::append(&db, &Changed::Redirect { domain, slug }).await?;
    Ok(())
}

pub(super) async fn kills(db: Db) -> Result<Vec<StoredKill>, Failure> {
    let sql = "SELECT kind, value, note, by, since FROM linkseal.kills ORDER BY kind, value";
    let mut kills = Vec::new();
    for row in db.rows(sql, &[]).await? {
        match kill_of(&row) {
            Ok(kill) => kills.push(kill),
            Err(failure) => {
                let error = failure.into_error();
                tracing::error!(%error, "a kill switch cannot be read and is not in force");
            }
        }
    }
    Ok(kills)
}

pub(super) async fn put_kill(
    db: Db,
    kill: StoredKill,
    before: Option<StoredKill>,
    audit: AuditEntry,
) -> Result<(), Failure> {
    let (kill, is_new) = (stored_as(kill), before.is_none());
    // One change of the switches at a time, so that their number is exact.
    feed::append(&db, &Changed::Kills).await?;
    if kill_in_place_of(&db, &kill).await? != before.map(stored_as) {
        return Err(StoreError::Conflict.into());
    }
    if is_new {
        let row = db.row("SELECT count(*) FROM linkseal.kills", &[]).await?;
        let there: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
        if there >= sql_int(KILLS_KEPT as u64) {
            return Err(StoreError::TooMany(KILLS_KEPT).into());
        }
    }
    let (kind, value) = (kill.kill.kind().as_str(), kill.kill.value());
    let (note, since) = (kill.note.as_deref(), kill.since.as_millis());
    let sql = "INSERT INTO linkseal.kills (kind, value, note, by, since) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (kind, value) DO UPDATE SET note = excluded.note, by = excluded.by, since = excluded.since";
    let params = [text(&kind), text(&value), text(&note), text(&kill.by), int(&since)];
    db.execute(sql, &params).await?;
    history::append_audit(&db, &audit).await
}

pub(super) async fn delete_kill(db: Db, kill: StoredKill, audit: AuditEntry) -> Result<(), Failure> {
    let kill = stored_as(kill);
    feed::append(&db, &Changed::Kills).await?;
    match kill_in_place_of(&db, &kill).await? {
        None => return Err(StoreError::NotFound.into()),
        Some(there) if there != kill => return Err(StoreError::Conflict.into()),
        Some(_) => {}
    }
    let (kind, value) = (kill.kill.kind().as_str(), kill.kill.value());
    let sql = "DELETE FROM linkseal.kills WHERE kind = $1 AND value = $2";
    db.execute(sql, &[text(&kind), text(&value)]).await?;
    history::append_audit(&db, &audit).await
}

/// A kill switch as it comes back from the database.
fn stored_as(kill: StoredKill) -> StoredKill {
    StoredKill {
        note: kill.note.as_deref().map(|note| plain(note).into_owned()),
        by: plain(&kill.by).into_owned(),
        ..kill
    }
}

async fn kill_in_place_of(db: &Db, kill: &StoredKill) -> Result<Option<StoredKill>, Failure> {
    let (kind, value) = (kill.kill.kind().as_str(), kill.kill.value());
    let sql = "SELECT kind, value, note, by, since FROM linkseal.kills WHERE kind = $1 AND value = $2";
    let row = db.row(sql, &[text(&kind), text(&value)]).await?;
    row.map(|row| kill_of(&row)).transpose()
}

fn kill_of(row: &Row) -> Result<StoredKill, Failure> {
    let (kind, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    Ok(StoredKill {
        kill: stored_kill(&kind, &value)?,
        note: row.try_get(2)?,
        by: row.try_get(3)?,
        since: Timestamp::from_millis(row.try_get(4)?),
    })
}

fn redirect_of(row: &Row) -> Result<StoredRedirect, Failure> {
    let (domain, slug): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let domain = (!domain.is_empty()).then(|| stored_name(&domain)).transpose()?;
    Ok(StoredRedirect {
        domain,
        slug: stored_slug(&slug)?,
        url: row.try_get(2)?,
        expires: row.try_get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        changed: Timestamp::from_millis(row.try_get(4)?),
    })
}

/// Empty for all domains.
fn stored_domain(domain: Option<&DomainName>) -> &str {
    domain.map_or("", DomainName::as_str)
}
