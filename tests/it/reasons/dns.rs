//! Reasons that come from the customer's DNS.

use linkseal_dns::Kind as Record;
use linkseal_dns::testing::{DnsServer, Failure};
use linkseal_domain::ssl::Reason;

use super::stage::{NAME, Stage};
use crate::support::edge::EDGE_NAME;

/// While DNS is wrong the state says why and no order is made. Once it is fixed, the certificate is issued
/// without any further request.
async fn wrong_dns(reason: Reason, breaks: impl Fn(&DnsServer), repairs: impl Fn(&DnsServer)) -> Vec<Reason> {
    let mut stage = Stage::new().await.ready().await;
    let before = stage.orders();
    breaks(&stage.dns);
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, reason).await;
    // Another check changes nothing.
    let checks = stage.edge.record(NAME).await.ssl.wrong_checks;
    stage.advance_to_next(NAME).await;
    stage
        .edge
        .until(NAME, "checked again", |r| r.ssl.wrong_checks > checks)
        .await;
    stage.edge.verify(NAME).await;
    stage.expect_reason(NAME, reason).await;
    assert_eq!(stage.orders(), before, "{reason:?}: no order while DNS is wrong");
    repairs(&stage.dns);
    stage.advance_to_next(NAME).await;
    stage.edge.until_issued(NAME).await;
    assert_eq!(stage.orders(), before + 1);
    stage.shown
}

pub(super) async fn dns_reasons() -> Vec<Reason> {
    let point_here = |dns: &DnsServer| dns.add(NAME, Record::Cname, EDGE_NAME);
    let elsewhere = |dns: &DnsServer, address: &str| dns.add(NAME, Record::A, address);
    let (missing, wrong, proxied, stray, error) = tokio::join!(
        wrong_dns(Reason::DnsMissing, |_| {}, point_here),
        wrong_dns(
            Reason::DnsElsewhere,
            |dns| elsewhere(dns, "192.0.2.1"),
            |dns| {
                dns.remove(NAME, Record::A);
                point_here(dns);
            }
        ),
        wrong_dns(
            Reason::Proxied,
            |dns| elsewhere(dns, "104.16.1.1"),
            |dns| {
                dns.remove(NAME, Record::A);
                point_here(dns);
            }
        ),
        wrong_dns(
            Reason::StrayAaaa,
            |dns| {
                elsewhere(dns, "127.0.0.1");
                dns.add(NAME, Record::Aaaa, "2001:db8::1");
            },
            |dns| dns.remove(NAME, Record::Aaaa),
        ),
        wrong_dns(
            Reason::DnsError,
            |dns| {
                point_here(dns);
                dns.fail(NAME, Failure::ServFail);
            },
            |dns| dns.heal(NAME),
        ),
    );
    [missing, wrong, proxied, stray, error].concat()
}
