//! ClientNetwork the CAs when certificates should be renewed (RFC 9773): many questions, none of them
//! urgent. They have places of their own, a short time, and a breaker for each CA, so that an
//! endpoint that does not answer holds up neither orders nor looks, and no other CA's questions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::ssl::{CertificateInfo, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_store::{StoreError, domain_lease};
use tokio::time::{Instant, timeout};

use super::lanes::Lanes;
use super::queue::Priority;
use super::{ConfiguredCa, Control, Edit, rules};

/// Questions to one CA at once.
const PLACES: usize = 16;
/// How long one question may take, and how long it may wait for its turn.
const TIME: Duration = Duration::from_secs(5);
/// How long the question's domain is held: both of these, and the store.
const LEASE: Duration = Duration::from_secs(30);
/// Questions in a row without an answer after which a CA is asked no more for a while.
const FAILURES: u32 = 3;
/// For how long at first, doubling up to the longest.
const REST_FIRST: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(3600);

/// The questions of this node, by the directory of the CA.
#[derive(Default)]
pub(super) struct Desk {
    lines: DashMap<String, Arc<Line>>,
}

/// The questions to one CA.
struct Line {
    lanes: Lanes,
    breaker: Mutex<Breaker>,
}

/// Whether a CA is asked at all. By the monotonic clock: a clock that is set ends no rest and makes
/// none longer.
#[derive(Debug)]
enum Breaker {
    /// It is asked; so many questions in a row had no answer.
    Closed { failures: u32 },
    /// It is not asked before this time.
    Open { until: Instant, rests: u32 },
    /// One question finds out whether it answers again.
    Trial { since: Instant, rests: u32 },
}

impl Breaker {
    /// Whether a question may go out.
    fn lets_through(&mut self, now: Instant) -> bool {
        match *self {
            Self::Closed { .. } => true,
            // One that went away without an answer is followed by another.
            Self::Open { until: at, rests } if at <= now => self.tries(now, rests),
            Self::Trial { since, rests } if since + TIME * 2 <= now => self.tries(now, rests),
            Self::Open { .. } | Self::Trial { .. } => false,
        }
    }

    fn tries(&mut self, now: Instant, rests: u32) -> bool {
        *self = Self::Trial { since: now, rests };
        true
    }

    fn answered(&mut self) {
        *self = Self::Closed { failures: 0 };
    }

    /// Takes note of a question without an answer; returns the rest that begins with it.
    fn failed(&mut self, now: Instant) -> Option<Duration> {
        let rests = match self {
            Self::Closed { failures } => {
                *failures += 1;
                if *failures < FAILURES {
                    return None;
                }
                0
            }
            Self::Trial { rests, .. } => *rests,
            // It had gone out before.
            Self::Open { .. } => return None,
        };
        let rest = REST_FIRST.saturating_mul(1 << rests.min(10)).min(REST_MAX);
        *self = Self::Open {
            until: now + rest,
            rests: rests.saturating_add(1),
        };
        Some(rest)
    }
}

impl Default for Line {
    fn default() -> Self {
        Self {
            lanes: Lanes::new(PLACES, 0),
            breaker: Mutex::new(Breaker::Closed { failures: 0 }),
        }
    }
}

impl Line {
    fn breaker<T>(&self, with: impl FnOnce(&mut Breaker) -> T) -> T {
        // One value, replaced whole.
        with(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the CA's answer makes of a certificate's renewal; asked only while the CA answers.
    async fn ask(
        &self,
        authority: &ConfiguredCa,
        certificate: &CertificateInfo,
        id: &str,
        control: &Control,
    ) -> SslEvent {
        let nothing = |wish| rules::no_renewal_info(certificate, wish, control.inner.clock.now());
        let Ok(_place) = timeout(TIME, self.lanes.enter(Priority::Bulk, Vec::new())).await else {
            return nothing(None);
        };
        if !self.breaker(|b| b.lets_through(Instant::now())) {
            return nothing(None);
        }
        let answer = timeout(TIME, authority.issuer.renewal_info(id)).await;
        let failed = |why: &str| {
            if let Some(rest) = self.breaker(|b| b.failed(Instant::now())) {
                tracing::warn!(
                    ca = authority.directory(),
                    why,
                    rest_secs = rest.as_secs(),
                    "the CA gives no renewal information; it is not asked for a while, and renewals go by the \
                     certificates' life"
                );
            }
        };
        match answer {
            Ok(Ok(info)) => {
                self.breaker(Breaker::answered);
                rules::renewal_info(certificate, info, control.inner.clock.now(), random::unit())
            }
            Ok(Err(failure)) => {
                failed(&failure.error.detail);
                nothing(failure.retry_after)
            }
            Err(_) => {
                failed(&format!("no answer within {} s", TIME.as_secs()));
                nothing(None)
            }
        }
    }
}

impl Control {
    /// Asks the CA when a certificate should be renewed, if that is due.
    pub(super) async fn ask_renewal_info(&self, name: &DomainName, record: &DomainRecord) -> Result<(), StoreError> {
        let (store, now) = (&self.inner.store, self.inner.clock.now());
        let Some((certificate, id)) = rules::asks_renewal_info(&record.ssl, now) else {
            return Ok(());
        };
        // What runs out is renewed whatever the answer would be, and does not wait for it.
        if rules::urgency(&record.ssl, Priority::Bulk, now) == Priority::Expiring {
            return Ok(());
        }
        let lease = domain_lease(name);
        let Some(fence) = store.acquire_lease(&lease, &self.inner.node, LEASE, now).await? else {
            return Ok(());
        };
        // Only the CA that has issued it knows; one that is no longer configured is not asked.
        let tools = self.tools();
        let event = match tools.authorities.find(&certificate.ca) {
            Some(authority) => {
                let line = Arc::clone(&self.inner.renewal_info.lines.entry(certificate.ca.clone()).or_default());
                line.ask(authority, certificate, id, self).await
            }
            None => rules::no_renewal_info(certificate, None, now),
        };
        let serial = certificate.serial.clone();
        let changed = self
            .transition(name, fence, |draft| {
                // The answer is about this certificate.
                if draft.record.ssl.certificate.as_ref().is_none_or(|c| c.serial != serial) {
                    return Edit::Nothing;
                }
                draft.happens(event.clone());
                Edit::Store
            })
            .await;
        store.release_lease(&lease, fence).await?;
        if let (SslEvent::RenewalInfo { renew_at, .. }, Some(after)) = (&event, changed?) {
            self.note_put_off(*renew_at, record, &after);
        }
        Ok(())
    }

    /// Tells of a window that is not followed, once for each certificate.
    fn note_put_off(&self, wished: Timestamp, before: &DomainRecord, after: &DomainRecord) {
        let planned = after.ssl.renewal_planned();
        let is_new = before.ssl.renewal_planned() != planned;
        if !is_new || !after.ssl.brought_forward || planned.is_none_or(|at| at <= wished) {
            return;
        }
        self.inner.metrics.windows_put_off.inc();
        let ca = after.ssl.certificate.as_ref().map_or("", |c| c.ca.as_str());
        let due = self
            .inner
            .complaints
            .due(ca, "renewal window", self.inner.clock.uptime());
        if let (Some(unsaid), Some(planned)) = (due, planned) {
            tracing::warn!(
                domain = %after.name, ca, %wished, %planned, unsaid,
                "the CA wants a young certificate renewed whose predecessor it had brought forward as well; that waits, \
                 else each certificate would be renewed at once. If the CA does revoke it: linkseal domain reissue"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_does_not_answer_is_asked_more_and_more_seldom() {
        let (mut breaker, t0) = (Breaker::Closed { failures: 0 }, Instant::now());
        assert!(breaker.lets_through(t0));
        assert_eq!(breaker.failed(t0), None);
        breaker.answered();
        assert_eq!((breaker.failed(t0), breaker.failed(t0)), (None, None), "three in a row");
        assert_eq!(breaker.failed(t0), Some(REST_FIRST));
        assert_eq!(breaker.failed(t0), None, "it had gone out before");
        let mut now = t0;
        for rest in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600].map(Duration::from_secs) {
            assert!(!breaker.lets_through(now + rest - TIME));
            now += rest;
            assert!(breaker.lets_through(now), "one tries");
            assert!(!breaker.lets_through(now), "and no other meanwhile");
            assert!(breaker.failed(now + TIME).is_some());
            now += TIME;
        }
        now += REST_MAX;
        assert!(breaker.lets_through(now));
        assert!(
            breaker.lets_through(now + TIME * 2),
            "one that went away is followed by another"
        );
        breaker.answered();
        assert!(breaker.lets_through(now) && breaker.lets_through(now));
    }
}
