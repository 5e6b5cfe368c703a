//! Upstream rules: existing back ends behind this edge (docs/specification.md §3 and §4).
//!
//! Requests that are none of the edge's own, and links whose token does not verify, go to the rule
//! that matches ([`Upstreams`], `rules`). What goes out is rewritten from the parsed request
//! (`request`): one length, no header that is for one connection only, and no statement of the client
//! about itself. Bodies stream both ways (`upload`, `download`, `pipe`), over pooled connections
//! (`pool`, `connect`; `places` bounds them) while the back end is healthy (`health`). `super::forward` puts it together.
//!
//! Left out on purpose: protocol upgrades (a WebSocket handshake is answered with 501, other
//! upgrades are ignored, as RFC 9110 §7.8 allows), TRACE, trailers.

pub(super) mod connect;
pub(super) mod download;
mod health;
pub(super) mod metrics;
mod pipe;
mod places;
pub(super) mod pool;
pub(super) mod request;
pub(super) mod rules;
pub(super) mod upload;

use std::time::Duration;

use http::Uri;
use rustls::pki_types::CertificateDer;

pub(super) use download::Download;
pub use metrics::Metrics;
pub(super) use pipe::DownloadError;
pub(super) use rules::Rule;
pub use rules::Upstreams;

use linkseal_domain::DomainName;

/// One rule of the configuration.
#[derive(Clone, Debug)]
pub struct RuleSettings {
    /// `None`: for all hosts.
    pub host: Option<DomainName>,
    /// For paths with this prefix, compared byte by byte.
    pub prefix: String,
    pub origin: Origin,
    /// From the end of a request to the head of its response.
    pub response_timeout: Duration,
    /// Without progress, while a body is transferred.
    pub idle_timeout: Duration,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Whether requests are recorded as events.
    pub events: bool,
}

/// A back end and how it is reached. Rules with equal ones share their connections, also across
/// reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Scheme, host and port.
    pub to: Uri,
    /// The only CAs trusted for it. Empty: the public CAs.
    pub trust: Vec<CertificateDer<'static>>,
    pub http2: Http2,
    /// For making a connection, TLS included.
    pub connect_timeout: Duration,
    /// Requests at one time.
    pub max_concurrent: usize,
    /// How many of them one client network (a /24 or /48) may have; more wait a while.
    pub max_per_network: usize,
}

/// Which version of HTTP is spoken with a back end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Http2 {
    /// HTTP/2 if the back end agrees by ALPN (RFC 7301), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/2 without negotiation (RFC 9113 §3.3).
    PriorKnowledge,
    /// HTTP/1.1.
    Off,
}

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("upstream.to {to}: {reason}")]
pub struct UpstreamError {
    pub to: String,
    pub reason: String,
}
