//! Pages of domains.

use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::Reason;
use tokio_postgres::Row;

use super::call::Db;
use super::failure::Failure;
use super::params::{int, text, texts};
use crate::unreadable::Unreadable;
use crate::values::{limit_of, number, record_of};
use crate::{DomainQuery, Position, Stored};

/// Names and ids of a page; each subquery reads one index in its order and stops at the limit.
const NAMES: &str = "SELECT name, id FROM linkseal.domains WHERE name >= $1 AND name < $2 ORDER BY name LIMIT $3";
const NAMES_OF_TENANT: &str = "SELECT name, id FROM linkseal.domains
    WHERE tenant = $4 AND name >= $1 AND name < $2 ORDER BY name LIMIT $3";
const NAMES_OF_REASONS: &str = "SELECT d.name, d.id FROM unnest($4) AS r(reason) CROSS JOIN LATERAL (
        SELECT name, id FROM linkseal.domains
        WHERE reason = r.reason AND name >= $1 AND name < $2 ORDER BY name LIMIT $3
    ) AS d ORDER BY d.name LIMIT $3";
const NAMES_OF_TENANT_AND_REASONS: &str = "SELECT d.name, d.id FROM unnest($5) AS r(reason) CROSS JOIN LATERAL (
        SELECT name, id FROM linkseal.domains
        WHERE tenant = $4 AND reason = r.reason AND name >= $1 AND name < $2 ORDER BY name LIMIT $3
    ) AS d ORDER BY d.name LIMIT $3";

pub(super) async fn list(db: Db, query: DomainQuery, unreadable: &Unreadable) -> Result<Vec<DomainRecord>, Failure> {
    let mut records = Vec::new();
    let mut after = query.after.as_ref().map(|name| name.as_str().to_owned());
    // Unreadable records are skipped, and the page is filled with those after them.
    loop {
        let missing = query.limit.saturating_sub(records.len());
        let rows = page(&db, &query, after.as_deref(), missing).await?;
        let is_last = rows.len() < missing;
        for row in &rows {
            let name = read_into(&mut records, row, unreadable)?;
            after = Some(name);
        }
        if is_last || records.len() >= query.limit {
            return Ok(records);
        }
    }
}

async fn page(db: &Db, query: &DomainQuery, after: Option<&str>, limit: usize) -> Result<Vec<Row>, Failure> {
    let Some((from, to)) = query.range(after) else {
        return Ok(Vec::new());
    };
    let limit = limit_of(limit);
    let reasons = query.reasons();
    let reasons: Option<Vec<&str>> = reasons.map(|all| all.into_iter().map(Reason::as_str).collect());
    let tenant = query.tenant.as_deref();
    let mut params = vec![text(&from), text(&to), int(&limit)];
    let names = match (&tenant, &reasons) {
        (None, None) => NAMES,
        (Some(tenant), None) => {
            params.push(text(tenant));
            NAMES_OF_TENANT
        }
        (None, Some(reasons)) => {
            params.push(texts(reasons));
            NAMES_OF_REASONS
        }
        (Some(tenant), Some(reasons)) => {
            params.extend([text(tenant), texts(reasons)]);
            NAMES_OF_TENANT_AND_REASONS
        }
    };
    let sql = format!(
        "SELECT d.name, d.version, d.record FROM ({names}) AS page JOIN linkseal.domains d ON d.id = page.id
         ORDER BY d.name"
    );
    db.rows(&sql, &params).await
}

/// All domains, in the order of their ids.
pub(super) async fn stored(
    db: Db,
    after: Option<Position>,
    limit: usize,
    unreadable: &Unreadable,
) -> Result<Stored, Failure> {
    let (from, rows_at_most) = (after.map_or(i64::MIN, |at| at.0), limit_of(limit));
    let sql = "SELECT name, version, record, id FROM linkseal.domains WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = db.rows(sql, &[int(&from), int(&rows_at_most)]).await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        read_into(&mut records, row, unreadable)?;
    }
    let last = match rows.last() {
        Some(row) if rows.len() == limit => Some(Position(row.try_get(3)?)),
        _ => None,
    };
    Ok(Stored { records, last })
}

pub(super) async fn of_names(
    db: Db,
    names: &Vec<String>,
    unreadable: &Unreadable,
) -> Result<Vec<DomainRecord>, Failure> {
    let sql = "SELECT name, version, record FROM linkseal.domains WHERE name = ANY($1)";
    let mut records = Vec::with_capacity(names.len());
    for row in db.rows(sql, &[texts(names)]).await? {
        read_into(&mut records, &row, unreadable)?;
    }
    Ok(records)
}

/// Reads a record, or notes that it cannot be read. Returns its name.
fn read_into(records: &mut Vec<DomainRecord>, row: &Row, unreadable: &Unreadable) -> Result<String, Failure> {
    let (name, version, record): (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    match record_of(&name, &record, number(version)) {
        Ok(record) => records.push(record),
        Err(why) => unreadable.note(&name, &why),
    }
    Ok(name)
}
