//! The pre-flight of an order: does the URL of a challenge reach this fleet?
//!
//! Every node answers every challenge from the account's key alone, so any token will do: the answer is
//! compared with what this fleet would send. The result is advice. It never prevents an order, because
//! a CA sees the network from elsewhere; it tells people where the fault is, and it allows an order for
//! a name behind a proxy that passes challenges on.
//!
//! A customer's zone decides where to connect to, so only public addresses, the edge's own and the
//! configured one are tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use linkseal_base::random;
use linkseal_dns::{Kind, Lookup, is_synthesized};
use linkseal_domain::ssl::{Preflight, SslEvent};
use linkseal_domain::{DomainName, DomainRecord, messages};
use linkseal_net::address::is_public;
use linkseal_net::http01::{self, ChallengeFailure, HostResolver, ResolveError};
use linkseal_store::{Fence, StoreError};
use tokio::time::timeout;

use crate::core::{Core, Draft, Edit};
use crate::fairness::Fairness;
use crate::fairness::lanes::{Lanes, Owner, Place};
use crate::fairness::urgency::Urgency;

/// How long one pre-flight may take in all.
const TIMEOUT: Duration = Duration::from_secs(4);
/// How long one hop of it may take.
const HOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Concurrent pre-flights, and how many of these places each priority leaves to the next higher one.
pub(crate) const CONCURRENT: usize = 32;
const RESERVED: usize = 2;
/// How long a pre-flight waits for a place: an order does not wait long for advice. Through a proxy,
/// however, it decides whether there is an order.
const WAIT: Duration = Duration::from_secs(4);
const WAIT_THROUGH_PROXY: Duration = Duration::from_secs(20);
/// Addresses of one host that are tried, for each family.
const MAX_ADDRESSES: usize = 2;
/// Addresses of a name behind a proxy that are tried.
const MAX_PROXY_ADDRESSES: usize = 16;
/// How long the stand-in certificate serves a name whose pre-flight is made through a proxy: the
/// pre-flight's own time and what other nodes need to learn of it.
const STAND_IN: Duration = Duration::from_secs(30);
/// A pre-flight not older than this is not repeated.
const FRESH: Duration = Duration::from_secs(30);

/// How the URL of a challenge is tried.
#[derive(Clone, Debug)]
pub struct PreflightSettings {
    /// Where to connect for names that point here, instead of the addresses they resolve to.
    pub address: Option<SocketAddr>,
    /// The edge's own addresses, which need not be public.
    pub own: Vec<IpAddr>,
    /// What stands for ports 80 and 443 of the Internet.
    pub ports: (u16, u16),
    /// Whether private addresses may be tried: in a demo, everything is on loopback.
    pub private: bool,
}

/// Fetches challenges as a CA would.
pub struct Preflighter {
    settings: PreflightSettings,
    lookup: Arc<dyn Lookup>,
    /// The thumbprint of the account's key (RFC 8555 §8.1).
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
            places: Lanes::new(CONCURRENT, RESERVED),
        }
    }

    /// A place for a pre-flight; `None` if none is free in time, which says nothing about the name.
    async fn place(&self, through: Option<&str>, urgency: &mut Urgency, owners: Vec<Owner>) -> Option<Place> {
        let wait = through.map_or(WAIT, |_| WAIT_THROUGH_PROXY);
        let enter = |priority| self.places.enter(priority, owners.clone());
        timeout(wait, urgency.enter(enter)).await.ok()
    }

    /// Fetches a challenge of a name, which may be behind the proxy `through`; `None` if the name
    /// points to addresses that may not be tried.
    async fn attempt(&self, name: &DomainName, through: Option<&str>) -> Option<Result<(), String>> {
        if through.is_none() {
            return self.fetch(name, self.settings.address).await;
        }
        // Clients connect to any of the addresses, so each of them has to pass the challenge on.
        let addresses = self.proxy_addresses(name).await;
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

    /// The addresses of a name, without the edge's own and those that a DNS64 resolver synthesizes
    /// for networks without IPv4.
    async fn proxy_addresses(&self, name: &DomainName) -> Vec<IpAddr> {
        let ask = |kind| self.lookup.lookup(name.as_str(), kind);
        let (a, aaaa) = futures_util::join!(ask(Kind::A), ask(Kind::Aaaa));
        let found = [a, aaaa].into_iter().flatten().flat_map(|answer| answer.addresses());
        let foreign = found.filter(|ip| !self.settings.own.contains(ip) && !is_synthesized(*ip));
        foreign.take(MAX_PROXY_ADDRESSES).collect()
    }

    fn is_allowed(&self, ip: &IpAddr) -> bool {
        self.settings.private || is_public(*ip) || self.settings.own.contains(ip)
    }

    /// Fetches a challenge of a name, at the address `instead` if there is one.
    async fn fetch(&self, name: &DomainName, instead: Option<SocketAddr>) -> Option<Result<(), String>> {
        let token = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
        let expected = format!("{token}.{}", self.thumbprint);
        let hops = Hops {
            preflighter: self,
            instead: instead.map(|address| (name, address)),
        };
        match timeout(
            TIMEOUT,
            http01::fetch(&hops, name.as_str(), &token, &expected, HOP_TIMEOUT),
        )
        .await
        {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(ChallengeFailure::NotTried { host })) if host == name.as_str() => None,
            Ok(Err(miss)) => Some(Err(miss.to_string())),
            Err(_) => Some(Err(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }
}

/// Whether this node has a route to an address: it may lack IPv6, which is no fault of the name.
/// Connecting a UDP socket sends no packet.
fn has_route(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect((ip, 9)).is_ok())
}

/// Resolves the hosts of one pre-flight.
struct Hops<'a> {
    preflighter: &'a Preflighter,
    /// The name that points here, and where to connect for it instead.
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
        let lookup = &self.preflighter.lookup;
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
            .filter(|ip| self.preflighter.is_allowed(ip))
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        if found.is_empty() {
            Err(ResolveError::NotTried)
        } else {
            Ok(found)
        }
    }

    fn port(&self, https: bool) -> u16 {
        let (http, tls) = self.preflighter.settings.ports;
        if https { tls } else { http }
    }
}

/// Makes pre-flights for domains and notes them.
pub(crate) struct Preflights {
    core: Arc<Core>,
    fairness: Arc<Fairness>,
    preflighter: ArcSwapOption<Preflighter>,
}

impl Preflights {
    pub(super) fn new(core: Arc<Core>, fairness: Arc<Fairness>, preflighter: Option<Arc<Preflighter>>) -> Self {
        Self {
            core,
            fairness,
            preflighter: ArcSwapOption::new(preflighter),
        }
    }

    /// Replaces the client after a reload; `None` turns pre-flights off.
    pub(crate) fn set(&self, preflighter: Option<Arc<Preflighter>>) {
        self.preflighter.store(preflighter);
    }

    /// Checks whether the challenge of a name gets here; `None` if that was not tried. `through` is
    /// the proxy in front of the name: it may connect on port 443, where a name without a certificate
    /// has none to present, so the name gets a stand-in certificate for this time.
    pub(crate) async fn run(
        &self,
        record: &DomainRecord,
        through: Option<&str>,
        fence: Option<Fence>,
        urgency: &mut Urgency,
    ) -> Result<Option<Preflight>, StoreError> {
        let Some(preflighter) = self.preflighter.load_full() else {
            return Ok(None);
        };
        let now = self.core.clock.now();
        let last = record.ssl.facts.preflight.as_ref();
        if let Some(fresh) = last.filter(|p| p.through.as_deref() == through && p.at.is_within(FRESH, now)) {
            return Ok(Some(fresh.clone()));
        }
        let owners = self.fairness.owners(record);
        let Some(_place) = preflighter.place(through, urgency, owners).await else {
            return Ok(None);
        };
        if through.is_some() && !record.ssl.holds(now) {
            let until = self.core.clock.now() + STAND_IN;
            self.core
                .change(&record.name, fence, |draft| {
                    draft.apply(SslEvent::StandIn { until });
                    Edit::<StoreError>::Store
                })
                .await?;
        }
        let Some(tried) = preflighter.attempt(&record.name, through).await else {
            return Ok(None);
        };
        let found = Preflight {
            at: self.core.clock.now(),
            through: through.map(str::to_owned),
            miss: tried.err(),
        };
        tracing::debug!(domain = %record.name, miss = found.miss, "pre-flight done");
        Ok(Some(found))
    }
}

/// Applies a pre-flight to a draft, before the DNS check that it belongs to. Returns the detail of the
/// timeline entry that is to follow that check, if the result is new.
pub(crate) fn note_preflight(draft: &mut Draft, tried: Option<Preflight>) -> Option<String> {
    let tried = tried.filter(|t| draft.record.ssl.facts.preflight.as_ref() != Some(t))?;
    let text = messages::preflight(&tried).en;
    draft.apply(SslEvent::Preflight(tried));
    Some(text)
}

#[cfg(test)]
mod tests;
