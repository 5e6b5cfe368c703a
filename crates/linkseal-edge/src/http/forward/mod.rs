//! One request to a back end ([`super::upstream`]), from its rule to the reply.

mod location;
mod response;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;
use linkseal_domain::registry::Entry;
use tokio::time::{Instant, sleep, sleep_until};

use self::location::is_killed;
use super::activity::BackendWait;
use super::exchange::{Exchange, Head};
use super::forwarded::came_over_https;
use super::host::Host;
use super::record;
use super::reply::{self, Reply};
use super::session::{Session, if_arrived};
use super::upstream::connect::ConnectError;
use super::upstream::download::{Download, Source};
use super::upstream::metrics::Outcome;
use super::upstream::pool::{Link, Sent};
use super::upstream::request::{ALLOW, Outgoing, Refusal, Seen};
use super::upstream::rules::Rule;
use super::upstream::upload::{Phase, Progress, ReadFirst, Upload, UploadError};

/// Pause before the one retry of a failed connection: a restart often takes no longer.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Passes a request to the back end of a rule, and the response back.
pub(super) async fn forward(
    session: Rc<Session>,
    head: Head,
    body: Incoming,
    entry: Arc<Entry>,
    rule: Arc<Rule>,
) -> Reply {
    // The back end has time limits of its own: the client's do not run meanwhile.
    let _waiting = BackendWait::new(&session.activity);
    let authority = authority(&session, &head, &entry);
    let parts = &head.parts;
    let uncertain = parts.version <= Version::HTTP_11 && parts.headers.contains_key(http::header::TRANSFER_ENCODING);
    let (mut reply, outcome) = match attempt(&session, &head, body, &authority, &entry, &rule).await {
        Ok(reply) if reply.status().is_server_error() => (reply, Outcome::Failed),
        Ok(reply) => (reply, Outcome::Answered),
        Err(failure) => failure.reply(&head, &rule),
    };
    if uncertain {
        response::last(&mut reply);
    }
    rule.counters.count(outcome);
    reply
}

async fn attempt(
    session: &Rc<Session>,
    head: &Head,
    body: Incoming,
    authority: &str,
    entry: &Entry,
    rule: &Rule,
) -> Result<Reply, Failure> {
    let (mut upload, progress) = Upload::new(body, rule.max_body);
    let outgoing = {
        let settings = session.context.settings.load();
        let seen = Seen {
            client: session.connection.client.ip(),
            // Told `http`, a back end would redirect to HTTPS, and the CDN would come back over HTTP: a loop.
            https: session.connection.tls.is_some() || came_over_https(&head.parts.headers),
            host: authority,
            edge: settings.names.name.as_str(),
        };
        Outgoing::new(&head.parts, upload.length(), rule.max_body, &seen).map_err(Failure::Refused)?
    };
    read_first(session, rule, &mut upload).await?;
    let client = session.connection.client.ip();
    let place = rule.backend.places.take(client).await.ok_or(Failure::Busy)?;
    let uploading = upload
        .is_to_come()
        .then(|| rule.backend.places.yields(client, Arc::<Progress>::clone(&progress)));
    let (response, link) = exchange(rule, &outgoing, upload, &progress).await?;
    drop(uploading);
    let (answered, body) = response.into_parts();
    let warning = {
        let settings = session.context.settings.load();
        let x = Exchange::new(session, &settings, head, entry);
        is_killed(&x, &answered).then(|| x.killed())
    };
    let source = Source {
        body,
        backend: Arc::clone(&rule.backend),
        link: (!outgoing.has_odd_body()).then_some(link),
        idle: rule.idle_timeout,
        place,
    };
    let reply = match warning {
        Some(warning) => reply::for_method(warning, &head.parts.method),
        None => {
            let body = Download::new(source, &session.activity);
            response::passed_on(answered, &head.parts.method, body).ok_or(Failure::NotAsked)?
        }
    };
    if rule.events {
        let event = {
            let settings = session.context.settings.load();
            let x = Exchange::new(session, &settings, head, entry);
            record::upstream(&x, authority, &rule.prefix)
        };
        // Serving goes before counting: the journal has counted and logged what it could not take.
        let _ = event.written().await;
    }
    Ok(reply)
}

/// Reads the beginning of the body before a place at the back end is taken.
async fn read_first(session: &Rc<Session>, rule: &Rule, upload: &mut Upload) -> Result<(), Failure> {
    let mut read = pin!(upload.read_first(rule.idle_timeout));
    let read = match if_arrived(read.as_mut()).await {
        Some(read) => read,
        None => {
            let waits = session.wait_for_client().ok_or(Failure::Busy)?;
            tokio::select! {
                biased;
                read = read => read,
                () = waits.taken_away() => return Err(Failure::Busy),
            }
        }
    };
    let status = match read {
        Ok(()) => return Ok(()),
        Err(ReadFirst::Late) => StatusCode::REQUEST_TIMEOUT,
        Err(ReadFirst::Ended(UploadError::TooLong)) => StatusCode::PAYLOAD_TOO_LARGE,
        Err(ReadFirst::Ended(UploadError::BrokenOff(_))) => StatusCode::BAD_REQUEST,
    };
    Err(Failure::Refused(Refusal::Status(status)))
}

/// Sends a request, if need be again, until there is a response or an error.
async fn exchange(
    rule: &Rule,
    outgoing: &Outgoing,
    upload: Upload,
    progress: &Arc<Progress>,
) -> Result<(Response<Incoming>, Link), Failure> {
    let mut body = upload;
    let (mut fresh, mut connected) = (false, false);
    let scheme = rule.backend.origin.to.scheme().unwrap_or(&Scheme::HTTP);
    loop {
        let mut link = match rule.backend.link(fresh).await {
            Ok(link) => link,
            Err(ConnectError::Tcp(_)) if !connected => {
                connected = true;
                sleep(TRY_AGAIN).await;
                continue;
            }
            Err(error) => return Err(Failure::Unreachable(error)),
        };
        let h2 = link.is_h2().then_some(scheme);
        let request = outgoing.request(h2, body).map_err(Failure::Refused)?;
        progress.restart();
        let mut error = match wait(link.send(request), progress, rule).await? {
            Ok(response) => return Ok((response, link)),
            Err(error) => error,
        };
        match progress.phase() {
            Phase::TooLong => return Err(Failure::Refused(Refusal::Status(StatusCode::PAYLOAD_TOO_LARGE))),
            Phase::BrokenOff => return Err(Failure::Refused(Refusal::Status(StatusCode::BAD_REQUEST))),
            _ => {}
        }
        // The request was not sent: a pooled connection was dead.
        let again = match error.take_message() {
            // Only once: a failure on a new connection is the back end's.
            _ if !link.reused || fresh => None,
            Some(unsent) => Some(unsent.into_body()),
            None if outgoing.may_be_repeated() && is_cut(error.error()) => Some(Upload::none(progress)),
            None => None,
        };
        body = again.ok_or_else(|| Failure::Broken(error.into_error()))?;
        fresh = true;
    }
}

/// Waits for the head of a response, as long as there is progress.
async fn wait(
    mut sent: std::pin::Pin<Box<dyn Future<Output = Sent> + Send>>,
    progress: &Progress,
    rule: &Rule,
) -> Result<Sent, Failure> {
    let deadline = || progress.deadline(rule.response_timeout, rule.idle_timeout);
    loop {
        let until = deadline();
        tokio::select! {
            biased;
            sent = &mut sent => return Ok(sent),
            () = progress.displaced() => return Err(Failure::Busy),
            () = sleep_until(until) => {}
        }
        if deadline() <= Instant::now() {
            return Err(match progress.phase() {
                Phase::FromClient => Failure::Refused(Refusal::Status(StatusCode::REQUEST_TIMEOUT)),
                _ => Failure::Timeout,
            });
        }
    }
}

/// Whether the connection ended before the head of a response was complete.
fn is_cut(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|e| e.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || io.is_some()
}

/// Why there is no response.
enum Failure {
    Refused(Refusal),
    /// Too many requests are in progress.
    Busy,
    Unreachable(ConnectError),
    Timeout,
    /// The connection broke, or the response is not HTTP.
    Broken(hyper::Error),
    /// A response to something that was not requested (101).
    NotAsked,
}

impl Failure {
    fn reply(self, head: &Head, rule: &Rule) -> (Reply, Outcome) {
        let (status, outcome) = match &self {
            Self::Refused(Refusal::Status(status)) => return (reply::empty(*status), Outcome::Refused),
            Self::Refused(Refusal::Method) => return (reply::method_not_allowed(ALLOW), Outcome::Refused),
            Self::Refused(Refusal::Loop) => (StatusCode::LOOP_DETECTED, Outcome::Loop),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, Outcome::Busy),
            Self::Unreachable(ConnectError::Down) => (StatusCode::BAD_GATEWAY, Outcome::Down),
            Self::Unreachable(ConnectError::Timeout(_)) => (StatusCode::GATEWAY_TIMEOUT, Outcome::Unreachable),
            Self::Unreachable(_) => (StatusCode::BAD_GATEWAY, Outcome::Unreachable),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, Outcome::Timeout),
            Self::Broken(_) | Self::NotAsked => (StatusCode::BAD_GATEWAY, Outcome::Broken),
        };
        let why: &dyn std::fmt::Display = match &self {
            Self::Unreachable(error) => error,
            Self::Broken(error) => error,
            _ => &"",
        };
        tracing::debug!(upstream = %rule.backend.origin.to, status = status.as_u16(), result = outcome.as_str(), "{why}");
        (
            response::failed(status, &head.parts.headers, &head.parts.method),
            outcome,
        )
    }
}

/// The host that the back end sees: in lower case, without a trailing dot, with the public port unless it
/// is the scheme's default. The client's port is dropped, as back ends would put it into their links.
fn authority(session: &Session, head: &Head, entry: &Entry) -> String {
    let Some(host) = Host::of(&head.parts).ok().flatten() else {
        return entry.name.as_str().to_owned();
    };
    let name = host.as_str().to_ascii_lowercase();
    let port = session.context.settings.load().public_https_port;
    if session.connection.tls.is_some() && port != 443 {
        return format!("{name}:{port}");
    }
    name
}
