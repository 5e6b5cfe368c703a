//! Renewal information (ARI, RFC 9773): when to ask for it, and what the answer changes.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{CertificateInfo, SslEvent, SslStatus};
use linkseal_issuer::RenewalInfo;

/// When to ask again after the CA gave no renewal information.
pub(super) const RETRY: Duration = Duration::from_secs(6 * 3600);
/// The longest wait that the Retry-After of such an answer may ask for.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(24 * 3600);

/// The certificate whose renewal information is due to be requested, and its ARI id.
pub fn asks_renewal_info(ssl: &SslStatus, now: Timestamp) -> Option<(&CertificateInfo, &str)> {
    let certificate = ssl.certificate.as_ref()?;
    let id = certificate.ari_id.as_deref()?;
    (ssl.holds(now) && certificate.ari_check_at? <= now).then_some((certificate, id))
}

/// The event that follows from the CA's answer; `info` is `None` if it gave none. `unit`, in
/// `0.0..1.0`, picks the moment within the window.
pub fn renewal_info(certificate: &CertificateInfo, info: Option<RenewalInfo>, now: Timestamp, unit: f64) -> SslEvent {
    let Some(info) = info else {
        return no_renewal_info(certificate, None, now);
    };
    // A moment once picked stays as long as the window contains it.
    let stays = (info.start..=info.end).contains(&certificate.renew_at);
    SslEvent::RenewalInfo {
        renew_at: if stays { certificate.renew_at } else { info.pick(unit) },
        check_at: info.check_at,
    }
}

/// The event of an answer without renewal information: ask again at `retry_after`, within a day.
pub fn no_renewal_info(certificate: &CertificateInfo, retry_after: Option<Timestamp>, now: Timestamp) -> SslEvent {
    let retry_after = retry_after.filter(|at| *at > now);
    SslEvent::RenewalInfo {
        renew_at: certificate.renew_at,
        check_at: retry_after.map_or(now + RETRY, |at| at.min(now + RETRY_MAX)),
    }
}
