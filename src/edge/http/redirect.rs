//! Stored redirects: `/r/{slug}`, of the domain or of all.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::reply::{self, Reply};
use super::respond::{Exchange, Step};
use super::router::{Route, route};
use super::server::Session;
use super::{click, kill, record, upstream};
use crate::domain::registry::Entry;
use crate::event::Appending;
use crate::link::{Destination, Found, NotKnown};

/// How long a request waits for its network's turn to look a slug up.
const TURN: Duration = Duration::from_secs(1);

/// What is known of a slug from memory. `None`: it must be looked up, by [`look_up`].
pub(super) fn cached(x: &Exchange<'_>, slug: &str) -> Option<Found> {
    x.session.context.redirects.cached(x.entry.name.as_str(), slug)
}

/// For a slug that is not in memory: waits, within bounds, for what is stored.
pub(super) async fn look_up(session: Arc<Session>, request: Request<Incoming>, entry: Arc<Entry>) -> Reply {
    let path: Box<str> = request.uri().path().into();
    let found = route(&path, &session.context.settings.load().prefix);
    let slug = match found {
        Route::Redirect { slug } => slug,
        // A reload has moved the links meanwhile: no slug is empty.
        _ => "",
    };
    let turn = session.context.lookups.take(session.connection.client.ip());
    let stored = match tokio::time::timeout(TURN, turn).await {
        Ok(Some(_turn)) => session.context.redirects.look_up(entry.name.as_str(), slug).await,
        _ => Err(NotKnown),
    };
    let step = {
        let settings = session.context.settings.load();
        let x = Exchange {
            session: &session,
            settings: &settings,
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            now: session.context.clock.now(),
            entry: &entry,
        };
        let stored = match stored {
            Ok(stored) => stored,
            // Not "there is none": that would break a link that is stored.
            Err(NotKnown) => return reply::for_method(upstream::come_again(x.headers), x.method),
        };
        match (answer(&x, slug, stored), x.rule_for(found)) {
            (Some((reply, event)), _) => Ok(Step::after(reply::for_method(reply, x.method), event)),
            (None, None) => Ok(Step::Done(reply::for_method(x.nowhere(found), x.method))),
            (None, Some(rule)) => Err(rule),
        }
    };
    match step {
        Ok(step) => step.settle().await,
        Err(rule) => upstream::forward(session, request, entry, rule).await,
    }
}

/// 302 to where it leads, when its event is written; what has expired leads where broken links do.
/// `None`: nothing is stored.
pub(super) fn answer(x: &Exchange<'_>, slug: &str, stored: Found) -> Option<(Reply, Option<Appending>)> {
    let target = stored?;
    // What is stored was checked, and stays a destination.
    let destination = Destination::new(target.url()).ok()?;
    if target.is_expired(x.now) || leads_in_circles(x, &destination) {
        return Some((click::fallback(x), None));
    }
    let killed = kill::hit(x, x.entry.tenant(), None, &destination);
    let event = record::redirect(x, slug, target.url(), killed);
    let reply = match killed {
        Some(_) => kill::warning(x),
        None => reply::redirect(StatusCode::FOUND, target.location()),
    };
    Some((reply, Some(event)))
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
