//! What concerns all orders: failing CAs, the freeze, and the renewals of each day.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::number;
use super::{feed, history};
use crate::{AuditEntry, CaTrouble, Changed, DAY, Freeze, RenewalDay, StoreError};

pub(super) fn ca_trouble(db: &Connection, directory: &str) -> Result<Option<CaTrouble>, StoreError> {
    let sql = "SELECT failures, outages, out_until, since, why FROM ca_troubles WHERE directory = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let trouble = statement.query_row([directory], |row| {
        Ok(CaTrouble {
            directory: directory.to_owned(),
            failures: row.get(0)?,
            outages: row.get(1)?,
            out_until: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
            since: Timestamp::from_millis(row.get(3)?),
            why: row.get(4)?,
        })
    });
    Ok(trouble.optional()?)
}

pub(super) fn change_ca_trouble(
    db: &Connection,
    directory: &str,
    before: Option<&CaTrouble>,
    after: Option<&CaTrouble>,
) -> Result<(), StoreError> {
    if ca_trouble(db, directory)?.as_ref() != before {
        return Err(StoreError::Conflict);
    }
    match after {
        Some(trouble) => put_ca_trouble(db, trouble),
        None => end_ca_trouble(db, directory),
    }
}

fn put_ca_trouble(db: &Connection, trouble: &CaTrouble) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO ca_troubles (directory, failures, outages, out_until, since, why)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    db.prepare_cached(sql)?.execute(params![
        trouble.directory,
        trouble.failures,
        trouble.outages,
        trouble.out_until.map(Timestamp::as_millis),
        trouble.since.as_millis(),
        trouble.why,
    ])?;
    Ok(())
}

fn end_ca_trouble(db: &Connection, directory: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM ca_troubles WHERE directory = ?1")?
        .execute([directory])?;
    Ok(())
}

pub(super) fn release_ca(db: &Connection, directory: &str, audit: &AuditEntry) -> Result<(), StoreError> {
    end_ca_trouble(db, directory)?;
    db.prepare_cached("DELETE FROM held_back WHERE ca = ?1")?
        .execute([directory])?;
    history::append_audit(db, audit)
}

pub(super) fn freeze(db: &Connection) -> Result<Option<Freeze>, StoreError> {
    let mut statement = db.prepare_cached("SELECT note, by, since FROM freeze")?;
    let freeze = statement.query_row([], |row| {
        Ok(Freeze {
            note: row.get(0)?,
            by: row.get(1)?,
            since: Timestamp::from_millis(row.get(2)?),
        })
    });
    Ok(freeze.optional()?)
}

pub(super) fn put_freeze(db: &Connection, freeze: &Freeze, audit: &AuditEntry) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO freeze (only, note, by, since) VALUES (1, ?1, ?2, ?3)")?
        .execute(params![freeze.note, freeze.by, freeze.since.as_millis()])?;
    freeze_changed(db, audit)
}

pub(super) fn end_freeze(db: &Connection, audit: &AuditEntry) -> Result<(), StoreError> {
    if db.prepare_cached("DELETE FROM freeze")?.execute([])? == 0 {
        return Err(StoreError::NotFound);
    }
    freeze_changed(db, audit)
}

fn freeze_changed(db: &Connection, audit: &AuditEntry) -> Result<(), StoreError> {
    history::append_audit(db, audit)?;
    feed::append(db, &Changed::Freeze)?;
    Ok(())
}

pub(super) fn renewals(db: &Connection, until: Timestamp) -> Result<Vec<RenewalDay>, StoreError> {
    let mut statement = db.prepare_cached("SELECT day, n FROM renewals WHERE day <= ?1 ORDER BY day")?;
    let days = statement.query_map([day_of(until)], |row| {
        Ok(RenewalDay {
            day: Timestamp::from_millis(row.get::<_, i64>(0)?.saturating_mul(day_ms())),
            renewals: number(row.get(1)?),
        })
    })?;
    Ok(days.collect::<rusqlite::Result<_>>()?)
}

/// The day on which a domain is to be renewed, counted from 1970. `None`: it will not be renewed.
pub(super) fn renew_day(record: &DomainRecord) -> Option<i64> {
    record.renewal_due().map(day_of)
}

/// Moves a renewal from the count of one day to that of another. `None`: no renewal.
pub(super) fn move_renewal(db: &Connection, from: Option<i64>, to: Option<i64>) -> Result<(), StoreError> {
    if from == to {
        return Ok(());
    }
    if let Some(day) = from {
        db.prepare_cached("UPDATE renewals SET n = n - 1 WHERE day = ?1 AND n > 0")?
            .execute([day])?;
        // Otherwise rows of past days would stay indefinitely.
        db.prepare_cached("DELETE FROM renewals WHERE day = ?1 AND n = 0")?
            .execute([day])?;
    }
    if let Some(day) = to {
        let sql = "INSERT INTO renewals (day, n) VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1";
        db.prepare_cached(sql)?.execute([day])?;
    }
    Ok(())
}

fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(day_ms())
}

fn day_ms() -> i64 {
    i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX)
}
