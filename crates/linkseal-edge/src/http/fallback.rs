//! What is answered where a link leads nowhere.

use http::{HeaderValue, StatusCode};
use linkseal_link::{Destination, decoded, points_to_link};

use super::exchange::Exchange;
use super::open;
use super::reply::{self, Reply};
use super::router::Route;

/// The answer where nothing else answers.
pub(super) fn nowhere(x: &Exchange<'_>, route: Route<&str>) -> Reply {
    match route {
        Route::Open { .. } => open::pixel(),
        Route::Click { .. } | Route::Redirect { .. } => redirect(x),
        _ => x.not_found(),
    }
}

/// To the domain's fallback, else the one for all domains, else a page. Kill switches apply to a
/// fallback as to any destination.
pub(super) fn redirect(x: &Exchange<'_>) -> Reply {
    let url = x.entry.fallback_url().or(x.settings.fallback_url.as_deref());
    let Some(destination) = url.and_then(|url| Destination::new(url).ok()) else {
        return x.not_found();
    };
    if is_killed(x, &destination) {
        return x.killed();
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

/// Whether a switch applies to a fallback: one of the domain's tenant, or of the tenant in the path.
fn is_killed(x: &Exchange<'_>, destination: &Destination<'_>) -> bool {
    let named = match x.head.route() {
        Route::Click { tenant, .. } => tenant.and_then(decoded),
        _ => None,
    };
    let applies = |tenant: &str| x.kill_switch(tenant, None, destination).is_some();
    applies(x.entry.tenant()) || named.is_some_and(|tenant| applies(&tenant))
}
