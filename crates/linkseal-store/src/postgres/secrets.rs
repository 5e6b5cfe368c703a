//! Sealed secrets, ticket keys, and the probe.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use tokio_postgres::Row;

use super::call::Db;
use super::failure::Failure;
use super::feed;
use super::params::{bytes, int, text};
use super::time::millis;
use crate::values::{number, sql_int};
use crate::{Changed, NewTicketKey, TicketKeyRow};

pub(super) async fn secret(db: &Db, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let sql = "SELECT sealed FROM linkseal.secrets WHERE name = $1";
    let row = db.row(sql, &[text(&name)]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

pub(super) async fn secret_or_insert(db: Db, name: String, sealed: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let sql = "INSERT INTO linkseal.secrets (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    let new = sealed.as_slice();
    db.execute(sql, &[text(&name), bytes(&new)]).await?;
    // Sees what another transaction has stored meanwhile.
    let stored = secret(&db, &name).await?;
    stored.ok_or_else(|| Failure::RolledBack {
        why: "a secret was deleted meanwhile".into(),
        reconnect: false,
    })
}

pub(super) async fn ticket_keys(db: Db) -> Result<Vec<TicketKeyRow>, Failure> {
    let rows = db
        .rows(
            "SELECT id, sealed, created FROM linkseal.ticket_keys ORDER BY id DESC",
            &[],
        )
        .await?;
    let key = |row: &Row| {
        Ok(TicketKeyRow {
            id: number(row.try_get(0)?),
            sealed: row.try_get(1)?,
            created: Timestamp::from_millis(row.try_get(2)?),
        })
    };
    rows.iter().map(key).collect()
}

pub(super) async fn add_ticket_key(
    db: Db,
    key: NewTicketKey,
    after: Option<u64>,
    rotate: Duration,
    keep: Duration,
) -> Result<bool, Failure> {
    let (id, after) = (sql_int(key.id), after.map(sql_int));
    let (rotate, keep) = (millis(rotate), millis(keep));
    let sql = "INSERT INTO linkseal.ticket_keys (id, sealed, created)
        SELECT $1, $2, linkseal.now_ms()
        WHERE (SELECT max(id) FROM linkseal.ticket_keys) IS NOT DISTINCT FROM $3
        AND coalesce((SELECT max(created) FROM linkseal.ticket_keys), 0) <= linkseal.now_ms() - $4
        ON CONFLICT DO NOTHING";
    let sealed = key.sealed.as_slice();
    let params = [int(&id), bytes(&sealed), int(&after), int(&rotate)];
    if db.execute(sql, &params).await? == 0 {
        return Ok(false);
    }
    db.execute(
        "DELETE FROM linkseal.ticket_keys WHERE created < linkseal.now_ms() - $1",
        &[int(&keep)],
    )
    .await?;
    feed::append(&db, &Changed::TicketKeys).await?;
    Ok(true)
}

/// Writes a row that is its node's alone.
pub(super) async fn probe(db: Db, node: String) -> Result<(), Failure> {
    let sql = "INSERT INTO linkseal.probe (node, at) VALUES ($1, linkseal.now_ms())
        ON CONFLICT (node) DO UPDATE SET at = excluded.at RETURNING at";
    db.row(sql, &[text(&node)]).await?;
    Ok(())
}
