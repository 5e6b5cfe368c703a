use super::*;
use crate::DomainName;
use crate::record::Origin;
use crate::ssl::{CertificateInfo, Facts, FailureKind, LastError, Reason};

const T: Timestamp = Timestamp::from_secs(1_795_305_600);
const CONTEXT: Context<'_> = Context {
    target: "track.platform.example",
    addresses: &[],
    ca_id: Some("ca.example"),
    ca: "acme.ca.example",
};

fn full(reason: Reason) -> DomainRecord {
    let mut record = DomainRecord::new(
        DomainName::parse("links.customer.example").unwrap(),
        None,
        Origin::Registered,
        T,
    );
    let text = || Some("x.example".to_owned());
    record.ssl.reason = reason;
    record.ssl.facts = Facts {
        found: text(),
        provider: text(),
        host: text(),
        zone: text(),
        error: text(),
        ca: text(),
        cause: Some(FailureKind::Connection),
        ..Facts::default()
    };
    record.ssl.next_attempt = Some(T);
    record.ssl.last_error = Some(LastError {
        kind: "urn:x".into(),
        detail: "Connection refused.".into(),
        at: T,
        subproblems: vec![],
    });
    record.ssl.certificate = Some(CertificateInfo {
        not_before: T,
        not_after: T,
        obtained: None,
        issuer: "x".into(),
        serial: "x".into(),
        sans: vec![],
        ca: "x".into(),
        ari_id: None,
        renew_at: T,
        ari_check_at: None,
    });
    record
}

#[test]
fn every_placeholder_of_every_reason_is_filled_in_both_languages() {
    for &reason in Reason::ALL {
        let text = message(&full(reason), CONTEXT);
        for sentence in [&text.en, &text.de] {
            assert!(!sentence.contains(['{', '}', '…']), "{reason:?}: {sentence}");
        }
        assert_ne!(text.en, text.de);
    }
}

#[test]
fn sentences_say_what_to_change() {
    let says = |reason| message(&full(reason), CONTEXT);
    assert_eq!(
        says(Reason::DnsMissing).en,
        "Create the DNS record links.customer.example CNAME track.platform.example, then verify the domain."
    );
    assert_eq!(
        says(Reason::ValidationFailed).en,
        "x.example could not verify links.customer.example: Connection refused. Make sure that port 80 of links.customer.example is reachable from everywhere."
    );
    assert_eq!(
        says(Reason::Ok).de,
        "Das Zertifikat ist gültig und wird am 22.11.2026, 00:00 UTC automatisch erneuert."
    );
}

#[test]
fn a_scheduled_order_says_what_the_last_dns_check_found() {
    let mut record = full(Reason::NeverRequested);
    let says = |record: &DomainRecord| message(record, CONTEXT);
    assert!(says(&record).en.contains("once links.customer.example points to"));
    record.dns.https = true;
    assert!(
        says(&record)
            .en
            .starts_with("links.customer.example points to the right target.")
    );
    assert!(
        says(&record)
            .de
            .starts_with("links.customer.example zeigt auf das richtige Ziel.")
    );
    record.dns.https = false;
    record.apply(crate::ssl::SslEvent::DnsCheckFailed, T);
    record.ssl.certificate = None;
    assert!(says(&record).en.contains("the problem is on our side") && !says(&record).en.contains("ordered"));
    // The next reliable check ends that.
    record.apply(crate::ssl::SslEvent::DnsChecked(crate::dns::DnsVerdict::Right), T);
    assert!(!record.ssl.facts.unverified);
}

#[test]
fn a_paused_or_retired_domain_says_that_it_is_not_renewed() {
    let all = [Reason::Ok, Reason::Paused, Reason::Expired, Reason::NeverRequested];
    for reason in all {
        for certificate in [true, false] {
            for (paused, retired) in [(Some(T), None), (None, Some(T)), (Some(T), Some(T))] {
                let mut record = full(reason);
                (record.paused, record.retired) = (paused, retired);
                if !certificate && reason != Reason::Ok {
                    record.ssl.certificate = None;
                }
                let text = message(&record, CONTEXT);
                for sentence in [&text.en, &text.de] {
                    assert!(!sentence.contains(['{', '}', '…']), "{reason:?}: {sentence}");
                }
                assert!(
                    !text.en.contains("automatically") && !text.en.contains("Verify"),
                    "{}",
                    text.en
                );
            }
        }
    }
    let mut record = full(Reason::Ok);
    record.paused = Some(T);
    assert!(message(&record, CONTEXT).en.contains("is NOT renewed"));
    // Just registered: the order follows automatically.
    assert!(
        message(&full(Reason::NeverRequested), CONTEXT)
            .en
            .contains("ordered automatically")
    );
}

#[test]
fn a_failed_validation_says_whether_our_own_request_arrives() {
    let says = |miss: Option<&str>| {
        let mut record = full(Reason::ValidationFailed);
        record.ssl.facts.preflight = Some(Preflight {
            at: T,
            through: None,
            miss: miss.map(str::to_owned),
        });
        message(&record, CONTEXT)
    };
    let (missed, arrived) = (says(Some("refused")), says(None));
    assert!(
        missed
            .en
            .ends_with("from everywhere. Our own test request does not arrive either.")
    );
    assert!(
        arrived.de.ends_with("ob eine Firewall nur bestimmte Netze durchlässt."),
        "{}",
        arrived.de
    );
    let mut refused = full(Reason::RenewalFailing);
    refused.ssl.facts.cause = Some(FailureKind::Caa);
    assert!(!message(&refused, CONTEXT).en.contains("test request"));
}

#[test]
fn a_name_that_cannot_have_a_cname_is_not_asked_for_one() {
    let addresses = ["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    for name in ["customer.example", CONTEXT.target] {
        for reason in [Reason::DnsMissing, Reason::DnsElsewhere, Reason::Moved] {
            for addresses in [&addresses[..], &[]] {
                let mut record = full(reason);
                record.name = DomainName::parse(name).unwrap();
                let text = message(&record, Context { addresses, ..CONTEXT });
                for sentence in [&text.en, &text.de] {
                    assert!(!sentence.contains(['{', '}', '…']), "{sentence}");
                    assert!(
                        !sentence
                            .replace("CNAME flattening", "")
                            .replace("CNAME-Flattening", "")
                            .contains("CNAME"),
                        "{sentence}"
                    );
                    assert_eq!(
                        sentence.contains("203.0.113.1, 2001:db8::1"),
                        !addresses.is_empty(),
                        "{sentence}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_renewal_blocked_by_dns_gets_the_advice_of_a_first_certificate() {
    let mut record = full(Reason::RenewalFailing);
    record.ssl.facts = Facts {
        found: Some("2001:db8::9".into()),
        host: Some("t.customer.example".into()),
        cause: Some(FailureKind::Connection),
        ..Facts::default()
    };
    let says = |record: &DomainRecord| message(record, CONTEXT).en;
    assert!(says(&record).ends_with("Delete the AAAA record 2001:db8::9 of t.customer.example."));
    record.ssl.facts.cause = Some(FailureKind::Caa);
    assert!(says(&record).ends_with("Add this record at t.customer.example: CAA 0 issue \"ca.example\"."));
    record.ssl.facts.host = Some("track.platform.example".into());
    assert!(says(&record).ends_with("belongs to the platform and forbids the certificate. Contact support."));
    record.ssl.facts = Facts {
        zone: Some("customer.example".into()),
        error: Some("SERVFAIL".into()),
        cause: Some(FailureKind::CaDns),
        ..Facts::default()
    };
    assert!(says(&record).ends_with("The DNS servers of customer.example fail (SERVFAIL). Contact your DNS provider."));
}

#[test]
fn a_missed_preflight_is_reported_with_the_next_failure_until_a_success() {
    use crate::ssl::{Failure, SslEvent};
    let mut record = full(Reason::NeverRequested);
    let certificate = record.ssl.certificate.take().map(|c| CertificateInfo {
        not_after: T + std::time::Duration::from_secs(90 * 86_400),
        ..c
    });
    let missed = Preflight {
        at: T,
        through: None,
        miss: Some("127.0.0.1: Connection refused".to_owned()),
    };
    let failure = Failure {
        kind: FailureKind::Connection,
        error: record.ssl.last_error.clone().unwrap(),
        retry_after: None,
    };
    // The course of an order: checked, preflighted, queued, started, and rejected by the CA.
    for event in [
        SslEvent::DnsChecked(crate::dns::DnsVerdict::Right),
        SslEvent::Preflight(missed),
        SslEvent::Queued { eta: None },
        SslEvent::OrderStarted {
            ca: "ca.example".into(),
        },
        SslEvent::Validating,
        SslEvent::Failed {
            failure,
            backoff: std::time::Duration::from_secs(60),
        },
    ] {
        record.apply(event, T);
    }
    let text = message(&record, CONTEXT);
    assert_eq!(record.ssl.reason, Reason::ValidationFailed);
    assert!(
        text.en.ends_with("Our own test request does not arrive either."),
        "{}",
        text.en
    );
    assert!(
        text.de.ends_with("Auch unsere eigene Testanfrage kommt nicht an."),
        "{}",
        text.de
    );
    record.apply(SslEvent::Issued(certificate.unwrap()), T);
    assert_eq!(record.ssl.facts.preflight, None);
    assert!(!message(&record, CONTEXT).en.contains("test request"));
}

#[test]
fn a_missing_fact_leaves_no_gap() {
    let mut record = full(Reason::Moved);
    record.ssl.facts = Facts::default();
    assert!(message(&record, CONTEXT).en.contains("no longer has a DNS record"));
}
