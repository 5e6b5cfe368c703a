//! What every endpoint and page needs: the parts of the node that the admin port is a face of, the
//! settings in force, and the bounds on what callers may use at once. Knows nothing of the pages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Method;
use linkseal_base::clock::Timestamp;
use linkseal_base::metrics::MetricsHub;
use linkseal_base::shutdown::Tasks;
use linkseal_config::pages::Pages as PagesSettings;
use linkseal_control::Control;
use linkseal_control::log_limit::LogLimit;
use linkseal_domain::EdgeNames;
use linkseal_domain::cert::cache::Certificates;
use linkseal_domain::registry::Registry;
use linkseal_event::{Activity, Delivery, Eraser, Journal};
use linkseal_link::LinkKeys;
use tokio::sync::Notify;

use crate::access::{Access, Caller};
use crate::counters::Counters;
use crate::limits::scrape::ScrapeCache;
use crate::limits::store_health::StoreHealth;
use crate::limits::streams::{Permit, Streams};
use crate::limits::throttle::Throttle;
use crate::limits::turns::Turns;
use crate::problem::Problem;
use crate::proxies::Proxies;
use crate::scope::Rule;
use crate::tokens::share::Shares;

/// Shared by all requests.
pub(crate) struct Context {
    pub(crate) control: Control,
    pub(crate) registry: Registry,
    pub(crate) metrics: MetricsHub,
    pub(crate) certificates: Certificates,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) journal: Journal,
    pub(crate) activity: Activity,
    pub(crate) delivery: Delivery,
    pub(crate) eraser: Eraser,
    pub(crate) tasks: Tasks,
    pub(crate) live: ArcSwap<Live>,
    /// Notified after `live` was replaced.
    pub(crate) reloaded: Notify,
    /// The rule of each API endpoint, by method and path template.
    pub(crate) rules: HashMap<(Method, &'static str), Rule>,
    /// `/openapi.json` as it is sent.
    pub(crate) document: Bytes,
    pub(crate) shares: Shares,
    pub(crate) counters: Counters,
    pub(crate) event_streams: Arc<Streams>,
    pub(crate) transfers: Arc<Streams>,
    pub(crate) checks: Turns,
    pub(crate) lists: Turns,
    pub(crate) throttle: Throttle,
    /// Of lines about the store.
    pub(crate) log_limit: LogLimit,
    pub(crate) store_health: StoreHealth,
    pub(crate) scrapes: ScrapeCache,
}

/// The settings that a reload replaces, in the form that requests use.
pub(crate) struct Live {
    pub(crate) access: Access,
    pub(crate) proxies: Proxies,
    pub(crate) pages: PagesSettings,
    /// Whether the port speaks plain HTTP off loopback, too.
    pub(crate) plain: bool,
    pub(crate) names: EdgeNames,
    pub(crate) link_keys: Arc<LinkKeys>,
    /// `links.prefix`, without a trailing slash.
    pub(crate) prefix: String,
    pub(crate) max_age: Option<Duration>,
}

impl Context {
    pub(crate) fn now(&self) -> Timestamp {
        self.control.clock().now()
    }

    /// Logs what is answered, if the store's failure is behind it.
    pub(crate) fn log(&self, problem: &Problem) {
        problem.log_store_failure(&self.log_limit, self.control.clock().uptime());
    }

    /// Opens one more stream of a kind for this caller.
    pub(crate) fn open_stream(&self, kind: &Arc<Streams>, caller: &Caller) -> Result<Permit, Problem> {
        kind.open(caller, self.now())
    }

    /// Whether the settings in force still grant what a stream was opened with: a reload may have
    /// removed the token or reduced its rights.
    pub(crate) fn still_grants(&self, permit: &Permit) -> bool {
        self.live.load().access.still_grants(permit.caller())
    }
}
