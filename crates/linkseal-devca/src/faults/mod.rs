//! What goes wrong, on demand: how a CA refuses, stalls, loses answers and changes its mind. All of
//! it is counted, none left to chance, so that a test says exactly what happens.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use linkseal_base::clock::Timestamp;

use super::flood::Flood;
use super::problem::Problem;

/// The CA's resources, as faults name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The directory.
    Directory,
    /// newNonce, by HEAD or GET.
    NewNonce,
    /// newAccount.
    NewAccount,
    /// An account's own URL.
    Account,
    /// newOrder.
    NewOrder,
    /// An order's own URL.
    Order,
    /// An order's finalize URL.
    Finalize,
    /// An authorization.
    Authorization,
    /// A challenge.
    Challenge,
    /// A certificate's download.
    Certificate,
    /// revokeCert.
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

/// A refusal as a CA sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The document.
    pub problem: Problem,
    /// When to come again. `None`: it does not say.
    pub retry_after: Option<RetryAfter>,
}

/// The two forms of Retry-After (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// From now.
    Seconds(Duration),
    /// At that moment, sent as an HTTP date.
    Date(Timestamp),
}

/// When a client should renew (RFC 9773 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From then on.
    pub start: Timestamp,
    /// Until then.
    pub end: Timestamp,
}

/// The switches of one CA. Everything is off at first; each setting holds until it is set again.
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
    stuck: Stuck,
    rejected_challenges: HashMap<String, Problem>,
    processing: Duration,
    failed_finalizations: Option<(u32, Problem)>,
    lifetime: Option<Duration>,
    reuse_authorizations: bool,
    replaces_refused: Option<Refusal>,
    ari: Ari,
}

#[derive(Default)]
enum Stuck {
    #[default]
    None,
    All,
    Names(Vec<String>),
}

#[derive(Default)]
struct Ari {
    off: bool,
    all: Option<Window>,
    by_id: BTreeMap<String, Window>,
    retry_after: Option<Duration>,
}

struct Counted {
    /// Without one, indefinitely.
    left: Option<u32>,
    refusal: Refusal,
}

impl Refusal {
    /// Any problem, without Retry-After.
    pub fn of(problem: Problem) -> Self {
        Self {
            problem,
            retry_after: None,
        }
    }

    /// The account's limit: 429, as Let's Encrypt words it.
    pub fn too_many_orders(retry_after: Duration) -> Self {
        Self::limited(
            "too many new orders (300) from this account in the last 3h0m0s",
            retry_after,
        )
    }

    /// One name's limit on failures: 429, as Let's Encrypt words it.
    pub fn too_many_failures(name: &str, retry_after: Duration) -> Self {
        let detail = format!("too many failed authorizations (5) for \"{name}\" in the last 1h0m0s");
        Self::limited(&detail, retry_after)
    }

    /// A registered domain's limit: 429, as Let's Encrypt words it.
    pub fn too_many_certificates(registered_domain: &str, retry_after: Duration) -> Self {
        let detail =
            format!("too many certificates (50) already issued for \"{registered_domain}\" in the last 168h0m0s");
        Self::limited(&detail, retry_after)
    }

    /// Too busy: 503.
    pub fn busy(retry_after: Duration) -> Self {
        Self {
            problem: Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "rateLimited",
                "Service busy; retry later.",
            ),
            retry_after: Some(RetryAfter::Seconds(retry_after)),
        }
    }

    /// The CA failed inside: 500.
    pub fn internal() -> Self {
        Self::of(Problem::internal("Error creating new order"))
    }

    fn limited(detail: &str, retry_after: Duration) -> Self {
        let detail = format!(
            "{detail}, retry after {} s: see the rate limits of this CA",
            retry_after.as_secs()
        );
        Self {
            problem: Problem::new(StatusCode::TOO_MANY_REQUESTS, "rateLimited", detail),
            retry_after: Some(RetryAfter::Seconds(retry_after)),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::of(problem)
    }
}

impl Faults {
    // --- requests ------------------------------------------------------------------------------

    /// Refuses every `n`th POST with badNonce, also when its nonce was good. `None`: none.
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

    /// Refuses newOrder for one name, a number of times or until [`Faults::allow_name`].
    pub fn refuse_name(&self, name: &str, times: Option<u32>, refusal: Refusal) {
        self.lock()
            .refused_names
            .insert(name.to_owned(), Counted { left: times, refusal });
    }

    /// Takes orders for that name again.
    pub fn allow_name(&self, name: &str) {
        self.lock().refused_names.remove(name);
    }

    /// Breaks the connection of the next `times` requests to an endpoint.
    pub fn lose_next(&self, endpoint: Endpoint, lost: Lost, times: u32) {
        self.lock().losses.insert((endpoint, lost), times);
    }

    /// Floods the clients of the next `times` requests to an endpoint, which take effect.
    pub fn flood_next(&self, endpoint: Endpoint, flood: Flood, times: u32) {
        self.lock().floods.insert(endpoint, (times, flood));
    }

    /// Whether requests to an endpoint are taken and never answered.
    pub fn set_hangs(&self, endpoint: Endpoint, hangs: bool) {
        let hanging = &mut self.lock().hanging;
        if hangs {
            hanging.insert(endpoint);
        } else {
            hanging.remove(&endpoint);
        }
    }

    /// Whether the CA is gone: connections are accepted and closed at once, the directory's included.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Answers every request, the directory's included, with 503 and this Retry-After. `None`: serves.
    pub fn set_maintenance(&self, retry_after: Option<RetryAfter>) {
        self.lock().maintenance = retry_after;
    }

    // --- validation ----------------------------------------------------------------------------

    /// Waits so long, by the CA's clock, before each validation.
    pub fn set_validation_delay(&self, delay: Duration) {
        self.lock().validation_delay = delay;
    }

    /// Lets validations of these names stay in `processing`; an empty list ends that.
    pub fn set_stuck_validations(&self, names: &[&str]) {
        self.lock().stuck = Stuck::Names(names.iter().map(|n| (*n).to_owned()).collect());
    }

    /// Lets every validation stay in `processing`, or none.
    pub fn set_all_validations_stuck(&self, stuck: bool) {
        self.lock().stuck = if stuck { Stuck::All } else { Stuck::None };
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

    /// Lets finalized orders stay in `processing` so long, by the CA's clock.
    pub fn set_processing(&self, span: Duration) {
        self.lock().processing = span;
    }

    /// Makes the next `times` finalized orders invalid, with this problem as their error.
    pub fn fail_finalize(&self, times: u32, problem: Problem) {
        self.lock().failed_finalizations = Some((times, problem));
    }

    /// Lifetime of the certificates from now on. `None`: as configured.
    pub fn set_lifetime(&self, lifetime: Option<Duration>) {
        self.lock().lifetime = lifetime;
    }

    /// Refuses newOrder with `replaces`. `None`: takes it.
    pub fn refuse_replaces(&self, refusal: Option<Refusal>) {
        self.lock().replaces_refused = refusal;
    }

    // --- ARI -----------------------------------------------------------------------------------

    /// Whether the CA lacks ARI: no renewalInfo in the directory, 404 there, `replaces` ignored.
    pub fn set_ari_off(&self, off: bool) {
        self.lock().ari.off = off;
    }

    /// The window of every certificate without one of its own. `None`: from its lifetime.
    pub fn set_ari_window(&self, window: Option<Window>) {
        self.lock().ari.all = window;
    }

    /// The window of one certificate, by its ARI identifier. `None`: as for all.
    pub fn set_ari_window_of(&self, ari_id: &str, window: Option<Window>) {
        let by_id = &mut self.lock().ari.by_id;
        match window {
            Some(window) => by_id.insert(ari_id.to_owned(), window),
            None => by_id.remove(ari_id),
        };
    }

    /// When clients should look at the window again. `None`: after six hours.
    pub fn set_ari_retry_after(&self, span: Option<Duration>) {
        self.lock().ari.retry_after = span;
    }

    // --- what the CA asks ----------------------------------------------------------------------

    pub(super) fn takes_nonce(&self) -> bool {
        let mut set = self.lock();
        let Some(every) = set.bad_nonce_every.filter(|n| *n > 0) else {
            return true;
        };
        set.posts = set.posts.wrapping_add(1);
        !set.posts.is_multiple_of(every)
    }

    pub(super) fn refusal(&self, endpoint: Endpoint) -> Option<Refusal> {
        take(&mut self.lock().refusals, &endpoint)
    }

    pub(super) fn refusal_of_names(&self, names: &[String]) -> Option<Refusal> {
        let refused = &mut self.lock().refused_names;
        names.iter().find_map(|name| take(refused, name))
    }

    pub(super) fn loses(&self, endpoint: Endpoint, lost: Lost) -> bool {
        let mut set = self.lock();
        let Some(left) = set.losses.get_mut(&(endpoint, lost)) else {
            return false;
        };
        let loses = *left > 0;
        *left = left.saturating_sub(1);
        loses
    }

    pub(super) fn floods(&self, endpoint: Endpoint) -> Option<Flood> {
        let mut set = self.lock();
        let (left, flood) = set.floods.get_mut(&endpoint)?;
        *left = left.checked_sub(1)?;
        Some(*flood)
    }

    pub(super) fn hangs(&self, endpoint: Endpoint) -> bool {
        self.lock().hanging.contains(&endpoint)
    }

    pub(super) fn is_down(&self) -> bool {
        self.lock().down
    }

    pub(super) fn maintenance(&self) -> Option<Refusal> {
        let retry_after = self.lock().maintenance?;
        let detail = "The service is down for maintenance or had an internal error.";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "serverInternal", detail);
        Some(Refusal {
            problem,
            retry_after: Some(retry_after),
        })
    }

    pub(super) fn validation_delay(&self) -> Duration {
        self.lock().validation_delay
    }

    pub(super) fn is_stuck(&self, name: &str) -> bool {
        match &self.lock().stuck {
            Stuck::None => false,
            Stuck::All => true,
            Stuck::Names(names) => names.iter().any(|n| n == name),
        }
    }

    pub(super) fn rejected_challenge(&self, name: &str) -> Option<Problem> {
        self.lock().rejected_challenges.get(name).cloned()
    }

    pub(super) fn reuses_authorizations(&self) -> bool {
        self.lock().reuse_authorizations
    }

    pub(super) fn processing(&self) -> Duration {
        self.lock().processing
    }

    pub(super) fn finalize_failure(&self) -> Option<Problem> {
        let mut set = self.lock();
        let (left, problem) = set.failed_finalizations.as_mut()?;
        *left = left.checked_sub(1)?;
        Some(problem.clone())
    }

    pub(super) fn lifetime(&self) -> Option<Duration> {
        self.lock().lifetime
    }

    pub(super) fn replaces_refused(&self) -> Option<Refusal> {
        self.lock().replaces_refused.clone()
    }

    pub(super) fn has_ari(&self) -> bool {
        !self.lock().ari.off
    }

    pub(super) fn ari_window(&self, ari_id: &str) -> Option<Window> {
        let set = self.lock();
        set.ari.by_id.get(ari_id).copied().or(set.ari.all)
    }

    pub(super) fn ari_retry_after(&self) -> Option<Duration> {
        self.lock().ari.retry_after
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        // No code panics while it holds the lock; a test that failed must not hide behind it.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take<K: std::hash::Hash + Eq>(counted: &mut HashMap<K, Counted>, key: &K) -> Option<Refusal> {
    let entry = counted.get_mut(key)?;
    if let Some(left) = &mut entry.left {
        *left = left.checked_sub(1)?;
    }
    Some(entry.refusal.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_faults_end() {
        let faults = Faults::default();
        faults.bad_nonce_every(Some(3));
        let taken: Vec<_> = (0..6).map(|_| faults.takes_nonce()).collect();
        assert_eq!(taken, [true, true, false, true, true, false]);
        let refusal = Refusal::busy(Duration::from_secs(7));
        faults.refuse_next(Endpoint::NewOrder, 2, refusal.clone());
        assert_eq!(faults.refusal(Endpoint::NewOrder), Some(refusal.clone()));
        assert_eq!(faults.refusal(Endpoint::Order), None);
        assert_eq!(faults.refusal(Endpoint::NewOrder), Some(refusal.clone()));
        assert_eq!(faults.refusal(Endpoint::NewOrder), None);
        faults.refuse_name("a.example", None, refusal);
        for _ in 0..3 {
            assert!(
                faults
                    .refusal_of_names(&["b.example".into(), "a.example".into()])
                    .is_some()
            );
        }
        faults.lose_next(Endpoint::Finalize, Lost::Answer, 1);
        assert!(!faults.loses(Endpoint::Finalize, Lost::Request));
        assert!(faults.loses(Endpoint::Finalize, Lost::Answer));
        assert!(!faults.loses(Endpoint::Finalize, Lost::Answer));
    }
}
