//! The domains that are known, in memory: what the data plane asks for every handshake and request.
//!
//! The control plane fills it, in the background at start-up and then with every change, always
//! after the change is durable. Until it is loaded, a name that is missing may still exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use http::HeaderValue;
use linkseal_base::clock::Timestamp;
use moka::sync::Cache;

use super::DomainName;
use super::record::DomainRecord;
use super::ssl::{CertificateInfo, Intent, Reason, State};

/// What the data plane needs to know of one domain. Small: there may be a million.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: DomainName,
    /// Its tenant. `None`: the name itself.
    tenant: Option<Box<str>>,
    /// End of the validity of the certificate held. `None`: none is held.
    pub not_after: Option<Timestamp>,
    /// Why it is in its SSL state.
    pub reason: Reason,
    /// Whether tracking URLs are served over plain HTTP while no certificate is held.
    pub http_while_pending: bool,
    /// What the operators want of it: what is not wanted is served while its certificate lives.
    pub intent: Intent,
    /// Whether https links to it work while the certificate lives.
    https_works: bool,
    /// From when on the certificate held is at risk: its renewal fails, or should have come and did
    /// not, be it for a pause. `None`: none is held, or it is not to be renewed.
    at_risk_from: Option<Timestamp>,
    /// Which version of the record it was made from.
    version: u64,
    /// What few domains have. `None`: nothing of it.
    extra: Option<Box<Extra>>,
}

/// What few domains have.
#[derive(Clone, Debug, Default, PartialEq)]
struct Extra {
    former_tenants: Vec<String>,
    fallback_url: Option<String>,
    apple: Option<Bytes>,
    android: Option<Bytes>,
    hsts: Option<HeaderValue>,
    stand_in_until: Option<Timestamp>,
}

impl Entry {
    /// From the domain's record.
    pub fn of(record: &DomainRecord) -> Self {
        let json = |v: &Option<serde_json::Value>| v.as_ref().map(|v| Bytes::from(v.to_string()));
        let extra = Extra {
            former_tenants: record.former_tenants.clone(),
            fallback_url: record.fallback_url.clone(),
            apple: json(&record.app_links.apple),
            android: json(&record.app_links.android),
            hsts: record.hsts.and_then(|h| HeaderValue::try_from(h.value()).ok()),
            stand_in_until: record.ssl.facts.stand_in_until,
        };
        Self {
            name: record.name.clone(),
            tenant: (record.tenant != record.name.as_str()).then(|| record.tenant.as_str().into()),
            not_after: record.ssl.certificate.as_ref().map(|c| c.not_after),
            reason: record.ssl.reason,
            http_while_pending: record.http_while_pending,
            intent: record.intent(),
            https_works: record.https_works(),
            at_risk_from: at_risk_from(record),
            version: record.version,
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        }
    }

    /// Whether a certificate is held and at risk.
    pub fn is_at_risk(&self, now: Timestamp) -> bool {
        self.is_issued(now) && self.at_risk_from.is_some_and(|from| from <= now)
    }

    /// The tenant whose links are served here.
    pub fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(self.name.as_str())
    }

    /// Earlier tenants whose links still verify.
    pub fn former_tenants(&self) -> &[String] {
        self.extra.as_deref().map_or(&[], |e| &e.former_tenants)
    }

    /// Where a broken click link of this domain leads. `None`: as configured for all.
    pub fn fallback_url(&self) -> Option<&str> {
        self.extra.as_deref()?.fallback_url.as_deref()
    }

    /// `apple-app-site-association`, as JSON. `None`: there is none.
    pub fn apple_app_site_association(&self) -> Option<Bytes> {
        self.extra.as_deref()?.apple.clone()
    }

    /// `assetlinks.json`. `None`: there is none.
    pub fn asset_links(&self) -> Option<Bytes> {
        self.extra.as_deref()?.android.clone()
    }

    /// `Strict-Transport-Security`, made once. `None`: none is sent.
    pub fn hsts(&self) -> Option<&HeaderValue> {
        self.extra.as_deref()?.hsts.as_ref()
    }

    /// [`DomainRecord::https_ready`].
    pub fn https_ready(&self, now: Timestamp) -> bool {
        self.https_works && self.not_after.is_some_and(|t| t > now)
    }

    /// Whether handshakes get the stand-in that serves challenges only: an order is open, no
    /// certificate is held, and a proxy that may come on port 443 brings the challenge.
    pub fn has_stand_in(&self, now: Timestamp) -> bool {
        let until = self.extra.as_deref().and_then(|e| e.stand_in_until);
        until.is_some_and(|t| t > now) && self.intent != Intent::Retired && self.not_after.is_none_or(|t| t <= now)
    }

    /// Whether an unexpired certificate is held.
    pub fn is_issued(&self, now: Timestamp) -> bool {
        self.reason.state() == State::Issued && self.not_after.is_some_and(|t| t > now)
    }
}

/// A customer who has left (`moved`) is not at risk: there is nothing to repair here; nor is a retired
/// domain, which is meant to run out. A paused one is when its certificate nears its end: a pause that
/// was forgotten breaks the customer's links like any other failure.
fn at_risk_from(record: &DomainRecord) -> Option<Timestamp> {
    if record.intent() == Intent::Paused && record.ssl.state() == State::Issued && record.ssl.reason != Reason::Moved {
        return record.ssl.certificate.as_ref().map(CertificateInfo::expiring_at);
    }
    record.renewal_due()?;
    let certificate = record.ssl.certificate.as_ref()?;
    // A renewal that fails early has time; one that the CA wants at once, since it will revoke, has none.
    let failing = (record.ssl.reason == Reason::RenewalFailing).then_some(record.ssl.since);
    let failing = failing.map(|since| match record.ssl.hurry {
        true => since,
        false => since.max(certificate.renewal_of_old_age()),
    });
    let expiring = certificate.expiring_at();
    Some(failing.map_or(expiring, |from| from.min(expiring)))
}

/// How many names that were taken out are remembered, and how long: a record that was read before
/// may be told of that much later, and must not bring its domain back.
const GONE_KEPT: u64 = 100_000;
const GONE_FOR: Duration = Duration::from_secs(600);

/// All known domains. Clones share the same map.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    domains: DashMap<DomainName, Arc<Entry>>,
    /// The version up to which a name was taken out.
    gone: Cache<DomainName, u64>,
    loaded: AtomicBool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            domains: DashMap::new(),
            gone: Cache::builder().max_capacity(GONE_KEPT).time_to_live(GONE_FOR).build(),
            loaded: AtomicBool::new(false),
        }
    }
}

impl Inner {
    fn is_gone(&self, entry: &Entry) -> bool {
        self.gone.get(&entry.name).is_some_and(|gone| entry.version <= gone)
    }
}

impl Registry {
    /// An empty registry that is still to be loaded.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry of a name in lower-case ASCII.
    pub fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.inner.domains.get(name).map(|e| Arc::clone(&e))
    }

    /// Puts in, or replaces, the entry of a record that is durable; a newer one stays, since two
    /// changes may be told of in the other order than they were stored in. One that was taken out
    /// since it was read stays out. Returns the newest known.
    pub fn put(&self, record: &DomainRecord) -> Arc<Entry> {
        let entry = Arc::new(Entry::of(record));
        match self.inner.domains.entry(entry.name.clone()) {
            dashmap::Entry::Occupied(mut place) => {
                if place.get().version <= entry.version {
                    place.insert(entry);
                }
                Arc::clone(place.get())
            }
            // Under the same lock as the removal.
            dashmap::Entry::Vacant(_) if self.inner.is_gone(&entry) => entry,
            dashmap::Entry::Vacant(place) => Arc::clone(&place.insert(entry)),
        }
    }

    /// Puts in the entry of a record, unless there is one already. Returns whether it was put in.
    pub fn put_if_absent(&self, record: &DomainRecord) -> bool {
        match self.inner.domains.entry(record.name.clone()) {
            dashmap::Entry::Occupied(_) => false,
            dashmap::Entry::Vacant(place) => {
                let entry = Entry::of(record);
                let put = !self.inner.is_gone(&entry);
                if put {
                    place.insert(Arc::new(entry));
                }
                put
            }
        }
    }

    /// Takes out the entry of a domain as it was up to this version; one that was added since stays.
    pub fn remove(&self, name: &DomainName, version: u64) {
        // First, so that what is put in after this line sees it, and what was before it goes.
        self.inner.gone.insert(name.clone(), version);
        self.inner
            .domains
            .remove_if(name.as_str(), |_, entry| entry.version <= version);
    }

    /// Whether every stored domain is here, so that a missing name is not known.
    pub fn is_loaded(&self) -> bool {
        self.inner.loaded.load(Ordering::Acquire)
    }

    /// Tells that every stored domain is here.
    pub fn set_loaded(&self) {
        self.inner.loaded.store(true, Ordering::Release);
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.inner.domains.len()
    }

    /// Whether none is here.
    pub fn is_empty(&self) -> bool {
        self.inner.domains.is_empty()
    }

    /// Up to `count` entries, in no particular order.
    pub fn some(&self, count: usize) -> Vec<Arc<Entry>> {
        self.inner.domains.iter().take(count).map(|e| Arc::clone(&e)).collect()
    }

    /// Calls `f` for every entry. Not for the hot path.
    pub fn for_each(&self, mut f: impl FnMut(&Entry)) {
        for entry in &self.inner.domains {
            f(&entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Origin;

    #[test]
    fn what_is_told_late_does_not_replace_what_is_newer() {
        let registry = Registry::new();
        let name = DomainName::parse("a.example").unwrap();
        let mut record = DomainRecord::new(name, None, Origin::Registered, Timestamp::from_secs(0));
        let mut older = record.clone();
        (older.version, record.version) = (1, 2);
        record.http_while_pending = false;
        registry.put(&record);
        assert!(!registry.put(&older).http_while_pending);
        assert!(!registry.get("a.example").unwrap().http_while_pending);
        record.version = 3;
        record.http_while_pending = true;
        assert!(registry.put(&record).http_while_pending);
    }

    #[test]
    fn risk_follows_the_life_of_the_certificate() {
        let (t0, day) = (Timestamp::from_secs(1_795_305_600), Duration::from_secs(86_400));
        let name = DomainName::parse("a.example").unwrap();
        let mut record = DomainRecord::new(name, None, Origin::Registered, t0);
        record.ssl.reason = Reason::RenewalFailing;
        record.ssl.certificate = Some(CertificateInfo {
            not_before: t0,
            not_after: t0 + day * 90,
            obtained: None,
            issuer: "Test CA".into(),
            serial: "01".into(),
            sans: vec!["a.example".into()],
            ca: "https://ca.example/dir".into(),
            ari_id: None,
            renew_at: t0 + day,
            ari_check_at: None,
        });
        let at_risk = |record: &DomainRecord, days| Entry::of(record).is_at_risk(t0 + day * days);
        assert!(!at_risk(&record, 59) && at_risk(&record, 60));
        record.ssl.since = t0 + day * 70;
        assert!(!at_risk(&record, 69) && at_risk(&record, 70));
        record.ssl.reason = Reason::Ok;
        assert!(!at_risk(&record, 74) && at_risk(&record, 75), "a sixth is left");
        // A CA that wants it replaced at once is about to revoke it.
        (record.ssl.reason, record.ssl.since, record.ssl.hurry) = (Reason::RenewalFailing, t0 + day, true);
        assert!(at_risk(&record, 1));
    }

    #[test]
    fn what_was_forgotten_is_not_brought_back_by_what_was_read_before() {
        let registry = Registry::new();
        let name = DomainName::parse("a.example").unwrap();
        let now = Timestamp::from_secs(0);
        let mut old = DomainRecord::new(name.clone(), None, Origin::Registered, now);
        old.version = 5;
        registry.put(&old);
        registry.remove(&name, 5);
        registry.put(&old);
        assert!(!registry.put_if_absent(&old));
        assert!(registry.get("a.example").is_none());
        // Registered again, for another: a late removal of the old one leaves it.
        let mut new = DomainRecord::new(name.clone(), Some("other".into()), Origin::Registered, now);
        new.version = 9;
        registry.put(&new);
        registry.remove(&name, 5);
        registry.put(&old);
        assert_eq!(registry.get("a.example").unwrap().tenant(), "other");
    }
}
