//! What answering needs: snapshots that others fill, and the journal that this fills.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use linkseal_base::clock::Clock;
use linkseal_base::shutdown::Tasks;
use linkseal_domain::DomainName;
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

/// How long a connection may last that has a place of the reserve: a few round trips. CAs and balancers
/// send their request at once.
pub const BRIEF: Duration = Duration::from_secs(2);

/// Everything a request may need. One for the whole edge.
pub struct Context {
    /// What a reload replaces.
    pub settings: ArcSwap<Settings>,
    /// The domains that are known.
    pub registry: Registry,
    /// Who is asked on port 80 while the registry is not loaded.
    pub admission: Arc<dyn Admission>,
    /// The thumbprint of the ACME account's key (RFC 8555 §8.1). `None` in it: there is no account yet.
    pub thumbprint: Arc<ArcSwapOption<String>>,
    /// Where challenges without an order of ours go. `None`: they are answered like all others.
    pub challenge_upstream: ArcSwapOption<ChallengeUpstream>,
    /// Judges requests, and writes their events before they are answered.
    pub recorder: EventRecorder,
    /// The stored redirects.
    pub redirects: RedirectCache,
    /// The share of each network in looking them up.
    pub lookups: Turns,
    /// Room for requests whose body is waited for.
    pub bodies: FairRoom,
    /// What is no longer led to.
    pub kills: KillSwitches,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// Whether health checks are told to look elsewhere.
    pub draining: Arc<AtomicBool>,
    pub timeouts: Timeouts,
    /// How long one may last that has a place of the reserve; [`BRIEF`] but in tests.
    pub brief: Duration,
    /// How many connections there are and may be.
    pub connections: crate::limits::Limits,
    /// Where the tasks of HTTP/2 streams belong.
    pub tasks: Tasks,
}

/// What a reload replaces, as one snapshot.
pub struct Settings {
    /// edge.name.
    pub edge_name: DomainName,
    /// Its aliases.
    pub aliases: Vec<DomainName>,
    /// The port that redirects to HTTPS name.
    pub public_https_port: u16,
    /// links.prefix, without a slash at its end.
    pub prefix: String,
    /// Where a broken click link leads. `None`: to a 404 page.
    pub fallback_url: Option<String>,
    /// How old a click or open link may be. `None`: as old as it likes.
    pub max_age: Option<Duration>,
    /// The link keys.
    pub keys: Arc<LinkKeys>,
    /// The rules for back ends.
    pub upstreams: Upstreams,
}

impl Settings {
    /// Whether a name (in lower-case ASCII) is edge.name or an alias.
    pub(super) fn is_edge(&self, name: &str) -> bool {
        self.edge_name.as_str() == name || self.aliases.iter().any(|a| a.as_str() == name)
    }
}
