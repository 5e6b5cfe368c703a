//! From a request to the event that is written down before it is answered.

use std::time::Duration;

use http::Version;

use super::respond::Exchange;
use crate::event::{Appending, Client, Event, EventType, Request};
use crate::link::{KillKind, TokenBody, VerifiedToken};

/// Hands the event of a verified link to the journal. `killed`: the switch for which a warning was
/// shown; `None` when it was served.
pub(super) fn link(x: &Exchange<'_>, token: &VerifiedToken<'_>, killed: Option<KillKind>) -> Appending {
    let kind = match token.body {
        TokenBody::Open => EventType::Open,
        TokenBody::Click { .. } => EventType::Click,
        TokenBody::Unsubscribe { .. } => EventType::Unsubscribe,
    };
    let mut event = Event::new(kind, x.now, x.entry.name.as_str(), token.tenant);
    event.message_id = Some(token.message_id);
    event.issued_at = Some(token.issued_at);
    match token.body {
        TokenBody::Open => {}
        TokenBody::Click { link, destination } => {
            event.link = Some(link);
            event.url = Some(destination.as_str());
        }
        TokenBody::Unsubscribe { list } => event.list = Some(list),
    }
    event.killed = killed.map(KillKind::as_str);
    let since = x.now.saturating_since(token.issued_at);
    begin(x, event, Some(since))
}

/// Hands the event of a stored redirect to the journal.
pub(super) fn redirect(x: &Exchange<'_>, slug: &str, url: &str, killed: Option<KillKind>) -> Appending {
    let domain = x.entry.name.as_str();
    let mut event = Event::new(EventType::Redirect, x.now, domain, x.entry.tenant());
    event.slug = Some(slug);
    event.url = Some(url);
    event.killed = killed.map(KillKind::as_str);
    begin(x, event, None)
}

/// Hands the event of a request that a back end answered to the journal. It tells the rule, not the
/// path: that may be another system's token.
pub(super) fn upstream(x: &Exchange<'_>, authority: &str, prefix: &str) -> Appending {
    let scheme = if x.session.connection.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let url = format!("{scheme}://{authority}{prefix}");
    let mut event = Event::new(EventType::Upstream, x.now, x.entry.name.as_str(), x.entry.tenant());
    event.url = Some(&url);
    begin(x, event, None)
}

/// Adds who asked, how, and what to think of it. `since_issue`: `None` without a link of ours.
fn begin<'e>(x: &'e Exchange<'_>, mut event: Event<'e>, since_issue: Option<Duration>) -> Appending {
    let judged = x
        .session
        .context
        .rules
        .judge(event.kind, x.method, x.headers, since_issue);
    let header = |name| x.headers.get(name).map(http::HeaderValue::as_bytes);
    event.client = Some(Client {
        ip: Some(x.session.connection.client.ip()),
        user_agent: header(http::header::USER_AGENT),
        referer: header(http::header::REFERER),
        proxy: judged.proxy,
    });
    event.request = Some(Request {
        method: x.method.as_str(),
        version: version(x.version),
        tls: x.session.connection.tls.as_ref().map(|tls| tls.version),
    });
    event.verdict = Some(judged.verdict);
    x.session.context.journal.begin(&event)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
