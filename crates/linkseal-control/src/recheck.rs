//! Names that do not point here (any more), or whose zones do not answer: how often they are looked
//! at, and what brings them back.
//!
//! A domain that holds a certificate is looked at every `dns.recheck`, spread out, so that a move
//! is known before its renewal. One that does not point here is looked at after a minute, and at
//! doubling waits up to six hours; after `dns.departed_after` it has departed, and is looked at
//! about once a week. Orders are made for none of them. A handshake for the name has it looked at
//! at once, and "verify" has always.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_base::random;
use linkseal_dns::DnsReport;
use linkseal_domain::dns::{DnsSummary, DnsVerdict};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};

use super::{Control, Draft, Priority, rules};

/// Between two looks at a departed domain: next to nothing, and who comes back without a word is
/// found within days.
const DEPARTED_LOOK: Duration = Duration::from_secs(7 * 86_400);
/// How long a name whose zone does not answer is taken to lead where it led before: mailers need not
/// leave HTTPS for a name server that fails for an hour.
pub(super) const SILENCE_ALLOWED: Duration = Duration::from_secs(86_400);
/// Looks are spread by this share of their wait: domains that came together are not looked at together.
const SPREAD: f64 = 0.2;

impl Control {
    /// Writes the outcome of a DNS check into a draft. `verified`: whether all that was asked for
    /// is published. `None`: that was not looked at.
    pub(super) fn note_dns(&self, draft: &mut Draft, verdict: &DnsVerdict, verified: Option<bool>) {
        self.note_look(draft, verdict, verified, SslEvent::DnsChecked(verdict.clone()));
    }

    /// The same of a look that was asked for.
    pub(super) fn note_dns_by_hand(&self, draft: &mut Draft, verdict: &DnsVerdict, verified: bool) {
        self.note_look(
            draft,
            verdict,
            Some(verified),
            SslEvent::DnsCheckedByHand(verdict.clone()),
        );
    }

    fn note_look(&self, draft: &mut Draft, verdict: &DnsVerdict, verified: Option<bool>, event: SslEvent) {
        let before = draft.record.ssl.reason;
        let (was_https, last_look) = (draft.record.dns.https, draft.record.dns.checked);
        draft.happens(event);
        let since = |at: Timestamp| draft.now().saturating_since(at);
        let led_here = match (was_https, draft.record.still_points_here) {
            (true, _) => last_look.is_some_and(|at| since(at) < SILENCE_ALLOWED + self.inner.settings.load().recheck),
            (false, true) => draft
                .record
                .ssl
                .misdirected_since
                .is_some_and(|at| since(at) < SILENCE_ALLOWED),
            (false, false) => false,
        };
        draft.record.still_points_here = led_here && matches!(verdict, DnsVerdict::Error { .. });
        let facts = &draft.record.ssl.facts;
        let https = match verdict {
            DnsVerdict::Right => true,
            DnsVerdict::Proxied { provider } => facts.arrives_through() == Some(provider.as_str()),
            _ => false,
        };
        // Where nothing else is asked for, there is nothing more to be verified.
        let others_right = || draft.record.dns.verified || !self.tools().checker.asks_more(&draft.record);
        let verified = https && verified.unwrap_or_else(others_right);
        draft.record.dns = DnsSummary {
            checked: Some(draft.now()),
            https,
            verified,
        };
        if draft.record.ssl.reason != before || was_https != https {
            let detail = (!https).then(|| draft.record.ssl.facts.found.clone()).flatten();
            draft.tells(if https { "dns_right" } else { "dns_wrong" }, detail);
        }
        if https {
            self.plan_look(draft);
        } else {
            self.slow_down(draft, last_look);
        }
    }

    /// The domain as a report found it, so that its state and the report say the same. Nothing is
    /// stored and nothing is planned. A look that was noted since the report was made goes before it.
    pub fn as_found(&self, record: DomainRecord, report: &DnsReport) -> DomainRecord {
        let now = self.inner.clock.now();
        let noted = record.dns.checked.filter(|at| *at <= now);
        if noted.is_some_and(|at| at >= report.checked) {
            return record;
        }
        let planned = record.ssl.next_attempt;
        let mut draft = Draft::of(record, now);
        // What our own resolvers could not find out says nothing about the domain.
        if report.finding.fault != Some(Fault::Ours) {
            self.note_dns(&mut draft, &report.finding.verdict, Some(report.verified));
            draft.record.ssl.next_attempt = planned;
        }
        draft.record.dns.checked = Some(report.checked);
        draft.record
    }

    /// Plans the next look at a name that points here.
    pub(super) fn plan_look(&self, draft: &mut Draft) {
        // Where the edge's own name is, others follow: it is not looked at.
        if draft.record.origin != Origin::Edge {
            let wait = random::jitter(self.inner.settings.load().recheck, SPREAD);
            let at = draft.now() + wait;
            draft.happens(SslEvent::CheckScheduled { at });
        }
    }

    /// Has a name that has been recheck for long looked at far more seldom. `last_look`: when it
    /// was looked at before. `None`: never.
    fn slow_down(&self, draft: &mut Draft, last_look: Option<Timestamp>) {
        let now = draft.now();
        let departed_after = self.inner.settings.load().departed_after;
        let Some(since) = draft.record.ssl.misdirected_since else {
            return;
        };
        let has_departed = |at: Timestamp| at.saturating_since(since) >= departed_after;
        if !has_departed(now) {
            return;
        }
        let until = now + random::jitter(DEPARTED_LOOK, SPREAD);
        draft.happens(SslEvent::Postponed { until });
        if !last_look.is_some_and(has_departed) {
            let what = match draft.record.ssl.facts.zone.clone() {
                Some(zone) => format!("the name servers of {zone} have not answered since {since}"),
                None => format!("it has not pointed here since {since}"),
            };
            let detail = format!("{what}; it is looked at about once a week, and at every verify or handshake");
            draft.tells("departed", Some(detail));
        }
    }

    /// A handshake came for a name that did not point here at the last look, and was served what is
    /// held: perhaps it points here again.
    pub(super) async fn note_handshake(&self, name: DomainName) {
        let is_moved = |name: &DomainName| {
            let entry = self.inner.registry.get(name.as_str());
            entry.is_some_and(|e| e.reason == Reason::Moved)
        };
        if !is_moved(&name) || self.inner.in_hand.contains_key(&name) {
            return;
        }
        match self.inner.store.domain(&name).await {
            Ok(Some(record)) if rules::looks_only(&record, Priority::Handshake, self.inner.clock.now()) => {
                self.attend(name, Priority::Handshake, None);
            }
            Ok(_) => {}
            Err(error) => self.store_fails("read domains for handshakes", Some(&name), &error),
        }
    }
}
