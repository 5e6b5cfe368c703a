//! Content delivery networks in front of customers' names, recognized by address or CNAME target.
//!
//! Only names that do not point here are compared with this list; without an entry the sentence is
//! merely less specific ("points elsewhere"). Sources:
//! - Cloudflare: <https://www.cloudflare.com/ips/>
//! - Fastly: <https://api.fastly.com/public-ip-list>
//! - Amazon CloudFront: <https://ip-ranges.amazonaws.com/ip-ranges.json>, service CLOUDFRONT (its larger
//!   blocks, less those it shares with other services; IPv6 is left to the CNAME target)
//! - Imperva: <https://my.imperva.com/api/integration/v1/ips>
//! - Sucuri: <https://docs.sucuri.net/>, and the block that its customers' names point to
//! - Akamai publishes none, Azure Front Door, Bunny and Gcore change theirs weekly: CNAME targets only.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::lookup::ends_in;

/// A content delivery network.
struct Cdn {
    name: &'static str,
    /// Domains of CNAME targets.
    suffixes: &'static [&'static str],
    /// Networks of its addresses.
    blocks: &'static [&'static str],
}

/// The network of one of the CNAME targets, or else of all addresses: if one of them is elsewhere,
/// turning off a proxy is not enough.
pub(crate) fn provider<'a>(addresses: &[IpAddr], mut targets: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let by_target = targets.find_map(|t| CDNS.iter().find(|c| c.suffixes.iter().any(|s| ends_in(t, s))));
    let by_address = || {
        CDNS.iter().find(|c| {
            let blocks: Vec<IpNet> = c.blocks.iter().filter_map(|b| b.parse().ok()).collect();
            // For a network with IPv4 blocks only, IPv6 addresses are not compared.
            let all_known = blocks.iter().any(|b| b.addr().is_ipv6());
            let mut judged = addresses.iter().filter(|a| all_known || a.is_ipv4()).peekable();
            judged.peek().is_some() && judged.all(|a| blocks.iter().any(|b| b.contains(a)))
        })
    };
    by_target.or_else(by_address).map(|c| c.name)
}

const CDNS: &[Cdn] = &[
    Cdn {
        name: "Cloudflare",
        suffixes: &[
            "cdn.cloudflare.net",
            "cdn.cloudflareanycast.net",
            "cdn.cloudflarecn.net",
        ],
        blocks: &[
            "173.245.48.0/20",
            "103.21.244.0/22",
            "103.22.200.0/22",
            "103.31.4.0/22",
            "141.101.64.0/18",
            "108.162.192.0/18",
            "190.93.240.0/20",
            "188.114.96.0/20",
            "197.234.240.0/22",
            "198.41.128.0/17",
            "162.158.0.0/15",
            "104.16.0.0/13",
            "104.24.0.0/14",
            "172.64.0.0/13",
            "131.0.72.0/22",
            "2400:cb00::/32",
            "2606:4700::/32",
            "2803:f800::/32",
            "2405:b500::/32",
            "2405:8100::/32",
            "2a06:98c0::/29",
            "2c0f:f248::/32",
        ],
    },
    Cdn {
        name: "Fastly",
        suffixes: &["fastly.net", "fastlylb.net", "fastly-edge.com"],
        blocks: &[
            "23.235.32.0/20",
            "43.249.72.0/22",
            "103.244.50.0/24",
            "103.245.222.0/23",
            "103.245.224.0/24",
            "104.156.80.0/20",
            "140.248.64.0/18",
            "140.248.128.0/17",
            "146.75.0.0/17",
            "151.101.0.0/16",
            "157.52.64.0/18",
            "167.82.0.0/17",
            "167.82.128.0/20",
            "167.82.160.0/20",
            "167.82.224.0/20",
            "172.111.64.0/18",
            "185.31.16.0/22",
            "199.27.72.0/21",
            "199.232.0.0/16",
            "2a04:4e40::/32",
            "2a04:4e42::/32",
        ],
    },
    Cdn {
        name: "Amazon CloudFront",
        suffixes: &["cloudfront.net"],
        blocks: &[
            "3.160.0.0/14",
            "3.164.0.0/14",
            "3.168.0.0/14",
            "3.172.0.0/17",
            "3.173.0.0/16",
            "3.174.0.0/15",
            "13.32.0.0/15",
            "13.35.0.0/16",
            "13.224.0.0/14",
            "13.249.0.0/16",
            "15.158.0.0/16",
            "18.64.0.0/14",
            "18.68.0.0/16",
            "18.154.0.0/15",
            "18.160.0.0/15",
            "18.164.0.0/15",
            "18.172.0.0/15",
            "18.238.0.0/15",
            "18.244.0.0/15",
            "23.91.0.0/19",
            "23.234.192.0/18",
            "24.110.32.0/19",
            "24.110.128.0/17",
            "51.74.192.0/18",
            "52.46.0.0/18",
            "52.82.128.0/19",
            "52.84.0.0/15",
            "52.124.128.0/17",
            "52.222.128.0/17",
            "54.182.0.0/16",
            "54.192.0.0/16",
            "54.230.0.0/16",
            "54.239.128.0/18",
            "54.239.192.0/19",
            "54.240.128.0/18",
            "64.252.64.0/18",
            "64.252.128.0/18",
            "65.8.0.0/16",
            "65.9.0.0/17",
            "65.9.128.0/18",
            "70.132.0.0/18",
            "71.152.0.0/17",
            "99.84.0.0/16",
            "99.86.0.0/16",
            "108.138.0.0/15",
            "108.156.0.0/14",
            "130.176.0.0/16",
            "143.204.0.0/16",
            "144.220.0.0/16",
            "204.246.164.0/22",
            "204.246.168.0/22",
            "204.246.176.0/20",
            "205.251.202.0/23",
            "205.251.204.0/22",
            "205.251.208.0/20",
            "205.251.249.0/24",
            "205.251.250.0/23",
            "205.251.252.0/23",
            "205.251.254.0/24",
            "216.137.32.0/19",
        ],
    },
    Cdn {
        name: "Akamai",
        suffixes: &[
            "edgekey.net",
            "edgesuite.net",
            "akamaiedge.net",
            "akamai.net",
            "akamaized.net",
            "akamaihd.net",
        ],
        blocks: &[],
    },
    Cdn {
        name: "Azure Front Door",
        suffixes: &["azurefd.net", "azureedge.net", "t-msedge.net"],
        blocks: &[],
    },
    Cdn {
        name: "Imperva",
        suffixes: &["incapdns.net", "impervadns.net"],
        blocks: &[
            "199.83.128.0/21",
            "198.143.32.0/19",
            "149.126.72.0/21",
            "103.28.248.0/22",
            "185.11.124.0/22",
            "192.230.64.0/18",
            "45.64.64.0/22",
            "107.154.0.0/16",
            "45.60.0.0/16",
            "45.223.0.0/16",
            "131.125.128.0/17",
            "2a02:e980::/29",
        ],
    },
    Cdn {
        name: "Sucuri",
        suffixes: &["sucuri.net"],
        blocks: &[
            "192.88.134.0/23",
            "185.93.228.0/22",
            "66.248.200.0/22",
            "208.109.0.0/22",
            "192.124.249.0/24",
            "2a02:fe80::/29",
        ],
    },
    Cdn {
        name: "Bunny",
        suffixes: &["b-cdn.net"],
        blocks: &[],
    },
    Cdn {
        name: "KeyCDN",
        suffixes: &["kxcdn.com"],
        blocks: &[],
    },
    Cdn {
        name: "Gcore",
        suffixes: &["gcdn.co"],
        blocks: &[],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_a_network_without_host_bits() {
        for cdn in CDNS {
            for block in cdn.blocks {
                let net: IpNet = block.parse().unwrap();
                assert_eq!(net, net.trunc(), "{}: {block} has host bits", cdn.name);
            }
        }
    }

    #[test]
    fn networks_are_recognized_by_address_or_target() {
        let ip = |t: &str| vec![t.parse::<IpAddr>().unwrap()];
        for (addresses, target, provider_is) in [
            (ip("104.21.3.4"), "", Some("Cloudflare")),
            (ip("2606:4700:3030::1"), "", Some("Cloudflare")),
            (ip("151.101.1.57"), "", Some("Fastly")),
            (ip("13.225.0.1"), "", Some("Amazon CloudFront")),
            (ip("18.68.1.1"), "", Some("Amazon CloudFront")),
            (ip("3.164.1.1"), "", Some("Amazon CloudFront")),
            (ip("205.251.253.1"), "", Some("Amazon CloudFront")),
            // A name server of Route 53.
            (ip("205.251.193.1"), "", None),
            (ip("2600:9000:5301::1"), "", None),
            (ip("45.60.1.1"), "", Some("Imperva")),
            (ip("2a02:e980::1"), "", Some("Imperva")),
            (ip("192.124.249.10"), "", Some("Sucuri")),
            (Vec::new(), "x.sucuri.net", Some("Sucuri")),
            (Vec::new(), "x.cdn.cloudflarecn.net", Some("Cloudflare")),
            (Vec::new(), "x.akamaihd.net", Some("Akamai")),
            (ip("203.0.113.7"), "x.sucuri.net", Some("Sucuri")),
            (
                [ip("13.32.0.1"), ip("2600:9000:5301::1")].concat(),
                "",
                Some("Amazon CloudFront"),
            ),
            ([ip("104.21.3.4"), ip("203.0.113.7")].concat(), "", None),
            ([ip("104.21.3.4"), ip("2606:4700::1")].concat(), "", Some("Cloudflare")),
            (Vec::new(), "d111.cloudfront.net", Some("Amazon CloudFront")),
            (Vec::new(), "links.customer.example.edgekey.net", Some("Akamai")),
            (Vec::new(), "notcloudfront.net", None),
            (ip("192.0.2.1"), "www.customer.example", None),
        ] {
            assert_eq!(
                provider(&addresses, [target].into_iter()),
                provider_is,
                "{addresses:?} {target}"
            );
        }
    }
}
