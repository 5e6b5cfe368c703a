//! What linkseal does not control: the CA, and the DNS of customers' names.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::dns::DnsVerdict;
use linkseal_domain::ssl::{CertificateInfo, Failure, FailureKind, LastError, SslEvent};
use linkseal_issuer::{RenewalInfo, renewal};

use super::fleet::{Domain, Id};
use super::refusals::Enforced;
use super::rng::SeededRng;
use super::{DAY, Move, MoveTo, Scenario};

/// The CA's directory URL and host. Empty, like all texts here: they are not read, but copied millions of times,
/// and an empty string costs no allocation.
pub(super) const CA: &str = "";
/// Let's Encrypt's Retry-After for renewal information.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Half the length of Let's Encrypt's renewal window, as a share of the lifetime.
const WINDOW: f64 = 0.01;
/// Let's Encrypt's window is at half of a lifetime shorter than this, and at two thirds of others.
const SHORT_LIVED: Duration = Duration::from_secs(10 * 86_400);
/// CAs backdate certificates, so that clients whose clocks are slow accept them.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The CA over the whole replay.
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    start: Timestamp,
    enforced: Enforced,
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario, start: Timestamp) -> Self {
        let enforced = Enforced::new(&scenario.ca_limits);
        Self {
            scenario,
            start,
            enforced,
        }
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

    /// The result of a domain's DNS check.
    pub(super) fn dns(domain: &Domain, now: Timestamp) -> DnsVerdict {
        if domain.is_here(now) {
            DnsVerdict::Right
        } else {
            DnsVerdict::Elsewhere { found: String::new() }
        }
    }

    /// The CA's answer to newOrder. `exempt`: the order names the certificate that it replaces.
    pub(super) fn new_order(&mut self, id: Id, domain: &Domain, exempt: bool, now: Timestamp) -> Result<(), Failure> {
        if !self.answers(now) {
            return Err(failure(FailureKind::Unreachable, self.retry_after(now), now));
        }
        if exempt {
            return Ok(());
        }
        let taken = self.enforced.order(id, domain, now);
        taken.map_err(|(kind, until)| failure(kind, self.retry_after(now).or(Some(until)), now))
    }

    /// The end of an order that the CA accepted. `exempt` as for [`Self::new_order`].
    pub(super) fn order(
        &mut self,
        id: Id,
        domain: &Domain,
        exempt: bool,
        now: Timestamp,
        dice: &mut SeededRng,
    ) -> Result<CertificateInfo, Failure> {
        if domain.failing || !domain.is_here(now) || dice.happens(self.scenario.flaky) {
            self.enforced.failed(id, now);
            return Err(failure(FailureKind::Connection, None, now));
        }
        if !exempt {
            self.enforced.issued(id, domain, self.lifetime(now), now);
        }
        Ok(self.certificate(now, now, dice))
    }

    /// The scenario's Retry-After, if it sets one.
    fn retry_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.scenario.retry_after.map(|span| now + span)
    }

    /// A certificate issued at `issued`, obtained now.
    pub(super) fn certificate(&self, issued: Timestamp, now: Timestamp, dice: &mut SeededRng) -> CertificateInfo {
        let not_before = issued.minus(BACKDATED);
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

    /// The last move of a certificate's window, and its time.
    pub(super) fn moved(
        &self,
        domain: &Domain,
        certificate: &CertificateInfo,
        now: Timestamp,
    ) -> Option<(MoveTo, Timestamp)> {
        let issued = certificate.not_before + BACKDATED;
        let come = self.scenario.moves.iter().map(|m: &Move| (m, self.start + m.at));
        let come = come.take_while(|(_, at)| *at <= now);
        let (last, at) = come.filter(|(m, at)| domain.lot < m.share && *at >= issued).last()?;
        Some((last.to, at))
    }

    /// The time of the next move, if there is one.
    fn next_move(&self, now: Timestamp) -> Option<Timestamp> {
        let mut moves = self.scenario.moves.iter().map(|m| self.start + m.at);
        moves.find(|at| *at > now)
    }

    /// The CA's renewal information; during an outage, its Retry-After.
    pub(super) fn renewal_info(
        &self,
        domain: &Domain,
        certificate: &CertificateInfo,
        now: Timestamp,
    ) -> Result<RenewalInfo, Option<Timestamp>> {
        if !self.answers(now) {
            return Err(self.retry_after(now));
        }
        let check_at = now + ASK_AGAIN;
        if let Some((to, at)) = self.moved(domain, certificate, now) {
            let start = match to {
                MoveTo::Past => at.minus(DAY),
                MoveTo::BeyondExpiry => certificate.not_after + DAY * 30,
            };
            let end = start + DAY / 2;
            return Ok(RenewalInfo { start, end, check_at });
        }
        let life = certificate.not_after.saturating_since(certificate.not_before);
        let left = if life < SHORT_LIVED { life / 2 } else { life / 3 };
        let ideal = certificate.not_after.minus(left);
        Ok(RenewalInfo {
            start: ideal.minus(life.mul_f64(WINDOW)),
            end: ideal + life.mul_f64(WINDOW),
            check_at,
        })
    }

    /// The next renewal information that may change something, and the number of requests until then or until
    /// the end. A time chosen in a window stays until the window moves, so the requests in between, about a
    /// hundred per certificate, are counted and not replayed.
    pub(super) fn until_it_matters(&self, answer: SslEvent, now: Timestamp, end: Timestamp) -> (SslEvent, u64) {
        let SslEvent::RenewalInfo { renew_at, check_at } = answer else {
            return (answer, 1);
        };
        let times = |until: Timestamp| {
            let span = until.saturating_since(check_at);
            span.as_secs().div_ceil(ASK_AGAIN.as_secs())
        };
        let matters = self.next_move(now).map_or(renew_at, |at| at.min(renew_at));
        let skipped = times(matters);
        let event = SslEvent::RenewalInfo {
            renew_at,
            check_at: check_at + Duration::from_secs(skipped * ASK_AGAIN.as_secs()),
        };
        (event, 1 + skipped.min(times(end)))
    }
}

fn failure(kind: FailureKind, retry_after: Option<Timestamp>, now: Timestamp) -> Failure {
    Failure {
        kind,
        error: LastError {
            kind: String::new(),
            detail: String::new(),
            at: now,
            subproblems: Vec::new(),
        },
        retry_after,
    }
}
