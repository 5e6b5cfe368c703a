//! Leases and claims. The lease of a domain is its row in `work`, which also says when the domain is due; other
//! leases have a table of their own. All times are the database's.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::{DomainName, DomainRecord};
use uuid::Uuid;

use super::call::Db;
use super::failure::Failure;
use super::params::{int, ints, text, texts, uuid, uuids};
use super::time::millis;
use crate::unreadable::Unreadable;
use crate::values::{limit_of, number, sql_int, stored_name};
use crate::{Claim, Fence, Lease, LeaseKey, Owner};

/// A lease that is lost ends a little early: its renewal need not wait for the disk.
pub(super) const LAZY: &str = "SET LOCAL synchronous_commit = off";

pub(super) async fn acquire(db: Db, key: LeaseKey, fence: Fence, ttl: Duration) -> Result<Option<Fence>, Failure> {
    let (owner, granted, ttl) = (fence.owner.uuid(), sql_int(fence.number), millis(ttl));
    let (sql, key) = match &key {
        LeaseKey::Domain(name) => (
            "UPDATE linkseal.work SET owner = $2, fence = $3, until = linkseal.now_ms() + $4,
                due_at = CASE WHEN due_at IS NOT NULL THEN greatest(due_at, linkseal.now_ms() + $4) END
             WHERE name = $1 AND (owner IS NULL OR owner = $2 OR until <= linkseal.now_ms()) RETURNING 1",
            name.as_str(),
        ),
        LeaseKey::Task(key) => (
            "INSERT INTO linkseal.leases AS l (key, owner, fence, until) VALUES ($1, $2, $3, linkseal.now_ms() + $4)
             ON CONFLICT (key) DO UPDATE SET owner = $2, fence = $3, until = linkseal.now_ms() + $4
             WHERE l.owner = $2 OR l.until <= linkseal.now_ms() RETURNING 1",
            key.as_str(),
        ),
    };
    let taken = db
        .row(sql, &[text(&key), uuid(&owner), int(&granted), int(&ttl)])
        .await?;
    Ok(taken.map(|_| fence))
}

pub(super) async fn claim(
    db: Db,
    fence: Fence,
    ttl: Duration,
    limit: usize,
    unreadable: &Unreadable,
) -> Result<Vec<Claim>, Failure> {
    // Locked in the select that is ordered and limited: claimers that chose first and locked then would all
    // choose the same.
    let sql = "WITH due AS MATERIALIZED (
            SELECT name FROM linkseal.work
            WHERE due_at <= linkseal.statement_ms() AND until <= linkseal.statement_ms()
            ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
        )
        UPDATE linkseal.work w SET owner = $2, fence = $3, until = linkseal.now_ms() + $4,
            due_at = linkseal.now_ms() + $4
        FROM due, linkseal.domains d WHERE w.name = due.name AND d.name = w.name
        RETURNING w.name, d.next_due";
    let (owner, granted) = (fence.owner.uuid(), sql_int(fence.number));
    let (limit, ttl) = (limit_of(limit), millis(ttl));
    let rows = db
        .rows(sql, &[int(&limit), uuid(&owner), int(&granted), int(&ttl)])
        .await?;
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        let (name, due): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        match stored_name(&name) {
            Ok(name) => claims.push((due, Claim { name, fence })),
            // It is due again when this lease ends, and so does not hold up the others.
            Err(error) => unreadable.note(&name, &error.to_string()),
        }
    }
    claims.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.name.as_str().cmp(y.name.as_str())));
    Ok(claims.into_iter().map(|(_, claim)| claim).collect())
}

pub(super) async fn renew(db: Db, leases: Vec<Lease>, ttl: Duration) -> Result<Vec<Lease>, Failure> {
    let ttl = millis(ttl);
    db.batch(LAZY).await?;
    let mut held = Vec::with_capacity(leases.len());
    for (table, key) in [("work", "name"), ("leases", "key")] {
        let of_table = |lease: &&Lease| matches!(lease.key, LeaseKey::Domain(_)) == (table == "work");
        let mine: Vec<&Lease> = leases.iter().filter(of_table).collect();
        if mine.is_empty() {
            continue;
        }
        let (keys, owners, fences) = columns(&mine);
        // The lease of a domain that is not due stays so.
        let due = match table {
            "work" => ", due_at = CASE WHEN t.due_at IS NOT NULL THEN greatest(t.due_at, linkseal.now_ms() + $4) END",
            _ => "",
        };
        // Locked in the order of their keys, as others lock them.
        let sql = format!(
            "WITH held AS MATERIALIZED (
                SELECT t.{key} AS key, l.n FROM unnest($1, $2, $3) WITH ORDINALITY AS l(key, owner, fence, n)
                JOIN linkseal.{table} t ON t.{key} = l.key AND t.owner = l.owner AND t.fence = l.fence
                ORDER BY t.{key} FOR UPDATE OF t
             )
             UPDATE linkseal.{table} t SET until = linkseal.now_ms() + $4{due}
             FROM held WHERE t.{key} = held.key RETURNING held.n"
        );
        for row in db
            .rows(&sql, &[texts(&keys), uuids(&owners), ints(&fences), int(&ttl)])
            .await?
        {
            let n: i64 = row.try_get(0)?;
            let place = usize::try_from(n).unwrap_or_default().saturating_sub(1);
            held.extend(mine.get(place).copied().cloned());
        }
    }
    Ok(held)
}

fn columns<'a>(leases: &[&'a Lease]) -> (Vec<&'a str>, Vec<Uuid>, Vec<i64>) {
    let key = |lease: &&'a Lease| match &lease.key {
        LeaseKey::Domain(name) => name.as_str(),
        LeaseKey::Task(key) => key.as_str(),
    };
    (
        leases.iter().map(key).collect(),
        leases.iter().map(|lease| lease.fence.owner.uuid()).collect(),
        leases.iter().map(|lease| sql_int(lease.fence.number)).collect(),
    )
}

pub(super) async fn release(db: Db, lease: Lease) -> Result<(), Failure> {
    let (owner, fence) = (lease.fence.owner.uuid(), sql_int(lease.fence.number));
    let (sql, key) = match &lease.key {
        LeaseKey::Domain(name) => (
            "UPDATE linkseal.work w SET owner = NULL, until = 0,
                due_at = (SELECT next_due FROM linkseal.domains d WHERE d.name = w.name)
             WHERE name = $1 AND owner = $2 AND fence = $3",
            name.as_str(),
        ),
        LeaseKey::Task(key) => (
            "DELETE FROM linkseal.leases WHERE key = $1 AND owner = $2 AND fence = $3",
            key.as_str(),
        ),
    };
    db.execute(sql, &[text(&key), uuid(&owner), int(&fence)]).await?;
    Ok(())
}

/// Releases all leases of an owner.
pub(super) async fn release_all(db: &Db, owner: Owner) -> Result<u64, Failure> {
    let owner = owner.uuid();
    let of_domains = db
        .execute(
            "UPDATE linkseal.work w SET owner = NULL, until = 0,
                due_at = (SELECT next_due FROM linkseal.domains d WHERE d.name = w.name)
             WHERE name IN (SELECT name FROM linkseal.work WHERE owner = $1 ORDER BY name FOR UPDATE)",
            &[uuid(&owner)],
        )
        .await?;
    let others = db
        .execute("DELETE FROM linkseal.leases WHERE owner = $1", &[uuid(&owner)])
        .await?;
    Ok(of_domains + others)
}

/// Sets when a domain is due after a change of its record: not before its lease ends.
pub(super) async fn reschedule(db: &Db, record: &DomainRecord) -> Result<(), Failure> {
    let (name, next_due) = (record.name.as_str(), record.next_due().map(Timestamp::as_millis));
    let sql = "UPDATE linkseal.work SET due_at = CASE WHEN until > linkseal.now_ms()
            THEN greatest(until, $2) ELSE $2 END WHERE name = $1";
    db.execute(sql, &[text(&name), int(&next_due)]).await?;
    Ok(())
}

pub(super) async fn next_due(db: Db) -> Result<Option<Duration>, Failure> {
    let sql = "SELECT due_at - linkseal.statement_ms() FROM linkseal.work
        WHERE due_at > linkseal.statement_ms() ORDER BY due_at LIMIT 1";
    let Some(row) = db.row(sql, &[]).await? else {
        return Ok(None);
    };
    Ok(Some(Duration::from_millis(number(row.try_get(0)?))))
}

/// Fails unless the fence is the newest grant of the domain's lease, whose row stays locked.
pub(super) async fn check(db: &Db, name: &DomainName, fence: Fence) -> Result<(), Failure> {
    let sql = "SELECT owner, fence FROM linkseal.work WHERE name = $1 FOR UPDATE";
    let row = db.row(sql, &[text(&name.as_str())]).await?;
    let row = row.ok_or(crate::StoreError::NotFound)?;
    let (owner, newest): (Option<Uuid>, i64) = (row.try_get(0)?, row.try_get(1)?);
    if owner == Some(fence.owner.uuid()) && newest == sql_int(fence.number) {
        Ok(())
    } else {
        Err(crate::StoreError::Fenced.into())
    }
}
