use std::time::Duration;

use linkseal_base::clock::Timestamp;
use linkseal_domain::ssl::{CertificateInfo, Failure, FailureKind, Reason, SslEvent, SslStatus};
use linkseal_domain::{DomainName, DomainRecord, reach};
use linkseal_issuer::RenewalInfo;
use linkseal_store::CaTrouble;

use super::due::HANDSHAKE_CHECK_INTERVAL;
use super::*;
use crate::core::{Issue, Limit, Limits, Priority};

const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_handshake_triggers_a_check_of_a_misdirected_name_at_most_every_ten_minutes() {
    use linkseal_domain::dns::DnsVerdict;
    use linkseal_domain::record::Origin;
    let name = DomainName::parse("a.example").unwrap();
    let mut record = DomainRecord::new(name, None, Origin::Registered, NOW);
    let checks = |record: &DomainRecord, priority| check_only(record, priority, NOW);
    assert!(!checks(&record, Priority::Handshake), "nothing points elsewhere");
    record.ssl = record
        .ssl
        .then(SslEvent::DnsChecked(DnsVerdict::Missing), NOW.minus(HOUR));
    record.dns.checked = Some(NOW.minus(HOUR));
    assert!(checks(&record, Priority::Handshake));
    assert!(!checks(&record, Priority::Verify) && !checks(&record, Priority::Bulk));
    record.dns.checked = Some(NOW.minus(HANDSHAKE_CHECK_INTERVAL / 2));
    assert!(!checks(&record, Priority::Handshake), "it was checked just now");
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
fn a_handshake_starts_what_was_never_requested_but_not_what_waits() {
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
fn the_first_step_follows_from_state_and_settings() {
    let mut ssl = SslStatus::new(NOW).then(SslEvent::Wanted, NOW);
    assert_eq!(first(&ssl, true, Issue::OnRegister, false, NOW), First::Check);
    assert_eq!(first(&ssl, true, Issue::OnRegister, true, NOW), First::Resume);
    assert_eq!(
        first(&ssl, true, Issue::OnRegister, true, NOW.minus(HOUR)),
        First::Check,
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
fn the_refill_time_covers_what_a_limit_lacks() {
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
fn a_certificate_that_the_ca_wants_replaced_at_once_is_urgent() {
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
    // Until it is replaced, also after a failure, or until the CA says otherwise.
    let asked_again = revoked.then(info(later.minus(HOUR)), later + HOUR);
    assert_eq!(urgency(&asked_again, Priority::Bulk, later), Priority::Expiring);
    let taken_back = revoked.then(info(later + HOUR * 48), later);
    assert_eq!(urgency(&taken_back, Priority::Bulk, later), Priority::Bulk);
    // Reaching the picked moment of a normal window is not urgent.
    let at = ssl.certificate.as_ref().unwrap().renew_at;
    assert_eq!(urgency(&ssl.then(info(at), at), Priority::Bulk, at), Priority::Bulk);
}

#[test]
fn retry_after_decides_when_missing_renewal_information_is_requested_again() {
    let ssl = held(90);
    let certificate = ssl.certificate.as_ref().unwrap();
    let check_at = |wish| match no_renewal_info(certificate, wish, NOW) {
        SslEvent::RenewalInfo { renew_at, check_at } if renew_at == certificate.renew_at => check_at,
        other => panic!("{other:?}"),
    };
    assert_eq!(check_at(None), NOW + renewal_info::RETRY);
    assert_eq!(check_at(Some(NOW)), NOW + renewal_info::RETRY);
    assert_eq!(check_at(Some(NOW + HOUR)), NOW + HOUR);
    assert_eq!(check_at(Some(NOW + HOUR * 100)), NOW + renewal_info::RETRY_MAX);
}

#[test]
fn stored_waits_beyond_their_reach_are_ignored() {
    let far = NOW + HOUR * 24 * 60;
    assert_eq!(held_back(Some(NOW + HOUR), NOW), Some(NOW + HOUR));
    assert_eq!(held_back(Some(far), NOW), None, "a clock that was ahead had stored it");
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
fn a_picked_moment_stays_while_the_window_contains_it() {
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
fn a_renewal_that_names_its_predecessor_takes_from_no_limit() {
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
    // Renewed every half hour: a CA that issues such certificates cannot limit them to five a week.
    let minutes = SslStatus {
        certificate: ssl.certificate.clone().map(|c| CertificateInfo {
            not_after: NOW + HOUR,
            ..c
        }),
        ..ssl.clone()
    };
    assert_eq!(certificate_budgets((&name, &minutes), ca, &limits).len(), 1);
}
