//! From a request to the event that is written down before it is answered.

use http::Version;

use super::respond::Exchange;
use crate::event::{Appending, Client, Event, EventType, Request};
use crate::link::{TokenBody, VerifiedToken};

/// Hands the event of a verified link to the journal.
pub(super) fn link(x: &Exchange<'_>, token: &VerifiedToken<'_>) -> Appending {
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
    let since = x.now.saturating_since(token.issued_at);
    let judged = x.session.context.rules.judge(kind, x.method, x.headers, Some(since));
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
