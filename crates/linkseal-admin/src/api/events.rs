//! `GET /v1/events`: this node's events as they are written, as server-sent events (WHATWG HTML
//! §9.2), for dashboards and for debugging; platforms take them from a sink.
//!
//! Each has `boot:seq` as its id: anyone who comes back with it as `Last-Event-ID` misses nothing that
//! the journal still has, also over a restart of the edge. A reader that is slow holds up no one
//! and is held up by no one: what it gets is read from the journal when it takes it.

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

use crate::Context;
use crate::auth::Caller;
use crate::endpoint::{Content, Endpoint};
use crate::input::{self, Params};
use crate::problem::Problem;
use crate::scope::Reach;
use crate::streams::{Bounds, Permit};

/// Streams at a time: each reads the journal on its own.
pub(crate) const EVENT_STREAMS: Bounds = Bounds {
    all: 32,
    tenants: 24,
    token: 6,
    operator: 12,
};
/// How often something is sent, so that proxies and readers see that the stream lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What a stream begins with: it shows that it is open, and when to come back after a break.
const BEGIN: &str = ": linkseal events\nretry: 2000\n\n";
const MEDIA: &str = "text/event-stream";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::new(
            MethodFilter::GET,
            "/v1/events",
            Role::Viewer,
            "This node's events as they come; Last-Event-ID goes on after an earlier one.",
            follow,
        )
        .reach(Reach::Narrowed)
        .query::<Filter>()
        .answers(StatusCode::OK, Content::Text(MEDIA), "A stream without an end."),
    ]
}

/// Which events are wanted.
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
    /// Only events of the tenant that the token is of. `None`: of all.
    #[serde(skip)]
    tenant: Option<String>,
}

/// What a filter looks at.
#[derive(Deserialize)]
struct Looked<'j> {
    #[serde(rename = "type")]
    kind: &'j str,
    domain: Option<&'j str>,
    /// Anything may stand in it, escaped.
    #[serde(borrow)]
    tenant: Option<Cow<'j, str>>,
    verdict: Option<Verdict<'j>>,
}

#[derive(Deserialize)]
struct Verdict<'j> {
    class: &'j str,
}

impl Filter {
    /// Refuses what could match nothing, and takes names as they are in events.
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

    fn takes(&self, json: &[u8]) -> bool {
        if self.domain.is_none() && self.kind.is_none() && self.class.is_none() && self.tenant.is_none() {
            return true;
        }
        let Ok(event) = serde_json::from_slice::<Looked<'_>>(json) else {
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
    let permit = context.event_streams.begin(&context, &caller)?;
    let follower = match headers.get("last-event-id").filter(|v| !v.is_empty()) {
        None => context.journal.follow(None),
        Some(last) => {
            let place = last.to_str().ok().and_then(place);
            let (boot, seq) = place.ok_or_else(|| {
                Problem::invalid("Last-Event-ID: give the id of an event of this stream as it is, which is boot:seq")
            })?;
            let journal = context.journal.clone();
            let resumed = context.tasks.spawn_blocking(move || journal.resume(boot, seq)).await;
            resumed.map_err(io::Error::other).flatten().map_err(|error| {
                tracing::error!(%error, "the journal cannot be read for an event stream");
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

/// Boot and sequence number from an id. `None`: it is none.
fn place(id: &str) -> Option<(Uuid, u64)> {
    let (boot, seq) = id.split_once(':')?;
    Some((Uuid::try_parse(boot).ok()?, seq.parse().ok()?))
}

type Next = Pin<Box<dyn Future<Output = (Follower, io::Result<Vec<Record>>)> + Send>>;

/// A read owns its follower, because it must not be broken off when a keep-alive is due.
fn next(mut follower: Follower) -> Next {
    Box::pin(async move {
        let read = follower.next().await;
        (follower, read)
    })
}

/// Where a stream's body comes from.
struct Source {
    next: Next,
    filter: Filter,
    context: Arc<Context>,
    begun: bool,
    permit: Permit,
}

impl Source {
    /// The next part of the body. `None`: the edge stops, the token no longer lets in to this, or
    /// the journal cannot be read.
    async fn chunk(mut self) -> Option<(Result<Bytes, io::Error>, Self)> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some((Ok(BEGIN.into()), self));
        }
        let context = Arc::clone(&self.context);
        let keep_alive = tokio::time::sleep(KEEP_ALIVE);
        tokio::pin!(keep_alive);
        loop {
            // Made before the look: no reload falls between.
            let reloaded = context.reloaded.notified();
            if !self.permit.holds(&context) {
                return None;
            }
            let (follower, read) = tokio::select! {
                () = context.tasks.stopping() => return None,
                () = reloaded => continue,
                () = &mut keep_alive => return Some((Ok(": \n\n".into()), self)),
                read = &mut self.next => read,
            };
            // It may have been reloaded while the read was waited for.
            if !self.permit.holds(&context) {
                return None;
            }
            let records = read
                .inspect_err(|error| tracing::error!(%error, "an event stream broke off: the journal cannot be read"))
                .ok()?;
            self.next = next(follower);
            let mut out = Vec::new();
            for record in records.iter().filter(|r| self.filter.takes(&r.json)) {
                out.extend_from_slice(format!("id: {}:{}\ndata: ", record.boot, record.seq).as_bytes());
                // An event is one line.
                out.extend_from_slice(&record.json);
                out.extend_from_slice(b"\n\n");
            }
            if !out.is_empty() {
                return Some((Ok(out.into()), self));
            }
        }
    }
}
