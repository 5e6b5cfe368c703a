//! Stored redirects in memory, and the data plane's look-ups of those that are not.
//!
//! A redirect belongs to one domain or to all; a domain's own wins, even if it has expired. Known and
//! unknown slugs are kept in a bounded cache, so that neither is looked up twice. Concurrent requests for
//! a missing slug share one [`Lookup`], which the control plane answers from the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures_util::FutureExt;
use futures_util::future::Shared;
use http::HeaderValue;
use linkseal_base::clock::Timestamp;
use linkseal_link::{Destination, DestinationError, MAX_SLUG, is_slug};
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::name::MAX_NAME;

/// The longest key: a domain, a slash, a slug.
const MAX_KEY: usize = MAX_NAME + 1 + MAX_SLUG;
/// About the size of an entry without its texts, in bytes.
const ENTRY: usize = 160;
/// How long an answer is kept, and so the longest time for which a change by another node is missed.
/// Changes on this node take effect at once.
const KEPT: Duration = Duration::from_secs(60);
/// How long a request waits for a look-up. The store reads a row in well under a millisecond.
const PATIENCE: Duration = Duration::from_secs(1);
/// Requests that may wait at once, some KiB each; more get a 503 with Retry-After.
const WAITING: usize = 1_024;

/// The destination of a stored redirect.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    url: Box<str>,
    /// The URL as a `Location`.
    location: HeaderValue,
    expires: Option<Timestamp>,
}

impl Target {
    /// Checks the URL like any other destination.
    pub fn new(url: &str, expires: Option<Timestamp>) -> Result<Self, DestinationError> {
        let location = Destination::new(url)?.location();
        Ok(Self {
            location: HeaderValue::from_str(&location).map_err(|_| DestinationError::ControlCharacter)?,
            url: url.into(),
            expires,
        })
    }

    /// The URL as it was stored.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL as a `Location`.
    pub fn location(&self) -> HeaderValue {
        self.location.clone()
    }

    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// The redirect that is stored for a domain and slug, if any.
pub type Found = Option<Arc<Target>>;

/// Whether a redirect is stored is not known: too many look-ups wait, or the store did not answer in
/// time. A retry may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("whether a redirect is stored could not be looked up in time")]
pub struct LookupUnavailable;

/// The result of a look-up.
#[derive(Clone, Debug, Default)]
pub struct SlugTargets {
    /// The domain's own redirect.
    pub own: Found,
    /// The redirect for all domains.
    pub common: Found,
}

/// The data plane's view of all stored redirects. Clones share the same cache.
#[derive(Clone)]
pub struct RedirectCache {
    inner: Arc<Inner>,
    lookups: mpsc::Sender<Lookup>,
}

struct Inner {
    known: Cache<Box<str>, Found>,
    /// Look-ups in progress, shared by all requests for the same slug.
    flights: DashMap<Box<str>, Shared<oneshot::Receiver<Found>>>,
    waiting: Semaphore,
    /// Counts changes: an answer that was read before a change must not be cached after it.
    changes: AtomicU64,
    /// Held while an answer is cached and while a change is recorded, never across an await.
    keeping: Mutex<()>,
}

impl RedirectCache {
    /// A cache of about `bytes` bytes, and the receiver of its look-ups, of which at most `at_once` queue
    /// up, in the order of the requests.
    pub fn new(bytes: u64, at_once: usize) -> (Self, mpsc::Receiver<Lookup>) {
        let (lookups, receiver) = mpsc::channel(at_once);
        let known = Cache::<Box<str>, Found>::builder()
            .max_capacity(bytes)
            .weigher(|key, found| {
                let url = found.as_ref().map_or(0, |t| 2 * t.url.len());
                u32::try_from(key.len() + url + ENTRY).unwrap_or(u32::MAX)
            })
            .time_to_live(KEPT)
            .build();
        let inner = Inner {
            known,
            flights: DashMap::new(),
            waiting: Semaphore::new(WAITING),
            changes: AtomicU64::new(0),
            keeping: Mutex::new(()),
        };
        let cache = Self {
            inner: Arc::new(inner),
            lookups,
        };
        (cache, receiver)
    }

    /// What is known from memory. `None`: it must be looked up.
    pub fn cached(&self, domain: &str, slug: &str) -> Option<Found> {
        if !is_slug(slug) {
            return Some(None);
        }
        match with_key(domain, slug, |key| self.inner.known.get(key))?? {
            Some(own) => Some(Some(own)),
            None => with_key("", slug, |key| self.inner.known.get(key))?,
        }
    }

    /// Has the control plane look it up in the store; waits for a second at most.
    ///
    /// # Errors
    /// If that takes too long, too many requests wait, or the store cannot be read.
    pub async fn look_up(&self, domain: &str, slug: &str) -> Result<Found, LookupUnavailable> {
        let _waiting = self.inner.waiting.try_acquire().map_err(|_| LookupUnavailable)?;
        let answered = async {
            self.flight(domain, slug)
                .await
                .ok_or(LookupUnavailable)?
                .await
                .map_err(|_| LookupUnavailable)
        };
        tokio::time::timeout(PATIENCE, answered)
            .await
            .map_err(|_| LookupUnavailable)?
    }

    /// Drops a redirect that was changed in the store. `domain`: `None` for a redirect of all domains.
    pub fn changed(&self, domain: Option<&str>, slug: &str) {
        let _keeping = self.inner.keeping.lock();
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
        with_key(domain.unwrap_or_default(), slug, |key| self.inner.known.invalidate(key));
    }

    /// Drops everything: a domain was purged, or changes were missed.
    pub fn forget_all(&self) {
        let _keeping = self.inner.keeping.lock();
        self.inner.changes.fetch_add(1, Ordering::Relaxed);
        self.inner.known.invalidate_all();
    }

    /// Joins the look-up in progress or begins one, in the order of the requests. `None`: the control plane
    /// has stopped.
    async fn flight(&self, domain: &str, slug: &str) -> Option<Shared<oneshot::Receiver<Found>>> {
        let key: Box<str> = format!("{domain}/{slug}").into();
        if let Some(flight) = self.inner.flights.get(&key) {
            return Some(flight.clone());
        }
        let permit = self.lookups.reserve().await.ok()?;
        match self.inner.flights.entry(key.clone()) {
            // Another request has begun it meanwhile.
            Entry::Occupied(flight) => Some(flight.get().clone()),
            Entry::Vacant(place) => {
                let (reply, answer) = oneshot::channel();
                let flight = answer.shared();
                place.insert(flight.clone());
                permit.send(Lookup {
                    key,
                    changes: self.inner.changes.load(Ordering::Relaxed),
                    inner: Arc::clone(&self.inner),
                    reply: Some(reply),
                });
                Some(flight)
            }
        }
    }
}

/// A request for what is stored, for the control plane. If it is dropped unanswered, the
/// waiting requests fail and the next request asks again.
pub struct Lookup {
    key: Box<str>,
    /// How many changes there were when it was sent.
    changes: u64,
    inner: Arc<Inner>,
    reply: Option<oneshot::Sender<Found>>,
}

impl Lookup {
    /// The domain asked for.
    pub fn domain(&self) -> &str {
        self.key.split_once('/').map_or("", |(domain, _)| domain)
    }

    /// The slug asked for.
    pub fn slug(&self) -> &str {
        self.key.split_once('/').map_or("", |(_, slug)| slug)
    }

    /// Answers all waiting requests, and caches the answer unless something changed meanwhile.
    pub fn answer(mut self, targets: SlugTargets) {
        {
            let _keeping = self.inner.keeping.lock();
            if self.inner.changes.load(Ordering::Relaxed) == self.changes {
                self.inner.known.insert(self.key.clone(), targets.own.clone());
                let common = format!("/{}", self.slug()).into();
                self.inner.known.insert(common, targets.common.clone());
            }
        }
        if let Some(reply) = self.reply.take() {
            drop(reply.send(targets.own.or(targets.common)));
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.inner.flights.remove(&self.key);
    }
}

/// Calls `f` with the key of a domain's slug, without allocating. `None`: longer than any key.
fn with_key<T>(domain: &str, slug: &str, f: impl FnOnce(&str) -> T) -> Option<T> {
    let mut buffer = [0; MAX_KEY];
    let length = domain.len() + 1 + slug.len();
    let key = buffer.get_mut(..length)?;
    let (name, rest) = key.split_at_mut_checked(domain.len())?;
    name.copy_from_slice(domain.as_bytes());
    let (slash, rest) = rest.split_first_mut()?;
    *slash = b'/';
    rest.copy_from_slice(slug.as_bytes());
    str::from_utf8(key).ok().map(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "links.example";

    fn target(url: &str) -> Found {
        Some(Arc::new(Target::new(url, None).unwrap()))
    }

    fn url(found: Found) -> Option<String> {
        found.map(|t| t.url().to_owned())
    }

    fn new() -> (RedirectCache, mpsc::Receiver<Lookup>) {
        RedirectCache::new(1 << 20, 4)
    }

    #[tokio::test]
    async fn a_miss_is_looked_up_once_and_then_known() {
        let (cache, mut lookups) = new();
        assert!(cache.cached(DOMAIN, "sale").is_none());
        let many = futures_util::future::join_all((0..50).map(|_| cache.look_up(DOMAIN, "sale")));
        let control = async {
            let lookup = lookups.recv().await.unwrap();
            assert_eq!((lookup.domain(), lookup.slug()), (DOMAIN, "sale"));
            lookup.answer(SlugTargets {
                own: None,
                common: target("https://all.example/"),
            });
        };
        let (found, ()) = tokio::join!(many, control);
        assert!(
            found
                .into_iter()
                .all(|f| url(f.unwrap()).as_deref() == Some("https://all.example/"))
        );
        assert!(lookups.try_recv().is_err(), "one look-up for all");
        assert_eq!(
            url(cache.cached(DOMAIN, "sale").unwrap()).unwrap(),
            "https://all.example/"
        );
        // The redirect for all domains is known, but not whether another domain has one of its own.
        assert!(cache.cached("other.example", "sale").is_none());
        assert!(cache.inner.flights.is_empty());
    }

    #[tokio::test]
    async fn a_domains_own_wins_and_a_change_is_seen_at_once() {
        let (cache, mut lookups) = new();
        let control = async |lookups: &mut mpsc::Receiver<Lookup>, own: Found| {
            let common = target("https://all.example/");
            lookups.recv().await.unwrap().answer(SlugTargets { own, common });
        };
        let (found, ()) = tokio::join!(
            cache.look_up(DOMAIN, "sale"),
            control(&mut lookups, target("https://own.example/"))
        );
        assert_eq!(url(found.unwrap()).unwrap(), "https://own.example/");
        cache.changed(Some(DOMAIN), "sale");
        assert!(cache.cached(DOMAIN, "sale").is_none());
        let (found, ()) = tokio::join!(cache.look_up(DOMAIN, "sale"), control(&mut lookups, None));
        assert_eq!(url(found.unwrap()).unwrap(), "https://all.example/");
        cache.changed(None, "sale");
        assert!(cache.cached(DOMAIN, "sale").is_none());
        cache.forget_all();
        assert!(cache.cached(DOMAIN, "sale").is_none());
    }

    #[tokio::test]
    async fn an_answer_from_before_a_change_is_not_kept() {
        let (cache, mut lookups) = new();
        let control = async {
            let lookup = lookups.recv().await.unwrap();
            cache.changed(Some(DOMAIN), "sale");
            lookup.answer(SlugTargets {
                own: target("https://old.example/"),
                common: None,
            });
        };
        let (found, ()) = tokio::join!(cache.look_up(DOMAIN, "sale"), control);
        assert!(found.unwrap().is_some());
        assert!(cache.cached(DOMAIN, "sale").is_none());
    }

    #[tokio::test]
    async fn waiting_is_bounded_in_time_and_number() {
        let (cache, mut lookups) = new();
        let slugs: Vec<String> = (0..=WAITING).map(|n| format!("s{n}")).collect();
        let waiting = slugs[..WAITING].iter().map(|slug| cache.look_up(DOMAIN, slug));
        let one_more = async {
            tokio::task::yield_now().await;
            let at_once = cache.look_up(DOMAIN, &slugs[WAITING]).now_or_never();
            assert_eq!(at_once, Some(Err(LookupUnavailable)), "it does not wait");
        };
        // None is answered.
        let (found, ()) = tokio::join!(futures_util::future::join_all(waiting), one_more);
        assert!(found.into_iter().all(|f| f == Err(LookupUnavailable)));
        assert_eq!(cache.inner.flights.len(), 4, "the next one would join them");
        while let Ok(lookup) = lookups.try_recv() {
            drop(lookup);
        }
        assert!(cache.inner.flights.is_empty());
    }

    #[tokio::test]
    async fn a_look_up_that_finds_the_queue_full_waits_its_turn() {
        let (cache, mut lookups) = new();
        let flood: Vec<String> = (0..6).map(|n| format!("made-up-{n}")).collect();
        let flood = futures_util::future::join_all(flood.iter().map(|slug| cache.look_up(DOMAIN, slug)));
        let bystander = async {
            tokio::task::yield_now().await;
            cache.look_up(DOMAIN, "sale").await
        };
        let control = async {
            tokio::task::yield_now().await;
            for n in 0..7 {
                let lookup = lookups.recv().await.unwrap();
                let common = target("https://all.example/").filter(|_| lookup.slug() == "sale");
                assert_eq!(common.is_some(), n == 6, "earlier requests go first");
                lookup.answer(SlugTargets { own: None, common });
            }
        };
        let (found, sale, ()) = tokio::join!(flood, bystander, control);
        assert!(found.into_iter().all(|f| f == Ok(None)));
        assert_eq!(url(sale.unwrap()).as_deref(), Some("https://all.example/"));
        assert!(cache.inner.flights.is_empty());
    }

    #[test]
    fn an_invalid_slug_is_never_looked_up() {
        let (cache, _lookups) = new();
        for slug in ["", "a/b", "a%20", "..", &"a".repeat(500)] {
            assert_eq!(cache.cached(DOMAIN, slug), Some(None), "{slug}");
        }
    }

    #[test]
    fn a_target_is_checked_like_any_destination() {
        assert!(Target::new("javascript:alert(1)", None).is_err());
        let now = Timestamp::from_secs(100);
        let target = Target::new("https://bücher.example/ä", Some(now)).unwrap();
        assert_eq!(target.location(), "https://xn--bcher-kva.example/%C3%A4");
        assert!(target.is_expired(now) && !target.is_expired(Timestamp::from_secs(99)));
    }
}
