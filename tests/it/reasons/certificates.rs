//! Reasons of domains that have had a certificate, and those only the development CA can produce.

use std::time::Duration;

use linkseal_dns::Kind as Record;
use linkseal_domain::DomainRecord;
use linkseal_domain::messages;
use linkseal_domain::ssl::Reason;

use super::stage::{NAME, Stage};
use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::world::Plan;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// A renewal runs, fails and succeeds; the name moves away and comes back.
pub(super) async fn after_issuance() -> Vec<Reason> {
    let mut stage = Stage::new().await.ready().await;
    stage.point_here(NAME);
    stage.edge.register(NAME).await;
    stage.expect_reason(NAME, Reason::Ok).await;

    stage.challenges.stall();
    let (name, actor) = (domain(NAME), operator());
    stage
        .edge
        .control
        .operator()
        .reissue(&name, &actor)
        .await
        .expect("accepted");
    stage.expect_reason(NAME, Reason::Renewing).await;
    stage.challenges.close();
    // A failed replacement does not affect the certificate until its regular renewal is due.
    let failed = |r: &DomainRecord| r.ssl.reason == Reason::Ok && r.ssl.last_error.is_some();
    stage.edge.until(NAME, "failed without consequences", failed).await;
    stage.clock.advance(1_250 * DAY);
    stage.expect_reason(NAME, Reason::RenewalFailing).await;
    stage.challenges.open(stage.edge.http);
    stage.advance_to_next(NAME).await;
    stage.edge.until_reason(NAME, Reason::Ok).await;

    stage.dns.remove(NAME, Record::Cname);
    stage.dns.add(NAME, Record::A, "192.0.2.1");
    let orders = stage.orders();
    stage.edge.verify(NAME).await;
    stage.expect_reason(NAME, Reason::Moved).await;
    stage.dns.remove(NAME, Record::A);
    stage.point_here(NAME);
    stage.advance_to_next(NAME).await;
    stage.edge.until_reason(NAME, Reason::Ok).await;
    assert_eq!(stage.orders(), orders, "its certificate is still valid");
    stage.shown
}

/// A certificate expires while the operator has switched issuance off, and a CAA record names another CA.
/// Uses the development CA.
pub(super) async fn expiry_and_caa() -> Vec<Reason> {
    let plan = Plan::with_ca(|ca| ca.caa_identities = vec!["dev-ca.test".to_owned()]).await;
    let mut world = plan.set("acme.issue", "on_register").start().await;
    world.edge.register(NAME).await;
    let record = world.edge.until_issued(NAME).await;
    let certificate = record.ssl.certificate.expect("a certificate");
    world.settings.set("acme.issue", "off");
    let mut world = world.restart().await;
    world.advance_to(certificate.not_after + MINUTE);
    world.edge.until_reason(NAME, Reason::Expired).await;
    world.settings.set("acme.issue", "on_register");
    let world = world.restart().await;
    world.edge.verify(NAME).await;
    world.edge.until_reason(NAME, Reason::Ok).await;

    let other = "links.forbidden.test";
    world.dns.add(other, Record::Cname, EDGE_NAME);
    world
        .dns
        .add("forbidden.test", Record::Caa, "0 issue \"other-ca.test\"");
    world.edge.register(other).await;
    let record = world.edge.until_reason(other, Reason::CaaForbids).await;
    let text = messages::message(&record, world.edge.control.messages().borrow());
    assert!(
        text.en.contains("forbidden.test: CAA 0 issue \"dev-ca.test\""),
        "{}",
        text.en
    );
    assert_eq!(world.ca.name_stats(other).orders, 0);
    world.dns.remove("forbidden.test", Record::Caa);
    world.clock.advance(MINUTE);
    world.edge.until_issued(other).await;
    vec![Reason::Expired, Reason::CaaForbids]
}
