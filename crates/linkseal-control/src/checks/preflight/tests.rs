use linkseal_base::shutdown::Tasks;
use linkseal_dns::testing::DnsServer;
use linkseal_dns::{Resolver, ResolverSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::core::Priority;
use crate::tests::Bench;

const NAME: &str = "links.customer.example";

/// Answers every request with this; `{token}` stands for that of the challenge.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::task::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let path = head.split(' ').nth(1).unwrap();
            let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
            let answer = answer.replace("{token}", token);
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

async fn preflighter(dns: &DnsServer, settings: PreflightSettings) -> Preflighter {
    let resolver = Resolver::new(ResolverSettings {
        resolvers: vec![dns.address()],
        ..ResolverSettings::default()
    });
    Preflighter::new(settings, Arc::new(resolver.unwrap()), "print".to_owned())
}

fn settings(port: u16) -> PreflightSettings {
    PreflightSettings {
        address: None,
        own: Vec::new(),
        ports: (port, 443),
        private: false,
    }
}

#[tokio::test]
async fn only_the_answer_of_this_fleet_counts() {
    let (tasks, name) = (Tasks::new(), DomainName::parse(NAME).unwrap());
    let dns = DnsServer::start(&tasks).await.unwrap();
    dns.add(NAME, Kind::A, "127.0.0.1");
    let own = vec![IpAddr::from([127, 0, 0, 1])];
    for (answer, miss) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 49\r\n\r\n{token}.print", None),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nparked",
            Some("did not match"),
        ),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Some(": 404")),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/x\r\n\r\n",
            Some("Invalid host"),
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://inside.example/\r\n\r\n",
            Some("no public address"),
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: /again\r\n\r\n",
            Some("Too many redirects"),
        ),
    ] {
        dns.remove("inside.example", Kind::A);
        dns.add("inside.example", Kind::A, "10.0.0.1");
        let port = server(answer).await.port();
        let flight = preflighter(
            &dns,
            PreflightSettings {
                own: own.clone(),
                ..settings(port)
            },
        )
        .await;
        let tried = flight.attempt(&name, None).await.unwrap();
        match miss {
            None => assert_eq!(tried, Ok(())),
            Some(words) => assert!(tried.as_ref().is_err_and(|e| e.contains(words)), "{tried:?}"),
        }
    }
    tasks.stop();
}

/// Waiting for a place is not the customer's fault: it takes none of the pre-flight's time, and without
/// a place there is no attempt.
#[tokio::test]
async fn without_a_place_there_is_no_result() {
    let (tasks, bench) = (Tasks::new(), Bench::new().await);
    let dns = DnsServer::start(&tasks).await.unwrap();
    let flight = Arc::new(preflighter(&dns, settings(9)).await);
    let preflights = &bench.control.checks.preflights;
    preflights.set(Some(Arc::clone(&flight)));
    let now = bench.clock.now();
    let name = DomainName::parse(NAME).unwrap();
    let record = DomainRecord::new(name, None, linkseal_domain::record::Origin::Registered, now);
    tokio::time::pause();
    let mut taken = Vec::new();
    for n in 0.. {
        let owner = Owner::Tenant(format!("t{n}").into());
        match flight.place(None, &mut Priority::Bulk.into(), vec![owner]).await {
            Some(place) => taken.push(place),
            None => break,
        }
    }
    assert!(taken.len() <= CONCURRENT);
    for through in [None, Some("CDN")] {
        let mut urgency = Priority::Bulk.into();
        let tried = preflights.run(&record, through, None, &mut urgency).await;
        assert_eq!(tried.unwrap(), None, "{through:?}");
    }
    tasks.stop();
}

#[tokio::test]
async fn behind_a_proxy_every_address_has_to_pass_the_challenge_on() {
    let (tasks, name) = (Tasks::new(), DomainName::parse(NAME).unwrap());
    let dns = DnsServer::start(&tasks).await.unwrap();
    dns.add(NAME, Kind::A, "127.0.0.1");
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 49\r\n\r\n{token}.print";
    let open = PreflightSettings {
        private: true,
        ..settings(server(answer).await.port())
    };
    let flight = preflighter(&dns, open.clone()).await;
    assert_eq!(flight.attempt(&name, Some("CDN")).await, Some(Ok(())));
    // Nothing listens on the second address: some clients would never get here.
    dns.add(NAME, Kind::A, "127.0.0.2");
    let missed = flight.attempt(&name, Some("CDN")).await;
    assert!(matches!(missed, Some(Err(_))), "{missed:?}");
    // Unless that is the edge itself.
    let own = vec![IpAddr::from([127, 0, 0, 2])];
    let flight = preflighter(&dns, PreflightSettings { own, ..open.clone() }).await;
    assert_eq!(flight.attempt(&name, Some("CDN")).await, Some(Ok(())));
    // An address that may not be tried proves nothing, so the name is not accepted.
    let closed = PreflightSettings {
        own: vec![IpAddr::from([127, 0, 0, 1])],
        private: false,
        ..open
    };
    assert_eq!(preflighter(&dns, closed).await.attempt(&name, Some("CDN")).await, None);
    tasks.stop();
}

#[tokio::test]
async fn a_name_with_private_addresses_is_tried_only_at_the_configured_address() {
    let (tasks, name) = (Tasks::new(), DomainName::parse(NAME).unwrap());
    let dns = DnsServer::start(&tasks).await.unwrap();
    dns.add(NAME, Kind::A, "127.0.0.1");
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 49\r\n\r\n{token}.print";
    let address = server(answer).await;
    let closed = settings(address.port());
    assert_eq!(preflighter(&dns, closed.clone()).await.attempt(&name, None).await, None);
    let instead = PreflightSettings {
        address: Some(address),
        ..closed
    };
    let flight = preflighter(&dns, instead).await;
    assert_eq!(flight.attempt(&name, None).await, Some(Ok(())));
    // A proxy is not at the configured address.
    assert_eq!(flight.attempt(&name, Some("CDN")).await, None);
    tasks.stop();
}
