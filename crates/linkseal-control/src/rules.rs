//! What is decided about a domain's certificate, and by what: its SSL state, the time, and the
//! CA's limits. Nothing here asks or waits, so that `linkseal simulate` decides by the same rules.

use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::name::registered_domain;
use linkseal_domain::ssl::{CertificateInfo, EXPIRING_SHARE, Failure, FailureKind, Reason, SslEvent, SslStatus};
use linkseal_domain::{DomainName, DomainRecord, reach};
use linkseal_issuer::RenewalInfo;
use linkseal_store::{BudgetTake, CaTrouble};

use super::queue::Priority;
use super::{Issue, Limit, Limits, backoff};

/// When to look again at a domain for which nothing may be ordered now (issue = "off").
pub(super) const IDLE_RECHECK: Duration = Duration::from_secs(6 * 3600);
/// When to ask for renewal information again after the CA gave none.
const ARI_RETRY: Duration = Duration::from_secs(6 * 3600);
/// A handshake has a name that does not point here looked at again no sooner after the last look:
/// clients that still come, and scanners, cost a check each ten minutes at most.
const HANDSHAKE_LOOK: Duration = Duration::from_secs(600);
/// Longest wait for renewal information that a CA which gave none may ask for.
const ARI_RETRY_MAX: Duration = Duration::from_secs(24 * 3600);
/// One failed authorization per name and hour is left unused, for what others do with the account.
const SPARE_FAILURES: u32 = 1;
/// Certificates for one exact set of names (Let's Encrypt: 5 in 7 days).
const EXACT_SET: Limit = Limit {
    count: 5,
    per: Duration::from_secs(7 * 86_400),
};

// --- whether an order is due ---------------------------------------------------------------------

/// What comes first for a domain that the scheduler has taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Nothing is ordered for it.
    Leave,
    /// Nothing may be ordered now: look again then.
    Postpone(Timestamp),
    /// An order of it was interrupted: the order stage takes it up again.
    Resume,
    /// See whether an order is due: the CA's renewal information, the time, admission, DNS.
    Look,
}

/// What comes first. `wanted`: whether certificates are ordered for it at all; `open_order`:
/// whether the store holds an order of it.
pub fn first(ssl: &SslStatus, wanted: bool, issue: Issue, open_order: bool, now: Timestamp) -> First {
    if !wanted {
        First::Leave
    } else if issue == Issue::Off {
        match ssl.next_due(wanted) {
            Some(due) if due <= now => First::Postpone(now + IDLE_RECHECK),
            _ => First::Leave,
        }
    } else if ssl.reason.is_in_progress() || (open_order && ssl.next_attempt.is_none_or(|at| at <= now)) {
        // Not before its time, though the domain was taken up for something else.
        First::Resume
    } else {
        First::Look
    }
}

/// The certificate whose renewal information (RFC 9773) is to be asked for now, and its id there.
pub fn asks_renewal_info(ssl: &SslStatus, now: Timestamp) -> Option<(&CertificateInfo, &str)> {
    let certificate = ssl.certificate.as_ref()?;
    let id = certificate.ari_id.as_deref()?;
    (ssl.holds(now) && certificate.ari_check_at? <= now).then_some((certificate, id))
}

/// What the CA's answer makes of it. `None`: it gave none. `unit` is in `0.0..1.0`.
pub fn renewal_info(certificate: &CertificateInfo, info: Option<RenewalInfo>, now: Timestamp, unit: f64) -> SslEvent {
    let Some(info) = info else {
        return no_renewal_info(certificate, None, now);
    };
    // A moment chosen once stays, while the window still holds it.
    let stays = (info.start..=info.end).contains(&certificate.renew_at);
    SslEvent::RenewalInfo {
        renew_at: if stays { certificate.renew_at } else { info.pick(unit) },
        check_at: info.check_at,
    }
}

/// When to ask for renewal information again that the CA did not give: when it wants to be asked,
/// within a day.
pub fn no_renewal_info(certificate: &CertificateInfo, retry_after: Option<Timestamp>, now: Timestamp) -> SslEvent {
    let wish = retry_after.filter(|at| *at > now);
    SslEvent::RenewalInfo {
        renew_at: certificate.renew_at,
        check_at: wish.map_or(now + ARI_RETRY, |at| at.min(now + ARI_RETRY_MAX)),
    }
}

/// Whether something may be ordered now. A handshake or a "verify" starts what no one has asked
/// for yet; it never starts what waits for its time.
pub fn is_due(ssl: &SslStatus, priority: Priority, now: Timestamp) -> bool {
    match (ssl.next_attempt, &ssl.certificate) {
        (Some(at), _) => at <= now,
        (None, Some(certificate)) if ssl.holds(now) => certificate.renew_at <= now,
        (None, _) => priority > Priority::Bulk && ssl.reason.may_be_requested(),
    }
}

/// Whether DNS is looked at though nothing may be ordered: a regular look at an issued domain is
/// due, or a handshake came for a name that did not point here at the last look.
pub(crate) fn looks_only(record: &DomainRecord, priority: Priority, now: Timestamp) -> bool {
    let ssl = &record.ssl;
    let regular = ssl.reason == Reason::Ok && ssl.next_check.is_some_and(|at| at <= now);
    let recheck = ssl.reason == Reason::Moved || ssl.reason.is_dns();
    let rested = |checked: Timestamp| !checked.is_within(HANDSHAKE_LOOK, now);
    regular || (priority == Priority::Handshake && recheck && record.dns.checked.is_none_or(rested))
}

/// Whether an order is needed once DNS is right: nothing is held, or its renewal is due.
pub(crate) fn needs_order(ssl: &SslStatus, now: Timestamp) -> bool {
    let held = ssl.certificate.as_ref().filter(|c| c.not_after > now);
    held.is_none_or(|c| c.renew_at <= now)
}

/// Whether all was well with a domain the last time it was looked at, so that it can turn for the worse.
pub(crate) fn was_well(record: &DomainRecord) -> bool {
    let held = matches!(record.ssl.reason, Reason::Ok | Reason::Renewing);
    held || (record.dns.https && !record.ssl.reason.is_dns() && record.ssl.reason != Reason::Moved)
}

/// How urgent the order is: a certificate that runs out, or that the CA wants replaced at once, goes
/// before everything.
pub fn urgency(ssl: &SslStatus, asked: Priority, now: Timestamp) -> Priority {
    let Some(certificate) = ssl.certificate.as_ref().filter(|c| c.not_after > now) else {
        return asked;
    };
    let left = certificate.not_after.saturating_since(now);
    if ssl.hurry || left < certificate.life() / EXPIRING_SHARE {
        Priority::Expiring
    } else {
        asked
    }
}

// --- whether it may be made ----------------------------------------------------------------------

/// Whether an order may be made now.
#[derive(Clone, Debug, PartialEq)]
pub enum Gate {
    /// Not before this time.
    Wait(Timestamp),
    /// If the CA's limits, mirrored in these buckets, have it to spare; of none, it may.
    Take(Vec<BudgetTake>),
}

/// Whether an order may be made now at the CA with this directory. `held_back`: until when the CA
/// has asked for no orders at all; `replaces`: whether the order names what it replaces.
pub fn gate(
    (name, ssl): (&DomainName, &SslStatus),
    directory: &str,
    limits: &Limits,
    held_back: Option<Timestamp>,
    replaces: bool,
    now: Timestamp,
) -> Gate {
    if let Some(until) = held_back.or_else(|| failures_hold_back(ssl, limits, now)) {
        return Gate::Wait(until);
    }
    Gate::Take(if replaces {
        // Renewals that name what they replace are exempt from the CA's limits.
        Vec::new()
    } else {
        budgets((name, ssl), directory, limits)
    })
}

/// The certificate that an order replaces (RFC 9773 §5), by its id. `None`: none of this CA's, or
/// the CA has no ARI.
pub fn replaces<'a>(ssl: &'a SslStatus, directory: &str) -> Option<&'a str> {
    let certificate = ssl.certificate.as_ref()?;
    let known_to_ca = certificate.ca == directory && certificate.ari_check_at.is_some();
    certificate.ari_id.as_deref().filter(|_| known_to_ca)
}

/// Until when the failed authorizations of the last hour forbid another attempt.
pub(crate) fn failures_hold_back(ssl: &SslStatus, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
    let limit = limits.failed_per_name;
    let allowed = usize::try_from(limit.count.saturating_sub(SPARE_FAILURES)).unwrap_or(usize::MAX);
    ssl.must_wait(allowed, limit.per, now)
}

/// What an order for this domain takes from the CA's limits.
pub(crate) fn budgets((name, ssl): (&DomainName, &SslStatus), directory: &str, limits: &Limits) -> Vec<BudgetTake> {
    let mut takes = vec![account_budget(directory, limits)];
    takes.extend(certificate_budgets((name, ssl), directory, limits));
    takes
}

/// What every order takes.
pub(crate) fn account_budget(directory: &str, limits: &Limits) -> BudgetTake {
    take(format!("orders/{directory}"), limits.orders_per_account)
}

/// What only a certificate takes: CAs count these limits by what they have issued.
pub fn certificate_budgets(
    (name, ssl): (&DomainName, &SslStatus),
    directory: &str,
    limits: &Limits,
) -> Vec<BudgetTake> {
    let registered = registered_domain(name.as_str());
    let mut takes = vec![take(
        format!("domain/{directory}/{registered}"),
        limits.per_registered_domain,
    )];
    // A CA whose certificates are renewed more often than that cannot have that limit.
    let renewals = ssl
        .certificate
        .as_ref()
        .map(|c| EXACT_SET.per.as_secs_f64() / renewed_after(c.life()));
    if renewals.is_none_or(|n| n <= f64::from(EXACT_SET.count)) {
        takes.push(take(format!("exact/{directory}/{name}"), EXACT_SET));
    }
    takes
}

/// One out of a bucket.
fn take(key: String, limit: Limit) -> BudgetTake {
    BudgetTake {
        key,
        size: limit.count,
        per: limit.per,
        amount: 1,
        small_tenant: false,
    }
}

/// How many seconds of its life a certificate is used at least before it is renewed: half of it.
fn renewed_after(life: Duration) -> f64 {
    (life / 2).as_secs_f64().max(1.0)
}

/// How long it takes until a limit has let so many orders through, with `left` of it unused.
pub(crate) fn refill(orders: u64, left: f64, limit: Limit) -> Duration {
    let missing = (orders as f64 - left).max(0.0);
    let seconds = limit.per.as_secs_f64() * missing / f64::from(limit.count.max(1));
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

// --- what a failure leads to ---------------------------------------------------------------------

/// What a failed attempt makes of the domain. `unit`, in `0.0..1.0`, is the back-off's jitter.
pub fn failed(ssl: &SslStatus, failure: Failure, unit: f64) -> SslEvent {
    let backoff = backoff::after(ssl, failure.kind, failure.retry_after.is_some(), unit);
    SslEvent::Failed { failure, backoff }
}

/// What a failed attempt makes of the domain while we suspect ourselves: it is counted, as the CA
/// counts it, and tried again `until` then or when the CA says.
pub(crate) fn doubted(failure: &Failure, until: Timestamp) -> SslEvent {
    SslEvent::Doubted {
        failure: failure.clone(),
        until: failure.retry_after.map_or(until, |at| until.max(at)),
    }
}

/// Until when orders at a CA are held back of what is stored of it. `None`: they are not.
pub fn held_back(stored: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    stored.filter(|until| until.is_ahead(now, reach::ACCOUNT_LIMIT))
}

/// Until when a CA is out of use. `None`: it is in use, or may be tried.
pub(crate) fn out_until(trouble: Option<&CaTrouble>, now: Timestamp) -> Option<Timestamp> {
    let until = trouble.and_then(|t| t.out_until);
    until.filter(|until| until.is_ahead(now, reach::OUTAGE))
}

/// Until when a failure holds back all orders at its CA. `None`: it says nothing about others.
pub fn holds_back_all(failure: &Failure, now: Timestamp) -> Option<Timestamp> {
    let said = failure.retry_after.map(|at| at.min(now + reach::ACCOUNT_LIMIT));
    (failure.kind == FailureKind::AccountLimit).then(|| said.unwrap_or(now + backoff::UNNAMED_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_handshake_has_what_is_astray_looked_at_now_and_then() {
        use linkseal_domain::dns::DnsVerdict;
        use linkseal_domain::record::Origin;
        let name = DomainName::parse("a.example").unwrap();
        let mut record = DomainRecord::new(name, None, Origin::Registered, NOW);
        let looks = |record: &DomainRecord, priority| looks_only(record, priority, NOW);
        assert!(!looks(&record, Priority::Handshake), "nothing points elsewhere");
        record.ssl = record
            .ssl
            .then(SslEvent::DnsChecked(DnsVerdict::Missing), NOW.minus(HOUR));
        record.dns.checked = Some(NOW.minus(HOUR));
        assert!(looks(&record, Priority::Handshake));
        assert!(!looks(&record, Priority::Verify) && !looks(&record, Priority::Bulk));
        record.dns.checked = Some(NOW.minus(HANDSHAKE_LOOK / 2));
        assert!(!looks(&record, Priority::Handshake), "it was looked at just now");
    }

    fn held(days: u32) -> SslStatus {
        let mut ssl = SslStatus::new(NOW);
        ssl.reason = Reason::Ok;
        ssl.certificate = Some(CertificateInfo {
            not_before: NOW,
            not_after: NOW + HOUR * 24 * days,
            obtained: None,
            issuer: "Test CA".into(),
            serial: "01".into(),
            sans: vec!["a.example".into()],
            ca: "https://ca.example/dir".into(),
            ari_id: Some("id".into()),
            renew_at: NOW + HOUR * 16 * days,
            ari_check_at: Some(NOW + HOUR),
        });
        ssl
    }

    #[test]
    fn a_handshake_starts_what_nobody_asked_for_but_not_what_waits() {
        let mut ssl = SslStatus::new(NOW);
        assert!(!is_due(&ssl, Priority::Bulk, NOW));
        assert!(is_due(&ssl, Priority::Handshake, NOW));
        ssl.next_attempt = Some(NOW + Duration::from_secs(1));
        assert!(!is_due(&ssl, Priority::Handshake, NOW));
        ssl.next_attempt = Some(NOW);
        assert!(is_due(&ssl, Priority::Bulk, NOW));
        ssl.next_attempt = None;
        ssl.reason = Reason::GivenUp;
        assert!(!is_due(&ssl, Priority::Handshake, NOW));
    }

    #[test]
    fn what_comes_first_follows_from_state_and_settings() {
        let mut ssl = SslStatus::new(NOW).then(SslEvent::Wanted, NOW);
        assert_eq!(first(&ssl, true, Issue::OnRegister, false, NOW), First::Look);
        assert_eq!(first(&ssl, true, Issue::OnRegister, true, NOW), First::Resume);
        assert_eq!(
            first(&ssl, true, Issue::OnRegister, true, NOW.minus(HOUR)),
            First::Look,
            "it waits for its time"
        );
        assert_eq!(first(&ssl, false, Issue::OnRegister, true, NOW), First::Leave);
        let later = First::Postpone(NOW + IDLE_RECHECK);
        assert_eq!(first(&ssl, true, Issue::Off, false, NOW), later);
        ssl.next_attempt = None;
        assert_eq!(first(&ssl, true, Issue::Off, false, NOW), First::Leave);
        ssl.reason = Reason::Ordering;
        assert_eq!(first(&ssl, true, Issue::OnDemand, false, NOW), First::Resume);
    }

    #[test]
    fn what_a_limit_lacks_is_waited_for() {
        let limit = Limit {
            count: 300,
            per: HOUR * 3,
        };
        assert_eq!(refill(300, 300.0, limit), Duration::ZERO);
        assert_eq!(refill(0, 0.0, limit), Duration::ZERO);
        assert_eq!(refill(10, 0.0, limit), Duration::from_secs(360));
        assert_eq!(refill(301, 300.5, limit), Duration::from_secs(18));
    }

    #[test]
    fn a_certificate_that_the_ca_wants_replaced_at_once_goes_before_everything() {
        let ssl = held(90);
        let later = NOW + HOUR * 24 * 10;
        let info = |renew_at| SslEvent::RenewalInfo {
            renew_at,
            check_at: later + HOUR * 6,
        };
        assert_eq!(urgency(&ssl, Priority::Bulk, later), Priority::Bulk);
        let revoked = ssl.then(info(later.minus(HOUR)), later);
        assert_eq!(urgency(&revoked, Priority::Bulk, later), Priority::Expiring);
        assert!(is_due(&revoked, Priority::Bulk, later));
        // As long as it has not come: also after a failure, and until the CA says otherwise.
        let asked_again = revoked.then(info(later.minus(HOUR)), later + HOUR);
        assert_eq!(urgency(&asked_again, Priority::Bulk, later), Priority::Expiring);
        let taken_back = revoked.then(info(later + HOUR * 48), later);
        assert_eq!(urgency(&taken_back, Priority::Bulk, later), Priority::Bulk);
        // A moment of the window that has simply come is no hurry.
        let at = ssl.certificate.as_ref().unwrap().renew_at;
        assert_eq!(urgency(&ssl.then(info(at), at), Priority::Bulk, at), Priority::Bulk);
    }

    #[test]
    fn a_ca_that_gives_no_renewal_information_is_asked_when_it_wants_to_be() {
        let ssl = held(90);
        let certificate = ssl.certificate.as_ref().unwrap();
        let check_at = |wish| match no_renewal_info(certificate, wish, NOW) {
            SslEvent::RenewalInfo { renew_at, check_at } if renew_at == certificate.renew_at => check_at,
            other => panic!("{other:?}"),
        };
        assert_eq!(check_at(None), NOW + ARI_RETRY);
        assert_eq!(check_at(Some(NOW)), NOW + ARI_RETRY);
        assert_eq!(check_at(Some(NOW + HOUR)), NOW + HOUR);
        assert_eq!(check_at(Some(NOW + HOUR * 100)), NOW + ARI_RETRY_MAX);
    }

    #[test]
    fn what_a_ca_is_said_to_wait_for_is_believed_within_its_reach() {
        let far = NOW + HOUR * 24 * 60;
        assert_eq!(held_back(Some(NOW + HOUR), NOW), Some(NOW + HOUR));
        assert_eq!(held_back(Some(far), NOW), None, "a clock that was ahead has said so");
        let out = |until| {
            let trouble = CaTrouble {
                directory: "https://ca.example/dir".into(),
                failures: 3,
                outages: 1,
                out_until: Some(until),
                since: NOW,
                why: "no answer".into(),
            };
            out_until(Some(&trouble), NOW)
        };
        assert_eq!((out(NOW + HOUR), out(far)), (Some(NOW + HOUR), None));
        let limit = |retry_after| {
            let error = linkseal_domain::ssl::LastError {
                kind: "urn:x".into(),
                detail: "said so".into(),
                at: NOW,
                subproblems: Vec::new(),
            };
            holds_back_all(
                &Failure {
                    kind: FailureKind::AccountLimit,
                    error,
                    retry_after,
                },
                NOW,
            )
        };
        assert_eq!(
            limit(Some(far)),
            Some(NOW + reach::ACCOUNT_LIMIT),
            "a Retry-After of two months"
        );
        assert_eq!(limit(Some(NOW + HOUR)), Some(NOW + HOUR));
        assert_eq!(limit(None), Some(NOW + backoff::UNNAMED_LIMIT));
    }

    #[test]
    fn a_chosen_moment_stays_while_the_window_holds_it() {
        let ssl = held(45);
        assert!(asks_renewal_info(&ssl, NOW).is_none(), "not before its time");
        assert!(
            asks_renewal_info(&ssl, NOW + HOUR * 24 * 45).is_none(),
            "not after the end"
        );
        let (certificate, id) = asks_renewal_info(&ssl, NOW + HOUR).expect("it is time");
        assert_eq!(id, "id");
        let info = |start, end| {
            Some(RenewalInfo {
                start,
                end,
                check_at: NOW + HOUR * 6,
            })
        };
        let renew_at = |info| match renewal_info(certificate, info, NOW, 0.5) {
            SslEvent::RenewalInfo { renew_at, .. } => renew_at,
            other => panic!("{other:?}"),
        };
        let chosen = certificate.renew_at;
        assert_eq!(renew_at(info(NOW, chosen)), chosen);
        assert_eq!(
            renew_at(info(NOW, NOW + HOUR * 2)),
            NOW + HOUR,
            "the middle of the window"
        );
        assert_eq!(renew_at(None), chosen);
    }

    #[test]
    fn a_renewal_that_names_what_it_replaces_takes_from_no_limit() {
        let limits = Limits {
            orders_per_account: Limit {
                count: 300,
                per: HOUR * 3,
            },
            per_registered_domain: Limit {
                count: 50,
                per: HOUR * 24 * 7,
            },
            failed_per_name: Limit { count: 5, per: HOUR },
        };
        let name = DomainName::parse("links.customer.example").unwrap();
        let ssl = held(45);
        let ca = "https://ca.example/dir";
        assert_eq!(replaces(&ssl, ca), Some("id"));
        assert_eq!(replaces(&ssl, "https://other.example/dir"), None);
        let ask = |held_back, replaces| gate((&name, &ssl), ca, &limits, held_back, replaces, NOW);
        assert_eq!(ask(None, true), Gate::Take(vec![]));
        assert_eq!(ask(Some(NOW + HOUR), true), Gate::Wait(NOW + HOUR));
        let Gate::Take(takes) = ask(None, false) else {
            panic!("nothing holds it back")
        };
        let keys: Vec<_> = takes.iter().map(|t| t.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "orders/https://ca.example/dir",
                "domain/https://ca.example/dir/customer.example",
                "exact/https://ca.example/dir/links.customer.example"
            ]
        );
        // Renewed every 80 hours, it would run into a limit of five a week only if that existed.
        let minutes = SslStatus {
            certificate: ssl.certificate.clone().map(|c| CertificateInfo {
                not_after: NOW + HOUR,
                ..c
            }),
            ..ssl.clone()
        };
        assert_eq!(certificate_budgets((&name, &minutes), ca, &limits).len(), 1);
    }
}
