//! `POST /v1/links/inspect`: explains what a link contains and why it works or not.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use linkseal_base::clock::Timestamp;
use linkseal_config::admin::Role;
use linkseal_domain::DomainName;
use linkseal_domain::registry::Registry;
use linkseal_link::{
    Destination, Finding, Inspection, LinkKind, Pasted, Place, Served, Slug, explain, slugs_in, unwrapped,
};
use linkseal_store::StoredRedirect;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::access::Caller;
use crate::context::{Context, Live};
use crate::endpoint::{Content, Endpoint};
use crate::input::Json;
use crate::problem::Problem;

/// Other domains' tenants that are tried, to tell a link on the wrong domain from a forged one. Each
/// costs some microseconds; a small platform has fewer.
const MAX_OTHERS: usize = 256;

/// The longest text: a link wrapped by the redirects of several mail filters.
const MAX_PASTED: usize = 16 * 1024;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            "/v1/links/inspect",
            Role::Viewer,
            "Explain what a link contains, and why it works or not.",
            inspect,
        )
        .body(Content::json::<Inspect>())
        .answers(StatusCode::OK, Content::json::<Inspection>(), "The findings."),
    ]
}

/// A link to inspect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"url": "https://links.customer.example/c/EgFrC…"}))]
struct Inspect {
    /// The link as it is in the message, or a bare token.
    #[schemars(length(max = MAX_PASTED))]
    url: String,
    /// A tenant to try beside those of the link's domain, to see whether the link was minted for it.
    /// Default: some tenants of other domains. The link's host is tried in any case.
    #[serde(default)]
    tenant: Option<String>,
}

async fn inspect(State(context): State<Arc<Context>>, caller: Caller, body: Json) -> Result<Response, Problem> {
    let Inspect { url, tenant } = body.read(&[])?;
    if url.len() > MAX_PASTED {
        return Err(Problem::invalid(format!(
            "url: at most {MAX_PASTED} bytes, but this has {}; send a single link",
            url.len()
        )));
    }
    let (url, around) = match unwrapped(&url) {
        Some((inner, around)) => (inner, Some(around)),
        None => (url, None),
    };
    let _turn = context.checks.take(&caller, context.control.clock()).await?;
    let stored = stored(&context, &url).await?;
    let this = Arc::clone(&context);
    // Trying many keys would block this thread's other requests.
    let found = context.tasks.spawn_blocking(move || {
        let live = this.live.load();
        let pasted = Pasted::of(&url);
        let place = place(&this.registry, &live, &pasted);
        let tenants = pasted.tenants(&live.prefix, place, |host| tenants(&this.registry, &live, host));
        let tenants: Vec<&str> = tenants.iter().map(String::as_str).collect();
        let others = others(&this.registry, tenant);
        // The default tenant of minting, which the domain's own tenant may have replaced.
        let host = pasted.name();
        let is_served = |host: &str| live.names.contains(host) || this.registry.get(host).is_some();
        let switches = this.control.operator().kills().switches();
        let hit = |tenant: &str, message: Option<Uuid>, to: &Destination<'_>| switches.hit(tenant, message, to);
        let served = Served {
            now: this.control.clock().now().unix(),
            max_age: live.max_age,
            prefix: &live.prefix,
            place,
            is_served: Some(&is_served),
            kills: Some(&hit),
        };
        let stored = stored
            .as_ref()
            .map(|r| (r.slug.as_str(), r.url.as_str(), r.expires.map(Timestamp::unix)));
        let tenant = tenants.first().copied().unwrap_or_default();
        let mut found = explain(
            &url,
            Some(&live.prefix),
            &live.link_keys,
            &tenants,
            others.iter().chain(&host).map(String::as_str),
        )
        .as_served(&url, &served)
        .as_stored(&url, stored, tenant, &served);
        let untried = this.registry.len().saturating_sub(others.len());
        if found.finding == Finding::Forged && untried > 0 {
            found.explanation.push_str(&format!(
                "; {} tenants of other domains were tried: give `tenant` to try a certain one",
                others.len()
            ));
        }
        found.inside(around.as_deref())
    });
    Ok(match found.await {
        Ok(found) => axum::Json(found).into_response(),
        Err(error) => {
            tracing::error!(%error, "inspecting a link panicked; answered 500");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

/// The stored redirect that the URL is of.
async fn stored(context: &Context, url: &str) -> Result<Option<StoredRedirect>, Problem> {
    let pasted = Pasted::of(url);
    let link = pasted.link(Some(&context.live.load().prefix));
    let text = link
        .filter(|link| link.kind == LinkKind::Redirect)
        .map(|link| link.text.to_owned());
    let name = pasted.name().and_then(|host| DomainName::parse(&host).ok());
    let (Some(name), Some(text)) = (name, text) else {
        return Ok(None);
    };
    // Like the edge: first the whole text, then without what mail programs append.
    for slug in slugs_in(&text).filter_map(|slug| Slug::parse(&slug).ok()) {
        if let Some(found) = context.control.operator().redirects().served(&name, &slug).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What the host of a link is to this node.
fn place(registry: &Registry, live: &Live, pasted: &Pasted<'_>) -> Place {
    match pasted.name() {
        None => Place::Unknown,
        Some(host) if live.names.contains(&host) => Place::Edge,
        Some(host) if registry.get(&host).is_some() => Place::Domain,
        Some(_) if registry.is_loaded() => Place::Nowhere,
        Some(_) => Place::Unknown,
    }
}

/// The present and former tenants of a domain.
fn tenants(registry: &Registry, live: &Live, host: &str) -> Vec<String> {
    match registry.get(host) {
        Some(entry) => {
            let former = entry.former_tenants().iter().cloned();
            std::iter::once(entry.tenant().to_owned()).chain(former).collect()
        }
        None if live.names.contains(host) => vec![host.to_owned()],
        None => Vec::new(),
    }
}

/// Tenants to try beside those of the link's domain: the given one, else some of other domains.
fn others(registry: &Registry, asked: Option<String>) -> Vec<String> {
    match asked {
        Some(tenant) => vec![tenant],
        None => registry
            .some(MAX_OTHERS)
            .iter()
            .map(|e| e.tenant().to_owned())
            .collect(),
    }
}
