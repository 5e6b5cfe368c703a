//! The outcome of a DNS check in a domain's record, and when it is checked again.
//!
//! A domain with a certificate is checked every `dns.recheck_interval`, spread out, so that a move is
//! known before its renewal. A name that does not point here is checked after a minute and then at
//! doubling intervals up to six hours; after `dns.departed_after` it has departed and is checked about
//! once a week. No certificates are ordered for either. A handshake for the name triggers a check at
//! once, and so does "verify".

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_base::fault::Fault;
use linkseal_base::random;
use linkseal_dns::DnsReport;
use linkseal_domain::DomainRecord;
use linkseal_domain::dns::{DnsSummary, DnsVerdict};
use linkseal_domain::record::Origin;
use linkseal_domain::ssl::SslEvent;

use crate::core::{Core, Draft};

/// Interval between two checks of a departed domain: cheap, and one that returns without notice is
/// found within days.
const DEPARTED_INTERVAL: Duration = Duration::from_secs(7 * 86_400);
/// How long a name whose zone does not answer is assumed to point where it pointed before: mailers
/// need not give up HTTPS for a name server that fails for an hour.
pub(crate) const SILENCE_ALLOWED: Duration = Duration::from_secs(86_400);
/// Checks are spread by this share of their interval, so that domains added together are not checked
/// together.
pub(crate) const SPREAD: f64 = 0.2;

/// Applies the outcome of a DNS check. `verified`: whether all requested records are published;
/// `None` if only the name itself was checked.
pub(crate) fn note_dns(core: &Core, draft: &mut Draft, verdict: &DnsVerdict, verified: Option<bool>) {
    note_check(core, draft, verdict, verified, SslEvent::DnsChecked(verdict.clone()));
}

/// Applies the outcome of a check that a person asked for.
pub(crate) fn note_dns_by_hand(core: &Core, draft: &mut Draft, verdict: &DnsVerdict, verified: bool) {
    let event = SslEvent::DnsCheckedByHand(verdict.clone());
    note_check(core, draft, verdict, Some(verified), event);
}

fn note_check(core: &Core, draft: &mut Draft, verdict: &DnsVerdict, verified: Option<bool>, event: SslEvent) {
    let before = draft.record.ssl.reason;
    let (was_https, last_check) = (draft.record.dns.https, draft.record.dns.checked);
    draft.apply(event);
    let since = |at: Timestamp| draft.now().saturating_since(at);
    let pointed_here = match (was_https, draft.record.still_points_here) {
        (true, _) => last_check.is_some_and(|at| since(at) < SILENCE_ALLOWED + core.settings().recheck),
        (false, true) => draft
            .record
            .ssl
            .misdirected_since
            .is_some_and(|at| since(at) < SILENCE_ALLOWED),
        (false, false) => false,
    };
    draft.record.still_points_here = pointed_here && matches!(verdict, DnsVerdict::Error { .. });
    let facts = &draft.record.ssl.facts;
    let https = match verdict {
        DnsVerdict::Right => true,
        DnsVerdict::Proxied { provider } => facts.arrives_through() == Some(provider.as_str()),
        _ => false,
    };
    // If nothing else is requested, there is nothing more to verify.
    let others_right = || draft.record.dns.verified || !core.checker().asks_more(&draft.record);
    let verified = https && verified.unwrap_or_else(others_right);
    draft.record.dns = DnsSummary {
        checked: Some(draft.now()),
        https,
        verified,
    };
    if draft.record.ssl.reason != before || was_https != https {
        let detail = (!https).then(|| draft.record.ssl.facts.found.clone()).flatten();
        match https {
            true => draft.log("dns_right", detail),
            false => draft.log("dns_wrong", detail),
        };
    }
    if https {
        plan_check(core, draft);
    } else {
        slow_down(core, draft, last_check);
    }
}

/// Notes that DNS is right without a check: it was checked a moment ago, or need not be. A check that
/// was planned is done with it.
pub(crate) fn note_right(core: &Core, draft: &mut Draft) {
    let now = draft.now();
    draft.apply(SslEvent::DnsChecked(DnsVerdict::Right));
    if draft.record.ssl.next_check.is_some_and(|at| at <= now) {
        let at = now + random::jitter(core.settings().recheck, SPREAD);
        draft.apply(SslEvent::CheckScheduled { at });
    }
}

/// The domain as a report found it, so that its state and the report agree. Nothing is stored or
/// planned. A check that was stored after the report was made takes precedence over it.
pub(crate) fn as_found(core: &Core, record: DomainRecord, report: &DnsReport) -> DomainRecord {
    let now = core.clock.now();
    let noted = record.dns.checked.filter(|at| *at <= now);
    if noted.is_some_and(|at| at >= report.checked) {
        return record;
    }
    let planned = record.ssl.next_attempt;
    let mut draft = Draft::of(record, now);
    // A failure of our own resolvers says nothing about the domain.
    if report.finding.fault != Some(Fault::Ours) {
        note_dns(core, &mut draft, &report.finding.verdict, Some(report.verified));
        draft.record.ssl.next_attempt = planned;
    }
    draft.record.dns.checked = Some(report.checked);
    draft.record
}

/// Plans the next check of a name that points here.
pub(crate) fn plan_check(core: &Core, draft: &mut Draft) {
    // The edge's own name is what the others point to: it is not checked.
    if draft.record.origin != Origin::Edge {
        let at = draft.now() + random::jitter(core.settings().recheck, SPREAD);
        draft.apply(SslEvent::CheckScheduled { at });
    }
}

/// Checks a name that has been misdirected for long far less often. `last_check` is the check before
/// this one.
fn slow_down(core: &Core, draft: &mut Draft, last_check: Option<Timestamp>) {
    let now = draft.now();
    let departed_after = core.settings().departed_after;
    let Some(since) = draft.record.ssl.misdirected_since else {
        return;
    };
    let has_departed = |at: Timestamp| at.saturating_since(since) >= departed_after;
    if !has_departed(now) {
        return;
    }
    let until = now + random::jitter(DEPARTED_INTERVAL, SPREAD);
    draft.apply(SslEvent::Postponed { until });
    if !last_check.is_some_and(has_departed) {
        let what = match draft.record.ssl.facts.zone.clone() {
            Some(zone) => format!("the name servers of {zone} have not answered since {since}"),
            None => format!("it has not pointed here since {since}"),
        };
        let detail = format!("{what}; it is checked about once a week, and at every verify or handshake");
        draft.log("departed", Some(detail));
    }
}
