//! Stored redirects: `/r/{slug}`, of the domain or of all.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use linkseal_domain::links::{LookupUnavailable, Target};
use linkseal_domain::registry::Entry;
use linkseal_event::Appending;
use linkseal_link::{Destination, points_to_link, slugs_in};

use super::reply::{self, Reply};
use super::respond::{Exchange, Step};
use super::router::{Route, route};
use super::server::Session;
use super::{click, kill, record, upstream};

/// How long a request waits for its network's turn to look a slug up.
const TURN: Duration = Duration::from_secs(1);

/// What is known from memory of what stands in a path: the slug, with what may be appended to it.
/// `None`: it must be looked up, by [`look_up`].
pub(super) fn cached<'p>(x: &Exchange<'_>, text: &'p str) -> Option<Meant<'p>> {
    for slug in slugs_in(text) {
        if let Some(target) = x.session.context.redirects.cached(x.entry.name.as_str(), &slug)? {
            return Some(Some((slug, target)));
        }
    }
    Some(None)
}

/// The slug that a path means, and what is stored under it. `None`: nothing is.
pub(super) type Meant<'p> = Option<(Cow<'p, str>, Arc<Target>)>;

/// For a slug that is not in memory: waits, within bounds, for what is stored.
pub(super) async fn look_up(session: Arc<Session>, request: Request<Incoming>, entry: Arc<Entry>) -> Reply {
    let path: Box<str> = request.uri().path().into();
    let found = route(&path, &session.context.settings.load().prefix);
    let text = match found {
        Route::Redirect { slug } => slug,
        // A reload has moved the links meanwhile: no slug is empty.
        _ => "",
    };
    let turn = session.context.lookups.take(session.connection.client.ip());
    let stored = match tokio::time::timeout(TURN, turn).await {
        Ok(Some(_turn)) => stored(&session, entry.name.as_str(), text).await,
        _ => Err(LookupUnavailable),
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
            Err(LookupUnavailable) => return reply::for_method(upstream::come_again(x.headers), x.method),
        };
        match (answer(&x, stored), x.rule_for(found)) {
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

/// What is stored under the slug that a text means, or nothing.
async fn stored<'p>(session: &Session, domain: &str, text: &'p str) -> Result<Meant<'p>, LookupUnavailable> {
    let redirects = &session.context.redirects;
    for slug in slugs_in(text) {
        let known = match redirects.cached(domain, &slug) {
            Some(known) => known,
            None => redirects.look_up(domain, &slug).await?,
        };
        if let Some(target) = known {
            return Ok(Some((slug, target)));
        }
    }
    Ok(None)
}

/// 302 to where it leads, when its event is written; what has expired leads where broken links do.
/// `None`: nothing is stored.
pub(super) fn answer(x: &Exchange<'_>, stored: Meant<'_>) -> Option<(Reply, Option<Appending>)> {
    let (slug, target) = stored?;
    // What is stored was checked, and stays a destination.
    let destination = Destination::new(target.url()).ok()?;
    let killed = kill::hit(x, x.entry.tenant(), None, &destination);
    if target.is_expired(x.now) || leads_in_circles(x, &destination) {
        let reply = killed.map_or_else(|| click::fallback(x), |_| kill::warning(x));
        return Some((reply, None));
    }
    let event = record::redirect(x, &slug, target.url(), killed);
    let reply = match killed {
        Some(_) => kill::warning(x),
        None => reply::redirect(StatusCode::FOUND, target.location()),
    };
    Some((reply, Some(event)))
}

/// Whether a stored redirect comes back to its own host, or to a link on any domain served here.
fn leads_in_circles(x: &Exchange<'_>, destination: &Destination<'_>) -> bool {
    destination.has_host(x.entry.name.as_str())
        || points_to_link(destination, &x.settings.prefix, |host| x.is_served(host))
}
