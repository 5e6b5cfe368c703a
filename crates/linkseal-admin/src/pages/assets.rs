//! The pages' files: one style sheet, one script, and what the platform's brand adds. Their paths
//! hold a part of their hash, so that browsers may keep them for ever.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::Context;
use crate::problem::Problem;

/// The style sheet of all pages.
pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("pages", "css", include_bytes!("pages.css").as_slice()));
/// The script of all pages; they work without it.
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("pages", "js", include_bytes!("pages.js").as_slice()));

/// What stands beside the title in a browser's tab.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", include_bytes!("icon.svg").as_slice()));

/// A file that never changes under its path.
#[derive(Clone, Debug)]
pub(crate) struct Asset {
    /// Such as `/assets/pages-0123456789abcdef.css`.
    pub(crate) path: String,
    media: &'static str,
    body: Bytes,
}

impl Asset {
    /// `extension`: css, js, svg, png, jpg or webp.
    pub(super) fn new(stem: &str, extension: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = hex::encode(digest(&SHA256, &body));
        let short = hash.get(..16).unwrap_or_default();
        Self {
            path: format!("/assets/{stem}-{short}.{extension}"),
            media: match extension {
                "css" => "text/css; charset=utf-8",
                "js" => "text/javascript; charset=utf-8",
                "svg" => "image/svg+xml",
                "png" => "image/png",
                "jpg" => "image/jpeg",
                _ => "image/webp",
            },
            body,
        }
    }

    fn reply(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.path.trim_start_matches("/assets/"));
        let head = [
            (ETAG, tag.as_str()),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (CONTENT_TYPE, self.media),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // A logo that is opened as a document runs nothing.
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; style-src 'unsafe-inline'; sandbox",
            ),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        let known = headers
            .get(IF_NONE_MATCH)
            .is_some_and(|v| v.as_bytes() == tag.as_bytes());
        if known {
            return (StatusCode::NOT_MODIFIED, head).into_response();
        }
        (head, self.body.clone()).into_response()
    }
}

/// Serves them to everybody: they tell nothing.
pub(super) fn router(context: &Arc<Context>) -> Router {
    Router::new()
        .route("/assets/{file}", get(show))
        .with_state(Arc::clone(context))
}

async fn show(State(context): State<Arc<Context>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let live = context.live.load();
    let path = format!("/assets/{file}");
    let all = [&*STYLE, &*SCRIPT, &*ICON].into_iter().chain(live.brand.assets());
    match all.into_iter().find(|a| a.path == path) {
        Some(asset) => asset.reply(&headers),
        None => Problem::not_found("there is no such file").into_response(),
    }
}
