//! Stored redirects: `/r/{slug}`, of the domain or of all domains.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use linkseal_domain::links::{LookupUnavailable, Target};
use linkseal_event::Appending;
use linkseal_link::{Destination, points_to_link, slugs_in};

use super::exchange::Exchange;
use super::reply::{self, Reply};
use super::session::Session;
use super::{fallback, record};

/// How long a request waits for its network's turn to look a slug up.
const TURN: Duration = Duration::from_secs(1);

/// What memory holds for the text of a path: a slug, perhaps with something appended to it. `None` if
/// it must be looked up ([`look_up`]).
pub(super) fn cached<'p>(x: &Exchange<'_>, text: &'p str) -> Option<Meant<'p>> {
    for slug in slugs_in(text) {
        if let Some(target) = x.session.context.redirects.cached(x.entry.name.as_str(), &slug)? {
            return Some(Some((slug, target)));
        }
    }
    Some(None)
}

/// The slug that a path means, and what is stored under it.
pub(super) type Meant<'p> = Option<(Cow<'p, str>, Arc<Target>)>;

/// What is stored under a slug that is not in memory, within bounds of time and of the client's
/// network.
pub(super) async fn look_up<'p>(
    session: &Session,
    domain: &str,
    text: &'p str,
) -> Result<Meant<'p>, LookupUnavailable> {
    let turn = session.context.lookups.take(session.connection.client.ip());
    match tokio::time::timeout(TURN, turn).await {
        Ok(Some(_turn)) => stored(session, domain, text).await,
        _ => Err(LookupUnavailable),
    }
}

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

/// 302 to the stored destination, once its event is written; one that has expired gets the fallback.
/// `None` if nothing is stored.
pub(super) fn answer(x: &Exchange<'_>, stored: Meant<'_>) -> Option<(Reply, Option<Appending>)> {
    let (slug, target) = stored?;
    // It was checked before it was stored.
    let destination = Destination::new(target.url()).ok()?;
    let killed = x.kill_switch(x.entry.tenant(), None, &destination);
    if target.is_expired(x.now) || is_loop(x, &destination) {
        let reply = killed.map_or_else(|| fallback::redirect(x), |_| x.killed());
        return Some((reply, None));
    }
    let event = record::redirect(x, &slug, target.url(), killed);
    let reply = match killed {
        Some(_) => x.killed(),
        None => reply::redirect(StatusCode::FOUND, target.location()),
    };
    Some((reply, Some(event)))
}

/// Whether a stored redirect leads back to its own host, or to a link on a domain served here.
fn is_loop(x: &Exchange<'_>, destination: &Destination<'_>) -> bool {
    destination.has_host(x.entry.name.as_str())
        || points_to_link(destination, &x.settings.prefix, |host| x.is_served(host))
}
