//! A file whose path contains a part of its hash, so that browsers may cache it indefinitely.

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, StatusCode};

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

    pub(super) fn reply(&self, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.path.trim_start_matches("/assets/"));
        let head = [
            (ETAG, tag.as_str()),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (CONTENT_TYPE, self.media),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // A logo (SVG) that is opened as a document must not run scripts.
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
