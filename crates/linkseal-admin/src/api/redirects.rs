//! `/v1/redirects`: stored redirects, of one domain or of all.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use linkseal_control::{NewRedirect, OperatorError};
use linkseal_domain::DomainName;
use linkseal_link::Slug;
use linkseal_store::{RedirectQuery, StoreError, StoredRedirect};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Params, cursor, cut, from_cursor, limit};
use crate::problem::Problem;

const ALL: &str = "/v1/redirects";
const ONE: &str = "/v1/redirects/{slug}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let redirect = Content::json::<RedirectView>;
    vec![
        Endpoint::new(
            MethodFilter::GET,
            ALL,
            Role::Viewer,
            "Stored redirects, sorted by domain (those for all domains first) and slug.",
            list,
        )
        .query::<List>()
        .answers(StatusCode::OK, Content::json::<Page>(), "A page of redirects."),
        Endpoint::new(MethodFilter::GET, ONE, Role::Viewer, "A stored redirect.", show)
            .query::<Whose>()
            .answers(StatusCode::OK, redirect(), "The redirect."),
        Endpoint::new(
            MethodFilter::PUT,
            ONE,
            Role::Admin,
            "Store a redirect; it is served at once as /r/{slug}. A domain's own redirect takes precedence over one for all domains.",
            put,
        )
        .query::<Whose>()
        .body(Content::json::<NewRedirect>())
        .answers(StatusCode::CREATED, redirect(), "The redirect is new.")
        .answers(StatusCode::OK, redirect(), "The redirect was replaced."),
        Endpoint::new(
            MethodFilter::DELETE,
            ONE,
            Role::Admin,
            "Delete a stored redirect.",
            remove,
        )
        .query::<Whose>()
        .answers(StatusCode::NO_CONTENT, Content::Empty, "Done."),
    ]
}

/// Whose redirect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Whose {
    /// The domain. Default: the redirect for all domains.
    #[schemars(length(max = 253), extend("format" = "hostname"))]
    domain: Option<String>,
}

/// Which redirects to list.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// Only redirects of this domain. Default: all redirects.
    #[schemars(length(max = 253), extend("format" = "hostname"))]
    domain: Option<String>,
    /// The most entries to return: 1 to 1000, 100 by default.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    limit: Option<String>,
    /// `next` of the previous page.
    #[schemars(length(max = 1024))]
    cursor: Option<String>,
}

/// A stored redirect.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Redirect")]
struct RedirectView {
    /// The domain; null for all domains without a redirect of their own with this slug.
    domain: Option<DomainName>,
    /// The name in the path.
    slug: String,
    /// The destination.
    url: String,
    /// When it expires; null if it does not.
    expires: Option<Timestamp>,
    /// When it was last stored.
    changed: Timestamp,
}

/// A page of stored redirects.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RedirectPage")]
struct Page {
    /// The redirects.
    redirects: Vec<RedirectView>,
    /// The cursor of the next page; null on the last page.
    next: Option<String>,
}

impl From<StoredRedirect> for RedirectView {
    fn from(redirect: StoredRedirect) -> Self {
        Self {
            domain: redirect.domain,
            slug: redirect.slug.to_string(),
            url: redirect.url,
            expires: redirect.expires,
            changed: redirect.changed,
        }
    }
}

async fn list(State(context): State<Arc<Context>>, Params(list): Params<List>) -> Result<Response, Problem> {
    let limit = limit(list.limit.as_deref())?;
    let query = RedirectQuery {
        domain: domain(list.domain.as_deref())?,
        after: from_cursor(list.cursor.as_deref(), parse_cursor)?,
        // One more shows whether there is a next page.
        limit: limit + 1,
    };
    let mut redirects = context.control.store().redirects(&query).await?;
    let more = cut(&mut redirects, limit);
    let next = redirects.last().filter(|_| more).map(|last| {
        let domain = last.domain.as_ref().map_or("", DomainName::as_str);
        cursor(&format!("{domain}/{}", last.slug))
    });
    let redirects = redirects.into_iter().map(RedirectView::from).collect();
    Ok(axum::Json(Page { redirects, next }).into_response())
}

/// A cursor holds the last domain (empty: all domains) and slug.
fn parse_cursor(text: &str) -> Option<(Option<DomainName>, Slug)> {
    let (domain, slug) = text.split_once('/')?;
    let domain = match domain {
        "" => None,
        name => Some(DomainName::parse(name).ok()?),
    };
    Some((domain, Slug::parse(slug).ok()?))
}

async fn show(
    State(context): State<Arc<Context>>,
    Path(slug): Path<String>,
    Params(whose): Params<Whose>,
) -> Result<Response, Problem> {
    let (domain, slug) = (domain(whose.domain.as_deref())?, parse(&slug)?);
    let found = context
        .control
        .operator()
        .redirects()
        .get(domain.as_ref(), &slug)
        .await?;
    let redirect = found.ok_or_else(|| not_stored(domain.as_ref(), &slug))?;
    Ok(axum::Json(RedirectView::from(redirect)).into_response())
}

async fn put(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(slug): Path<String>,
    Params(whose): Params<Whose>,
    body: Json,
) -> Result<Response, Problem> {
    let (domain, slug) = (domain(whose.domain.as_deref())?, parse(&slug)?);
    let new: NewRedirect = body.read(&[])?;
    let redirects = context.control.operator().redirects();
    let (stored, created) = redirects.put(domain.as_ref(), &slug, new, &caller.actor()).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(RedirectView::from(stored))).into_response())
}

async fn remove(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Path(slug): Path<String>,
    Params(whose): Params<Whose>,
) -> Result<Response, Problem> {
    let (domain, slug) = (domain(whose.domain.as_deref())?, parse(&slug)?);
    let redirects = context.control.operator().redirects();
    match redirects.delete(domain.as_ref(), &slug, &caller.actor()).await {
        Err(OperatorError::Store(StoreError::NotFound)) => Err(not_stored(domain.as_ref(), &slug)),
        done => Ok(done.map(|()| StatusCode::NO_CONTENT)?.into_response()),
    }
}

fn domain(text: Option<&str>) -> Result<Option<DomainName>, Problem> {
    let name = text.map(DomainName::parse).transpose();
    name.map_err(|e| Problem::invalid_name("domain", e))
}

fn parse(slug: &str) -> Result<Slug, Problem> {
    Slug::parse(slug).map_err(|e| Problem::invalid(e.to_string()))
}

fn not_stored(domain: Option<&DomainName>, slug: &Slug) -> Problem {
    let whose = domain.map_or("all domains", DomainName::as_str);
    Problem::not_found(format!(
        "no redirect {slug} is stored for {whose}; PUT {ALL}/{slug} stores one"
    ))
}
