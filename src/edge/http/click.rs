//! Clicks: to where the signed link leads, and nowhere else.

use http::{HeaderValue, StatusCode, Uri};

use super::reply::{self, Reply};
use super::respond::Exchange;
use super::router::{Route, route};
use super::{kill, record};
use crate::event::Appending;
use crate::link::{Destination, Kind, TokenBody, VerifiedToken};

/// 302 to the destination, when its event is written. What was killed gets a warning, and its event
/// too; what is too old leads where broken links do. `None`: the token is not right.
pub(super) fn answer(x: &Exchange<'_>, tenant: Option<&str>, token: &str) -> Option<(Reply, Option<Appending>)> {
    x.verified(Kind::Click, tenant, token, |token| {
        Some(destined(x, token).unwrap_or_else(|| (fallback(x), None)))
    })
}

/// To where a signed link leads. `None`: it may not lead there.
fn destined(x: &Exchange<'_>, token: &VerifiedToken<'_>) -> Option<(Reply, Option<Appending>)> {
    let TokenBody::Click { destination, .. } = token.body else {
        return None;
    };
    // A link to its own host could lead in circles.
    if destination.leads_to(x.entry.name.as_str()) || x.is_too_old(token) {
        return None;
    }
    if let Some(killed) = kill::hit(x, token.tenant, Some(token.message_id), &destination) {
        return Some((kill::warning(x), Some(record::link(x, token, Some(killed)))));
    }
    let location = HeaderValue::from_str(&destination.location()).ok()?;
    Some((
        reply::redirect(StatusCode::FOUND, location),
        Some(record::link(x, token, None)),
    ))
}

/// For links that lead nowhere: the domain's fallback, else the one for all, else a page.
pub(super) fn fallback(x: &Exchange<'_>) -> Reply {
    let url = x.entry.fallback_url().or(x.settings.fallback_url.as_deref());
    match url.and_then(|url| usable(x, url)) {
        Some(location) => reply::redirect(StatusCode::FOUND, location),
        None => x.not_found(),
    }
}

/// A fallback as a `Location`. `None`: it is no URL, or would come back here as another broken link.
fn usable(x: &Exchange<'_>, url: &str) -> Option<HeaderValue> {
    let destination = Destination::new(url).ok()?;
    let location = destination.location();
    if destination.leads_to(x.entry.name.as_str()) {
        let uri = location.parse::<Uri>().ok()?;
        if matches!(
            route(uri.path(), &x.settings.prefix),
            Route::Click { .. } | Route::Redirect { .. }
        ) {
            return None;
        }
    }
    HeaderValue::from_str(&location).ok()
}
