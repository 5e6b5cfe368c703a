//! What the whole fleet shares: the account key, the accounts at CAs, the session-ticket keys. And the row
//! by which a probe checks that the store can be written.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::feed;
use super::rows::{number, sql_int};
use crate::{CaAccount, Changed, NewTicketKey, StoreError, TicketKeyRow};

/// The size of a probe: more than an order and its certificate write together (about 15 KiB), in bytes.
const BALLAST: i64 = 32 * 1024;

pub(super) fn secret(db: &Connection, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT sealed FROM secrets WHERE name = ?1";
    Ok(db.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?)
}

pub(super) fn secret_or_insert(db: &Connection, name: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
    db.prepare_cached("INSERT OR IGNORE INTO secrets (name, sealed) VALUES (?1, ?2)")?
        .execute(params![name, sealed])?;
    secret(db, name)?.ok_or(StoreError::NotFound)
}

pub(super) fn ca_account(db: &Connection, directory: &str) -> Result<Option<CaAccount>, StoreError> {
    let mut statement = db.prepare_cached("SELECT kid, created FROM ca_accounts WHERE directory = ?1")?;
    let account = statement.query_row([directory], |row| {
        Ok(CaAccount {
            directory: directory.to_owned(),
            kid: row.get(0)?,
            created: Timestamp::from_millis(row.get(1)?),
        })
    });
    Ok(account.optional()?)
}

pub(super) fn put_ca_account(
    db: &Connection,
    account: &CaAccount,
    before: Option<&CaAccount>,
) -> Result<(), StoreError> {
    if ca_account(db, &account.directory)?.as_ref() != before {
        return Err(StoreError::Conflict);
    }
    db.prepare_cached("INSERT OR REPLACE INTO ca_accounts (directory, kid, created) VALUES (?1, ?2, ?3)")?
        .execute(params![account.directory, account.kid, account.created.as_millis()])?;
    Ok(())
}

pub(super) fn ticket_keys(db: &Connection) -> Result<Vec<TicketKeyRow>, StoreError> {
    let mut statement = db.prepare_cached("SELECT id, sealed, created FROM ticket_keys ORDER BY id DESC")?;
    let rows = statement.query_map([], |row| {
        Ok(TicketKeyRow {
            id: number(row.get(0)?),
            sealed: row.get(1)?,
            created: Timestamp::from_millis(row.get(2)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn add_ticket_key(
    db: &Connection,
    key: &NewTicketKey,
    after: Option<u64>,
    rotate: Duration,
    keep: Duration,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let newest: Option<(u64, Timestamp)> = db
        .prepare_cached("SELECT id, created FROM ticket_keys ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((number(row.get(0)?), Timestamp::from_millis(row.get(1)?))))
        .optional()?;
    if newest.map(|(id, _)| id) != after {
        return Ok(false);
    }
    if newest.is_some_and(|(id, created)| key.id <= id || created.is_within(rotate, now)) {
        return Ok(false);
    }
    db.prepare_cached("DELETE FROM ticket_keys WHERE created < ?1")?
        .execute([now.minus(keep).as_millis()])?;
    db.prepare_cached("INSERT INTO ticket_keys (id, sealed, created) VALUES (?1, ?2, ?3)")?
        .execute(params![sql_int(key.id), key.sealed, now.as_millis()])?;
    feed::append(db, &Changed::TicketKeys)?;
    Ok(true)
}

/// Writes a row. It is added before the old one is deleted, so that it needs space of its own.
pub(super) fn write_probe(db: &Connection) -> Result<i64, StoreError> {
    db.prepare_cached("INSERT INTO probe (ballast) VALUES (randomblob(?1))")?
        .execute([BALLAST])?;
    let id = db.last_insert_rowid();
    db.prepare_cached("DELETE FROM probe WHERE id < ?1")?.execute([id])?;
    Ok(id)
}

/// Reads it back, or a newer one.
pub(super) fn read_probe(db: &Connection, id: i64) -> Result<(), StoreError> {
    let ballast: Option<Vec<u8>> = db
        .prepare_cached("SELECT ballast FROM probe WHERE id >= ?1 ORDER BY id LIMIT 1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    match ballast {
        Some(ballast) if i64::try_from(ballast.len()) == Ok(BALLAST) => Ok(()),
        _ => Err(StoreError::Unavailable(
            "what was written could not be read back; check the disk".into(),
        )),
    }
}
