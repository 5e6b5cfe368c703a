//! Faults on the operator's side (an untrusted CA, a wrong clock): reported at once, not counted
//! against any domain, and over as soon as they are fixed.

use std::time::{Duration, Instant};

use linkseal_base::clock::Clock;
use linkseal_domain::ssl::FailureKind;

use crate::support::until;
use crate::support::world::Plan;

/// Far less than the pause after a CA turned out to be untrusted.
const AT_ONCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_untrusted_ca_is_logged_once_for_all_domains_and_used_after_the_reload_that_trusts_it() {
    let plan = Plan::on_register().await;
    let ca_file = plan.dir.path().join("ca.pem");
    let unrelated = Plan::new().await;
    std::fs::write(&ca_file, unrelated.ca.root_pem()).expect("written");
    let process = plan.serve().await;
    let names: Vec<_> = (0..5).map(|n| format!("links.c{n}.test")).collect();
    for name in &names {
        process.register(name).await;
    }
    // The directory is read at the start for CAA, and by the first order.
    let messages = ["CA directory unreadable", "orders at the CA fail"];
    for message in messages {
        process.until_logged(message).await;
    }
    for name in &names {
        until(&format!("{name} shows the cause"), async || {
            let ssl = process.domain(name).await["ssl"].clone();
            let text = ssl.to_string();
            // Either its own order has failed, or it was postponed because another's had.
            (text.contains("acme.ca_file") || ssl["next_attempt"].is_string()).then_some(())
        })
        .await;
    }
    let log = process.log();
    let lines: Vec<_> = log.lines().filter(|l| l.contains("\"cause\":\"trust\"")).collect();
    for message in messages {
        let of_message = lines.iter().filter(|line| line.contains(message)).count();
        assert_eq!(of_message, 1, "one line of each for all domains: {lines:#?}");
    }
    assert_eq!(lines.len(), messages.len(), "{lines:#?}");
    for line in lines {
        assert!(line.contains("acme.ca_file"), "{line}");
        assert!(line.contains("\"level\":\"ERROR\""), "{line}");
    }
    assert_eq!(plan.ca.stats().orders, 0);

    std::fs::write(&ca_file, plan.ca.root_pem()).expect("written");
    let begun = Instant::now();
    process.signal("HUP");
    for name in &names {
        let domain = process.until_state(name, "issued").await;
        assert!(domain["ssl"]["last_error"].is_null(), "{domain}");
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_certificate_outside_its_validity_is_attributed_to_the_local_clock() {
    let plan = Plan::with_ca(|ca| {
        // Thirty years back: the CA's own certificates are valid for twenty.
        ca.clock = Clock::system();
        ca.clock.set(-30 * 365 * 86_400_000);
    });
    let world = plan.await.set("acme.issue", "on_register").start_at_once().await;
    let name = "links.clock.test";
    world.edge.register(name).await;
    let record = world
        .edge
        .until(name, "it waits", |r| r.ssl.facts.cause == Some(FailureKind::Clock))
        .await;
    assert_eq!((record.ssl.attempts, record.ssl.failures.len()), (0, 0));
    let directory = world.ca.directory_url();
    let store = world.edge.control.store();
    assert_eq!(store.ca_trouble(&directory).await.expect("the store"), None);
    let overview = world.edge.control.report().overview().await.expect("the store");
    let text = format!("{overview:?}");
    assert!(text.contains("clock of this machine"), "{text}");
}
