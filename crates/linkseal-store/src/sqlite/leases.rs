//! Leases, and the claims that are made of them.

use std::time::Duration;

use linkseal_base::clock::{Timestamp, WOBBLE};
use linkseal_domain::DomainName;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::rows::{number, sql_int, stored_name};
use crate::unreadable::Unreadable;
use crate::{Claim, Fence, Lease, LeaseKey, Owner, StoreError};

/// No lease lasts longer.
const LONGEST_LEASE: Duration = Duration::from_secs(3_600);

/// The query of [`due`]: the lease of each due domain is looked up, as most of them may be in progress.
pub(super) const DUE: &str = "SELECT name FROM domains WHERE next_due <= ?1
    AND NOT EXISTS (SELECT 1 FROM leases WHERE key = 'domain/' || name AND expires > ?1 AND expires <= ?2)
    ORDER BY next_due, name";

/// The key of a domain's lease.
pub(super) fn domain_key(name: &DomainName) -> String {
    format!("domain/{name}")
}

fn text_of(key: &LeaseKey) -> String {
    match key {
        LeaseKey::Domain(name) => domain_key(name),
        LeaseKey::Task(task) => format!("task/{task}"),
    }
}

pub(super) fn acquire(
    db: &Connection,
    key: &LeaseKey,
    owner: Owner,
    ttl: Duration,
    now: Timestamp,
) -> Result<Option<Fence>, StoreError> {
    let key = text_of(key);
    if holder(db, &key, now)?.is_some_and(|holder| holder != owner.to_string()) {
        return Ok(None);
    }
    grant(db, &key, owner, now + ttl).map(Some)
}

/// Who has a lease that has not expired.
fn holder(db: &Connection, key: &str, now: Timestamp) -> Result<Option<String>, StoreError> {
    let held: Option<(String, i64)> = db
        .prepare_cached("SELECT owner, expires FROM leases WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let live = held.filter(|(_, expires)| (now.as_millis() + 1..=latest(now)).contains(expires));
    Ok(live.map(|(holder, _)| holder))
}

/// When a lease that is live now ends at the latest: one from a clock that was ahead must not last longer than any
/// lease can.
fn latest(now: Timestamp) -> i64 {
    (now + LONGEST_LEASE + WOBBLE).as_millis()
}

fn grant(db: &Connection, key: &str, owner: Owner, expires: Timestamp) -> Result<Fence, StoreError> {
    let fence: i64 = db
        .prepare_cached("UPDATE fence SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    db.prepare_cached("INSERT OR REPLACE INTO leases (key, owner, fence, expires) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![key, owner.to_string(), fence, expires.as_millis()])?;
    Ok(Fence {
        owner,
        number: number(fence),
    })
}

pub(super) fn renew(
    db: &Connection,
    leases: Vec<Lease>,
    ttl: Duration,
    now: Timestamp,
) -> Result<Vec<Lease>, StoreError> {
    let mut renew = db.prepare_cached("UPDATE leases SET expires = ?4 WHERE key = ?1 AND owner = ?2 AND fence = ?3")?;
    let mut held = Vec::with_capacity(leases.len());
    for lease in leases {
        let renewed = renew.execute(params![
            text_of(&lease.key),
            lease.fence.owner.to_string(),
            sql_int(lease.fence.number),
            (now + ttl).as_millis()
        ])?;
        if renewed > 0 {
            held.push(lease);
        }
    }
    Ok(held)
}

pub(super) fn release(db: &Connection, lease: &Lease) -> Result<(), StoreError> {
    let sql = "DELETE FROM leases WHERE key = ?1 AND owner = ?2 AND fence = ?3";
    db.prepare_cached(sql)?.execute(params![
        text_of(&lease.key),
        lease.fence.owner.to_string(),
        sql_int(lease.fence.number)
    ])?;
    Ok(())
}

pub(super) fn release_all(db: &Connection, owner: Owner) -> Result<u64, StoreError> {
    let released = db
        .prepare_cached("DELETE FROM leases WHERE owner = ?1")?
        .execute([owner.to_string()])?;
    Ok(u64::try_from(released).unwrap_or(u64::MAX))
}

/// Ends a lease, whichever owner has it.
pub(super) fn revoke(db: &Connection, key: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM leases WHERE key = ?1")?.execute([key])?;
    Ok(())
}

/// Fails unless the fence is the newest grant of the domain's lease. Whether the lease has expired does not
/// matter: as long as no other owner was granted it, no other has begun.
pub(super) fn check(db: &Connection, name: &DomainName, fence: Fence) -> Result<(), StoreError> {
    let newest: Option<(String, i64)> = db
        .prepare_cached("SELECT owner, fence FROM leases WHERE key = ?1")?
        .query_row([domain_key(name)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if newest == Some((fence.owner.to_string(), sql_int(fence.number))) {
        Ok(())
    } else {
        Err(StoreError::Fenced)
    }
}

pub(super) fn claim_due(
    db: &Connection,
    owner: Owner,
    ttl: Duration,
    limit: usize,
    now: Timestamp,
    unreadable: &Unreadable,
) -> Result<Vec<Claim>, StoreError> {
    let claim = |name: DomainName| {
        let fence = grant(db, &domain_key(&name), owner, now + ttl)?;
        Ok(Claim { name, fence })
    };
    due(db, limit, now, unreadable)?.into_iter().map(claim).collect()
}

/// The domains that are due and have no lease, most overdue first.
pub(super) fn due(
    db: &Connection,
    limit: usize,
    now: Timestamp,
    unreadable: &Unreadable,
) -> Result<Vec<DomainName>, StoreError> {
    let mut statement = db.prepare_cached(DUE)?;
    let mut rows = statement.query([now.as_millis(), latest(now)])?;
    let mut names = Vec::new();
    // Records that cannot be read stay due, and must not block all others.
    while names.len() < limit
        && let Some(row) = rows.next()?
    {
        let text: String = row.get(0)?;
        if unreadable.contains(&text) {
            continue;
        }
        match stored_name(&text) {
            Ok(name) => names.push(name),
            Err(error) => unreadable.note(&text, &error.to_string()),
        }
    }
    Ok(names)
}

pub(super) fn next_due(db: &Connection, now: Timestamp) -> Result<Option<Duration>, StoreError> {
    let scheduled: Option<i64> = db
        .prepare_cached("SELECT next_due FROM domains WHERE next_due > ?1 ORDER BY next_due LIMIT 1")?
        .query_row([now.as_millis()], |row| row.get(0))
        .optional()?;
    // Domains that are being worked on are due when their leases end, if not before.
    let sql = "SELECT min(expires) FROM leases JOIN domains ON domains.name = substr(leases.key, length('domain/') + 1)
        WHERE leases.key >= 'domain/' AND leases.key < 'domain0' AND expires > ?1 AND next_due <= ?1";
    let claimed: Option<i64> = db.prepare_cached(sql)?.query_row([now.as_millis()], |row| row.get(0))?;
    let earliest = scheduled.into_iter().chain(claimed).min();
    Ok(earliest.map(|at| Timestamp::from_millis(at).saturating_since(now)))
}

/// As [`Owner`] is stored.
pub(super) fn owner_of(text: &str) -> Option<Owner> {
    Uuid::parse_str(text).ok().map(Owner::of)
}
