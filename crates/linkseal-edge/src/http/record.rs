//! From a request to its event, which is written before the answer goes out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Version;
use linkseal_base::clock::Timestamp;
use linkseal_event::{Appending, Client, Event, EventType, Request};
use linkseal_link::{KillKind, TokenBody, VerifiedToken};
use uuid::Uuid;

use super::exchange::Exchange;

/// Hands the event of a verified link to the journal. `killed`: the switch that applied, if a warning was
/// shown instead.
pub(super) fn link(x: &Exchange<'_>, token: &VerifiedToken<'_>, killed: Option<KillKind>) -> Appending {
    let kind = match token.body {
        TokenBody::Open => EventType::Open,
        TokenBody::Click { .. } => EventType::Click,
        TokenBody::Unsubscribe { .. } => EventType::Unsubscribe,
    };
    let mut event = Event::new(kind, x.now, x.entry.name.as_str(), token.tenant);
    event.message_id = Some(token.message_id);
    event.issued_at = Some(minted(token));
    match token.body {
        TokenBody::Open => {}
        TokenBody::Click { link, destination } => {
            event.link = Some(link);
            event.url = Some(destination.as_str());
        }
        TokenBody::Unsubscribe { list } => event.list = Some(list),
    }
    event.killed = killed.map(KillKind::as_str);
    let since = x.now.saturating_since(minted(token));
    begin(x, event, Some(since))
}

/// When a link was minted.
pub(super) fn minted(token: &VerifiedToken<'_>) -> Timestamp {
    Timestamp::from_secs(i64::from(token.issued_at))
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

/// Hands the event of a request that a back end answered to the journal. It names the rule, not the path,
/// which may hold another system's token.
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

/// Adds client, request and verdict. `since_issue`: the age of the link, if it is one of ours.
fn begin<'e>(x: &'e Exchange<'_>, mut event: Event<'e>, since_issue: Option<Duration>) -> Appending {
    let recorder = &x.session.context.recorder;
    let judged = recorder
        .classifier()
        .judge(event.kind, x.method(), x.headers(), since_issue);
    let header = |name| x.headers().get(name).map(http::HeaderValue::as_bytes);
    event.client = Some(Client {
        ip: Some(x.session.connection.client.ip()),
        user_agent: header(http::header::USER_AGENT),
        referer: header(http::header::REFERER),
        proxy: judged.proxy,
        network: None,
        opted_out: opted_out(x.headers()),
    });
    event.request = Some(Request {
        method: x.method().as_str(),
        version: version(x.head.parts.version),
        tls: x.session.connection.tls.as_ref().map(|tls| tls.version),
    });
    event.verdict = Some(judged.verdict);
    recorder.record(event)
}

/// Notes a wrong token: mail gateways try a changed one before the right one.
pub(super) fn wrong_token(x: &Exchange<'_>, token: &str) {
    if let Some(message) = claimed_message(token) {
        x.session
            .context
            .recorder
            .note_invalid_token(message, x.session.connection.client.ip(), x.now);
    }
}

/// The message that a token claims, whatever is wrong with the rest of it.
fn claimed_message(token: &str) -> Option<Uuid> {
    /// Characters and bytes that hold kind, key, time and message (22 bytes).
    const TEXT: usize = 32;
    const BYTES: usize = TEXT / 4 * 3;
    /// Offset of the message.
    const AT: usize = 6;
    let mut bytes = [0; BYTES];
    URL_SAFE_NO_PAD.decode_slice(token.get(..TEXT)?, &mut bytes).ok()?;
    bytes
        .get(AT..)
        .and_then(|b| b.first_chunk())
        .copied()
        .map(Uuid::from_bytes)
}

/// Whether a client asked not to be tracked: `DNT` (Tracking Preference Expression) or `Sec-GPC`
/// (Global Privacy Control).
fn opted_out(headers: &http::HeaderMap) -> bool {
    ["dnt", "sec-gpc"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|v| v.as_bytes().trim_ascii() == b"1"))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
