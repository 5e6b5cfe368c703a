//! Writes a node's copy of the fleet's store. It has no feed, counts or due times of its own: the columns that they
//! are kept in stay empty.

use std::collections::HashSet;

use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_link::Slug;
use rusqlite::{Connection, params};

use super::rows::{sql_int, text_of};
use super::secrets;
use crate::{FeedPosition, StoreError, StoredCertificate, StoredKill, StoredRedirect, TicketKeyRow};

/// Redirects kept: with some 300 bytes each, some 30 MB.
const REDIRECTS_KEPT: i64 = 100_000;
/// The row of `secrets` with the position up to which the copy has everything, in clear. Rows of `nodes` do not outlive
/// their process.
const POSITION: &str = "feed_position";

pub(crate) fn position(db: &Connection) -> Result<Option<FeedPosition>, StoreError> {
    let text = secrets::secret(db, POSITION)?;
    // One that cannot be read is none: everything is read again.
    Ok(text.and_then(|text| String::from_utf8(text).ok()?.parse().ok()))
}

pub(crate) fn set_position(db: &Connection, position: &FeedPosition) -> Result<(), StoreError> {
    put_secret(db, POSITION, position.to_string().as_bytes())
}

/// `back`: even over newer ones.
pub(crate) fn put_records(db: &Connection, records: &[DomainRecord], back: bool) -> Result<(), StoreError> {
    let sql = "INSERT INTO domains (name, tenant, reason, version, record) VALUES (?1, '', '', ?2, ?3)
        ON CONFLICT (name) DO UPDATE SET version = excluded.version, record = excluded.record
        WHERE ?4 OR excluded.version >= domains.version";
    let mut statement = db.prepare_cached(sql)?;
    for record in records {
        let (name, version) = (record.name.as_str(), sql_int(record.version));
        statement.execute(params![name, version, text_of(record)?, back])?;
    }
    Ok(())
}

pub(crate) fn remove(db: &Connection, names: &[DomainName]) -> Result<(), StoreError> {
    for name in names {
        // Its foreign key deletes the certificate with it.
        db.prepare_cached("DELETE FROM domains WHERE name = ?1")?
            .execute([name.as_str()])?;
        db.prepare_cached("DELETE FROM redirects WHERE domain = ?1")?
            .execute([name.as_str()])?;
    }
    Ok(())
}

pub(crate) fn put_certificate(
    db: &Connection,
    name: &DomainName,
    certificate: &StoredCertificate,
) -> Result<bool, StoreError> {
    let sql = "INSERT OR REPLACE INTO certificates (domain, chain_pem, sealed_key)
        SELECT id, ?2, ?3 FROM domains WHERE name = ?1";
    let values = params![name.as_str(), certificate.chain_pem, certificate.sealed_key];
    Ok(db.prepare_cached(sql)?.execute(values)? > 0)
}

pub(crate) fn with_certificate(db: &Connection, names: Vec<DomainName>) -> Result<HashSet<DomainName>, StoreError> {
    let sql = "SELECT 1 FROM certificates JOIN domains ON domains.id = certificates.domain WHERE domains.name = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let mut found = HashSet::new();
    for name in names {
        if statement.exists([name.as_str()])? {
            found.insert(name);
        }
    }
    Ok(found)
}

pub(crate) fn remove_certificate(db: &Connection, name: &DomainName) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM certificates WHERE domain = (SELECT id FROM domains WHERE name = ?1)")?
        .execute([name.as_str()])?;
    Ok(())
}

pub(crate) fn set_kills(db: &Connection, kills: &[StoredKill]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM kills")?.execute([])?;
    let sql = "INSERT OR REPLACE INTO kills (kind, value, note, by, since) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = db.prepare_cached(sql)?;
    for StoredKill { kill, note, by, since } in kills {
        statement.execute(params![kill.kind().as_str(), kill.value(), note, by, since.as_millis()])?;
    }
    Ok(())
}

pub(crate) fn set_ticket_keys(db: &Connection, keys: &[TicketKeyRow]) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM ticket_keys")?.execute([])?;
    let mut statement = db.prepare_cached("INSERT INTO ticket_keys (id, sealed, created) VALUES (?1, ?2, ?3)")?;
    for key in keys {
        statement.execute(params![sql_int(key.id), key.sealed, key.created.as_millis()])?;
    }
    Ok(())
}

pub(crate) fn put_secret(db: &Connection, name: &str, sealed: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO secrets (name, sealed) VALUES (?1, ?2)")?
        .execute(params![name, sealed])?;
    Ok(())
}

pub(crate) fn put_redirect(db: &Connection, new: &StoredRedirect) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO redirects (domain, slug, url, expires, changed) VALUES (?1, ?2, ?3, ?4, ?5)";
    db.prepare_cached(sql)?.execute(params![
        new.domain.as_ref().map(DomainName::as_str),
        new.slug.as_str(),
        new.url,
        new.expires.map(Timestamp::as_millis),
        new.changed.as_millis(),
    ])?;
    if random::bytes::<1>() != [0] {
        return Ok(());
    }
    // Now and then, since it reads all of them.
    let all: i64 = db
        .prepare_cached("SELECT count(*) FROM redirects")?
        .query_row([], |row| row.get(0))?;
    if all > REDIRECTS_KEPT {
        let sql = "DELETE FROM redirects WHERE (domain, slug) IN
            (SELECT domain, slug FROM redirects ORDER BY changed LIMIT ?1)";
        db.prepare_cached(sql)?.execute([REDIRECTS_KEPT / 10])?;
    }
    Ok(())
}

pub(crate) fn remove_redirect(db: &Connection, domain: Option<&DomainName>, slug: &Slug) -> Result<(), StoreError> {
    match domain {
        Some(domain) => db
            .prepare_cached("DELETE FROM redirects WHERE domain = ?1 AND slug = ?2")?
            .execute([domain.as_str(), slug.as_str()])?,
        None => db
            .prepare_cached("DELETE FROM redirects WHERE slug = ?1")?
            .execute([slug.as_str()])?,
    };
    Ok(())
}

pub(crate) fn remove_redirects(db: &Connection) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM redirects")?.execute([])?;
    Ok(())
}
