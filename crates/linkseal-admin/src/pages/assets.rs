//! The files of the pages: style sheet, script, icon, and those of the platform's brand.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::HeaderMap;

use super::asset::Asset;
use super::state::PagesState;
use crate::problem::Problem;

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("pages", "css", include_bytes!("pages.css").as_slice()));
/// The pages work without it.
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("pages", "js", include_bytes!("pages.js").as_slice()));
/// The icon in a browser's tab.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", include_bytes!("icon.svg").as_slice()));

/// Serves them without a session: they contain nothing of a tenant.
pub(super) fn router() -> Router<PagesState> {
    Router::new().route("/assets/{file}", get(show))
}

async fn show(State(state): State<PagesState>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let brand = state.brand.load();
    let path = format!("/assets/{file}");
    let all = [&*STYLE, &*SCRIPT, &*ICON].into_iter().chain(brand.assets());
    match all.into_iter().find(|a| a.path == path) {
        Some(asset) => asset.reply(&headers),
        None => Problem::not_found("there is no such file").into_response(),
    }
}
