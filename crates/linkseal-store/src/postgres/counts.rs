//! What is counted: domains by reason, by tenant and reason, and by the day of their renewal. A transaction
//! appends what it adds and takes away; one node adds these deltas up ([`fold`]). Reads sum both, in one
//! statement, so that a count is always exact.

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainRecord;
use tokio_postgres::Row;

use super::call::Db;
use super::failure::Failure;
use super::params::{flag, int, ints, text, texts};
use crate::values::{number, reason_of};
use crate::{Count, DAY, RenewalDay};

const REASON: &str = "reason";
const TENANT: &str = "tenant";
const RENEWAL: &str = "renewal";
/// Between a tenant and a reason in a key.
const SEPARATOR: char = '\n';
/// The character after it.
const AFTER_SEPARATOR: char = '\u{b}';

/// What is counted of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) tenant: String,
    pub(super) reason: String,
    /// The day of its renewal, counted from 1970.
    pub(super) renew_day: Option<i64>,
}

impl Counted {
    pub(super) fn of(record: &DomainRecord) -> Self {
        Self {
            tenant: record.tenant.clone(),
            reason: record.ssl.reason.as_str().to_owned(),
            renew_day: record.renewal_due().map(day_of),
        }
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![
            (REASON, self.reason.clone()),
            (TENANT, format!("{}{SEPARATOR}{}", self.tenant, self.reason)),
        ];
        keys.extend(self.renew_day.map(|day| (RENEWAL, day.to_string())));
        keys
    }
}

/// Appends the deltas of a domain that was counted as `before` and is counted as `after`.
pub(super) async fn append(db: &Db, before: Option<&Counted>, after: Option<&Counted>) -> Result<(), Failure> {
    if before == after {
        return Ok(());
    }
    let (less, more) = (before.map(Counted::keys), after.map(Counted::keys));
    let (less, more) = (less.unwrap_or_default(), more.unwrap_or_default());
    let gone = less.iter().filter(|key| !more.contains(key)).map(|key| (key, -1));
    let new = more.iter().filter(|key| !less.contains(key)).map(|key| (key, 1));
    let (mut kinds, mut keys, mut ns) = (Vec::new(), Vec::new(), Vec::<i64>::new());
    for ((kind, key), n) in gone.chain(new) {
        kinds.push(*kind);
        keys.push(key.as_str());
        ns.push(n);
    }
    let sql = "INSERT INTO linkseal.count_deltas (kind, key, n) SELECT * FROM unnest($1, $2, $3)";
    db.execute(sql, &[texts(&kinds), texts(&keys), ints(&ns)]).await?;
    Ok(())
}

/// Adds up to `limit` deltas to the counts. Returns how many. Called by one node at a time.
pub(super) async fn fold(db: Db, limit: i64) -> Result<u64, Failure> {
    let sql = "WITH gone AS (
            DELETE FROM linkseal.count_deltas WHERE id IN (SELECT id FROM linkseal.count_deltas ORDER BY id LIMIT $1)
            RETURNING kind, key, n
        ), sums AS (SELECT kind, key, sum(n)::bigint AS n, count(*) AS deltas FROM gone GROUP BY kind, key),
        added AS (
            INSERT INTO linkseal.counts (kind, key, n) SELECT kind, key, n FROM sums ORDER BY kind, key
            ON CONFLICT (kind, key) DO UPDATE SET n = counts.n + excluded.n
        )
        SELECT coalesce(sum(deltas), 0)::bigint FROM sums";
    let row = db.row(sql, &[int(&limit)]).await?;
    // Rows of former tenants and past days would stay indefinitely.
    db.execute("DELETE FROM linkseal.counts WHERE n = 0", &[]).await?;
    row.map_or(Ok(0), |row| Ok(number(row.try_get(0)?)))
}

pub(super) async fn by_reason(db: Db, tenant: Option<String>) -> Result<Vec<Count>, Failure> {
    let mut counts = Vec::new();
    let rows = match &tenant {
        None => sums(&db, REASON, "", None).await?,
        Some(tenant) => {
            let from = format!("{tenant}{SEPARATOR}");
            sums(&db, TENANT, &from, Some(format!("{tenant}{AFTER_SEPARATOR}"))).await?
        }
    };
    for row in rows {
        let (key, n): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let reason = match &tenant {
            None => Some(key.as_str()),
            Some(tenant) => key
                .rsplit_once(SEPARATOR)
                .and_then(|(of, reason)| (of == tenant).then_some(reason)),
        };
        // A reason that only a newer version knows is left out.
        counts.extend(reason.and_then(reason_of).filter(|_| n > 0).map(|reason| Count {
            reason,
            domains: number(n),
        }));
    }
    counts.sort_by_key(|count| count.reason);
    Ok(counts)
}

pub(super) async fn renewals(db: Db, until: Timestamp) -> Result<Vec<RenewalDay>, Failure> {
    let mut days = Vec::new();
    for row in sums(&db, RENEWAL, "", None).await? {
        let (key, n): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let Ok(day) = key.parse::<i64>() else { continue };
        if n > 0 && day <= day_of(until) {
            days.push(RenewalDay {
                day: Timestamp::from_millis(day.saturating_mul(day_ms())),
                renewals: number(n),
            });
        }
    }
    days.sort_by_key(|day| day.day);
    Ok(days)
}

/// The counts of a kind, open deltas included; of the keys from `from` up to and without `to`.
async fn sums(db: &Db, kind: &str, from: &str, to: Option<String>) -> Result<Vec<Row>, Failure> {
    let bounded = to.is_some();
    let to = to.unwrap_or_default();
    let sql = "SELECT key, sum(n)::bigint FROM (
            SELECT key, n FROM linkseal.counts WHERE kind = $1 AND key >= $2 AND (NOT $4 OR key < $3)
            UNION ALL
            SELECT key, n FROM linkseal.count_deltas WHERE kind = $1 AND key >= $2 AND (NOT $4 OR key < $3)
        ) AS all_of_them GROUP BY key";
    let kind = &kind;
    db.rows(sql, &[text(kind), text(&from), text(&to), flag(&bounded)])
        .await
}

fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(day_ms())
}

fn day_ms() -> i64 {
    i64::try_from(DAY.as_millis()).unwrap_or(i64::MAX)
}
