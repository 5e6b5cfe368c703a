//! Clicks: to the destination in the signed link, and nowhere else.

use http::{HeaderValue, StatusCode};
use linkseal_event::Appending;
use linkseal_link::{Kind, TokenBody, VerifiedToken};

use super::exchange::Exchange;
use super::reply::{self, Reply};
use super::{fallback, record, verify};

/// 302 to the destination, once its event is written. A killed link gets a warning, and an event too;
/// one that is too old gets the fallback. `None` if the token is not right.
pub(super) fn answer(x: &Exchange<'_>, tenant: Option<&str>, token: &str) -> Option<(Reply, Option<Appending>)> {
    verify::verified(x, Kind::Click, tenant, token, |token| {
        Some(follow(x, token).unwrap_or_else(|| (fallback::redirect(x), None)))
    })
}

/// To the link's destination. `None` if it may not lead there.
fn follow(x: &Exchange<'_>, token: &VerifiedToken<'_>) -> Option<(Reply, Option<Appending>)> {
    let TokenBody::Click { destination, .. } = token.body else {
        return None;
    };
    let killed = x.kill_switch(token.tenant, Some(token.message_id), &destination);
    // A link to its own host could redirect in a loop.
    if destination.has_host(x.entry.name.as_str()) || verify::is_too_old(x, token) {
        return killed.map(|_| (x.killed(), None));
    }
    if killed.is_some() {
        return Some((x.killed(), Some(record::link(x, token, killed))));
    }
    let location = HeaderValue::from_str(&destination.location()).ok()?;
    Some((
        reply::redirect(StatusCode::FOUND, location),
        Some(record::link(x, token, None)),
    ))
}
