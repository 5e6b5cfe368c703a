//! The pre-flight of an order: does the URL of a challenge reach this fleet?
//!
//! Every node answers every challenge from the account's key alone, so any token will do: what
//! comes back is compared with what this fleet would say. What is found is advice. It never keeps
//! an order back, for a CA sees the network from elsewhere; it tells people where to look, and it
//! lets a name be ordered for that sits behind a proxy which passes challenges on.
//!
//! A customer's zone says where to connect to, so only public addresses, the edge's own and the
//! configured one are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use linkseal_base::random;
use linkseal_dns::{Kind, Lookup, is_synthesized};
use linkseal_domain::ssl::{Preflight, SslEvent};
use linkseal_domain::{DomainName, DomainRecord};
use linkseal_net::address::is_public;
use linkseal_net::http01::{self, ChallengeFailure, HostResolver, ResolveError};
use linkseal_store::{Fence, StoreError};
use tokio::time::timeout;

use super::lanes::{Lanes, Owner, Place};
use super::work::Asked;
use super::{Control, Edit};

/// How long one pre-flight may take in all.
const TIME: Duration = Duration::from_secs(4);
/// How long one hop of it may take.
const HOP: Duration = Duration::from_secs(3);
/// Pre-flights at once, and how many of these places each priority leaves to the one above it.
pub(super) const AT_ONCE: usize = 32;
const RESERVED: usize = 2;
/// How long one waits for a place: it is advice, which an order does not wait for long. Through a
/// proxy it decides whether there is an order.
const WAIT: Duration = Duration::from_secs(4);
const WAIT_THROUGH_PROXY: Duration = Duration::from_secs(20);
/// Addresses of one host that are tried, of each family.
const MAX_ADDRESSES: usize = 2;
/// Addresses of a name behind a proxy that are tried.
const MAX_FOREIGN: usize = 16;
/// How long the stand-in answers for a name whose pre-flight is made through a proxy: its own time,
/// and that for other nodes to hear of it.
const STAND_IN: Duration = Duration::from_secs(30);
/// A pre-flight that is not older than that is not made again.
const FRESH: Duration = Duration::from_secs(30);

/// How the challenge's URL is tried.
#[derive(Clone, Debug)]
pub struct PreflightSettings {
    /// Where names that point here are tried instead. `None`: at what they resolve to.
    pub address: Option<SocketAddr>,
    /// The edge's own addresses: they need not be public.
    pub own: Vec<IpAddr>,
    /// The world's ports 80 and 443.
    pub ports: (u16, u16),
    /// Whether private addresses may be connected to: where everything is on loopback.
    pub private: bool,
}

/// Tries.
pub struct Preflighter {
    settings: PreflightSettings,
    lookup: Arc<dyn Lookup>,
    /// Of the account's key (RFC 8555 §8.1).
    thumbprint: String,
    places: Lanes,
}

impl Preflighter {
    /// For the fleet that answers under the account key with this thumbprint.
    pub fn new(settings: PreflightSettings, lookup: Arc<dyn Lookup>, thumbprint: String) -> Self {
        Self {
            settings,
            lookup,
            thumbprint,
            places: Lanes::new(AT_ONCE, RESERVED),
        }
    }

    /// A place for a pre-flight. `None`: there is none to be had soon enough; that says nothing about
    /// the name.
    async fn place(&self, through: Option<&str>, asked: &mut Asked, owners: Vec<Owner>) -> Option<Place> {
        let wait = through.map_or(WAIT, |_| WAIT_THROUGH_PROXY);
        let enter = |urgency| self.places.enter(urgency, owners.clone());
        timeout(wait, asked.enter(enter)).await.ok()
    }

    /// Fetches a challenge of a name; `through`: the proxy in front of it. `None`: the name leads
    /// where nothing may be tried.
    async fn attempt(&self, name: &DomainName, through: Option<&str>) -> Option<Result<(), String>> {
        if through.is_none() {
            return self.fetch(name, self.settings.address).await;
        }
        // Clients go to any of the addresses, so each of them has to bring the challenge here.
        let addresses = self.foreign(name).await;
        if addresses.iter().any(|ip| !self.is_allowed(ip)) {
            return None;
        }
        let reachable = addresses.into_iter().filter(|ip| has_route(*ip));
        let port = self.settings.ports.0;
        let tries = reachable.map(|ip| self.fetch(name, Some(SocketAddr::new(ip, port))));
        let mut tried = join_all(tries).await;
        if tried.is_empty() {
            return self.fetch(name, None).await;
        }
        let missed = tried.iter().position(|t| !matches!(t, Some(Ok(()))));
        tried.swap_remove(missed.unwrap_or_default())
    }

    /// Where a name leads, less the edge's own addresses and those that a resolver makes up for
    /// networks without IPv4.
    async fn foreign(&self, name: &DomainName) -> Vec<IpAddr> {
        let ask = |kind| self.lookup.lookup(name.as_str(), kind);
        let (a, aaaa) = futures_util::join!(ask(Kind::A), ask(Kind::Aaaa));
        let found = [a, aaaa].into_iter().flatten().flat_map(|answer| answer.addresses());
        let foreign = found.filter(|ip| !self.settings.own.contains(ip) && !is_synthesized(*ip));
        foreign.take(MAX_FOREIGN).collect()
    }

    fn is_allowed(&self, ip: &IpAddr) -> bool {
        self.settings.private || is_public(*ip) || self.settings.own.contains(ip)
    }

    /// Fetches a challenge of a name; `instead`: at this address, not at those it resolves to.
    async fn fetch(&self, name: &DomainName, instead: Option<SocketAddr>) -> Option<Result<(), String>> {
        let token = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
        let expected = format!("{token}.{}", self.thumbprint);
        let way = Hops {
            flight: self,
            instead: instead.map(|address| (name, address)),
        };
        match timeout(TIME, http01::fetch(&way, name.as_str(), &token, &expected, HOP)).await {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(ChallengeFailure::NotTried { host })) if host == name.as_str() => None,
            Ok(Err(miss)) => Some(Err(miss.to_string())),
            Err(_) => Some(Err(format!("no answer within {} s", TIME.as_secs()))),
        }
    }
}

/// Whether this node can send to an address at all: without IPv6 here, its world may still be well.
/// Connecting a UDP socket sends nothing.
fn has_route(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((ip, 9)).is_ok())
}

/// Where the hosts of one pre-flight are.
struct Hops<'a> {
    flight: &'a Preflighter,
    /// The name that points here, and where it is tried instead.
    instead: Option<(&'a DomainName, SocketAddr)>,
}

#[async_trait]
impl HostResolver for Hops<'_> {
    async fn addresses(&self, host: &str, https: bool) -> Result<Vec<SocketAddr>, ResolveError> {
        let port = self.port(https);
        if let Some((_, address)) = self.instead.filter(|(name, _)| name.as_str() == host) {
            let port = if https { port } else { address.port() };
            return Ok(vec![SocketAddr::new(address.ip(), port)]);
        }
        let lookup = &self.flight.lookup;
        let (v6, v4) = futures_util::join!(lookup.lookup(host, Kind::Aaaa), lookup.lookup(host, Kind::A));
        if v6.is_err() && v4.is_err() {
            let absent = [&v6, &v4].iter().all(|r| r.as_ref().is_err_and(|e| e.is_absent()));
            return Err(if absent {
                ResolveError::NoAddress
            } else {
                ResolveError::NotTried
            });
        }
        // IPv6 first, as CAs do.
        let found = [v6, v4].into_iter().flatten();
        let found: Vec<_> = found
            .flat_map(|answer| answer.addresses().into_iter().take(MAX_ADDRESSES))
            .filter(|ip| self.flight.is_allowed(ip))
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        if found.is_empty() {
            Err(ResolveError::NotTried)
        } else {
            Ok(found)
        }
    }

    fn port(&self, https: bool) -> u16 {
        let (http, tls) = self.flight.settings.ports;
        if https { tls } else { http }
    }
}

impl Control {
    /// Tries whether the challenge of a name gets here; `through`: the proxy in front of it. The
    /// proxy may come on port 443, where a name without a certificate has nothing to show: so, for
    /// this time, it has the stand-in. `None`: it was not tried.
    pub(super) async fn preflight(
        &self,
        record: &DomainRecord,
        through: Option<&str>,
        fence: Option<Fence>,
        asked: &mut Asked,
    ) -> Result<Option<Preflight>, StoreError> {
        let tools = self.tools();
        let Some(flight) = &tools.preflight else {
            return Ok(None);
        };
        let now = self.inner.clock.now();
        let last = record.ssl.facts.preflight.as_ref();
        if let Some(fresh) = last.filter(|p| p.through.as_deref() == through && p.at.is_within(FRESH, now)) {
            return Ok(Some(fresh.clone()));
        }
        let Some(_place) = flight.place(through, asked, self.owners(record)).await else {
            return Ok(None);
        };
        if through.is_some() && !record.ssl.holds(now) {
            let now = self.inner.clock.now();
            self.change(&record.name, fence, |draft| {
                draft.happens(SslEvent::StandIn { until: now + STAND_IN });
                Edit::<StoreError>::Store
            })
            .await?;
        }
        let Some(tried) = flight.attempt(&record.name, through).await else {
            return Ok(None);
        };
        let found = Preflight {
            at: self.inner.clock.now(),
            through: through.map(str::to_owned),
            miss: tried.err(),
        };
        tracing::debug!(domain = %record.name, miss = found.miss, "preflight");
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::shutdown::Tasks;
    use linkseal_dns::testing::DnsServer;
    use linkseal_dns::{Resolver, ResolverSettings};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::queue::Priority;
    use super::super::tests::Bench;
    use super::*;

    const NAME: &str = "links.customer.example";

    /// Answers every request with this; `{token}` is the challenge's.
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
    async fn only_this_fleets_answer_arrives() {
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

    /// The queue here is no fault of the customer's: waiting takes none of a try's time, and what finds
    /// no place is not tried.
    #[tokio::test]
    async fn a_try_that_finds_no_place_is_no_miss() {
        let (tasks, bench) = (Tasks::new(), Bench::new().await);
        let dns = DnsServer::start(&tasks).await.unwrap();
        let flight = Arc::new(preflighter(&dns, settings(9)).await);
        let tools = super::super::Clients {
            preflight: Some(Arc::clone(&flight)),
            ..bench.control.tools().as_ref().clone()
        };
        bench.control.inner.tools.store(Arc::new(tools));
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
        assert!(taken.len() <= AT_ONCE);
        for through in [None, Some("CDN")] {
            let mut asked = Priority::Bulk.into();
            let tried = bench.control.preflight(&record, through, None, &mut asked).await;
            assert_eq!(tried.unwrap(), None, "{through:?}");
        }
        tasks.stop();
    }

    #[tokio::test]
    async fn behind_a_proxy_every_address_has_to_bring_the_challenge() {
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
        // Nothing listens on the other one: some clients would never get here.
        dns.add(NAME, Kind::A, "127.0.0.2");
        let missed = flight.attempt(&name, Some("CDN")).await;
        assert!(matches!(missed, Some(Err(_))), "{missed:?}");
        // Unless that is the edge itself.
        let own = vec![IpAddr::from([127, 0, 0, 2])];
        let flight = preflighter(&dns, PreflightSettings { own, ..open.clone() }).await;
        assert_eq!(flight.attempt(&name, Some("CDN")).await, Some(Ok(())));
        // An address that may not be connected to says nothing, so the name is not let through.
        let closed = PreflightSettings {
            own: vec![IpAddr::from([127, 0, 0, 1])],
            private: false,
            ..open
        };
        assert_eq!(preflighter(&dns, closed).await.attempt(&name, Some("CDN")).await, None);
        tasks.stop();
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_tried_but_where_the_configuration_says() {
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
        // A proxy is not where the edge is.
        assert_eq!(flight.attempt(&name, Some("CDN")).await, None);
        tasks.stop();
    }
}
