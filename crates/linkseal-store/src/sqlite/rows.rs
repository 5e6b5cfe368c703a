//! Rows of SQLite, and the conversions that every engine shares.

use linkseal_domain::DomainName;
use rusqlite::{Connection, OptionalExtension, Row};

pub(super) use crate::values::{
    json_of, lifecycle_event_of, limit_of, number, reason_of, record_of, sql_int, step_of, step_text, stored_kill,
    stored_name, stored_slug, text_of,
};
use crate::{StoreError, StoredCertificate};

pub(super) fn certificate_of(row: &Row<'_>) -> rusqlite::Result<StoredCertificate> {
    Ok(StoredCertificate {
        chain_pem: row.get(0)?,
        sealed_key: row.get(1)?,
    })
}

/// The row id of a domain.
pub(super) fn id_of(db: &Connection, name: &DomainName) -> Result<i64, StoreError> {
    db.prepare_cached("SELECT id FROM domains WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NotFound)
}
