use linkseal_base::shutdown::Tasks;

use super::*;
use crate::testing::{DnsServer, Failure};

const NAME: &str = "links.customer.example";
const EDGE: &str = "track.platform.example";

async fn server(tasks: &Tasks) -> DnsServer {
    DnsServer::start(tasks).await.unwrap()
}

fn resolver(servers: &[&DnsServer], timeout: Duration) -> Resolver {
    let resolvers = servers.iter().map(|s| s.address()).collect();
    Resolver::new(ResolverSettings {
        resolvers,
        timeout,
        ..ResolverSettings::default()
    })
    .unwrap()
}

fn patient(server: &DnsServer) -> Resolver {
    resolver(&[server], Duration::from_secs(20))
}

#[tokio::test]
async fn failures_and_negative_answers_are_distinguished() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    dns.add(NAME, Kind::Txt, "only text");
    for (name, failure) in [
        ("servfail.example", Failure::ServFail),
        ("expired.example", Failure::Extended(7, "RRSIG of zone expired")),
        ("blocked.example", Failure::Extended(22, "")),
        ("bogus.example", Failure::Bogus),
        ("refused.example", Failure::Refused),
    ] {
        dns.fail(name, failure);
    }
    dns.add("bogus.example", Kind::A, "192.0.2.1");
    let resolver = patient(&dns);
    for (name, says) in [
        ("nowhere.customer.example", "NXDOMAIN"),
        (NAME, "no such record"),
        ("servfail.example", "SERVFAIL"),
        (
            "expired.example",
            "DNSSEC bogus (Signature Expired: RRSIG of zone expired)",
        ),
        ("blocked.example", "SERVFAIL (No Reachable Authority)"),
        ("bogus.example", "DNSSEC bogus"),
        ("refused.example", "REFUSED"),
    ] {
        assert_eq!(
            resolver.lookup(name, Kind::A).await.unwrap_err().to_string(),
            says,
            "{name}"
        );
    }
    let absent = resolver.lookup("nowhere.customer.example", Kind::A).await.unwrap_err();
    assert_eq!(absent.negative_ttl(), Some(60));
}

#[tokio::test]
async fn silence_is_a_timeout_and_the_next_resolver_is_asked() {
    let tasks = Tasks::new();
    let (silent, talking) = (server(&tasks).await, server(&tasks).await);
    silent.fail(NAME, Failure::Silent);
    talking.add(NAME, Kind::A, "192.0.2.7");
    let alone = resolver(&[&silent], Duration::from_millis(300));
    assert_eq!(alone.lookup(NAME, Kind::A).await, Err(LookupError::Timeout));
    let both = resolver(&[&silent, &talking], Duration::from_secs(4));
    let answer = both.lookup(NAME, Kind::A).await.unwrap();
    assert_eq!(answer.addresses(), ["192.0.2.7".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn of_several_failures_the_most_specific_is_returned() {
    let tasks = Tasks::new();
    let (refusing, failing) = (server(&tasks).await, server(&tasks).await);
    refusing.fail(NAME, Failure::Refused);
    failing.fail(NAME, Failure::ServFail);
    for order in [[&refusing, &failing], [&failing, &refusing]] {
        let resolver = resolver(&order, Duration::from_secs(20));
        assert_eq!(
            resolver.lookup(NAME, Kind::A).await,
            Err(LookupError::ServFail { text: None })
        );
    }
}

#[tokio::test]
async fn aliases_are_followed_except_in_cname_questions() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    dns.add(NAME, Kind::Cname, "Alias.Customer.example");
    dns.add("alias.customer.example", Kind::Cname, EDGE);
    dns.add(EDGE, Kind::A, "192.0.2.1");
    dns.add("a.loop.example", Kind::Cname, "b.loop.example");
    dns.add("b.loop.example", Kind::Cname, "a.loop.example");
    dns.add("dangling.example", Kind::Cname, "gone.example");
    let resolver = patient(&dns);
    let alias = resolver.lookup(NAME, Kind::Cname).await.unwrap();
    assert_eq!(alias.names().collect::<Vec<_>>(), ["alias.customer.example"]);
    let address = resolver.lookup("LINKS.customer.example.", Kind::A).await.unwrap();
    assert_eq!(address.records[0].owner, EDGE);
    assert!(matches!(
        resolver.lookup(NAME, Kind::Txt).await,
        Err(LookupError::NoData { .. })
    ));
    assert_eq!(resolver.lookup("a.loop.example", Kind::A).await, Err(LookupError::Loop));
    assert!(matches!(
        resolver.lookup("dangling.example", Kind::A).await,
        Err(LookupError::NxDomain { .. })
    ));
}

#[tokio::test]
async fn long_answers_arrive_over_tcp_and_every_type_is_read() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    let long = "v=DKIM1; k=rsa; p=".to_owned() + &"A".repeat(2000);
    dns.add(NAME, Kind::Txt, &long);
    dns.add("small.example", Kind::Mx, "10 MX.Customer.example");
    dns.add(
        "small.example",
        Kind::Caa,
        "128 issue \"ca.example; validationmethods=http-01\"",
    );
    dns.add("small.example", Kind::Aaaa, "2001:db8::1");
    dns.fail("small.example", Failure::Truncated);
    let resolver = patient(&dns);
    assert_eq!(
        resolver.lookup(NAME, Kind::Txt).await.unwrap().texts().next(),
        Some(long.as_str())
    );
    for (kind, shown) in [
        (Kind::Mx, "10 mx.customer.example"),
        (Kind::Caa, "128 issue \"ca.example; validationmethods=http-01\""),
        (Kind::Aaaa, "2001:db8::1"),
    ] {
        let answer = resolver.lookup("small.example", kind).await.unwrap();
        assert_eq!(answer.records[0].data.to_string(), shown);
    }
}

#[tokio::test]
async fn wildcards_answer_for_names_that_do_not_exist() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    dns.add("*.customer.example", Kind::Cname, EDGE);
    dns.add("a.taken.customer.example", Kind::A, "192.0.2.1");
    let resolver = patient(&dns);
    assert_eq!(
        resolver.lookup(NAME, Kind::Cname).await.unwrap().names().next(),
        Some(EDGE)
    );
    assert!(matches!(
        resolver.lookup("taken.customer.example", Kind::Cname).await,
        Err(LookupError::NoData { .. })
    ));
    assert!(matches!(
        resolver.lookup("b.taken.customer.example", Kind::A).await,
        Err(LookupError::NxDomain { .. })
    ));
}

#[tokio::test]
async fn nothing_is_cached() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    let resolver = patient(&dns);
    assert!(resolver.lookup(NAME, Kind::Cname).await.is_err());
    dns.add(NAME, Kind::Cname, EDGE);
    assert!(resolver.lookup(NAME, Kind::Cname).await.is_ok());
}

#[tokio::test]
async fn localhost_is_never_asked_for() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    let resolver = patient(&dns);
    assert_eq!(
        resolver.lookup("a.localhost", Kind::A).await.unwrap().addresses(),
        [IpAddr::V4(Ipv4Addr::LOCALHOST)]
    );
    assert_eq!(
        resolver.lookup("a.localhost", Kind::Aaaa).await.unwrap().addresses(),
        [IpAddr::V6(Ipv6Addr::LOCALHOST)]
    );
    assert!(
        resolver
            .lookup("a.localhost", Kind::Cname)
            .await
            .unwrap_err()
            .is_absent()
    );
    assert_eq!(dns.asked_in_all(), 0);
}

#[tokio::test]
async fn authoritative_servers_have_what_a_cache_does_not() {
    let tasks = Tasks::new();
    let (cache, zone) = (server(&tasks).await, server(&tasks).await);
    cache.add("customer.example", Kind::Ns, "ns1.host.example");
    cache.add("ns1.host.example", Kind::A, "127.0.0.1");
    zone.add(NAME, Kind::Cname, EDGE);
    let settings = ResolverSettings {
        resolvers: vec![cache.address()],
        timeout: Duration::from_secs(20),
        authority_port: zone.address().port(),
        authority_private: true,
    };
    let resolver = Resolver::new(settings.clone()).unwrap();
    assert!(resolver.lookup(NAME, Kind::Cname).await.is_err());
    let fresh = resolver.authoritative(NAME, Kind::Cname).await.unwrap().unwrap();
    assert_eq!(fresh.names().next(), Some(EDGE));
    assert!(
        resolver
            .authoritative("links.other.example", Kind::Cname)
            .await
            .is_none()
    );

    let careful = Resolver::new(ResolverSettings {
        authority_private: false,
        ..settings
    })
    .unwrap();
    let before = zone.asked_in_all();
    assert!(
        careful.authoritative(NAME, Kind::Cname).await.is_none(),
        "a question was sent into our own network"
    );
    assert_eq!(zone.asked_in_all(), before);
}

#[tokio::test]
async fn an_invalid_name_is_an_error_not_a_panic() {
    let tasks = Tasks::new();
    let dns = server(&tasks).await;
    let long = "a".repeat(64);
    for name in [long.as_str(), "a..b"] {
        assert!(
            matches!(patient(&dns).lookup(name, Kind::A).await, Err(LookupError::Other(_))),
            "{name}"
        );
    }
}
