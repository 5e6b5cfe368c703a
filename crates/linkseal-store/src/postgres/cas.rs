//! Accounts, outages and hold-backs of the CAs, and the freeze. Changes compare what they replace, under a lock of
//! its row.

use linkseal_base::clock::Timestamp;
use tokio_postgres::Row;

use super::call::Db;
use super::failure::Failure;
use super::params::{int, plain, text};
use super::{feed, history};
use crate::{AuditEntry, CaAccount, CaTrouble, Changed, Freeze, StoreError};

pub(super) async fn account(db: &Db, directory: &str) -> Result<Option<CaAccount>, Failure> {
    let sql = "SELECT directory, kid, created FROM linkseal.ca_accounts WHERE directory = $1";
    let row = db.row(sql, &[text(&directory)]).await?;
    let account = |row: Row| {
        Ok(CaAccount {
            directory: row.try_get(0)?,
            kid: row.try_get(1)?,
            created: Timestamp::from_millis(row.try_get(2)?),
        })
    };
    row.map(account).transpose()
}

pub(super) async fn put_account(db: Db, account: CaAccount, before: Option<CaAccount>) -> Result<(), Failure> {
    let created = account.created.as_millis();
    let kid_before = before.as_ref().map(|before| before.kid.as_str()).unwrap_or_default();
    let created_before = before
        .as_ref()
        .map(|before| before.created.as_millis())
        .unwrap_or_default();
    let mut params = vec![text(&account.directory), text(&account.kid), int(&created)];
    let sql = match before {
        None => "INSERT INTO linkseal.ca_accounts (directory, kid, created) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        Some(_) => {
            params.extend([text(&kid_before), int(&created_before)]);
            "UPDATE linkseal.ca_accounts SET kid = $2, created = $3 WHERE directory = $1 AND kid = $4 AND created = $5"
        }
    };
    changed_one(db.execute(sql, &params).await?)?;
    feed::mark(&db, &account.directory).await
}

pub(super) async fn held_back(db: &Db, ca: &str) -> Result<Option<Timestamp>, Failure> {
    let sql = "SELECT until FROM linkseal.held_back WHERE ca = $1 AND until > linkseal.now_ms()";
    let row = db.row(sql, &[text(&ca)]).await?;
    row.map(|row| Ok(Timestamp::from_millis(row.try_get(0)?))).transpose()
}

pub(super) async fn hold_back(db: Db, ca: String, until: Timestamp, before: Option<Timestamp>) -> Result<(), Failure> {
    let sql = "SELECT until, until > linkseal.now_ms() FROM linkseal.held_back WHERE ca = $1 FOR UPDATE";
    let stored = db.row(sql, &[text(&ca)]).await?;
    let there = stored.is_some();
    let stored = stored.map(|row| Ok::<_, Failure>((row.try_get::<_, i64>(0)?, row.try_get::<_, bool>(1)?)));
    // One that has passed is as good as none.
    let in_force = stored.transpose()?.filter(|(_, lasts)| *lasts).map(|(until, _)| until);
    if in_force != before.map(Timestamp::as_millis) {
        return Err(StoreError::Conflict.into());
    }
    let until = until.as_millis();
    let sql = match there {
        true => "UPDATE linkseal.held_back SET until = $2 WHERE ca = $1",
        // One that another node has stored since it was looked for.
        false => "INSERT INTO linkseal.held_back (ca, until) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    };
    changed_one(db.execute(sql, &[text(&ca), int(&until)]).await?)?;
    feed::mark(&db, &ca).await
}

pub(super) async fn trouble(db: &Db, directory: &str) -> Result<Option<CaTrouble>, Failure> {
    let sql =
        "SELECT directory, failures, outages, out_until, since, why FROM linkseal.ca_troubles WHERE directory = $1";
    let row = db.row(sql, &[text(&directory)]).await?;
    row.map(|row| trouble_of(&row)).transpose()
}

pub(super) async fn change_trouble(
    db: Db,
    directory: String,
    before: Option<CaTrouble>,
    after: Option<CaTrouble>,
) -> Result<(), Failure> {
    let sql = "SELECT directory, failures, outages, out_until, since, why FROM linkseal.ca_troubles
        WHERE directory = $1 FOR UPDATE";
    let row = db.row(sql, &[text(&directory)]).await?;
    // As it was stored.
    let before = before.map(|before| CaTrouble {
        why: plain(&before.why).into_owned(),
        ..before
    });
    if row.map(|row| trouble_of(&row)).transpose()? != before {
        return Err(StoreError::Conflict.into());
    }
    let Some(after) = after else {
        db.execute(
            "DELETE FROM linkseal.ca_troubles WHERE directory = $1",
            &[text(&directory)],
        )
        .await?;
        return feed::mark(&db, &directory).await;
    };
    let (failures, outages) = (i64::from(after.failures), i64::from(after.outages));
    let why = plain(&after.why);
    let why = why.as_ref();
    let (out_until, since) = (after.out_until.map(Timestamp::as_millis), after.since.as_millis());
    let sql = match before {
        // One that another node has stored since it was looked for.
        None => {
            "INSERT INTO linkseal.ca_troubles (directory, failures, outages, out_until, since, why)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
        }
        Some(_) => {
            "UPDATE linkseal.ca_troubles SET failures = $2, outages = $3, out_until = $4, since = $5, why = $6
             WHERE directory = $1"
        }
    };
    let params = [
        text(&directory),
        int(&failures),
        int(&outages),
        int(&out_until),
        int(&since),
        text(&why),
    ];
    changed_one(db.execute(sql, &params).await?)?;
    feed::mark(&db, &directory).await
}

fn trouble_of(row: &Row) -> Result<CaTrouble, Failure> {
    let small = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(CaTrouble {
        directory: row.try_get(0)?,
        failures: small(row.try_get(1)?),
        outages: small(row.try_get(2)?),
        out_until: row.try_get::<_, Option<i64>>(3)?.map(Timestamp::from_millis),
        since: Timestamp::from_millis(row.try_get(4)?),
        why: row.try_get(5)?,
    })
}

pub(super) async fn release(db: Db, directory: String, audit: AuditEntry) -> Result<(), Failure> {
    for sql in [
        "DELETE FROM linkseal.ca_troubles WHERE directory = $1",
        "DELETE FROM linkseal.held_back WHERE ca = $1",
    ] {
        db.execute(sql, &[text(&directory)]).await?;
    }
    history::append_audit(&db, &audit).await?;
    feed::mark(&db, &directory).await
}

pub(super) async fn freeze(db: &Db) -> Result<Option<Freeze>, Failure> {
    let row = db.row("SELECT note, by, since FROM linkseal.freeze", &[]).await?;
    let freeze = |row: Row| {
        Ok(Freeze {
            note: row.try_get(0)?,
            by: row.try_get(1)?,
            since: Timestamp::from_millis(row.try_get(2)?),
        })
    };
    row.map(freeze).transpose()
}

pub(super) async fn put_freeze(db: Db, freeze: Freeze, audit: AuditEntry) -> Result<(), Failure> {
    let (note, by, since) = (
        freeze.note.as_deref().map(plain),
        plain(&freeze.by),
        freeze.since.as_millis(),
    );
    let (note, by) = (note.as_deref(), by.as_ref());
    let sql = "INSERT INTO linkseal.freeze (single, note, by, since) VALUES (1, $1, $2, $3)
        ON CONFLICT (single) DO UPDATE SET note = excluded.note, by = excluded.by, since = excluded.since";
    db.execute(sql, &[text(&note), text(&by), int(&since)]).await?;
    history::append_audit(&db, &audit).await?;
    feed::append(&db, &Changed::Freeze).await?;
    Ok(())
}

pub(super) async fn end_freeze(db: Db, audit: AuditEntry) -> Result<(), Failure> {
    if db.execute("DELETE FROM linkseal.freeze", &[]).await? == 0 {
        return Err(StoreError::NotFound.into());
    }
    history::append_audit(&db, &audit).await?;
    feed::append(&db, &Changed::Freeze).await?;
    Ok(())
}

/// A statement that compares what it replaces has changed nothing: it was something else.
pub(super) fn changed_one(rows: u64) -> Result<(), Failure> {
    if rows == 0 {
        return Err(StoreError::Conflict.into());
    }
    Ok(())
}
