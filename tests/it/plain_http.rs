//! Plain HTTP and the limits of a connection: links work on port 80 while a certificate is pending, no
//! name is served under another name's certificate, and HSTS is sent over HTTPS only.

use linkseal_control::Patch;
use linkseal_domain::record::Hsts;
use linkseal_domain::ssl::Reason;

use crate::support::client::{self, Web};
use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::until;
use crate::support::world::World;

/// A request over plain HTTP for a host.
async fn get(world: &World, host: &str, path: &str) -> client::Answer {
    let url = format!("http://{}{path}", world.edge.http);
    let answer = Web::plain().call("GET", &url, None, &[("host", host)]).await;
    answer.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_work_over_http_until_a_certificate_is_issued() {
    let world = World::start().await;
    let name = "links.pending.test";
    let links = world.links(name);
    let unknown = get(&world, name, &links.open()).await;
    assert_eq!(unknown.status, 404, "the name is not admitted");
    assert!(world.edge.find(name).await.is_none());

    world.edge.register(name).await;
    let open = get(&world, name, &links.open()).await;
    assert_eq!((open.status, open.body.len()), (200, 43));
    let click = get(
        &world,
        &format!("{}:80", name.to_uppercase()),
        &links.click("https://shop.example/"),
    )
    .await;
    assert_eq!(
        (click.status, click.header("location")),
        (302, Some("https://shop.example/"))
    );
    assert_eq!(world.ca.name_stats(name).orders, 0, "plain HTTP causes no order");

    world.handshake(name).await.expect("a certificate is issued");
    world.edge.until_reason(name, Reason::Ok).await;
    let path = links.open();
    let moved = get(&world, name, &path).await;
    let https = format!("https://{name}{path}");
    assert_eq!((moved.status, moved.header("location")), (302, Some(https.as_str())));
    assert_eq!(moved.header("cache-control"), Some("no-store"));
    until("both events are delivered", async || {
        let events = world.settings.delivered();
        (events.len() == 2 && events.iter().all(|e| e["request"].get("tls").is_none())).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_answered_for_any_host() {
    let world = World::start().await;
    let token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
    let path = format!("/.well-known/acme-challenge/{token}");
    let mut answers = Vec::new();
    for host in [EDGE_NAME, "links.nobody.test", "127.0.0.1"] {
        let answer = get(&world, host, &path).await;
        assert_eq!(answer.status, 200, "{host}");
        assert!(
            answer
                .header("content-type")
                .is_some_and(|t| t.starts_with("text/plain")),
            "{host}"
        );
        assert!(
            answer.text().starts_with(&format!("{token}.")),
            "{host}: {}",
            answer.text()
        );
        answers.push(answer.text());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the response depends on the account key only");
    let hostile = get(&world, EDGE_NAME, "/.well-known/acme-challenge/..%2f%3Cscript%3E").await;
    assert_eq!(hostile.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_serves_only_the_name_of_its_certificate() {
    let world = World::start().await;
    let (one, other) = ("links.one.test", "links.other.test");
    for name in [one, other] {
        world.edge.register(name).await;
        world.handshake(name).await.expect("a certificate is issued");
    }
    let path = world.links(other).open();
    let config = world.client(&[b"http/1.1"]);
    let answer = client::fetch_host(world.edge.https, one, other, &path, &config).await;
    assert_eq!(answer.expect("an answer").status, 421);
    // A link of one tenant on another's domain gets the pixel, but causes no event.
    let wrong = world.fetch(one, &path).await.expect("an answer");
    assert_eq!((wrong.status, wrong.body.len()), (200, 43));
    let right = world.fetch(other, &path).await.expect("an answer");
    assert_eq!(right.status, 200);
    let delivered = until("the event is delivered", async || {
        Some(world.settings.delivered()).filter(|events| !events.is_empty())
    })
    .await;
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["domain"], other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hsts_is_sent_over_https_only() {
    let world = World::start().await;
    let (name, other) = ("links.strict.test", "links.lax.test");
    for name in [name, other] {
        world.edge.register(name).await;
        world.handshake(name).await.expect("a certificate is issued");
    }
    let patch = |hsts| Patch {
        hsts: Some(hsts),
        ..Patch::default()
    };
    let a_year = Hsts {
        max_age: 31_536_000,
        include_subdomains: true,
    };
    let change = async |hsts| {
        let (name, by) = (domain(name), operator());
        let changed = world.edge.control.operator().patch(&name, patch(hsts), &by).await;
        changed.expect("changed");
    };
    const HEADER: &str = "strict-transport-security";
    let links = world.links(name);
    let sent = async |path: &str| {
        let answer = world.fetch(name, path).await.expect("an answer");
        answer.header(HEADER).map(str::to_owned)
    };
    assert_eq!(sent(&links.open()).await, None);
    change(Some(a_year)).await;
    let expected = Some("max-age=31536000; includeSubDomains".to_owned());
    let (open, click) = (links.open(), links.click("https://shop.example/"));
    for path in [open.as_str(), &click, "/robots.txt", "/r/unknown", "/nothing"] {
        assert_eq!(sent(path).await, expected, "{path}");
    }
    assert_eq!(
        sent("/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ").await,
        None
    );
    let clear = get(&world, name, &links.open()).await;
    assert_eq!((clear.status, clear.header(HEADER)), (302, None));
    let lax = world.fetch(other, "/robots.txt").await.expect("an answer");
    assert_eq!(lax.header(HEADER), None);
    change(Some(Hsts {
        max_age: 0,
        include_subdomains: false,
    }))
    .await;
    assert_eq!(sent(&links.open()).await.as_deref(), Some("max-age=0"));
    change(None).await;
    assert_eq!(sent(&links.open()).await, None);
}
