//! What an operator changes on one node is in force on the others within two seconds.

use linkseal_base::clock::Clock;
use linkseal_control::{NewFreeze, NewKill, NewRedirect, Reissue};
use linkseal_domain::links::Kill;
use linkseal_domain::ssl::Reason;
use linkseal_link::{KillKind, Slug};

use crate::support::client;
use crate::support::edge::{Edge, domain, operator};
use crate::support::fleet::{Fleet, everywhere};
use crate::support::world::Links;

const NAME: &str = "links.changed.test";

/// Two nodes that serve a domain; whatever is changed on the first must reach the second.
async fn two_nodes() -> (Fleet, Vec<Edge>) {
    let fleet = Fleet::new(2).await;
    let edges = fleet.edges().await;
    edges[0].register(NAME).await;
    edges[0].until_issued(NAME).await;
    fleet.until_served_by_all(&edges, NAME).await;
    (fleet, edges)
}

async fn status(fleet: &Fleet, edge: &Edge, path: &str) -> u16 {
    let answer = client::fetch(edge.https, NAME, path, &fleet.client(&[b"h2"])).await;
    answer.expect("an answer").status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_switches_and_redirects() {
    let (fleet, edges) = two_nodes().await;
    let kills = edges[0].control.operator().kills();
    let click = Links::of(NAME, &Clock::system()).click("https://shop.example/");
    assert_eq!(status(&fleet, &edges[1], &click).await, 302);
    let kill = Kill::new(KillKind::Host, "shop.example").expect("a host");
    kills
        .put(kill.clone(), NewKill::default(), &operator())
        .await
        .expect("stored");
    everywhere("the click is killed", async || {
        (status(&fleet, &edges[1], &click).await == 410).then_some(())
    })
    .await;
    kills.delete(&kill, &operator()).await.expect("deleted");
    everywhere("the click works", async || {
        (status(&fleet, &edges[1], &click).await == 302).then_some(())
    })
    .await;

    let (redirects, slug) = (
        edges[0].control.operator().redirects(),
        Slug::parse("sale").expect("a slug"),
    );
    // A miss is remembered, too.
    assert_eq!(status(&fleet, &edges[1], "/r/sale").await, 404);
    for target in ["https://shop.example/a", "https://shop.example/b"] {
        let new = NewRedirect {
            url: target.into(),
            expires: None,
        };
        redirects
            .put(Some(&domain(NAME)), &slug, new, &operator())
            .await
            .expect("stored");
        everywhere(target, async || {
            let answer = client::fetch(edges[1].https, NAME, "/r/sale", &fleet.client(&[b"h2"]))
                .await
                .ok()?;
            (answer.header("location") == Some(target)).then_some(())
        })
        .await;
    }
    redirects
        .delete(Some(&domain(NAME)), &slug, &operator())
        .await
        .expect("deleted");
    everywhere("it is gone", async || {
        (status(&fleet, &edges[1], "/r/sale").await == 404).then_some(())
    })
    .await;
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reissued_certificate_and_a_purge() {
    let (fleet, edges) = two_nodes().await;
    let before = fleet.until_served_by_all(&edges, NAME).await;
    let reissued = edges[0].control.operator().reissue(&domain(NAME), &operator()).await;
    assert!(matches!(reissued, Ok(Reissue::Accepted(_))), "{reissued:?}");
    let after = edges[0]
        .until(NAME, "reissued", |r| {
            r.ssl.certificate.as_ref().is_some_and(|c| c.serial != before)
        })
        .await;
    let serial = after.ssl.certificate.expect("a certificate").serial;
    let client = fleet.client(&[]);
    everywhere("the new certificate is served", async || {
        let session = client::handshake(edges[1].https, NAME, &client).await.expect("served");
        (client::serial(&session) == serial).then_some(())
    })
    .await;

    edges[0]
        .control
        .operator()
        .purge(&domain(NAME), &operator())
        .await
        .expect("purged");
    everywhere("the purged domain is refused", async || {
        client::handshake(edges[1].https, NAME, &client).await.err().map(drop)
    })
    .await;
    // Registered again at once, it is a new domain on every node.
    edges[1].register(NAME).await;
    let again = edges[0].until_issued(NAME).await;
    assert_ne!(again.ssl.certificate.expect("a certificate").serial, serial);
    fleet.until_served_by_all(&edges, NAME).await;
    for edge in edges {
        edge.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_freeze_and_its_end() {
    let (_fleet, edges) = two_nodes().await;
    let first = edges[0].control.operator();
    first.freeze(NewFreeze::default(), &operator()).await.expect("frozen");
    let name = "links.frozen.test";
    edges[1].register(name).await;
    let stopped = edges[1].until_reason(name, Reason::Paused).await;
    assert!(stopped.ssl.certificate.is_none());
    first.thaw(&operator()).await.expect("thawed");
    edges[1].until_issued(name).await;
    for edge in edges {
        edge.stop().await;
    }
}
