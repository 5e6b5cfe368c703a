//! The known domains in memory, which the data plane reads for every handshake and request.
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

/// What the data plane needs to know about one domain. Small: there may be a million.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: DomainName,
    /// `None`: the name itself.
    tenant: Option<Box<str>>,
    /// End of the certificate's validity.
    pub not_after: Option<Timestamp>,
    pub reason: Reason,
    /// Whether tracking URLs are served over plain HTTP while there is no certificate.
    pub http_while_pending: bool,
    /// A domain that is not wanted is served until its certificate expires.
    pub intent: Intent,
    /// Whether https links to it work as long as the certificate is valid.
    https_works: bool,
    /// From when on the certificate is at risk: its renewal fails, or is overdue, even if because of a
    /// pause. `None`: there is none, or it is not to be renewed.
    at_risk_from: Option<Timestamp>,
    /// Which version of the record it was made from.
    version: u64,
    extra: Option<Box<Extra>>,
}

/// Settings that few domains have.
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

    /// Whether there is a certificate and it is at risk.
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

    /// Where a broken click link of this domain redirects to. `None`: as configured for all domains.
    pub fn fallback_url(&self) -> Option<&str> {
        self.extra.as_deref()?.fallback_url.as_deref()
    }

    /// `apple-app-site-association`, as JSON.
    pub fn apple_app_site_association(&self) -> Option<Bytes> {
        self.extra.as_deref()?.apple.clone()
    }

    /// `assetlinks.json`.
    pub fn asset_links(&self) -> Option<Bytes> {
        self.extra.as_deref()?.android.clone()
    }

    /// The value of `Strict-Transport-Security`.
    pub fn hsts(&self) -> Option<&HeaderValue> {
        self.extra.as_deref()?.hsts.as_ref()
    }

    /// [`DomainRecord::https_ready`].
    pub fn https_ready(&self, now: Timestamp) -> bool {
        self.https_works && self.not_after.is_some_and(|t| t > now)
    }

    /// Whether handshakes get the stand-in certificate, which serves challenges only: an order is open,
    /// there is no certificate, and the challenge arrives through a proxy that may connect to port 443.
    pub fn has_stand_in(&self, now: Timestamp) -> bool {
        let until = self.extra.as_deref().and_then(|e| e.stand_in_until);
        until.is_some_and(|t| t > now) && self.intent != Intent::Retired && self.not_after.is_none_or(|t| t <= now)
    }

    /// Whether there is an unexpired certificate.
    pub fn is_issued(&self, now: Timestamp) -> bool {
        self.reason.state() == State::Issued && self.not_after.is_some_and(|t| t > now)
    }
}

/// A domain that has moved is not at risk, since there is nothing to repair here; nor is a retired one,
/// which is meant to expire. A paused one is at risk once its certificate is expiring: a forgotten pause
/// breaks the customer's links like any other failure.
fn at_risk_from(record: &DomainRecord) -> Option<Timestamp> {
    if record.intent() == Intent::Paused && record.ssl.state() == State::Issued && record.ssl.reason != Reason::Moved {
        return record.ssl.certificate.as_ref().map(CertificateInfo::expiring_at);
    }
    record.renewal_due()?;
    let certificate = record.ssl.certificate.as_ref()?;
    // A renewal that fails early still has time, unless the CA is about to revoke the certificate.
    let failing = (record.ssl.reason == Reason::RenewalFailing).then_some(record.ssl.since);
    let failing = failing.map(|since| match record.ssl.hurry {
        true => since,
        false => since.max(certificate.renewal_of_old_age()),
    });
    let expiring = certificate.expiring_at();
    Some(failing.map_or(expiring, |from| from.min(expiring)))
}

/// How many removed names are remembered: a record that was read before the removal may be published
/// after it, and must not bring its domain back.
const GONE_KEPT: u64 = 100_000;
/// How long a removed name is remembered: far longer than a record takes from read to publication.
const GONE_FOR: Duration = Duration::from_secs(600);

/// All known domains. Clones share the same map.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    domains: DashMap<DomainName, Arc<Entry>>,
    /// The version up to which a name was removed.
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
    /// An empty registry that has not been loaded.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry of a name in lower-case ASCII.
    pub fn get(&self, name: &str) -> Option<Arc<Entry>> {
        self.inner.domains.get(name).map(|e| Arc::clone(&e))
    }

    /// Adds or replaces the entry of a durable record, unless the present entry is newer: two changes may
    /// be published in another order than they were stored in. A domain that was removed since the record
    /// was read stays removed. Returns the newest entry known.
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

    /// Adds the entry of a record, unless there is one already. Returns whether it was added.
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

    /// Removes the entry of a domain up to this version; a domain that was added since stays.
    pub fn remove(&self, name: &DomainName, version: u64) {
        // First, so that an entry added after this line is checked against it, and one added before is
        // removed below.
        self.inner.gone.insert(name.clone(), version);
        self.inner
            .domains
            .remove_if(name.as_str(), |_, entry| entry.version <= version);
    }

    /// Whether every stored domain has been loaded, so that a missing name is unknown.
    pub fn is_loaded(&self) -> bool {
        self.inner.loaded.load(Ordering::Acquire)
    }

    /// Notes that every stored domain has been loaded.
    pub fn set_loaded(&self) {
        self.inner.loaded.store(true, Ordering::Release);
    }

    /// How many domains are known.
    pub fn len(&self) -> usize {
        self.inner.domains.len()
    }

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
    fn a_late_change_does_not_replace_a_newer_one() {
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
    fn a_removed_domain_is_not_brought_back_by_a_record_read_before() {
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
        // Registered again for another tenant: a late removal of the old domain leaves it.
        let mut new = DomainRecord::new(name.clone(), Some("other".into()), Origin::Registered, now);
        new.version = 9;
        registry.put(&new);
        registry.remove(&name, 5);
        registry.put(&old);
        assert_eq!(registry.get("a.example").unwrap().tenant(), "other");
    }
}
