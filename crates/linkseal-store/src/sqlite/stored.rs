//! Reads all domains in the order in which they are stored.

use std::borrow::Cow;

use rusqlite::{Connection, params};

use super::rows::{limit_of, number, record_of};
use crate::unreadable::Unreadable;
use crate::{Position, StoreError, Stored};

/// The query of [`stored`].
pub(super) const STORED: &str = "SELECT id, name, version, record FROM domains WHERE id > ?1 ORDER BY id LIMIT ?2";

pub(super) fn stored(
    db: &Connection,
    after: Option<Position>,
    limit: usize,
    unreadable: &Unreadable,
) -> Result<Stored, StoreError> {
    let mut statement = db.prepare_cached(STORED)?;
    let mut rows = statement.query(params![after.map_or(i64::MIN, |at| at.0), limit_of(limit)])?;
    let (mut records, mut last, mut read) = (Vec::with_capacity(limit), None, 0);
    while let Some(row) = rows.next()? {
        last = Some(Position(row.get(0)?));
        read += 1;
        // What is not UTF-8 is the record of no name.
        let text = |column| -> rusqlite::Result<Cow<'_, str>> {
            let bytes = row.get_ref(column)?.as_bytes()?;
            Ok(str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed))
        };
        let (name, record) = (text(1)?, text(3)?);
        match record_of(&name, &record, number(row.get(2)?)) {
            Ok(record) => records.push(record),
            Err(why) => unreadable.note(&name, &why),
        }
    }
    Ok(Stored {
        records,
        last: last.filter(|_| read == limit),
    })
}
