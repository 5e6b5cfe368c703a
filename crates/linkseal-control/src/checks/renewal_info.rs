//! Asks the CAs when certificates should be renewed (RFC 9773): many requests, none of them urgent.
//! They have places of their own, a short timeout, and a circuit breaker for each CA, so that an
//! endpoint that does not answer delays neither orders nor DNS checks nor requests to other CAs.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use linkseal_base::clock::Timestamp;
use linkseal_base::random;
use linkseal_domain::DomainRecord;
use linkseal_domain::ssl::{CertificateInfo, SslEvent};
use linkseal_store::{Fence, StoreError};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::core::log_limit::{CA_INTERVAL, LogLimit};
use crate::core::{ConfiguredCa, Core, Edit, Priority};
use crate::fairness::lanes::Lanes;
use crate::rules;

/// Concurrent requests to one CA.
const PLACES: usize = 16;
/// How long one request may take, and how long it may wait for its place.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Consecutive failed requests after which the breaker opens.
const FAILURES: u32 = 3;
/// How long the breaker stays open: first, and longest; doubles in between.
const OPEN_FIRST: Duration = Duration::from_secs(60);
const OPEN_MAX: Duration = Duration::from_secs(3600);

/// The requests of this node, by the directory of the CA.
pub(crate) struct RenewalInfo {
    core: Arc<Core>,
    endpoints: DashMap<String, Arc<Endpoint>>,
    put_off_log: LogLimit,
}

/// The renewal information endpoint of one CA.
struct Endpoint {
    lanes: Lanes,
    breaker: Mutex<Breaker>,
}

impl RenewalInfo {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            endpoints: DashMap::new(),
            put_off_log: LogLimit::every(CA_INTERVAL),
        }
    }

    /// Asks the CA when the domain's certificate should be renewed, if that is due, and notes the
    /// answer.
    pub(crate) async fn refresh(&self, record: &DomainRecord, fence: Fence) -> Result<(), StoreError> {
        let (name, now) = (&record.name, self.core.clock.now());
        let Some((certificate, id)) = rules::asks_renewal_info(&record.ssl, now) else {
            return Ok(());
        };
        // A certificate about to expire is renewed whatever the answer, and must not wait for it.
        if rules::urgency(&record.ssl, Priority::Bulk, now) == Priority::Expiring {
            return Ok(());
        }
        // Only the CA that issued it knows; one that is no longer configured is not asked.
        let event = match self.core.cas().find(&certificate.ca) {
            Some(ca) => {
                let endpoint = Arc::clone(&self.endpoints.entry(certificate.ca.clone()).or_default());
                endpoint.ask(&self.core, ca, certificate, id).await
            }
            None => rules::no_renewal_info(certificate, None, now),
        };
        let serial = certificate.serial.clone();
        let changed = self
            .core
            .transition(name, fence, |draft| {
                // The answer is about this certificate.
                if draft.record.ssl.certificate.as_ref().is_none_or(|c| c.serial != serial) {
                    return Edit::Nothing;
                }
                draft.apply(event.clone());
                Edit::Store
            })
            .await?;
        if let (SslEvent::RenewalInfo { renew_at, .. }, Some(after)) = (&event, changed) {
            self.note_put_off(*renew_at, record, &after);
        }
        Ok(())
    }

    /// Counts and logs a window that is not followed, once for each certificate.
    fn note_put_off(&self, suggested: Timestamp, before: &DomainRecord, after: &DomainRecord) {
        let planned = after.ssl.renewal_planned();
        let is_new = before.ssl.renewal_planned() != planned;
        if !is_new || !after.ssl.brought_forward || planned.is_none_or(|at| at <= suggested) {
            return;
        }
        self.core.metrics.windows_put_off.inc();
        let ca = after.ssl.certificate.as_ref().map_or("", |c| c.ca.as_str());
        let due = self.put_off_log.due(ca, "renewal window", self.core.clock.uptime());
        if let (Some(suppressed), Some(planned)) = (due, planned) {
            tracing::warn!(
                domain = %after.name, ca, %suggested, %planned, suppressed,
                "early renewal window ignored: the previous certificate was renewed early as well, and following it would \
                 renew in a loop (if the CA is going to revoke this certificate: linkseal domain reissue)"
            );
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            lanes: Lanes::new(PLACES, 0),
            breaker: Mutex::new(Breaker::Closed { failures: 0 }),
        }
    }
}

impl Endpoint {
    /// The event of the CA's answer; it is asked only while the breaker lets requests through.
    async fn ask(&self, core: &Core, ca: &ConfiguredCa, certificate: &CertificateInfo, id: &str) -> SslEvent {
        let nothing = |retry_after| rules::no_renewal_info(certificate, retry_after, core.clock.now());
        let Ok(_place) = timeout(TIMEOUT, self.lanes.enter(Priority::Bulk, Vec::new())).await else {
            return nothing(None);
        };
        if !self.breaker.lock().lets_through(Instant::now()) {
            return nothing(None);
        }
        let answer = timeout(TIMEOUT, ca.issuer.renewal_info(id)).await;
        let failed = |error: &str| {
            let pause = self.breaker.lock().failed(Instant::now());
            if let Some(pause) = pause {
                tracing::warn!(
                    ca = ca.directory(),
                    error,
                    pause_secs = pause.as_secs(),
                    "renewal information unavailable; not asking this CA for a while, renewals follow certificate lifetimes"
                );
            }
        };
        match answer {
            Ok(Ok(info)) => {
                self.breaker.lock().answered();
                rules::renewal_info(certificate, info, core.clock.now(), random::unit())
            }
            Ok(Err(failure)) => {
                failed(&failure.error.detail);
                nothing(failure.retry_after)
            }
            Err(_) => {
                failed(&format!("no answer within {} s", TIMEOUT.as_secs()));
                nothing(None)
            }
        }
    }
}

/// A circuit breaker, on the monotonic clock: setting the system's clock must not change its times.
#[derive(Debug)]
enum Breaker {
    /// Requests go out; this many in a row have failed.
    Closed { failures: u32 },
    /// No requests go out before this time. `times`: how often it has opened in a row.
    Open { until: Instant, times: u32 },
    /// A single request finds out whether the CA answers again.
    HalfOpen { since: Instant, times: u32 },
}

impl Breaker {
    /// Whether a request may go out.
    fn lets_through(&mut self, now: Instant) -> bool {
        match *self {
            Self::Closed { .. } => true,
            // A trial that was cancelled is followed by another one.
            Self::Open { until, times } if until <= now => self.try_once(now, times),
            Self::HalfOpen { since, times } if since + TIMEOUT * 2 <= now => self.try_once(now, times),
            Self::Open { .. } | Self::HalfOpen { .. } => false,
        }
    }

    fn try_once(&mut self, now: Instant, times: u32) -> bool {
        *self = Self::HalfOpen { since: now, times };
        true
    }

    fn answered(&mut self) {
        *self = Self::Closed { failures: 0 };
    }

    /// Notes a failed request; returns how long the breaker is open if it opens with it.
    fn failed(&mut self, now: Instant) -> Option<Duration> {
        let times = match self {
            Self::Closed { failures } => {
                *failures += 1;
                if *failures < FAILURES {
                    return None;
                }
                0
            }
            Self::HalfOpen { times, .. } => *times,
            // The request had gone out before it opened.
            Self::Open { .. } => return None,
        };
        let pause = OPEN_FIRST.saturating_mul(1 << times.min(10)).min(OPEN_MAX);
        *self = Self::Open {
            until: now + pause,
            times: times.saturating_add(1),
        };
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_does_not_answer_is_asked_less_and_less_often() {
        let (mut breaker, t0) = (Breaker::Closed { failures: 0 }, Instant::now());
        assert!(breaker.lets_through(t0));
        assert_eq!(breaker.failed(t0), None);
        breaker.answered();
        assert_eq!((breaker.failed(t0), breaker.failed(t0)), (None, None), "three in a row");
        assert_eq!(breaker.failed(t0), Some(OPEN_FIRST));
        assert_eq!(breaker.failed(t0), None, "it had gone out before");
        let mut now = t0;
        for rest in [60, 120, 240, 480, 960, 1_920, 3_600, 3_600].map(Duration::from_secs) {
            assert!(!breaker.lets_through(now + rest - TIMEOUT));
            now += rest;
            assert!(breaker.lets_through(now), "a single trial");
            assert!(!breaker.lets_through(now), "and no other request meanwhile");
            assert!(breaker.failed(now + TIMEOUT).is_some());
            now += TIMEOUT;
        }
        now += OPEN_MAX;
        assert!(breaker.lets_through(now));
        assert!(
            breaker.lets_through(now + TIMEOUT * 2),
            "a cancelled trial is followed by another one"
        );
        breaker.answered();
        assert!(breaker.lets_through(now) && breaker.lets_through(now));
    }
}
