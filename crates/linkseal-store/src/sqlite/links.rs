//! Stored redirects and kill switches.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_link::Slug;
use rusqlite::{Connection, Row, params};

use super::rows::{id_of, limit_of, stored_kill, stored_name, stored_slug};
use super::{feed, history};
use crate::{AuditEntry, Changed, KILLS_KEPT, RedirectQuery, StoreError, StoredKill, StoredRedirect};

/// The domain's column: empty for all domains.
fn column(domain: Option<&DomainName>) -> &str {
    domain.map_or("", DomainName::as_str)
}

pub(super) fn redirect(
    db: &Connection,
    domain: Option<&DomainName>,
    slug: &Slug,
) -> Result<Option<StoredRedirect>, StoreError> {
    let sql = "SELECT domain, slug, url, expires, changed FROM redirects WHERE domain = ?1 AND slug = ?2";
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query([column(domain), slug.as_str()])?;
    rows.next()?.map(redirect_of).transpose()
}

pub(super) fn redirects(db: &Connection, query: &RedirectQuery) -> Result<Vec<StoredRedirect>, StoreError> {
    let (domain, slug) = match &query.after {
        Some((domain, slug)) => (column(domain.as_ref()), slug.as_str()),
        // No slug is empty.
        None => (column(query.domain.as_ref()), ""),
    };
    let mut found = Vec::new();
    // Unreadable rows are skipped, and the page is filled with those after them.
    let mut take = |rows: &mut rusqlite::Rows<'_>| -> Result<(), StoreError> {
        while found.len() < query.limit
            && let Some(row) = rows.next()?
        {
            match redirect_of(row) {
                Ok(redirect) => found.push(redirect),
                Err(error) => tracing::error!(%error, "a stored redirect cannot be read and is skipped"),
            }
        }
        Ok(())
    };
    match &query.domain {
        Some(only) => {
            // A cursor from another list is before the domain's first redirect or after its last.
            let slug = match domain.cmp(only.as_str()) {
                std::cmp::Ordering::Less => "",
                std::cmp::Ordering::Equal => slug,
                std::cmp::Ordering::Greater => return Ok(found),
            };
            let sql = "SELECT domain, slug, url, expires, changed FROM redirects
                WHERE domain = ?1 AND slug > ?2 ORDER BY slug";
            take(&mut db.prepare_cached(sql)?.query(params![only.as_str(), slug])?)?;
        }
        None => {
            let sql = "SELECT domain, slug, url, expires, changed FROM redirects
                WHERE (domain, slug) > (?1, ?2) ORDER BY domain, slug";
            take(&mut db.prepare_cached(sql)?.query(params![domain, slug])?)?;
        }
    }
    Ok(found)
}

pub(super) fn put_redirect(
    db: &Connection,
    new: &StoredRedirect,
    before: Option<&StoredRedirect>,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    if let Some(domain) = &new.domain {
        id_of(db, domain)?;
    }
    if redirect(db, new.domain.as_ref(), &new.slug)?.as_ref() != before {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO redirects (domain, slug, url, expires, changed) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        column(new.domain.as_ref()),
        new.slug.as_str(),
        new.url,
        new.expires.map(Timestamp::as_millis),
        new.changed.as_millis(),
    ])?;
    redirect_changed(db, new, audit)
}

pub(super) fn delete_redirect(db: &Connection, old: &StoredRedirect, audit: &AuditEntry) -> Result<(), StoreError> {
    let stored = redirect(db, old.domain.as_ref(), &old.slug)?.ok_or(StoreError::NotFound)?;
    if stored != *old {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached("DELETE FROM redirects WHERE domain = ?1 AND slug = ?2")?
        .execute([column(old.domain.as_ref()), old.slug.as_str()])?;
    redirect_changed(db, old, audit)
}

fn redirect_changed(db: &Connection, what: &StoredRedirect, audit: &AuditEntry) -> Result<(), StoreError> {
    history::append_audit(db, audit)?;
    let (domain, slug) = (what.domain.clone(), what.slug.clone());
    feed::append(db, &Changed::Redirect { domain, slug })?;
    Ok(())
}

fn redirect_of(row: &Row<'_>) -> Result<StoredRedirect, StoreError> {
    let domain: String = row.get(0)?;
    Ok(StoredRedirect {
        domain: (!domain.is_empty()).then(|| stored_name(&domain)).transpose()?,
        slug: stored_slug(&row.get::<_, String>(1)?)?,
        url: row.get(2)?,
        expires: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        changed: Timestamp::from_millis(row.get(4)?),
    })
}

pub(super) fn kills(db: &Connection) -> Result<Vec<StoredKill>, StoreError> {
    let mut statement = db.prepare_cached("SELECT kind, value, note, by, since FROM kills ORDER BY kind, value")?;
    let mut rows = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        match kill_of(row) {
            Ok(kill) => all.push(kill),
            Err(error) => tracing::error!(%error, "a kill switch cannot be read and is not in force"),
        }
    }
    Ok(all)
}

fn kill_of(row: &Row<'_>) -> Result<StoredKill, StoreError> {
    Ok(StoredKill {
        kill: stored_kill(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?,
        note: row.get(2)?,
        by: row.get(3)?,
        since: Timestamp::from_millis(row.get(4)?),
    })
}

pub(super) fn put_kill(
    db: &Connection,
    kill: &StoredKill,
    before: Option<&StoredKill>,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let (kind, value) = (kill.kill.kind().as_str(), kill.kill.value());
    match before {
        Some(before) => delete_spellings(db, &kill.kill, before).map_err(|error| match error {
            // It was there when it was read.
            StoreError::NotFound => StoreError::Conflict,
            other => other,
        })?,
        None => {
            let known: bool = db
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM kills WHERE kind = ?1 AND value = ?2)")?
                .query_row([kind, value], |row| row.get(0))?;
            if known {
                return Err(StoreError::Conflict);
            }
            let all: i64 = db
                .prepare_cached("SELECT count(*) FROM kills")?
                .query_row([], |row| row.get(0))?;
            if all >= limit_of(KILLS_KEPT) {
                return Err(StoreError::TooMany(KILLS_KEPT));
            }
        }
    }
    db.prepare_cached("INSERT INTO kills (kind, value, note, by, since) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![kind, value, kill.note, kill.by, kill.since.as_millis()])?;
    kills_changed(db, audit)
}

pub(super) fn delete_kill(db: &Connection, kill: &StoredKill, audit: &AuditEntry) -> Result<(), StoreError> {
    delete_spellings(db, &kill.kill, kill)?;
    kills_changed(db, audit)
}

/// Deletes a kill switch, if it is stored like this. Older versions stored other spellings of the same host, all
/// of which go: values are compared as they are read.
fn delete_spellings(db: &Connection, kill: &Kill, like: &StoredKill) -> Result<(), StoreError> {
    let kind = kill.kind().as_str();
    let mut statement = db.prepare_cached("SELECT kind, value, note, by, since FROM kills WHERE kind = ?1")?;
    let mut rows = statement.query([kind])?;
    let mut same: Vec<(String, StoredKill)> = Vec::new();
    while let Some(row) = rows.next()? {
        // An unreadable one is not the one to delete.
        if let Ok(stored) = kill_of(row)
            && stored.kill == *kill
        {
            same.push((row.get(1)?, stored));
        }
    }
    if same.is_empty() {
        return Err(StoreError::NotFound);
    }
    if !same.iter().any(|(_, stored)| stored == like) {
        return Err(StoreError::Conflict);
    }
    for (value, _) in same {
        db.prepare_cached("DELETE FROM kills WHERE kind = ?1 AND value = ?2")?
            .execute([kind, &value])?;
    }
    Ok(())
}

fn kills_changed(db: &Connection, audit: &AuditEntry) -> Result<(), StoreError> {
    history::append_audit(db, audit)?;
    feed::append(db, &Changed::Kills)?;
    Ok(())
}
