//! `/v1/domains`: list, register, show, change, retire, purge.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use linkseal_config::admin::Role;
use linkseal_control::{NewDomain, OperatorError, Patch};
use linkseal_domain::ssl::{Reason, State as SslState};
use linkseal_domain::{DomainName, DomainRecord, search_prefix};
use linkseal_store::{DomainQuery, SharedStore, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Name, Params, Stored, cursor, cut, domain_name, from_cursor, limit};
use crate::problem::Problem;
use crate::scope::{Reach, Scope};
use crate::view::{Counts, DomainView, Viewer};

const ALL: &str = "/v1/domains";
const ONE: &str = "/v1/domains/{name}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let domain = Content::json::<DomainView<'_>>;
    vec![
        Endpoint::new(MethodFilter::GET, ALL, Role::Viewer, "Domains, sorted by name.", list)
            .reach(Reach::Narrowed)
            .query::<List>()
            .answers(StatusCode::OK, Content::json::<Page<'_>>(), "A page."),
        Endpoint::new(
            MethodFilter::POST,
            ALL,
            Role::Admin,
            "Register a domain. With a token of one tenant its owner has to show that this is wanted, by a TXT record: \
             where it is missing, 403 tells it in `record`.",
            register,
        )
        .reach(Reach::Narrowed)
        .body(Content::json::<NewDomain>())
        .answers(StatusCode::CREATED, domain(), "It is new.")
        .answers(StatusCode::OK, domain(), "It was registered already."),
        Endpoint::new(MethodFilter::GET, ONE, Role::Viewer, "A domain.", show)
            .reach(Reach::Domain)
            .answers(StatusCode::OK, domain(), "The domain."),
        Endpoint::new(
            MethodFilter::PATCH,
            ONE,
            Role::Support,
            "Change a domain. The role support may pause and resume, nothing else.",
            patch,
        )
        .reach(Reach::Domain)
        .body(Content::json::<Patch>())
        .answers(StatusCode::OK, domain(), "As it is now."),
        Endpoint::new(
            MethodFilter::DELETE,
            ONE,
            Role::Admin,
            "Retire a domain: no more orders, served while its certificate lives; registering brings it back. \
             With purge=true it is forgotten now; with revoke=true too, its certificate is revoked first, and where \
             that fails nothing is forgotten.",
            remove,
        )
        .reach(Reach::Domain)
        .query::<Remove>()
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done.")
        .answers(
            StatusCode::BAD_GATEWAY,
            Content::json::<Problem>(),
            "The certificate was not revoked, and nothing was forgotten.",
        ),
    ]
}

/// What of the list is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Only in this state.
    pub(crate) state: Option<SslState>,
    /// Only for this reason.
    pub(crate) reason: Option<Reason>,
    /// Only this tenant's.
    #[schemars(length(min = 1, max = 253))]
    pub(crate) tenant: Option<String>,
    /// Only names that start with this, in A-labels or in Unicode.
    #[schemars(length(max = 253))]
    pub(crate) q: Option<String>,
    /// How many at most: 1 to 1000; 100 unless given.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    pub(crate) limit: Option<String>,
    /// `next` of the page before.
    #[schemars(length(max = 1024))]
    pub(crate) cursor: Option<String>,
}

/// A page of domains.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DomainPage")]
struct Page<'a> {
    /// The domains, sorted by name.
    domains: Vec<DomainView<'a>>,
    /// The cursor of the next page. `None`: this is the last.
    next: Option<String>,
    /// How many there are in each state: of the tenant asked for, else of all.
    counts: Counts,
    /// Domains whose stored records this version cannot read, as far as they were met; to those who
    /// see all domains. Each can be purged by its name.
    unreadable: Vec<Unreadable>,
}

/// A domain whose stored record cannot be read.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UnreadableDomain")]
struct Unreadable {
    /// Its name.
    name: String,
    /// What is wrong with the record.
    why: String,
}

/// What a list holds.
pub(crate) struct Listed {
    /// A page of the domains, sorted by name.
    pub(crate) records: Vec<DomainRecord>,
    /// The cursor of the next page. `None`: this is the last.
    pub(crate) next: Option<String>,
    /// How many there are in each state: of the tenant asked for, else of all.
    pub(crate) counts: Counts,
}

async fn list(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Params(list): Params<List>,
) -> Result<Response, Problem> {
    let turn = context.lists.take(&caller, context.control.clock()).await?;
    let Listed { records, next, counts } = listed(&context, caller.scope(), list).await?;
    let unreadable = match caller.scope() {
        Scope::All => context.control.store().unreadable(),
        _ => Vec::new(),
    };
    let this = Arc::clone(&context);
    // A thousand records take a while: what else this port answers does not wait for them.
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
            tracing::error!(?failed, "a list could not be written");
            Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    }
}

/// A page of the domains within a scope.
pub(crate) async fn listed(context: &Context, scope: &Scope, list: List) -> Result<Listed, Problem> {
    let limit = limit(list.limit.as_deref())?;
    let after = from_cursor(list.cursor.as_deref(), |name| DomainName::parse(name).ok())?;
    let store = context.control.store();
    let tenant = scope.narrow(list.tenant)?;
    let counts = Counts::of(&store.counts(tenant.as_deref()).await?);
    let (prefix, unicode) = search_prefix(list.q.as_deref().unwrap_or_default());
    let query = DomainQuery {
        state: list.state,
        reason: list.reason,
        tenant,
        prefix: Some(prefix).filter(|p| !p.is_empty()),
        after,
        // One more tells whether there is a next page.
        limit: limit + 1,
    };
    let mut records = match unicode {
        None => store.list(&query).await?,
        Some(unicode) => in_unicode(store, query, &unicode).await?,
    };
    let more = cut(&mut records, limit);
    let next = records.last().filter(|_| more).map(|r| cursor(r.name.as_str()));
    let records = records.into_iter().map(|r| scope.shown(r)).collect();
    Ok(Listed { records, next, counts })
}

/// Names that a search in Unicode looks at in one go, and how often it does at most.
const LOOKED_AT: usize = 1_000;
const MAX_LOOKS: usize = 50;

/// The domains whose names start with a text in Unicode. A-labels do not sort as Unicode does, so
/// every name of the query's range is looked at.
async fn in_unicode(
    store: &SharedStore,
    mut query: DomainQuery,
    unicode: &str,
) -> Result<Vec<DomainRecord>, StoreError> {
    let wanted = std::mem::replace(&mut query.limit, LOOKED_AT);
    let mut found = Vec::new();
    for _ in 0..MAX_LOOKS {
        let names = store.list(&query).await?;
        let Some(last) = names.last().map(|r| r.name.clone()) else {
            break;
        };
        query.after = Some(last);
        found.extend(names.into_iter().filter(|r| r.name.starts_with_unicode(unicode)));
        if found.len() >= wanted {
            break;
        }
    }
    found.truncate(wanted);
    Ok(found)
}

async fn register(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let new: NewDomain = body.read(&["name", "sending_domain"])?;
    let _turn = context.turns.for_registration(&caller, context.control.clock()).await?;
    let registered = context.control.register(new, &caller.actor()).await?;
    let status = if registered.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let viewer = Viewer::new(&context.control);
    let record = caller.scope().shown(registered.record);
    Ok((status, axum::Json(viewer.domain(&record))).into_response())
}

async fn show(State(context): State<Arc<Context>>, caller: Caller, Name(name): Name) -> Result<Response, Problem> {
    let record = context.control.store().domain(&name).await?;
    let record = caller.scope().shown(record.ok_or_else(|| not_registered(&name))?);
    Ok(axum::Json(Viewer::new(&context.control).domain(&record)).into_response())
}

pub(crate) fn not_registered(name: &DomainName) -> Problem {
    Problem::not_found(format!("{name} is not registered; POST {ALL} registers it")).on_pages(
        format!("The domain {name} is not registered."),
        format!("Die Domain {name} ist nicht eingetragen."),
    )
}

async fn patch(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Name(name): Name,
    body: Json,
) -> Result<Response, Problem> {
    let only_pauses = body.0.as_object().is_some_and(|o| o.keys().all(|key| key == "paused"));
    if !only_pauses {
        caller.must_be(Role::Admin)?;
    }
    let patch: Patch = body.read(&["sending_domain"])?;
    // By the name of a former tenant another's links would work here, too.
    if patch.tenant.is_some() || patch.former_tenants.is_some() {
        caller.must_see_all("tenant and former_tenants can be changed by who sees all tenants")?;
    }
    if *caller.scope() != Scope::All {
        let record = context.control.store().domain(&name).await?;
        patch.stays_within(&record.ok_or_else(|| not_registered(&name))?)?;
    }
    let record = context.control.patch(&name, patch, &caller.actor()).await?;
    let record = caller.scope().shown(record);
    Ok(axum::Json(Viewer::new(&context.control).domain(&record)).into_response())
}

/// How to remove a domain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Remove {
    /// `true`: forget everything about it now.
    purge: Option<String>,
    /// `true`: revoke its certificate first. Only with `purge=true`.
    revoke: Option<String>,
}

async fn remove(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Stored(stored): Stored,
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
        (false, false) => context.control.retire(&domain_name(&stored)?, &actor).await?,
        // Also one that can no longer be read.
        (true, false) => context.control.purge_stored(&stored, &actor).await.map_err(in_path)?,
        (true, true) => context.control.revoke_and_purge(&domain_name(&stored)?, &actor).await?,
        (false, true) => {
            return Err(Problem::invalid(
                "revoke: only with purge=true; a retired domain is still served",
            ));
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What is wrong with a name in a path is said of that.
fn in_path(error: OperatorError) -> Problem {
    match error {
        OperatorError::Name(error) => Problem::invalid_name("the name in the path", error),
        error => error.into(),
    }
}
