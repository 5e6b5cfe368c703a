//! The client of a request behind the proxies in `admin.trusted_proxies`: the one that the proxy names
//! in a PROXY header, in `Forwarded` (RFC 7239) or in `X-Forwarded-For`. These headers are ignored
//! from any other peer.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{FORWARDED, HeaderMap, VIA};
use ipnet::IpNet;
use linkseal_net::proxy_protocol::{self, Header, ProxyError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::peer::Peer;

/// Headers that proxies add, beside those that begin with `x-forwarded-`.
const PROXY_HEADERS: [&str; 6] = [
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
];

/// The trusted proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    pub(crate) fn contain(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// The client of a request that arrived from `peer`.
    pub(crate) fn client(&self, headers: &HeaderMap, peer: Peer) -> Peer {
        if !self.contain(peer.ip) {
            return peer;
        }
        let forwarded: Vec<_> = elements(headers).collect();
        let named: Vec<Option<IpAddr>> = match forwarded.is_empty() {
            false => forwarded
                .iter()
                .map(|e| parameter(e, "for").and_then(address))
                .collect(),
            true => list(headers, "x-forwarded-for").map(address).collect(),
        };
        let scheme = forwarded.last().and_then(|e| parameter(e, "proto"));
        let scheme = scheme.or_else(|| list(headers, "x-forwarded-proto").last());
        Peer {
            ip: self.nearest_client(&named).unwrap_or(peer.ip),
            tls: peer.tls || scheme.is_some_and(|s| s.eq_ignore_ascii_case("https")),
        }
    }

    /// The last address that is no trusted proxy: that client may have invented the ones before it.
    /// `None` if a trusted proxy names something other than an address.
    fn nearest_client(&self, named: &[Option<IpAddr>]) -> Option<IpAddr> {
        let mut nearest = None;
        for ip in named.iter().rev() {
            nearest = Some((*ip)?);
            if nearest.is_some_and(|ip| !self.contain(ip)) {
                break;
            }
        }
        nearest
    }

    /// Reads the PROXY header of a connection from a trusted proxy, if it begins with one.
    pub(crate) async fn read_proxy_header(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
    ) -> Result<IpAddr, ProxyError> {
        let ip = peer.ip().to_canonical();
        if !self.contain(ip)
            || !timeout(proxy_protocol::DEADLINE, begins_with_proxy(stream))
                .await
                .unwrap_or(Ok(false))?
        {
            return Ok(ip);
        }
        match proxy_protocol::read(stream, proxy_protocol::DEADLINE).await? {
            Header::Proxied { client, .. } => Ok(client.ip().to_canonical()),
            Header::Direct => Ok(ip),
        }
    }
}

/// Whether a PROXY header comes first. No HTTP request and no ClientHello begins like version 1 or 2.
async fn begins_with_proxy(stream: &TcpStream) -> io::Result<bool> {
    loop {
        let mut start = [0; 2];
        match (stream.peek(&mut start).await?, start) {
            (1, [b'P', _]) => tokio::time::sleep(Duration::from_millis(5)).await,
            (0, _) => return Ok(false),
            (_, [b'\r', _] | [b'P', b'R']) => return Ok(true),
            _ => return Ok(false),
        }
    }
}

/// A header that shows that a proxy forwarded the request.
pub(crate) fn forwarding_header(headers: &HeaderMap) -> Option<&str> {
    let by_proxy = |name: &&str| {
        *name == FORWARDED.as_str()
            || *name == VIA.as_str()
            || name.starts_with("x-forwarded-")
            || PROXY_HEADERS.contains(name)
    };
    headers.keys().map(http::HeaderName::as_str).find(by_proxy)
}

/// The elements of all `Forwarded` headers.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    list(headers, FORWARDED.as_str())
}

/// The comma-separated values of all headers of a name; commas within quotes are part of a value.
fn list<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let all = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|line| {
        let mut quoted = false;
        line.split(move |c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        })
    })
    .map(str::trim)
    .filter(|value| !value.is_empty())
}

/// A parameter of a `Forwarded` element, without its quotes.
fn parameter<'e>(element: &'e str, name: &str) -> Option<&'e str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    values.next().map(|(_, value)| value.trim().trim_matches('"'))
}

/// The address of a node: with or without a port, IPv6 with or without brackets. `None` for an
/// obfuscated node (RFC 7239 §6.3).
fn address(node: &str) -> Option<IpAddr> {
    let ip = node
        .parse()
        .ok()
        .or_else(|| node.parse::<SocketAddr>().ok().map(|a| a.ip()))
        .or_else(|| node.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let proxies = Proxies::new(vec!["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (key, value) in headers {
            map.append(*key, value.parse().unwrap());
        }
        let ip = peer.parse().unwrap();
        proxies.client(&map, Peer { ip, tls: false }).ip.to_string()
    }

    #[test]
    fn only_trusted_proxies_name_clients() {
        let claimed = [("x-forwarded-for", "198.51.100.7")];
        assert_eq!(client("203.0.113.1", &claimed), "203.0.113.1");
        assert_eq!(client("127.0.0.1", &claimed), "198.51.100.7");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        let chain = "192.0.2.66, 198.51.100.7:4711, 10.1.1.1";
        assert_eq!(client("127.0.0.1", &[("x-forwarded-for", chain)]), "198.51.100.7");
        let lines = [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(client("127.0.0.1", &lines), "198.51.100.7");
        let forwarded = "for=192.0.2.66;by=x, For=\"[2001:db8::7]:443\";proto=https, for=10.2.2.2";
        assert_eq!(client("10.9.9.9", &[("forwarded", forwarded)]), "2001:db8::7");
        // All are trusted proxies: the first one is the client.
        assert_eq!(
            client("127.0.0.1", &[("x-forwarded-for", "10.1.1.1, 10.2.2.2")]),
            "10.1.1.1"
        );
    }

    #[test]
    fn the_proxy_is_the_client_where_it_hides_it() {
        for hidden in ["for=unknown", "for=_secret", "proto=https", "for=\"a,b\""] {
            assert_eq!(client("127.0.0.1", &[("forwarded", hidden)]), "127.0.0.1", "{hidden}");
        }
        assert_eq!(
            client("127.0.0.1", &[("x-forwarded-for", "198.51.100.7, nonsense")]),
            "127.0.0.1"
        );
    }

    #[test]
    fn proxy_headers_are_recognized() {
        for name in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "cf-connecting-ip",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, "x".parse().unwrap());
            assert_eq!(forwarding_header(&headers), Some(name));
        }
        let mut headers = HeaderMap::new();
        headers.insert("accept", "x".parse().unwrap());
        assert_eq!(forwarding_header(&headers), None);
    }
}
