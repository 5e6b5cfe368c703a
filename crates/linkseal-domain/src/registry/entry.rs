//! What the data plane knows about one domain.

use bytes::Bytes;
use http::HeaderValue;
use linkseal_base::clock::Timestamp;

use crate::DomainName;
use crate::record::DomainRecord;
use crate::ssl::{CertificateInfo, Intent, Reason, State};

/// What the data plane needs to know about one domain. Small: there may be ten million. With its counts of
/// references it fills one cache line; the name is in another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: DomainName,
    /// Which version of the record it was made from.
    pub(super) version: u64,
    /// `None`: the tenant is the name itself, and there are no [`Extra`] settings.
    own: Option<Box<Own>>,
    /// End of the certificate's validity.
    not_after: Moment,
    /// From when on the certificate is at risk: its renewal fails, or is overdue, even if because of a
    /// pause. `None`: there is none, or it is not to be renewed.
    at_risk_from: Moment,
    pub reason: Reason,
    /// A domain that is not wanted is served until its certificate expires.
    pub intent: Intent,
    /// Whether tracking URLs are served over plain HTTP while there is no certificate.
    pub http_while_pending: bool,
    /// Whether https links to it work as long as the certificate is valid.
    https_works: bool,
}

/// Settings that many domains do not have.
#[derive(Clone, Debug, PartialEq)]
struct Own {
    /// `None`: the name itself.
    tenant: Option<Box<str>>,
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
    /// The version of the record that it was made of.
    pub fn version(&self) -> u64 {
        self.version
    }

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
        let own = Own {
            tenant: (record.tenant != record.name.as_str()).then(|| record.tenant.as_str().into()),
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
        };
        Self {
            name: record.name.clone(),
            version: record.version,
            own: (own.tenant.is_some() || own.extra.is_some()).then(|| Box::new(own)),
            not_after: Moment::of(record.ssl.certificate.as_ref().map(|c| c.not_after)),
            at_risk_from: Moment::of(at_risk_from(record)),
            reason: record.ssl.reason,
            intent: record.intent(),
            http_while_pending: record.http_while_pending,
            https_works: record.https_works(),
        }
    }

    /// Whether there is a certificate and it is at risk.
    pub fn is_at_risk(&self, now: Timestamp) -> bool {
        self.is_issued(now) && self.at_risk_from.get().is_some_and(|from| from <= now)
    }

    /// End of the certificate's validity; `None` if there never was a certificate.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.not_after.get()
    }

    /// The tenant whose links are served here.
    pub fn tenant(&self) -> &str {
        let own = self.own.as_deref().and_then(|own| own.tenant.as_deref());
        own.unwrap_or(self.name.as_str())
    }

    /// Earlier tenants whose links still verify.
    pub fn former_tenants(&self) -> &[String] {
        self.extra().map_or(&[], |e| &e.former_tenants)
    }

    /// Where a broken click link of this domain redirects to. `None`: as configured for all domains.
    pub fn fallback_url(&self) -> Option<&str> {
        self.extra()?.fallback_url.as_deref()
    }

    /// `apple-app-site-association`, as JSON.
    pub fn apple_app_site_association(&self) -> Option<Bytes> {
        self.extra()?.apple.clone()
    }

    /// `assetlinks.json`.
    pub fn asset_links(&self) -> Option<Bytes> {
        self.extra()?.android.clone()
    }

    /// The value of `Strict-Transport-Security`.
    pub fn hsts(&self) -> Option<&HeaderValue> {
        self.extra()?.hsts.as_ref()
    }

    /// [`DomainRecord::https_ready`].
    pub fn https_ready(&self, now: Timestamp) -> bool {
        self.https_works && self.has_certificate(now)
    }

    /// Whether handshakes get the stand-in certificate, which serves challenges only: an order is open,
    /// there is no certificate, and the challenge arrives through a proxy that may connect to port 443.
    pub fn has_stand_in(&self, now: Timestamp) -> bool {
        let until = self.extra().and_then(|e| e.stand_in_until);
        until.is_some_and(|t| t > now) && self.intent != Intent::Retired && !self.has_certificate(now)
    }

    /// Whether there is an unexpired certificate.
    pub fn is_issued(&self, now: Timestamp) -> bool {
        self.reason.state() == State::Issued && self.has_certificate(now)
    }

    fn extra(&self) -> Option<&Extra> {
        self.own.as_deref()?.extra.as_deref()
    }

    fn has_certificate(&self, now: Timestamp) -> bool {
        self.not_after().is_some_and(|end| end > now)
    }
}

/// A time in four bytes instead of sixteen: whole seconds since 1970, rounded down, until 2106. 0 is no
/// time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moment(u32);

impl Moment {
    fn of(at: Option<Timestamp>) -> Self {
        // A time outside the range counts as its nearest one: as long past, or as far ahead.
        Self(at.map_or(0, |at| u32::try_from(at.as_secs().max(1)).unwrap_or(u32::MAX)))
    }

    fn get(self) -> Option<Timestamp> {
        (self.0 > 0).then(|| Timestamp::from_secs(self.0.into()))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::Origin;

    #[test]
    fn a_time_survives_in_four_bytes() {
        for secs in [1, 1_795_305_600, i64::from(u32::MAX)] {
            let at = Timestamp::from_secs(secs);
            assert_eq!(Moment::of(Some(at)).get(), Some(at));
        }
        assert_eq!(Moment::of(None).get(), None);
        let end = |ms| Moment::of(Some(Timestamp::from_millis(ms))).get();
        assert_eq!(
            end(1_500),
            Some(Timestamp::from_secs(1)),
            "no certificate is valid for longer"
        );
        assert_eq!(end(-1), Some(Timestamp::from_secs(1)), "long past, but a time");
        assert_eq!(end(i64::MAX), Some(Timestamp::from_secs(u32::MAX.into())), "2106");
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
}
