//! Whether the host of a request is served here, on the connection that it came on.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use linkseal_domain::DomainName;
use linkseal_domain::registry::Entry;
use linkseal_domain::ssl::Reason;
use linkseal_link::encoded_target;

use super::context::Settings;
use super::exchange::Head;
use super::forwarded::came_over_https;
use super::host::Host;
use super::reply::{self, Reply};
use super::router::{Route, RouteLabel};
use super::session::Session;
use super::well_known;
use crate::TlsInfo;

/// What becomes of a request by its host.
pub(super) enum Gate {
    /// It is served as this domain.
    Serve(Arc<Entry>),
    Answered(RouteLabel, Reply),
    /// Admission decides.
    Ask(DomainName),
}

impl Gate {
    fn refuse(status: StatusCode) -> Self {
        Self::Answered(RouteLabel::Refused, reply::empty(status))
    }

    pub(super) fn of(session: &Session, settings: &Settings, head: &Head) -> Self {
        match (Host::of(&head.parts), &session.connection.tls) {
            (Err(_), _) => Self::refuse(StatusCode::BAD_REQUEST),
            (Ok(_), Some(tls)) if tls.challenges_only => Self::refuse(StatusCode::NOT_FOUND),
            (Ok(host), Some(tls)) => Self::over_tls(session, settings, head.route(), tls, host),
            (Ok(Some(host)), None) => Self::over_http(session, settings, head, host),
            (Ok(None), None) => Self::refuse(StatusCode::NOT_FOUND),
        }
    }

    /// HTTPS: the host must be the one whose certificate was presented.
    fn over_tls(
        session: &Session,
        settings: &Settings,
        route: Route<&str>,
        tls: &TlsInfo,
        host: Option<Host<'_>>,
    ) -> Self {
        let right = match (&tls.name, host) {
            (Some(name), Some(host)) => {
                host.is(name.as_str())
                    || (route == Route::Healthz && host.is_address() && settings.names.contains(name.as_str()))
            }
            (None, Some(host)) => settings.names.iter().any(|own| host.is(own.as_str())) || host.is_address(),
            // HTTP/1.0 names no host: the certificate decides.
            (_, None) => true,
        };
        if !right {
            return Self::refuse(StatusCode::MISDIRECTED_REQUEST);
        }
        // Read first: what is missing after that is not there.
        let is_loaded = session.context.registry.is_loaded();
        // The entry as it is now: a connection may outlive a change of tenant, or the domain itself.
        match session.context.registry.get(tls.entry.name.as_str()) {
            Some(entry) => Self::Serve(entry),
            None if is_loaded => Self::refuse(StatusCode::MISDIRECTED_REQUEST),
            None => Self::Serve(Arc::clone(&tls.entry)),
        }
    }

    /// Port 80: to HTTPS where that works, else what must not fail until it does.
    fn over_http(session: &Session, settings: &Settings, head: &Head, host: Host<'_>) -> Self {
        let context = &session.context;
        let is_address = host.is_address();
        if head.route() == Route::Healthz
            && (is_address || host.lower(|name| settings.names.contains(name)) == Some(true))
        {
            return Self::Answered(RouteLabel::Healthz, well_known::healthz(context, &head.parts.method));
        }
        if is_address {
            return Self::refuse(StatusCode::NOT_FOUND);
        }
        // Read first: what is missing after that is not there.
        let is_loaded = context.registry.is_loaded();
        if let Some(entry) = host.lower(|name| context.registry.get(name)).flatten() {
            return Self::of_domain(session, settings, head, entry);
        }
        // All admitted names are in memory once the registry is loaded; until then admission is asked.
        match DomainName::parse(host.as_str()) {
            Ok(name) if !is_loaded => Self::Ask(name),
            _ => Self::refuse(StatusCode::NOT_FOUND),
        }
    }

    /// Port 80, for a domain that is known.
    pub(super) fn of_domain(session: &Session, settings: &Settings, head: &Head, entry: Arc<Entry>) -> Self {
        if entry.is_issued(session.context.clock.now()) {
            if came_over_https(&head.parts.headers) {
                return Self::Serve(entry);
            }
            return Self::Answered(RouteLabel::ToHttps, to_https(settings, &entry, head));
        }
        if entry.http_while_pending && entry.reason != Reason::Denied {
            return Self::Serve(entry);
        }
        Self::refuse(StatusCode::NOT_FOUND)
    }
}

/// 302 for GET and HEAD, as old clients follow it too (308 they show as an error); 308 for all else, as
/// it keeps the method: a one-click POST to an `http` link must arrive as a POST.
fn to_https(settings: &Settings, entry: &Entry, head: &Head) -> Reply {
    let target = head.parts.uri.path_and_query().map_or("/", |p| p.as_str());
    let port = match settings.public_https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let status = match head.parts.method {
        Method::GET | Method::HEAD => StatusCode::FOUND,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    match HeaderValue::try_from(format!("https://{}{port}{}", entry.name, encoded_target(target))) {
        Ok(location) if target.starts_with('/') => reply::redirect(status, location),
        // `OPTIONS *` and such.
        _ => reply::empty(StatusCode::NOT_FOUND),
    }
}
