//! `/v1/issuer`: how the orders stand, and the freeze of all of them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use linkseal_control::{AuthorityState, Holds, NewFreeze, OperatorError, Overview, Standing, TargetVerdict};
use linkseal_domain::DomainName;
use linkseal_domain::Text;
use linkseal_store::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Params};
use crate::problem::Problem;

const FREEZE: &str = "/v1/issuer/freeze";
const HOLDS: &str = "/v1/issuer/holds";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let freeze = Content::json::<Freeze>;
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/issuer",
            Role::Viewer,
            "The CAs and our accounts there, the queue of orders, what is left of the CAs' limits, a freeze, \
             CAA at the edge's own names, and a forecast.",
            show,
        )
        .answers(StatusCode::OK, Content::json::<Issuer>(), "How it stands."),
        Endpoint::new(
            MethodFilter::PUT,
            FREEZE,
            Role::Admin,
            "Stop all orders, on every node and over restarts. Certificates held are served, orders that run end.",
            freeze_all,
        )
        .body(Content::json::<NewFreeze>())
        .answers(StatusCode::CREATED, freeze(), "Orders are frozen from now on.")
        .answers(StatusCode::OK, freeze(), "They were frozen already."),
        Endpoint::new(
            MethodFilter::DELETE,
            FREEZE,
            Role::Admin,
            "Let orders go on, by themselves.",
            thaw,
        )
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done."),
        Endpoint::new(
            MethodFilter::DELETE,
            HOLDS,
            Role::Admin,
            "End what orders wait for: a hold-back that a CA asked for, a CA out of use, and the times at which \
             domains that wait for it are tried again. `ca` is a directory URL or its host name, `domain` a name; \
             neither: all. Domains in the line for a limit of the CA keep their turn.",
            release,
        )
        .query::<HoldsQuery>()
        .answers(
            StatusCode::NO_CONTENT,
            Content::Empty,
            "Done; domains that waited go on by themselves.",
        ),
    ]
}

/// Which waits to end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HoldsQuery {
    /// Those at this CA: its directory URL, or its host name. Absent: at every CA, or at none where
    /// a domain is given.
    ca: Option<String>,
    /// That of this domain. Absent: of every domain that waits for the CA.
    domain: Option<DomainName>,
}

/// How the orders of this node stand.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Issuer {
    /// The CAs with our accounts, in the order in which orders go to them.
    pub(crate) accounts: Vec<Account>,
    /// Orders that wait for a slot, by priority.
    pub(crate) queue: Queue,
    /// The limits of the CA in use, as mirrored here; of the first one, where none is.
    pub(crate) budgets: Vec<Budget>,
    /// Until when no CA takes orders. `None`: one does.
    pub(crate) held_back: Option<Timestamp>,
    /// The stop of all orders. `None`: they go on.
    pub(crate) freeze: Option<Freeze>,
    /// Certificates that are held and at risk: their renewal fails, or should have come already.
    pub(crate) certificates_at_risk: u64,
    /// What CAA records at the edge's own names say about each CA.
    pub(crate) target_caa: Vec<TargetCaa>,
    /// What is to come.
    pub(crate) forecast: Forecast,
}

/// A CA and our account there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Account {
    /// The CA's directory.
    pub(crate) directory: String,
    /// Its host name.
    pub(crate) ca: String,
    /// The account's URL. `None`: nothing was ordered there yet.
    pub(crate) kid: Option<String>,
    /// When it was made. `None`: nothing was ordered there yet.
    pub(crate) created: Option<Timestamp>,
    /// `in_use`, `standby` (one before it takes orders), `held_back` (by its own word), `out` (it
    /// keeps failing; then one order tries it), `ours` (something here has to be put right first: the
    /// clock, the trust in its server, the account).
    pub(crate) state: &'static str,
    /// Until when it takes no orders. `None`: it does.
    pub(crate) until: Option<Timestamp>,
    /// What it said to, or did with, the last order that failed by its fault, or what has to be put
    /// right here. `None`: none has failed of late.
    pub(crate) why: Option<String>,
    /// How many orders in a row failed by its fault.
    pub(crate) failures: u32,
    /// How CAA records name it. Empty: its directory does not say, or could not be read yet.
    pub(crate) caa_identities: Vec<String>,
    /// Its limits, as mirrored here.
    pub(crate) budgets: Vec<Budget>,
}

/// Orders that wait for a slot.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Queue {
    /// Renewals whose certificate runs out, or which the CA wants at once.
    pub(crate) expiring: usize,
    /// A handshake waits for them.
    pub(crate) handshake: usize,
    /// Someone verified.
    pub(crate) verify: usize,
    /// All others.
    pub(crate) bulk: usize,
}

/// A limit of a CA.
#[derive(Clone, Serialize, JsonSchema)]
pub(crate) struct Budget {
    /// Its name under `acme.limits`.
    pub(crate) limit: &'static str,
    /// How many.
    pub(crate) count: u32,
    /// In how many seconds.
    pub(crate) per_seconds: u64,
    /// How many are left. `None`: it counts for each name apart.
    pub(crate) remaining: Option<u32>,
}

/// A stop of all orders.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Freeze {
    /// Why. `None`: no one said.
    pub(crate) note: Option<String>,
    /// Who did it: the name of a token.
    pub(crate) by: String,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// What CAA records at one of the edge's own names say about one CA.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TargetCaa {
    /// The edge's name, or an alias.
    pub(crate) name: String,
    /// The CA's host name.
    pub(crate) ca: String,
    /// `allows`, `forbids`, `error` (DNS fails), `not_judged` (the CA does not say how records name it).
    pub(crate) verdict: &'static str,
    /// Where the records stand. `None`: there are none.
    pub(crate) host: Option<String>,
    /// The records.
    pub(crate) found: Vec<String>,
    /// When it was looked at.
    pub(crate) checked: Timestamp,
    /// What it means and what to change. `None`: nothing is wrong.
    pub(crate) message: Option<Text>,
}

/// What is to come.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Forecast {
    /// How many orders wait, for a slot or for a limit.
    pub(crate) queued: u64,
    /// When the last of them is expected to be through. `None`: none waits, or orders are frozen.
    pub(crate) done_by: Option<Timestamp>,
    /// How many orders a day the account's limit lets through. Renewals that name what they replace
    /// (RFC 9773) do not count against it.
    pub(crate) orders_per_day: f64,
    /// Renewals of the next four weeks.
    pub(crate) renewals: Renewals,
}

/// Renewals to come.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Renewals {
    /// Today, overdue ones included.
    pub(crate) today: u64,
    /// In the next seven days, today's included.
    pub(crate) seven_days: u64,
    /// In the next 28 days, today's included.
    pub(crate) four_weeks: u64,
    /// By day, after today; days without any are left out.
    pub(crate) days: Vec<Day>,
}

/// The renewals of a day.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Day {
    /// Its begin, midnight UTC.
    pub(crate) day: Timestamp,
    /// How many.
    pub(crate) renewals: u64,
}

async fn show(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    Ok(axum::Json(Issuer::from(context.control.overview().await?)).into_response())
}

async fn freeze_all(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let new: NewFreeze = body.read(&[])?;
    let (freeze, is_new) = context.control.freeze(new, &caller.actor()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(Freeze::from(freeze))).into_response())
}

async fn release(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Params(query): Params<HoldsQuery>,
) -> Result<StatusCode, Problem> {
    let holds = Holds {
        ca: query.ca,
        domain: query.domain,
    };
    context.control.release(&holds, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn thaw(State(context): State<Arc<Context>>, caller: Caller) -> Result<StatusCode, Problem> {
    match context.control.thaw(&caller.actor()).await {
        Err(OperatorError::Store(StoreError::NotFound)) => Err(Problem::not_found("orders are not frozen")),
        done => Ok(done.map(|()| StatusCode::NO_CONTENT)?),
    }
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
            why: of.ours.or(of.trouble.map(|t| t.why)),
            caa_identities: of.caa_identities,
            budgets: of.budgets.map(Budget::from).into(),
        }
    }
}

impl From<linkseal_control::Budget> for Budget {
    fn from(of: linkseal_control::Budget) -> Self {
        // A part of an order is none.
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
