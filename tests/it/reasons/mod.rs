//! Every `reason` of a domain (docs/specification.md §1), produced by its real cause and cleared by its real
//! fix: with Pebble, a real CA, and a DNS server that answers as a customer's would. The development CA
//! stands in where the CA's clock has to advance or where Pebble lacks a feature.

mod certificates;
mod dns;
mod orders;
mod stage;

use linkseal_domain::ssl::Reason;

use crate::support::exclusive;

/// Takes tens of seconds: fifteen scenarios, most with a Pebble and an edge of their own. They run
/// concurrently, in two groups.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_has_a_cause_and_a_fix() {
    let _exclusive = exclusive().await;
    let mut shown = Vec::new();
    let (a, b, c, d, e) = tokio::join!(
        dns::dns_reasons(),
        orders::never_requested(),
        orders::steps_of_an_order(),
        orders::closed_port(),
        orders::unreachable_ca()
    );
    shown.extend([a, b, c, d, e].concat());
    let (a, b, c, d, e, f) = tokio::join!(
        orders::used_up_limit(),
        orders::missing_external_account(),
        orders::denied(),
        orders::paused(),
        certificates::after_issuance(),
        certificates::expiry_and_caa()
    );
    shown.extend([a, b, c, d, e, f].concat());
    let missing: Vec<_> = Reason::ALL.iter().filter(|r| !shown.contains(r)).collect();
    assert!(missing.is_empty(), "no scenario shows {missing:?}");
}
