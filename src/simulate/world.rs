//! What linkseal has no say in: the CA, and where the customers' names lead.

use std::time::Duration;

use super::book::Domain;
use super::dice::Dice;
use super::{DAY, Scenario};
use crate::clock::Timestamp;
use crate::domain::record::DnsVerdict;
use crate::domain::ssl::{CertificateInfo, Failure, FailureKind, LastError, SslEvent};
use crate::issuer::{RenewalInfo, renewal};

/// The CA's directory URL and host. Empty, as all texts here: nobody reads them, and a text of no
/// length costs nothing to copy, which happens millions of times.
pub(super) const CA: &str = "";
/// Let's Encrypt's Retry-After for renewal information.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Half of Let's Encrypt's window for a renewal, as a share of the lifetime.
const WINDOW: f64 = 0.01;
/// Below this lifetime Let's Encrypt's window lies at half of it, above it at two thirds.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 86_400);
/// CAs date certificates back, so that clocks that are slow take them.
const DATED_BACK: Duration = Duration::from_secs(3600);

/// The CA as it is `elapsed` after the start.
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    start: Timestamp,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, start: Timestamp) -> Self {
        Self { scenario, start }
    }

    fn answers(&self, now: Timestamp) -> bool {
        let elapsed = now.saturating_since(self.start);
        !self.scenario.outages.iter().any(|outage| outage.holds(elapsed))
    }

    fn lifetime(&self, now: Timestamp) -> Duration {
        let elapsed = now.saturating_since(self.start);
        let all = &self.scenario.lifetimes;
        let now = all.iter().take_while(|(from, _)| *from <= elapsed).last();
        now.or(all.first()).map_or(90 * DAY, |(_, life)| *life)
    }

    /// Where a name leads.
    pub(super) fn dns(domain: &Domain, now: Timestamp) -> DnsVerdict {
        if domain.is_here(now) {
            DnsVerdict::Right
        } else {
            DnsVerdict::Elsewhere { found: String::new() }
        }
    }

    /// What becomes of an order that began at `begun` and ends now.
    pub(super) fn order(
        &self,
        domain: &Domain,
        begun: Timestamp,
        now: Timestamp,
        dice: &mut Dice,
    ) -> Result<CertificateInfo, Failure> {
        let failure = |kind| Failure {
            kind,
            error: LastError {
                kind: String::new(),
                detail: String::new(),
                at: now,
                subproblems: Vec::new(),
            },
            retry_after: None,
        };
        if !self.answers(begun) {
            return Err(failure(FailureKind::Unreachable));
        }
        if domain.failing || !domain.is_here(now) || dice.happens(self.scenario.flaky) {
            return Err(failure(FailureKind::Connection));
        }
        Ok(self.certificate(now, now, dice))
    }

    /// A certificate issued at `issued`, obtained now.
    pub(super) fn certificate(&self, issued: Timestamp, now: Timestamp, dice: &mut Dice) -> CertificateInfo {
        let not_before = issued.minus(DATED_BACK);
        let not_after = not_before + self.lifetime(issued);
        let ari = self.scenario.ari;
        CertificateInfo {
            renew_at: renewal::plan(issued, not_after, dice.unit()),
            ari_check_at: ari.then(|| renewal::first_check(now, not_after, dice.unit())),
            not_before,
            not_after,
            obtained: None,
            issuer: String::new(),
            serial: String::new(),
            sans: Vec::new(),
            ca: CA.to_owned(),
            ari_id: Some(String::new()),
        }
    }

    /// The CA's renewal information.
    pub(super) fn renewal_info(&self, certificate: &CertificateInfo, now: Timestamp) -> Option<RenewalInfo> {
        if !self.answers(now) {
            return None;
        }
        let life = certificate.not_after.saturating_since(certificate.not_before);
        let left = if life < SHORT_LIVED { life / 2 } else { life / 3 };
        let ideal = certificate.not_after.minus(left);
        Some(RenewalInfo {
            start: ideal.minus(life.mul_f64(WINDOW)),
            end: ideal + life.mul_f64(WINDOW),
            check_at: now + ASK_AGAIN,
        })
    }
}

/// The next answer to a question for renewal information that may change something, and how many
/// there are until then, or until the end. The CA made up here never moves a window, and a moment
/// chosen in it stays: what is asked in between, a hundred times for each certificate, is counted
/// and not replayed.
pub(super) fn until_it_matters(answer: SslEvent, end: Timestamp) -> (SslEvent, u64) {
    let SslEvent::RenewalInfo { renew_at, check_at } = answer else {
        return (answer, 1);
    };
    let times = |until: Timestamp| {
        let span = until.saturating_since(check_at);
        span.as_secs().div_ceil(ASK_AGAIN.as_secs())
    };
    let skipped = times(renew_at);
    let event = SslEvent::RenewalInfo {
        renew_at,
        check_at: check_at + Duration::from_secs(skipped * ASK_AGAIN.as_secs()),
    };
    (event, 1 + skipped.min(times(end)))
}
