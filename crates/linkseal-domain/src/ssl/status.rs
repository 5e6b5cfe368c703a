//! The SSL side of a domain's record, and the questions it answers. Nothing here changes it.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use serde::{Deserialize, Serialize};

use super::certificate::CertificateInfo;
use super::failure::{FailureKind, LastError};
use super::reason::{Reason, State};
use crate::stored;

/// Within this time every order has ended, or was interrupted.
pub const ORDER_ENDS_WITHIN: Duration = Duration::from_secs(300);

/// A CA that has refused a name this many times in a row is skipped for it.
const REFUSALS: u32 = 2;
/// How long a refusal counts: CA policies and CAA records change.
pub(crate) const REFUSAL_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How many failed authorizations are kept: more than any CA allows within its window.
pub(crate) const FAILURES_KEPT: usize = 16;

/// The SSL side of a domain's record.
///
/// The names under which fields are stored never change; where a field has since been renamed,
/// `serde(rename)` holds the stored one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SslStatus {
    #[serde(deserialize_with = "stored::known_or_default")]
    pub reason: Reason,
    /// Since when the reason holds.
    pub since: Timestamp,
    /// The newest certificate, expired or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateInfo>,
    /// Failed attempts in a row.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub attempts: u32,
    /// Failed attempts since the last certificate that are not the domain's fault: they lengthen
    /// the back-off but never make linkseal give up.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub setbacks: u32,
    /// DNS checks in a row that found DNS wrong; lengthens the interval between checks.
    #[serde(default, rename = "looks", skip_serializing_if = "stored::is_default")]
    pub wrong_checks: u32,
    /// The next order or DNS check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// When `next_attempt` was set; shows that the clock was ahead then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Timestamp>,
    /// Whether `next_attempt` is the slot reserved in the wait queue for a limit of the CA.
    #[serde(default, rename = "in_line", skip_serializing_if = "stored::is_default")]
    pub in_queue: bool,
    /// The slot reserved in the wait queue for a limit of the CA, even while the domain waits for
    /// something else.
    #[serde(default, rename = "turn", skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Whether operators postponed `next_attempt` for all domains, by a freeze or by
    /// `acme.issue = "off"`. It is due as soon as orders resume.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub stopped: bool,
    /// The time before which the CA accepts no order for the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When the back-off after the last failure ends. Kept while `next_attempt` is a DNS check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// When a queued order is expected to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<Timestamp>,
    /// The last failure as the CA reported it; cleared by a success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// Whether the mass-failure guard suppressed the last failure: the error is kept, but nothing
    /// is concluded from it.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub doubted: bool,
    #[serde(default)]
    pub facts: Facts,
    /// The last failed authorizations, oldest first: CAs limit them per name and hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Timestamp>,
    /// Whether the CA wants the certificate replaced now, because it is about to revoke it.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub hurry: bool,
    /// CAs that refuse the name whatever its owner changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<CaRefusals>,
    /// The next DNS check of a domain for which nothing is to be ordered.
    #[serde(default, rename = "look_at", skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Timestamp>,
    /// Since when every check found that the name does not point here, or that its zone does not
    /// answer.
    #[serde(default, alias = "astray_since", skip_serializing_if = "Option::is_none")]
    pub misdirected_since: Option<Timestamp>,
    /// Whether [`crate::LifecycleEvent::Expiring`] was reported for this certificate.
    #[serde(default, rename = "told_expiring", skip_serializing_if = "stored::is_default")]
    pub expiring_reported: bool,
    /// When the renewal was due before an operator asked for an immediate replacement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by_hand: Option<Timestamp>,
    /// Whether the CA's renewal information brought the previous certificate's renewal forward into
    /// the first third of its life. That happens once, not for every successor.
    #[serde(default, skip_serializing_if = "stored::is_default")]
    pub brought_forward: bool,
}

/// A slot reserved in the wait queue for a limit of a CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// The store's key of the wait queue.
    #[serde(rename = "line")]
    pub queue: String,
    pub at: Timestamp,
}

/// How often a CA refused a name by its policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaRefusals {
    /// The CA's directory URL.
    pub ca: String,
    /// Refusals in a row.
    pub times: u32,
    pub last: Timestamp,
}

/// What the sentences in [`crate::messages`] fill in, apart from the times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// What DNS holds instead of the expected record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The CDN whose proxy is in front of the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Where the record that has to change is published: the deciding CAA record or a stray AAAA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The zone whose servers fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How they fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The CA in use, by host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What kind of failure the last attempt met.
    #[serde(deserialize_with = "stored::known", skip_serializing_if = "Option::is_none")]
    pub cause: Option<FailureKind>,
    /// The last attempt to fetch the challenge's URL from this edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// Until when handshakes may be answered with the stand-in certificate, which serves
    /// challenges only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stand_in_until: Option<Timestamp>,
    /// Whether the last DNS check failed on our side or was suppressed by the mass-failure guard.
    #[serde(rename = "not_seen", skip_serializing_if = "stored::is_default")]
    pub unverified: bool,
}

impl Facts {
    /// The proxy through which the challenge was seen to arrive here.
    pub fn arrives_through(&self) -> Option<&str> {
        self.preflight
            .as_ref()
            .filter(|p| p.miss.is_none())
            .and_then(|p| p.through.as_deref())
    }
}

/// The result of fetching the challenge's URL from this edge before an order. It shows people where
/// to look, but blocks nothing: a CA sees the network from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    pub at: Timestamp,
    /// The CDN whose proxy the request passed through, if one was recognized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// What came back instead of this fleet's answer; `None` if the challenge arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub miss: Option<String>,
}

impl SslStatus {
    /// The status of a domain for which nothing has been requested yet.
    pub fn new(now: Timestamp) -> Self {
        Self {
            reason: Reason::NeverRequested,
            since: now,
            certificate: None,
            attempts: 0,
            wrong_checks: 0,
            next_attempt: None,
            planned: None,
            in_queue: false,
            slot: None,
            stopped: false,
            not_before: None,
            retry_at: None,
            setbacks: 0,
            eta: None,
            last_error: None,
            doubted: false,
            facts: Facts::default(),
            failures: Vec::new(),
            hurry: false,
            refusals: Vec::new(),
            next_check: None,
            misdirected_since: None,
            expiring_reported: false,
            replaced_by_hand: None,
            brought_forward: false,
        }
    }

    pub fn state(&self) -> State {
        self.reason.state()
    }

    /// When the renewal is due on schedule, ignoring an operator's request to replace it now.
    pub fn renewal_planned(&self) -> Option<Timestamp> {
        self.certificate
            .as_ref()
            .map(|c| self.replaced_by_hand.unwrap_or(c.renew_at))
    }

    /// Replaces a reason that only a newer version knows. A live certificate stays served and
    /// renewed; without one, the domain is due at once, so that its next check finds the reason.
    pub(crate) fn replace_unknown_reason(&mut self) {
        if self.certificate.as_ref().is_some_and(|c| c.not_after > self.since) {
            self.reason = Reason::Ok;
        } else if self.next_attempt.is_none() {
            self.next_attempt = Some(self.since);
        }
    }

    /// When the scheduler has to take up the domain next. `wanted` says whether certificates are
    /// ordered and renewed for it at all. The scheduler applies [`super::SslEvent::Tick`] first.
    pub fn next_due(&self, wanted: bool) -> Option<Timestamp> {
        let held = self.certificate.as_ref().filter(|_| self.state() == State::Issued);
        let expiry = held.map(|c| c.not_after);
        let expiring = held
            .filter(|_| !self.expiring_reported)
            .map(CertificateInfo::expiring_at);
        let renewal = || held.map(|c| c.asked_about_at().map_or(c.renew_at, |at| at.min(c.renew_at)));
        let work = match self.reason {
            Reason::Ok => [self.next_attempt.or_else(renewal), self.next_check]
                .into_iter()
                .flatten()
                .min(),
            Reason::Moved => self.next_attempt.or_else(renewal),
            // The node that makes the order has the domain's lease, which keeps others away. Without one it was
            // interrupted and is to be resumed.
            Reason::Ordering | Reason::Validating | Reason::Renewing => {
                Some(self.next_attempt.map_or(self.since, |at| at.max(self.since)))
            }
            Reason::Denied | Reason::GivenUp => None,
            _ => self.next_attempt,
        };
        let work = work.filter(|_| wanted);
        [work, expiring, expiry].into_iter().flatten().min()
    }

    /// How long an order has to wait although DNS is right: for the CA, and for a renewal's
    /// back-off, which flapping DNS must not cut short.
    pub fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        let back_off = self.retry_at.filter(|_| self.holds(now));
        self.not_before.max(back_off).filter(|at| *at > now)
    }

    /// When the next authorization may fail without exceeding `allowed` failures within `per`.
    /// `None`: now.
    pub fn must_wait(&self, allowed: usize, per: Duration, now: Timestamp) -> Option<Timestamp> {
        let allowed = allowed.clamp(1, FAILURES_KEPT);
        let oldest = self.failures.len().checked_sub(allowed)?;
        let until = *self.failures.get(oldest)? + per;
        until.is_ahead(now, per).then_some(until)
    }

    /// Whether a CA (a directory URL) keeps refusing the name: twice in a row, and recently.
    pub fn is_refused_by(&self, ca: &str, now: Timestamp) -> bool {
        let refuses =
            |r: &CaRefusals| r.ca == ca && r.times >= REFUSALS && (r.last + REFUSAL_KEPT).is_ahead(now, REFUSAL_KEPT);
        self.refusals.iter().any(refuses)
    }

    /// Whether there is an unexpired certificate.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.certificate.as_ref().is_some_and(|c| c.not_after > now)
    }

    /// Whether the state contradicts the certificate: issued without one, or not issued with one.
    /// Passing time and a clock that is set can cause either.
    pub fn is_out_of_step(&self, now: Timestamp) -> bool {
        (self.state() == State::Issued) != self.holds(now)
    }

    pub(crate) fn renewal_is_due(&self, now: Timestamp) -> bool {
        self.certificate.as_ref().is_some_and(|c| c.renew_at <= now)
    }

    /// Whether the renewal is due on schedule, so that an obstacle to it puts the certificate at
    /// risk. A replacement that only an operator asked for puts nothing at risk.
    pub(crate) fn needs_renewal(&self, now: Timestamp) -> bool {
        self.renewal_planned().is_some_and(|at| at <= now)
    }

    /// The earliest time at which the CA accepts an order for the name.
    pub(crate) fn not_before(&self, now: Timestamp) -> Timestamp {
        self.not_before.map_or(now, |at| at.max(now))
    }
}
