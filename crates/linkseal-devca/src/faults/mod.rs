//! Faults to inject: refusals, stalls, lost connections, floods, changed validity and renewal windows.
//! They are counted and never random, so that a test decides exactly what happens.

mod asked;
mod refusal;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use linkseal_base::clock::Timestamp;
use parking_lot::{Mutex, MutexGuard};

pub use self::refusal::{Refusal, RetryAfter};
use super::flood::Flood;
use super::problem::Problem;

/// The resources of the CA that faults apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Directory,
    /// newNonce, by HEAD or GET.
    NewNonce,
    NewAccount,
    /// An account's own URL.
    Account,
    NewOrder,
    /// An order's own URL.
    Order,
    /// An order's finalize URL.
    Finalize,
    Authorization,
    Challenge,
    /// A certificate's download.
    Certificate,
    RevokeCert,
    /// renewalInfo (RFC 9773).
    RenewalInfo,
}

/// What is lost when a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The request: it has no effect.
    Request,
    /// The answer: the request took effect.
    Answer,
}

/// When a client should renew (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
}

/// The injected faults of one CA. All are off at first; each setting holds until it is changed.
#[derive(Default)]
pub struct Faults {
    set: Mutex<Set>,
}

#[derive(Default)]
struct Set {
    bad_nonce_every: Option<u32>,
    posts: u32,
    refusals: HashMap<Endpoint, Counted>,
    refused_names: HashMap<String, Counted>,
    losses: HashMap<(Endpoint, Lost), u32>,
    floods: HashMap<Endpoint, (u32, Flood)>,
    hanging: HashSet<Endpoint>,
    down: bool,
    maintenance: Option<RetryAfter>,
    validation_delay: Duration,
    stuck_validations: HashSet<String>,
    rejected_challenges: HashMap<String, Problem>,
    processing: Duration,
    failed_finalizations: Option<(u32, Problem)>,
    lifetime: Option<Duration>,
    reuse_authorizations: bool,
    replaces_refused: Option<Refusal>,
    ari: Ari,
}

#[derive(Default)]
struct Ari {
    off: bool,
    all: Option<Window>,
    by_id: BTreeMap<String, Window>,
    retry_after: Option<Duration>,
}

struct Counted {
    /// `None`: indefinitely.
    left: Option<u32>,
    refusal: Refusal,
}

impl Faults {
    // --- requests ------------------------------------------------------------------------------

    /// Refuses every `n`th POST with badNonce, even if its nonce is valid. `None`: off.
    pub fn bad_nonce_every(&self, n: Option<u32>) {
        let mut set = self.lock();
        set.bad_nonce_every = n;
        set.posts = 0;
    }

    /// Refuses the next `times` requests to an endpoint (POSTs once their signature was checked).
    pub fn refuse_next(&self, endpoint: Endpoint, times: u32, refusal: Refusal) {
        self.lock().refusals.insert(
            endpoint,
            Counted {
                left: Some(times),
                refusal,
            },
        );
    }

    /// Refuses newOrder for one name, `times` times or until [`Faults::allow_name`] (`None`).
    pub fn refuse_name(&self, name: &str, times: Option<u32>, refusal: Refusal) {
        self.lock()
            .refused_names
            .insert(name.to_owned(), Counted { left: times, refusal });
    }

    /// Accepts orders for that name again.
    pub fn allow_name(&self, name: &str) {
        self.lock().refused_names.remove(name);
    }

    /// Breaks the connection of the next `times` requests to an endpoint.
    pub fn lose_next(&self, endpoint: Endpoint, lost: Lost, times: u32) {
        self.lock().losses.insert((endpoint, lost), times);
    }

    /// Answers the next `times` requests to an endpoint with a flood; they take effect.
    pub fn flood_next(&self, endpoint: Endpoint, flood: Flood, times: u32) {
        self.lock().floods.insert(endpoint, (times, flood));
    }

    /// Whether requests to an endpoint are accepted and never answered.
    pub fn set_hangs(&self, endpoint: Endpoint, hangs: bool) {
        let hanging = &mut self.lock().hanging;
        if hangs {
            hanging.insert(endpoint);
        } else {
            hanging.remove(&endpoint);
        }
    }

    /// Whether the CA is down: connections are accepted and closed at once.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Answers every request with 503 and this Retry-After. `None`: off.
    pub fn set_maintenance(&self, retry_after: Option<RetryAfter>) {
        self.lock().maintenance = retry_after;
    }

    // --- validation ----------------------------------------------------------------------------

    /// Delays each validation, by the CA's clock.
    pub fn set_validation_delay(&self, delay: Duration) {
        self.lock().validation_delay = delay;
    }

    /// Leaves validations of these names in `processing` for good; an empty list ends that for later ones.
    pub fn set_stuck_validations(&self, names: &[&str]) {
        self.lock().stuck_validations = names.iter().map(|n| (*n).to_owned()).collect();
    }

    /// Fails the name's challenges with this problem, without asking its web server.
    /// `None`: asks it again.
    pub fn reject_challenge(&self, name: &str, problem: Option<Problem>) {
        let mut set = self.lock();
        match problem {
            Some(problem) => set.rejected_challenges.insert(name.to_owned(), problem),
            None => set.rejected_challenges.remove(name),
        };
    }

    /// Makes orders for names with a valid authorization of the account `ready` from the start, as
    /// Let's Encrypt does for some days.
    pub fn set_reuse_authorizations(&self, reuse: bool) {
        self.lock().reuse_authorizations = reuse;
    }

    // --- issuance ------------------------------------------------------------------------------

    /// Keeps finalized orders in `processing` for this long, by the CA's clock.
    pub fn set_processing(&self, span: Duration) {
        self.lock().processing = span;
    }

    /// Makes the next `times` finalized orders invalid, with this problem as their error.
    pub fn fail_finalize(&self, times: u32, problem: Problem) {
        self.lock().failed_finalizations = Some((times, problem));
    }

    /// Sets the lifetime of certificates issued from now on. `None`: as configured.
    pub fn set_lifetime(&self, lifetime: Option<Duration>) {
        self.lock().lifetime = lifetime;
    }

    /// Refuses newOrder with `replaces`. `None`: accepts it.
    pub fn refuse_replaces(&self, refusal: Option<Refusal>) {
        self.lock().replaces_refused = refusal;
    }

    // --- ARI -----------------------------------------------------------------------------------

    /// Whether ARI is off: no renewalInfo in the directory, 404 for requests to it, `replaces` ignored.
    pub fn set_ari_off(&self, off: bool) {
        self.lock().ari.off = off;
    }

    /// Sets the window of every certificate without one of its own. `None`: by its lifetime.
    pub fn set_ari_window(&self, window: Option<Window>) {
        self.lock().ari.all = window;
    }

    /// Sets the window of one certificate, by its ARI identifier. `None`: as for all.
    pub fn set_ari_window_of(&self, ari_id: &str, window: Option<Window>) {
        let by_id = &mut self.lock().ari.by_id;
        match window {
            Some(window) => by_id.insert(ari_id.to_owned(), window),
            None => by_id.remove(ari_id),
        };
    }

    /// Sets when clients should fetch the window again. `None`: after six hours.
    pub fn set_ari_retry_after(&self, span: Option<Duration>) {
        self.lock().ari.retry_after = span;
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.set.lock()
    }
}
