//! Clicks: to where the signed link leads, and nowhere else.

use http::{HeaderValue, StatusCode};
use linkseal_event::Appending;
use linkseal_link::{Destination, Kind, TokenBody, VerifiedToken, decoded, points_to_link};

use super::reply::{self, Reply};
use super::respond::Exchange;
use super::router::{Route, route};
use super::{kill, record};

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
    let killed = kill::hit(x, token.tenant, Some(token.message_id), &destination);
    // A link to its own host could lead in circles.
    if destination.has_host(x.entry.name.as_str()) || x.is_too_old(token) {
        return killed.map(|_| (kill::warning(x), None));
    }
    if killed.is_some() {
        return Some((kill::warning(x), Some(record::link(x, token, killed))));
    }
    let location = HeaderValue::from_str(&destination.location()).ok()?;
    Some((
        reply::redirect(StatusCode::FOUND, location),
        Some(record::link(x, token, None)),
    ))
}

/// For links that lead nowhere: the domain's fallback, else the one for all, else a page. A kill
/// switch holds for a fallback as for any destination.
pub(super) fn fallback(x: &Exchange<'_>) -> Reply {
    let url = x.entry.fallback_url().or(x.settings.fallback_url.as_deref());
    let Some(destination) = url.and_then(|url| Destination::new(url).ok()) else {
        return x.not_found();
    };
    if is_killed(x, &destination) {
        return kill::warning(x);
    }
    // Another domain's fallback may come back here.
    if points_to_link(&destination, &x.settings.prefix, |host| x.is_served(host)) {
        return x.not_found();
    }
    match HeaderValue::from_str(&destination.location()) {
        Ok(location) => reply::redirect(StatusCode::FOUND, location),
        Err(_) => x.not_found(),
    }
}

/// Whether a fallback is held: for the domain's tenant, or the one that the path names.
fn is_killed(x: &Exchange<'_>, destination: &Destination<'_>) -> bool {
    let named = match route(x.uri.path(), &x.settings.prefix) {
        Route::Click { tenant, .. } => tenant.and_then(decoded),
        _ => None,
    };
    let holds = |tenant: &str| kill::hit(x, tenant, None, destination).is_some();
    holds(x.entry.tenant()) || named.is_some_and(|tenant| holds(&tenant))
}
