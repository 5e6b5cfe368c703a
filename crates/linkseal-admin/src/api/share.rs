//! `/v1/domains/{name}/share`: links for customers, to the page of this one domain.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodFilter;
use http::StatusCode;
use http_body::Body as _;
use linkseal_base::clock::Timestamp;
use linkseal_config::ConfigDuration;
use linkseal_config::admin::Role;
use linkseal_control::Actor;
use linkseal_domain::{DomainName, Language};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::{Json, Name};
use crate::problem::Problem;
use crate::scope::Reach;

const PATH: &str = "/v1/domains/{name}/share";
/// How long a link works unless asked for otherwise: a customer may need some days for a DNS record.
const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long one works at most.
const LONGEST: Duration = Duration::from_secs(90 * 24 * 3600);

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::POST,
            PATH,
            Role::Support,
            "Make a link to the page of this one domain, for its owner: anyone with it sees the domain and may \
             have it verified, without a token. The body may be left out.",
            share,
        )
        .reach(Reach::Domain)
        .optional_body(Content::json::<Wish>())
        .answers(StatusCode::CREATED, Content::json::<Link>(), "The link."),
        Endpoint::new(
            MethodFilter::DELETE,
            PATH,
            Role::Support,
            "Take back all links to the domain's page.",
            end,
        )
        .reach(Reach::Domain)
        .answers(StatusCode::NO_CONTENT, Content::Empty, "None of them works any more."),
    ]
}

/// What kind of link.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ShareWish", example = json!({"expires_in": "7d", "lang": "de"}))]
pub(crate) struct Wish {
    /// For how long it works, such as `24h`: at most `90d`. `None`: `7d`.
    expires_in: Option<ConfigDuration>,
    /// The language of the page: `en` or `de`. `None`: that of the visitor's browser.
    #[schemars(extend("enum" = ["en", "de", null]))]
    lang: Option<String>,
}

/// A link.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ShareLink")]
pub(crate) struct Link {
    /// Where it is: below `pages.url`; the path alone where that is not configured.
    pub(crate) url: String,
    /// From when on it does not work any more.
    pub(crate) expires: Timestamp,
}

async fn share(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Name(name): Name,
    request: Request,
) -> Result<Response, Problem> {
    let wish = match request.body().is_end_stream() {
        true => Wish::default(),
        false => Json::from_request(request, &()).await?.read(&[])?,
    };
    let link = make_link(&context, &name, wish, &caller.actor()).await?;
    Ok((StatusCode::CREATED, axum::Json(link)).into_response())
}

/// Makes a link, and has it written down who did.
pub(crate) async fn make_link(
    context: &Context,
    name: &DomainName,
    wish: Wish,
    actor: &Actor,
) -> Result<Link, Problem> {
    let lifetime = wish.expires_in.map_or(LIFETIME, |span| span.get());
    if lifetime.is_zero() || lifetime > LONGEST {
        return Err(Problem::invalid("expires_in: more than nothing, at most 90d"));
    }
    let language = wish.lang.as_deref().map(|tag| {
        let known = Language::ALL.into_iter().find(|l| l.tag() == tag);
        known.ok_or_else(|| Problem::invalid("lang: en or de"))
    });
    let language = language.transpose()?;
    let expires = Timestamp::from_secs((context.control.clock().now() + lifetime).as_secs());
    let record = context.control.share(name, expires, actor).await?;
    let path = context.pages.shares.path(&record, expires, language);
    // Not the request's Host: the caller would choose where the customer is led.
    let live = context.live.load();
    let origin = live.pages.url.as_ref().map_or("", |url| url.as_str());
    let url = format!("{origin}{path}");
    Ok(Link { url, expires })
}

async fn end(State(context): State<Arc<Context>>, caller: Caller, Name(name): Name) -> Result<StatusCode, Problem> {
    context.control.end_shares(&name, &caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
