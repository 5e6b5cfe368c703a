//! The state of issuance: CAs and our accounts there, queue, limits, freeze, forecast.

use linkseal_base::clock::Timestamp;
use linkseal_control::{AuthorityState, Overview, Standing, TargetVerdict};
use linkseal_domain::Text;
use schemars::JsonSchema;
use serde::Serialize;

/// The state of issuance on this node.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Issuer {
    /// The CAs and the accounts there, in the order of preference.
    pub(crate) accounts: Vec<Account>,
    /// Orders waiting for a slot, by priority.
    pub(crate) queue: Queue,
    /// The rate limits of the CA in use, as tracked here; of the first CA if none is in use.
    pub(crate) budgets: Vec<Budget>,
    /// When a CA takes orders again; null if one does now.
    pub(crate) held_back: Option<Timestamp>,
    /// The freeze of all orders; null if there is none.
    pub(crate) freeze: Option<Freeze>,
    /// Certificates at risk: their renewal fails or is overdue.
    pub(crate) certificates_at_risk: u64,
    /// What the CAA records of the edge's own names say about each CA.
    pub(crate) target_caa: Vec<TargetCaa>,
    /// The forecast.
    pub(crate) forecast: Forecast,
}

/// A CA and the account there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Account {
    /// The CA's directory URL.
    pub(crate) directory: String,
    /// The host name of the directory.
    pub(crate) ca: String,
    /// The account's URL; null before the first order.
    pub(crate) kid: Option<String>,
    /// When the account was created; null before the first order.
    pub(crate) created: Option<Timestamp>,
    /// `in_use`, `standby` (a preferred CA takes orders), `held_back` (the CA asked to wait), `out` (it
    /// keeps failing; a single order tries it next), `ours` (something on this side has to be fixed
    /// first: the clock, the trust in the CA's server, the account).
    pub(crate) state: &'static str,
    /// When it takes orders again; null if it does now.
    pub(crate) until: Option<Timestamp>,
    /// The error of the last order that failed because of the CA, or why it asked to wait, or what has to be
    /// fixed on this side; null if there is none, and for a wait that began before a restart.
    pub(crate) why: Option<String>,
    /// Consecutive orders that failed because of the CA.
    pub(crate) failures: u32,
    /// How CAA records name the CA; empty if its directory does not say, or was not read yet.
    pub(crate) caa_identities: Vec<String>,
    /// Its rate limits, as tracked here.
    pub(crate) budgets: Vec<Budget>,
}

/// Orders waiting for a slot.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Queue {
    /// Renewals of certificates that expire soon, or that the CA wants replaced at once.
    pub(crate) expiring: usize,
    /// For a waiting handshake.
    pub(crate) handshake: usize,
    /// After a manual verify.
    pub(crate) verify: usize,
    /// All others.
    pub(crate) bulk: usize,
}

/// A rate limit of a CA.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct Budget {
    /// The name of the limit under `acme.limits`.
    pub(crate) limit: &'static str,
    /// How many are allowed.
    pub(crate) count: u32,
    /// The period in seconds.
    pub(crate) per_seconds: u64,
    /// How many are left; null for a limit that is counted for each name separately.
    pub(crate) remaining: Option<u32>,
}

/// A freeze of all orders.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Freeze {
    /// The reason that was given.
    pub(crate) note: Option<String>,
    /// The name of the token that froze the orders.
    pub(crate) by: String,
    pub(crate) since: Timestamp,
}

/// What the CAA records of one of the edge's own names say about a CA.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TargetCaa {
    /// edge.name or an alias.
    pub(crate) name: String,
    /// The CA's host name.
    pub(crate) ca: String,
    /// `allows`, `forbids`, `error` (DNS failed), `not_judged` (the CA does not say how CAA records name it).
    pub(crate) verdict: &'static str,
    /// The name that has the records; null if there are none.
    pub(crate) host: Option<String>,
    /// The records.
    pub(crate) found: Vec<String>,
    /// When the records were checked.
    pub(crate) checked: Timestamp,
    /// What is wrong and what to change; null if nothing is.
    pub(crate) message: Option<Text>,
}

/// The forecast.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Forecast {
    /// Orders waiting for a slot or a rate limit.
    pub(crate) queued: u64,
    /// When the last of them is expected to be done; null if none waits, or orders are frozen.
    pub(crate) done_by: Option<Timestamp>,
    /// Orders per day that the account's rate limit allows. Renewals that name the certificate they
    /// replace (RFC 9773) do not count against it.
    pub(crate) orders_per_day: f64,
    /// Renewals in the next four weeks.
    pub(crate) renewals: Renewals,
}

/// Upcoming renewals.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Renewals {
    /// Today, including overdue ones.
    pub(crate) today: u64,
    /// In the next 7 days, including today.
    pub(crate) seven_days: u64,
    /// In the next 28 days, including today.
    pub(crate) four_weeks: u64,
    /// By day after today; days without renewals are left out.
    pub(crate) days: Vec<Day>,
}

/// The renewals of a day.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Day {
    /// Midnight UTC at its beginning.
    pub(crate) day: Timestamp,
    pub(crate) renewals: u64,
}

impl From<Overview> for Issuer {
    fn from(overview: Overview) -> Self {
        let [(_, expiring), (_, handshake), (_, verify), (_, bulk)] = overview.queue;
        let accounts: Vec<_> = overview.authorities.into_iter().map(Account::from).collect();
        let in_use = accounts.iter().find(|a| a.state == "in_use");
        let waits = accounts.iter().filter_map(|a| a.until).min();
        Self {
            budgets: in_use
                .or(accounts.first())
                .map(|a| a.budgets.clone())
                .unwrap_or_default(),
            held_back: waits.filter(|_| in_use.is_none()),
            queue: Queue {
                expiring,
                handshake,
                verify,
                bulk,
            },
            freeze: overview.frozen.map(Freeze::from),
            certificates_at_risk: overview.at_risk,
            target_caa: overview.target_caa.iter().map(TargetCaa::from).collect(),
            forecast: overview.forecast.into(),
            accounts,
        }
    }
}

impl From<AuthorityState> for Account {
    fn from(of: AuthorityState) -> Self {
        let (kid, created) = of.account.map(|a| (a.kid, a.created)).unzip();
        let (state, until) = match of.standing {
            Standing::InUse => ("in_use", None),
            Standing::StandsBy => ("standby", None),
            Standing::HeldBack(until) => ("held_back", Some(until)),
            Standing::Out(until) => ("out", Some(until)),
            Standing::Ours(until, _) => ("ours", Some(until)),
        };
        Self {
            directory: of.directory,
            ca: of.host,
            kid,
            created,
            state,
            until,
            failures: of.trouble.as_ref().map_or(0, |t| t.failures),
            why: of.ours.or(of.limit_reason).or(of.trouble.map(|t| t.why)),
            caa_identities: of.caa_identities,
            budgets: of.budgets.map(Budget::from).into(),
        }
    }
}

impl From<linkseal_control::Budget> for Budget {
    fn from(of: linkseal_control::Budget) -> Self {
        // A fraction of an order is not available yet.
        let whole = |left: f64| left.floor().clamp(0.0, f64::from(of.count)) as u32;
        Self {
            limit: of.limit,
            count: of.count,
            per_seconds: of.per.as_secs(),
            remaining: of.remaining.map(whole),
        }
    }
}

impl From<linkseal_store::Freeze> for Freeze {
    fn from(of: linkseal_store::Freeze) -> Self {
        Self {
            note: of.note,
            by: of.by,
            since: of.since,
        }
    }
}

impl From<&linkseal_control::TargetCaa> for TargetCaa {
    fn from(of: &linkseal_control::TargetCaa) -> Self {
        Self {
            name: of.name.to_string(),
            ca: of.ca.clone(),
            verdict: match of.verdict {
                TargetVerdict::Allows => "allows",
                TargetVerdict::Forbids => "forbids",
                TargetVerdict::Error => "error",
                TargetVerdict::NotJudged => "not_judged",
            },
            host: of.host.clone(),
            found: of.found.clone(),
            checked: of.checked,
            message: of.message.clone(),
        }
    }
}

impl From<linkseal_control::Forecast> for Forecast {
    fn from(of: linkseal_control::Forecast) -> Self {
        let week = of.today + linkseal_store::DAY * 7;
        let of_week = of.days.iter().filter(|d| d.day < week).map(|d| d.renewals);
        Self {
            queued: of.waiting,
            done_by: of.done_by,
            orders_per_day: of.orders_per_day,
            renewals: Renewals {
                today: of.due_today,
                seven_days: of.due_today + of_week.sum::<u64>(),
                four_weeks: of.due_today + of.days.iter().map(|d| d.renewals).sum::<u64>(),
                days: of
                    .days
                    .into_iter()
                    .map(|d| Day {
                        day: d.day,
                        renewals: d.renewals,
                    })
                    .collect(),
            },
        }
    }
}
