//! `/v1/domains`: list, register, show, change, retire, purge.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use linkseal_config::admin::Role;
use linkseal_control::{NewDomain, OperatorError, Patch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Params, PathDomain, PathText};
use crate::problem::Problem;
use crate::query::domains::{DomainFilter, Listed, listed};
use crate::scope::{Reach, Scope};
use crate::view::{Counts, DomainView, Viewer};

const ALL: &str = "/v1/domains";
const ONE: &str = "/v1/domains/{name}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let domain = Content::json::<DomainView<'_>>;
    vec![
        Endpoint::new(MethodFilter::GET, ALL, Role::Viewer, "Domains, sorted by name.", list)
            .reach(Reach::Narrowed)
            .query::<DomainFilter>()
            .answers(StatusCode::OK, Content::json::<Page<'_>>(), "A page of domains."),
        Endpoint::new(
            MethodFilter::POST,
            ALL,
            Role::Admin,
            "Register a domain. For a token limited to one tenant, the domain's owner has to confirm this with a TXT \
             record; without it the answer is 403, with the record in `record`.",
            register,
        )
        .reach(Reach::Narrowed)
        .body(Content::json::<NewDomain>())
        .answers(StatusCode::CREATED, domain(), "The domain is new.")
        .answers(StatusCode::OK, domain(), "The domain was registered before."),
        Endpoint::new(MethodFilter::GET, ONE, Role::Viewer, "A domain.", show)
            .reach(Reach::Domain)
            .answers(StatusCode::OK, domain(), "The domain."),
        Endpoint::new(
            MethodFilter::PATCH,
            ONE,
            Role::Support,
            "Change a domain. The role support may only pause and resume.",
            patch,
        )
        .reach(Reach::Domain)
        .body(Content::json::<Patch>())
        .answers(StatusCode::OK, domain(), "The domain after the change."),
        Endpoint::new(
            MethodFilter::DELETE,
            ONE,
            Role::Admin,
            "Retire a domain: no more orders, but it is served until its certificate expires. Registering it again \
             brings it back. With purge=true, everything about it is deleted now; with revoke=true as well, its \
             certificate is revoked first, and nothing is deleted if that fails.",
            remove,
        )
        .reach(Reach::Domain)
        .query::<Remove>()
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done.")
        .answers(
            StatusCode::BAD_GATEWAY,
            Content::json::<Problem>(),
            "The CA did not revoke the certificate; nothing was deleted.",
        ),
    ]
}

/// A page of domains.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DomainPage")]
struct Page<'a> {
    /// The domains, sorted by name.
    domains: Vec<DomainView<'a>>,
    /// The cursor of the next page; null on the last page.
    next: Option<String>,
    /// The number of domains in each state: of the tenant that was asked for, else of all.
    counts: Counts,
    /// Domains whose stored records this version cannot read, as far as it has come across them; only
    /// for tokens that see all domains. Each can be purged by its name.
    unreadable: Vec<Unreadable>,
}

/// A domain whose stored record cannot be read.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UnreadableDomain")]
struct Unreadable {
    name: String,
    /// What is wrong with the record.
    why: String,
}

async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Params(filter): Params<DomainFilter>,
) -> Result<Response, Problem> {
    let turn = context.lists.take(&caller, context.control.clock()).await?;
    let Listed { records, next, counts } = listed(&context, caller.scope(), filter).await?;
    let unreadable = match caller.scope() {
        Scope::All => context.control.store().unreadable(),
        _ => Vec::new(),
    };
    let this = Arc::clone(&context);
    // Serializing a thousand records takes a while, so it must not block this thread's other requests.
    let written = context.tasks.spawn_blocking(move || {
        let _turn = turn;
        let viewer = Viewer::new(&this.control);
        let unreadable = unreadable.into_iter().map(|(name, why)| Unreadable { name, why });
        serde_json::to_vec(&Page {
            domains: records.iter().map(|r| viewer.domain(r)).collect(),
            next,
            counts,
            unreadable: unreadable.collect(),
        })
    });
    match written.await {
        Ok(Ok(page)) => Ok(([(CONTENT_TYPE, "application/json")], page).into_response()),
        failed => {
            tracing::error!(?failed, "serializing a list of domains failed; answered 500");
            Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

async fn register(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let new: NewDomain = body.read(&["name", "sending_domain"])?;
    let _turn = context
        .checks
        .for_registration(&caller, context.control.clock())
        .await?;
    let registered = context.control.operator().register(new, &caller.actor()).await?;
    let status = if registered.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let viewer = Viewer::new(&context.control);
    let record = caller.scope().shown(registered.record);
    Ok((status, axum::Json(viewer.domain(&record))).into_response())
}

async fn show(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
) -> Result<Response, Problem> {
    let record = context.control.store().domain(&name).await?;
    let record = caller
        .scope()
        .shown(record.ok_or_else(|| Problem::not_registered(&name))?);
    Ok(axum::Json(Viewer::new(&context.control).domain(&record)).into_response())
}

async fn patch(
    State(context): State<Arc<Context>>,
    caller: Caller,
    PathDomain(name): PathDomain,
    body: Json,
) -> Result<Response, Problem> {
    let only_pauses = body.0.as_object().is_some_and(|o| o.keys().all(|key| key == "paused"));
    if !only_pauses {
        caller.must_be(Role::Admin)?;
    }
    let patch: Patch = body.read(&["sending_domain"])?;
    // A tenant's name makes that tenant's links work on this domain.
    if patch.tenant.is_some() || patch.former_tenants.is_some() {
        caller.must_see_all("only a token for all tenants may change tenant and former_tenants")?;
    }
    if *caller.scope() != Scope::All {
        let record = context.control.store().domain(&name).await?;
        patch.stays_within(&record.ok_or_else(|| Problem::not_registered(&name))?)?;
    }
    let record = context.control.operator().patch(&name, patch, &caller.actor()).await?;
    let record = caller.scope().shown(record);
    Ok(axum::Json(Viewer::new(&context.control).domain(&record)).into_response())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remove {
    /// `true`: delete everything about the domain now.
    purge: Option<String>,
    /// `true`: revoke the certificate first. Only with `purge=true`.
    revoke: Option<String>,
}

async fn remove(
    State(context): State<Arc<Context>>,
    caller: Caller,
    path: PathText,
    Params(how): Params<Remove>,
) -> Result<StatusCode, Problem> {
    let yes = |key: &str, value: Option<&str>| match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid(format!("{key}: true or false"))),
    };
    let (purge, revoke) = (
        yes("purge", how.purge.as_deref())?,
        yes("revoke", how.revoke.as_deref())?,
    );
    let actor = caller.actor();
    match (purge, revoke) {
        (false, false) => context.control.operator().retire(&path.domain()?, &actor).await?,
        // Takes the stored key, because the record may be unreadable.
        (true, false) => context
            .control
            .operator()
            .purge_stored(&path.0, &actor)
            .await
            .map_err(in_path)?,
        (true, true) => {
            context
                .control
                .operator()
                .revoke_and_purge(&path.domain()?, &actor)
                .await?
        }
        (false, true) => {
            return Err(Problem::invalid(
                "revoke: only with purge=true; a retired domain is still served",
            ));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// An invalid name is reported as that in the path.
fn in_path(error: OperatorError) -> Problem {
    match error {
        OperatorError::Name(error) => Problem::invalid_name("the name in the path", error),
        error => error.into(),
    }
}
