//! Creating a share link.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_config::ConfigDuration;
use linkseal_control::Actor;
use linkseal_domain::{DomainName, Language};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::problem::Problem;

/// The default lifetime: a customer may need some days for a DNS record.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);

/// What kind of link to create.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ShareWish", example = json!({"expires_in": "7d", "lang": "de"}))]
pub(crate) struct ShareRequest {
    /// How long the link works, such as `24h`: at most `90d`, `7d` by default.
    expires_in: Option<ConfigDuration>,
    /// The language of the page: `en` or `de`; null for the language of the visitor's browser.
    #[schemars(extend("enum" = ["en", "de", null]))]
    lang: Option<String>,
}

/// A share link.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ShareLink")]
pub(crate) struct ShareLink {
    /// The URL, below `pages.url`; only the path if that is not configured.
    pub(crate) url: String,
    /// When the link expires.
    pub(crate) expires: Timestamp,
}

/// Creates a link, with an audit entry.
pub(crate) async fn create_share_link(
    context: &Context,
    name: &DomainName,
    request: ShareRequest,
    actor: &Actor,
) -> Result<ShareLink, Problem> {
    let lifetime = request.expires_in.map_or(DEFAULT_LIFETIME, |span| span.get());
    if lifetime.is_zero() || lifetime > MAX_LIFETIME {
        return Err(Problem::invalid("expires_in: more than 0, at most 90d"));
    }
    let language = request.lang.as_deref().map(|tag| {
        let known = Language::ALL.into_iter().find(|l| l.tag() == tag);
        known.ok_or_else(|| Problem::invalid("lang: en or de"))
    });
    let language = language.transpose()?;
    let expires = Timestamp::from_secs((context.now() + lifetime).as_secs());
    let record = context.control.operator().share(name, expires, actor).await?;
    let path = context.shares.path(&record, expires, language);
    // Not the request's Host, with which the caller could choose where the link points.
    let live = context.live.load();
    let origin = live.pages.url.as_ref().map_or("", |url| url.as_str());
    let url = format!("{origin}{path}");
    Ok(ShareLink { url, expires })
}
