//! Stored redirects: `/r/{slug}`, of the domain or of all.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::reply::{self, Reply};
use super::respond::{Exchange, Step};
use super::router::{Route, route};
use super::server::Session;
use super::{click, kill, record};
use crate::domain::registry::Entry;
use crate::event::Appending;
use crate::link::{Destination, Found};

/// What is known of a slug from memory. `None`: it must be looked up, by [`look_up`].
pub(super) fn cached(session: &Session, entry: &Entry, slug: &str) -> Option<Found> {
    session.context.redirects.cached(entry.name.as_str(), slug)
}

/// For a slug that is not in memory: waits, within bounds, for what is stored.
pub(super) async fn look_up(session: Arc<Session>, request: Request<Incoming>, entry: Arc<Entry>) -> Reply {
    let (head, _) = request.into_parts();
    let slug = match route(head.uri.path(), &session.context.settings.load().prefix) {
        Route::Redirect { slug } => slug,
        // A reload has moved the links meanwhile: no slug is empty.
        _ => "",
    };
    let found = session.context.redirects.look_up(entry.name.as_str(), slug).await;
    let step = {
        let settings = session.context.settings.load();
        let x = Exchange {
            session: &session,
            settings: &settings,
            method: &head.method,
            uri: &head.uri,
            version: head.version,
            headers: &head.headers,
            now: session.context.clock.now(),
            entry: &entry,
        };
        let (reply, event) = answer(&x, slug, found);
        Step::after(reply, event)
    };
    step.settle().await
}

/// 302 to where it leads, when its event is written; else where broken links lead.
pub(super) fn answer(x: &Exchange<'_>, slug: &str, found: Found) -> (Reply, Option<Appending>) {
    let target = found.filter(|t| !t.is_expired(x.now));
    // What is stored was checked, and stays a destination.
    let to = target.as_ref().and_then(|t| Some((t, Destination::new(t.url()).ok()?)));
    match to.filter(|(_, destination)| !leads_in_circles(x, destination)) {
        None => (click::fallback(x), None),
        Some((target, destination)) => {
            let killed = kill::hit(x, x.entry.tenant(), None, &destination);
            let event = record::redirect(x, slug, target.url(), killed);
            let reply = match killed {
                Some(_) => kill::warning(x),
                None => reply::redirect(StatusCode::FOUND, target.location()),
            };
            (reply, Some(event))
        }
    }
}

/// Whether a stored redirect comes back to a link of ours. To its own host, as for signed links;
/// and to a link on any other domain served here: a signed link holds its destination and so never
/// itself, and while a stored one leads to none, there is no way round.
fn leads_in_circles(x: &Exchange<'_>, destination: &Destination<'_>) -> bool {
    if destination.leads_to(x.entry.name.as_str()) {
        return true;
    }
    // Its path first: most lead to no such path.
    let path = destination.path().split(['?', '#']).next().unwrap_or_default();
    let is_link = matches!(
        route(path, &x.settings.prefix),
        Route::Click { .. } | Route::Redirect { .. }
    );
    is_link
        && destination
            .ascii_host()
            .is_some_and(|host| x.session.context.registry.get(&host).is_some())
}
