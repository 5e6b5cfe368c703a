//! Stored redirects and kill switches.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::links::Kill;
use linkseal_link::Slug;
use rusqlite::{Connection, Row, params};

use super::history;
use super::rows::{id_of, limit_of, stored_kill, stored_name, stored_slug};
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

pub(super) fn put_redirect(db: &Connection, redirect: &StoredRedirect, audit: &AuditEntry) -> Result<(), StoreError> {
    if let Some(domain) = &redirect.domain {
        id_of(db, domain)?;
    }
    db.prepare_cached(
        "INSERT OR REPLACE INTO redirects (domain, slug, url, expires, changed) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        column(redirect.domain.as_ref()),
        redirect.slug.as_str(),
        redirect.url,
        redirect.expires.map(Timestamp::as_millis),
        redirect.changed.as_millis(),
    ])?;
    redirect_changed(db, redirect.domain.as_ref(), &redirect.slug, audit)
}

pub(super) fn delete_redirect(
    db: &Connection,
    domain: Option<&DomainName>,
    slug: &Slug,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    let gone = db
        .prepare_cached("DELETE FROM redirects WHERE domain = ?1 AND slug = ?2")?
        .execute([column(domain), slug.as_str()])?;
    if gone == 0 {
        return Err(StoreError::NotFound);
    }
    redirect_changed(db, domain, slug, audit)
}

fn redirect_changed(
    db: &Connection,
    domain: Option<&DomainName>,
    slug: &Slug,
    audit: &AuditEntry,
) -> Result<(), StoreError> {
    history::append_audit(db, audit)?;
    let (domain, slug) = (domain.cloned(), slug.clone());
    history::append_change(db, &Changed::Redirect { domain, slug })?;
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
        let kill = match stored_kill(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?) {
            Ok(kill) => kill,
            Err(error) => {
                tracing::error!(%error, "a kill switch cannot be read and is not in force");
                continue;
            }
        };
        all.push(StoredKill {
            kill,
            note: row.get(2)?,
            by: row.get(3)?,
            since: Timestamp::from_millis(row.get(4)?),
        });
    }
    Ok(all)
}

pub(super) fn put_kill(db: &Connection, kill: &StoredKill, audit: &AuditEntry) -> Result<(), StoreError> {
    let (kind, value) = (kill.kill.kind().as_str(), kill.kill.value());
    let known: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM kills WHERE kind = ?1 AND value = ?2)")?
        .query_row([kind, value], |row| row.get(0))?;
    let all: i64 = db
        .prepare_cached("SELECT count(*) FROM kills")?
        .query_row([], |row| row.get(0))?;
    if !known && all >= limit_of(KILLS_KEPT) {
        return Err(StoreError::TooMany(KILLS_KEPT));
    }
    db.prepare_cached("INSERT OR REPLACE INTO kills (kind, value, note, by, since) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![kind, value, kill.note, kill.by, kill.since.as_millis()])?;
    history::append_audit(db, audit)?;
    history::append_change(db, &Changed::Kills)?;
    Ok(())
}

pub(super) fn delete_kill(db: &Connection, kill: &Kill, audit: &AuditEntry) -> Result<(), StoreError> {
    let kind = kill.kind().as_str();
    // Older versions stored other spellings of the same host: values are compared as they are read.
    let mut statement = db.prepare_cached("SELECT value FROM kills WHERE kind = ?1")?;
    let stored: Vec<String> = statement
        .query_map([kind], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut gone = 0;
    for value in stored {
        // An unreadable one is not the one to delete.
        if stored_kill(kind, &value).is_ok_and(|stored| stored == *kill) {
            gone += db
                .prepare_cached("DELETE FROM kills WHERE kind = ?1 AND value = ?2")?
                .execute([kind, &value])?;
        }
    }
    if gone == 0 {
        return Err(StoreError::NotFound);
    }
    history::append_audit(db, audit)?;
    history::append_change(db, &Changed::Kills)?;
    Ok(())
}
