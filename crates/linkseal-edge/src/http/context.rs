//! What answering needs: snapshots that the control plane fills, and the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use linkseal_base::clock::Clock;
use linkseal_domain::EdgeNames;
use linkseal_domain::admission::Admission;
use linkseal_domain::links::{KillSwitches, RedirectCache};
use linkseal_domain::registry::Registry;
use linkseal_event::EventRecorder;
use linkseal_link::LinkKeys;
use linkseal_net::shares::Turns;

use super::challenge_upstream::ChallengeUpstream;
use super::metrics::Metrics;
use super::timeouts::Timeouts;
use super::upstream::Upstreams;
use crate::fair::FairRoom;

/// How long a connection of the reserve may last: a few round trips, as CAs and balancers send their
/// request immediately.
pub const BRIEF: Duration = Duration::from_secs(2);

/// Everything a request may need. One for the whole edge.
pub struct Context {
    pub settings: ArcSwap<Settings>,
    pub registry: Registry,
    /// Decides on port 80 while the registry is not loaded.
    pub admission: Arc<dyn Admission>,
    /// The thumbprint of the ACME account's key (RFC 8555 §8.1), once there is an account.
    pub thumbprint: Arc<ArcSwapOption<String>>,
    /// Answers challenges for which this edge has no order. `None`: the edge answers them.
    pub challenge_upstream: ArcSwapOption<ChallengeUpstream>,
    /// Judges requests, and writes their events before the answer goes out.
    pub recorder: EventRecorder,
    pub redirects: RedirectCache,
    /// Each network's share of redirect look-ups.
    pub lookups: Turns,
    /// Room for requests that wait for their body.
    pub bodies: FairRoom,
    pub kills: KillSwitches,
    pub clock: Clock,
    pub metrics: Metrics,
    /// Whether `/healthz` answers 503.
    pub draining: Arc<AtomicBool>,
    pub timeouts: Arc<Timeouts>,
    /// [`BRIEF`], except in tests.
    pub brief: Duration,
    /// For the fullness, on which idle time-outs depend.
    pub connections: crate::limits::Limits,
    /// The share of memory in use, in percent: when it is short, idle HTTP/2 connections, which keep their
    /// buffers, are closed sooner.
    pub memory_used: Arc<AtomicU8>,
}

/// What a reload replaces, as one snapshot.
pub struct Settings {
    pub names: EdgeNames,
    /// The port in redirects to HTTPS.
    pub public_https_port: u16,
    /// `links.prefix`, without a slash at its end.
    pub prefix: String,
    /// Destination of broken click links. `None`: a 404 page.
    pub fallback_url: Option<String>,
    /// Greatest age of click and open links. `None`: unlimited.
    pub max_age: Option<Duration>,
    pub keys: Arc<LinkKeys>,
    pub upstreams: Upstreams,
}
