//! `GET /v1/issuer`: how the orders stand.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::Context;
use crate::admin::endpoint::{Content, Endpoint};
use crate::admin::problem::Problem;
use crate::clock::Timestamp;
use crate::config::admin::Role;
use crate::control::Overview;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/issuer",
            Role::Viewer,
            "Accounts at CAs, the queue of orders, what is left of the CA's limits, and a forecast.",
            show,
        )
        .answers(StatusCode::OK, Content::json::<Issuer>(), "How it stands."),
    ]
}

/// How the orders of this node stand.
#[derive(Serialize, JsonSchema)]
pub(in crate::admin) struct Issuer {
    /// The accounts, one a CA.
    pub(in crate::admin) accounts: Vec<Account>,
    /// Orders that wait for a slot, by priority.
    pub(in crate::admin) queue: Queue,
    /// The CA's limits, as mirrored here.
    pub(in crate::admin) budgets: Vec<Budget>,
    /// Until when the CA's word holds all orders back. `None`: it does not.
    pub(in crate::admin) held_back: Option<Timestamp>,
    /// When the queue will be through.
    pub(in crate::admin) forecast: Forecast,
}

/// An account at a CA.
#[derive(Serialize, JsonSchema)]
pub(in crate::admin) struct Account {
    /// The CA's directory.
    pub(in crate::admin) directory: String,
    /// The account's URL. `None`: nothing was ordered there yet.
    pub(in crate::admin) kid: Option<String>,
    /// When it was made. `None`: nothing was ordered there yet.
    pub(in crate::admin) created: Option<Timestamp>,
}

/// Orders that wait for a slot.
#[derive(Serialize, JsonSchema)]
pub(in crate::admin) struct Queue {
    /// Renewals whose certificate runs out.
    pub(in crate::admin) expiring: usize,
    /// A handshake waits for them.
    pub(in crate::admin) handshake: usize,
    /// Somebody verified.
    pub(in crate::admin) verify: usize,
    /// All others.
    pub(in crate::admin) bulk: usize,
}

/// A limit of the CA.
#[derive(Serialize, JsonSchema)]
pub(in crate::admin) struct Budget {
    /// Its name under `acme.limits`.
    pub(in crate::admin) limit: &'static str,
    /// How many.
    pub(in crate::admin) count: u32,
    /// In how many seconds.
    pub(in crate::admin) per_seconds: u64,
    /// How many are left. `None`: it counts for each name apart.
    pub(in crate::admin) remaining: Option<u32>,
}

/// When the queue will be through.
#[derive(Serialize, JsonSchema)]
pub(in crate::admin) struct Forecast {
    /// How many orders wait.
    pub(in crate::admin) queued: usize,
    /// When the last of them is expected to be through. `None`: none waits.
    pub(in crate::admin) done_by: Option<Timestamp>,
}

async fn show(State(context): State<Arc<Context>>) -> Result<Response, Problem> {
    Ok(axum::Json(Issuer::from(context.control.overview().await?)).into_response())
}

impl From<Overview> for Issuer {
    fn from(overview: Overview) -> Self {
        let [(_, expiring), (_, handshake), (_, verify), (_, bulk)] = overview.queue;
        let (kid, created) = overview.account.map(|a| (a.kid, a.created)).unzip();
        let budgets = overview.budgets.map(|b| Budget {
            limit: b.limit,
            count: b.count,
            per_seconds: b.per.as_secs(),
            // A part of an order is none.
            remaining: b
                .remaining
                .map(|left| left.floor().clamp(0.0, f64::from(b.count)) as u32),
        });
        Self {
            accounts: vec![Account {
                directory: overview.directory,
                kid,
                created,
            }],
            queue: Queue {
                expiring,
                handshake,
                verify,
                bulk,
            },
            budgets: budgets.into(),
            held_back: overview.held_back,
            forecast: Forecast {
                queued: overview.forecast.queued,
                done_by: overview.forecast.done_by,
            },
        }
    }
}
