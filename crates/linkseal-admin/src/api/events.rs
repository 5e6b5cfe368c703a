//! `GET /v1/events`: this node's events as they are written, as server-sent events (WHATWG HTML
//! §9.2), for dashboards and debugging; platforms use a sink.
//!
//! The id of an event is `boot:seq`. A client that resumes with it as `Last-Event-ID` misses nothing
//! that the journal still has, even across a restart of the edge. Streams read from the journal at the
//! client's pace, so a slow client delays no other.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::routing::MethodFilter;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use linkseal_config::admin::Role;
use linkseal_domain::DomainName;
use linkseal_event::verdict::Class;
use linkseal_event::{EventType, Follower, Record};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::access::Caller;
use crate::context::Context;
use crate::endpoint::{Content, Endpoint};
use crate::input::{self, Params};
use crate::limits::streams::{Permit, StreamLimits};
use crate::problem::Problem;
use crate::scope::Reach;

/// Each stream reads the journal on its own.
pub(crate) const EVENT_STREAMS: StreamLimits = StreamLimits {
    total: 32,
    tenants: 24,
    per_tenant_token: 6,
    per_fleet_token: 12,
};
/// How often a comment is sent on an idle stream, so that proxies do not close it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The beginning of a stream: shows that it is open, and sets the reconnection time in milliseconds.
const BEGIN: &str = ": linkseal events\nretry: 2000\n\n";
const MEDIA: &str = "text/event-stream";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/events",
            Role::Viewer,
            "This node's events as they are written; Last-Event-ID resumes after an earlier one.",
            follow,
        )
        .reach(Reach::Narrowed)
        .query::<Filter>()
        .answers(
            StatusCode::OK,
            Content::Text(MEDIA),
            "A stream of server-sent events without an end.",
        ),
    ]
}

/// Which events to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Only events of this domain.
    #[schemars(length(max = 253), extend("format" = "hostname"))]
    domain: Option<String>,
    /// Only events of this type.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = EventType::ALL.map(EventType::as_str)))]
    kind: Option<String>,
    /// Only events whose verdict is of this class.
    #[schemars(extend("enum" = Class::ALL.map(Class::as_str)))]
    class: Option<String>,
    /// The tenant that the token is limited to.
    #[serde(skip)]
    tenant: Option<String>,
}

/// The members that a filter reads.
#[derive(Deserialize)]
struct Filtered<'j> {
    #[serde(rename = "type")]
    kind: &'j str,
    domain: Option<&'j str>,
    /// Owned if it contains escapes.
    #[serde(borrow)]
    tenant: Option<Cow<'j, str>>,
    verdict: Option<Verdict<'j>>,
}

#[derive(Deserialize)]
struct Verdict<'j> {
    class: &'j str,
}

impl Filter {
    /// Refuses filters that could never match, and normalizes the name to the form in events.
    fn checked(self) -> Result<Self, Problem> {
        let domain = self.domain.map(|d| DomainName::parse(&d)).transpose();
        let domain = domain.map_err(|e| Problem::invalid_name("domain", e))?;
        if let Some(kind) = &self.kind {
            kind.parse::<EventType>()
                .map_err(|e| Problem::invalid(format!("type: {e}")))?;
        }
        if let Some(class) = &self.class
            && Class::parse(class).is_none()
        {
            let all = Class::ALL.map(Class::as_str).join(", ");
            return Err(Problem::invalid(format!("class: one of {all}")));
        }
        Ok(Self {
            domain: domain.map(|d| d.as_str().to_owned()),
            ..self
        })
    }

    fn matches(&self, json: &[u8]) -> bool {
        if self.domain.is_none() && self.kind.is_none() && self.class.is_none() && self.tenant.is_none() {
            return true;
        }
        let Ok(event) = serde_json::from_slice::<Filtered<'_>>(json) else {
            return false;
        };
        let class = event.verdict.map(|v| v.class);
        self.kind.as_deref().is_none_or(|k| k == event.kind)
            && self
                .tenant
                .as_deref()
                .is_none_or(|t| event.tenant.as_deref() == Some(t))
            && self.domain.as_deref().is_none_or(|d| event.domain == Some(d))
            && self.class.as_deref().is_none_or(|c| class == Some(c))
    }
}

async fn follow(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Params(filter): Params<Filter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut filter = filter.checked()?;
    filter.tenant = caller.scope().tenant().map(str::to_owned);
    let permit = context.open_stream(&context.event_streams, &caller)?;
    let follower = match headers.get("last-event-id").filter(|v| !v.is_empty()) {
        None => context.journal.follow(None),
        Some(last) => {
            let id = last.to_str().ok().and_then(parse_id);
            let (boot, seq) = id.ok_or_else(|| {
                Problem::invalid("Last-Event-ID: must be the id of an event of this stream, boot:seq")
            })?;
            let journal = context.journal.clone();
            let resumed = context.tasks.spawn_blocking(move || journal.resume(boot, seq)).await;
            resumed.map_err(io::Error::other).flatten().map_err(|error| {
                tracing::error!(%error, "reading the journal for an event stream failed; answered 503");
                Problem::unavailable("the journal cannot be read")
            })?
        }
    };
    let source = Source {
        next: next(follower),
        filter,
        context,
        begun: false,
        permit,
    };
    Ok(input::stream(MEDIA, stream::unfold(source, Source::chunk)))
}

fn parse_id(id: &str) -> Option<(Uuid, u64)> {
    let (boot, seq) = id.split_once(':')?;
    Some((Uuid::try_parse(boot).ok()?, seq.parse().ok()?))
}

type Next = Pin<Box<dyn Future<Output = (Follower, io::Result<Vec<Record>>)> + Send>>;

/// A read owns its follower, because it must not be cancelled when a keep-alive is due.
fn next(mut follower: Follower) -> Next {
    Box::pin(async move {
        let read = follower.next().await;
        (follower, read)
    })
}

/// Produces the body of a stream.
struct Source {
    next: Next,
    filter: Filter,
    context: Arc<Context>,
    begun: bool,
    permit: Permit,
}

impl Source {
    /// The next part of the body. The stream ends when the node stops, the token no longer grants it,
    /// or the journal cannot be read.
    async fn chunk(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some((Ok(BEGIN.into()), self));
        }
        let context = Arc::clone(&self.context);
        let keep_alive = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(keep_alive);
        loop {
            // Created before the check, so that no reload is missed in between.
            let reloaded = context.reloaded.notified();
            if !context.still_grants(&self.permit) {
                return None;
            }
            let (follower, read) = tokio::select! {
                () = context.tasks.stopping() => return None,
                () = reloaded => continue,
                () = &mut keep_alive => return Some((Ok(": \n\n".into()), self)),
                read = &mut self.next => read,
            };
            // There may have been a reload during the read.
            if !context.still_grants(&self.permit) {
                return None;
            }
            let records = read
                .inspect_err(|error| tracing::error!(%error, "reading the journal failed; ended an event stream"))
                .ok()?;
            self.next = next(follower);
            let mut out = Vec::new();
            for record in records.iter().filter(|r| self.filter.matches(&r.json)) {
                out.extend_from_slice(format!("id: {}:{}\ndata: ", record.boot, record.seq).as_bytes());
                // The JSON of an event contains no line break.
                out.extend_from_slice(&record.json);
                out.extend_from_slice(b"\n\n");
            }
            if !out.is_empty() {
                return Some((Ok(out.into()), self));
            }
        }
    }
}
