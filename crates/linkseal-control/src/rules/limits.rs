//! Whether the rate limits of a CA, mirrored in the store's buckets, admit an order.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::DomainName;
use linkseal_domain::name::registered_domain;
use linkseal_domain::ssl::SslStatus;
use linkseal_store::BudgetTake;

use crate::core::{Limit, Limits};

/// One failed authorization per name and hour is left unused, for other clients of the account.
const SPARE_FAILURES: u32 = 1;
/// Certificates for one exact set of names (Let's Encrypt: 5 in 7 days).
const EXACT_SET: Limit = Limit {
    count: 5,
    per: Duration::from_secs(7 * 86_400),
};

/// Whether an order may be made now.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Not before this time.
    Wait(Timestamp),
    /// If all of these buckets have a token left; if there are none, it may.
    Take(Vec<BudgetTake>),
}

/// Whether an order may be made now at the CA with this directory. `held_back`: until when the CA
/// has asked for no orders at all; `replaces`: whether the order names the certificate it replaces.
pub fn gate(
    (name, ssl): (&DomainName, &SslStatus),
    directory: &str,
    limits: &Limits,
    held_back: Option<Timestamp>,
    replaces: bool,
    now: Timestamp,
) -> Gate {
    if let Some(until) = held_back.or_else(|| failures_hold_back(ssl, limits, now)) {
        return Gate::Wait(until);
    }
    Gate::Take(if replaces {
        // CAs exempt renewals that name what they replace from their limits (RFC 9773 §5).
        Vec::new()
    } else {
        budgets((name, ssl), directory, limits)
    })
}

/// The ARI id of the certificate that an order replaces (RFC 9773 §5); `None` if this CA issued
/// none, or has no ARI.
pub fn replaces<'a>(ssl: &'a SslStatus, directory: &str) -> Option<&'a str> {
    let certificate = ssl.certificate.as_ref()?;
    let known_to_ca = certificate.ca == directory && certificate.ari_check_at.is_some();
    certificate.ari_id.as_deref().filter(|_| known_to_ca)
}

/// Until when the failed authorizations of the last hour forbid another attempt.
fn failures_hold_back(ssl: &SslStatus, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
    let limit = limits.failed_per_name;
    let allowed = usize::try_from(limit.count.saturating_sub(SPARE_FAILURES)).unwrap_or(usize::MAX);
    ssl.must_wait(allowed, limit.per, now)
}

/// What an order for this domain takes from the CA's limits.
pub(crate) fn budgets((name, ssl): (&DomainName, &SslStatus), directory: &str, limits: &Limits) -> Vec<BudgetTake> {
    let mut takes = vec![account_budget(directory, limits)];
    takes.extend(certificate_budgets((name, ssl), directory, limits));
    takes
}

/// What every order takes.
pub(crate) fn account_budget(directory: &str, limits: &Limits) -> BudgetTake {
    take(format!("orders/{directory}"), limits.orders_per_account)
}

/// What only an issued certificate takes: CAs count these limits by what they have issued.
pub fn certificate_budgets(
    (name, ssl): (&DomainName, &SslStatus),
    directory: &str,
    limits: &Limits,
) -> Vec<BudgetTake> {
    let registered = registered_domain(name.as_str());
    let mut takes = vec![take(
        format!("domain/{directory}/{registered}"),
        limits.per_registered_domain,
    )];
    // A CA whose certificates are renewed more often than that cannot have this limit.
    let renewals = ssl
        .certificate
        .as_ref()
        .map(|c| EXACT_SET.per.as_secs_f64() / renewed_after(c.life()));
    if renewals.is_none_or(|n| n <= f64::from(EXACT_SET.count)) {
        takes.push(take(format!("exact/{directory}/{name}"), EXACT_SET));
    }
    takes
}

/// One token of a bucket.
fn take(key: String, limit: Limit) -> BudgetTake {
    BudgetTake {
        key,
        size: limit.count,
        per: limit.per,
        amount: 1,
        small_tenant: false,
    }
}

/// How many seconds a certificate is used at least before it is renewed: half of its life.
fn renewed_after(life: Duration) -> f64 {
    (life / 2).as_secs_f64().max(1.0)
}

/// How long a limit needs to admit that many orders, with `left` tokens unused.
pub(crate) fn refill(orders: u64, left: f64, limit: Limit) -> Duration {
    let missing = (orders as f64 - left).max(0.0);
    let seconds = limit.per.as_secs_f64() * missing / f64::from(limit.count.max(1));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}
