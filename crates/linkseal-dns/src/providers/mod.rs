//! Recognizes the DNS provider of a zone by its name servers, and gives the steps in its panel.
//!
//! The server names are those the providers assign; the steps follow the providers' help pages and
//! are general enough to survive a redesign.

mod table;

use linkseal_domain::Text;
use serde::Serialize;

use self::table::{PROVIDERS, Provider};
use crate::lookup::ends_in;

/// The DNS provider of a zone, as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ProviderHelp {
    /// The provider's name.
    pub name: &'static str,
    /// The page to sign in, or to edit this zone.
    pub url: String,
    /// The steps in the provider's panel.
    pub steps: Text,
}

/// The provider of `zone`, by its name servers. `None`: not in the table.
pub(crate) fn detect<'a>(zone: &str, name_servers: impl Iterator<Item = &'a str>) -> Option<ProviderHelp> {
    let provider = name_servers
        .into_iter()
        .find_map(|ns| PROVIDERS.iter().find(|p| p.serves(ns)))?;
    Some(ProviderHelp {
        name: provider.name,
        url: provider.url.replace("{zone}", zone),
        steps: Text::new(provider.en, provider.de),
    })
}

impl Provider {
    fn serves(&self, name_server: &str) -> bool {
        self.servers.iter().any(|pattern| is_like(name_server, pattern))
    }
}

fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(zone) => ends_in(name, zone),
        None => {
            let (labels, patterns) = (name.split('.'), pattern.split('.'));
            labels.clone().count() == patterns.clone().count() && labels.zip(patterns).all(|(l, p)| is_label_like(l, p))
        }
    }
}

fn is_label_like(label: &str, pattern: &str) -> bool {
    let Some(at) = pattern.find(['*', '#']) else {
        return label == pattern;
    };
    let (start, rest) = pattern.split_at(at);
    let Some(label) = label.strip_prefix(start) else {
        return false;
    };
    match rest.strip_prefix('#') {
        Some(rest) => {
            let digits = label.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && label.get(digits..).is_some_and(|l| is_label_like(l, rest))
        }
        None => {
            let rest = rest.get(1..).unwrap_or_default();
            (0..=label.len()).any(|n| label.get(n..).is_some_and(|l| is_label_like(l, rest)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_recognized_by_their_name_servers() {
        let mut seen = Vec::new();
        for (server, name) in [
            ("ada.ns.cloudflare.com", "Cloudflare"),
            ("blue.foundationdns.org", "Cloudflare"),
            ("ns37.domaincontrol.com", "GoDaddy"),
            ("dns1.registrar-servers.com", "Namecheap"),
            ("freedns2.registrar-servers.com", "Namecheap"),
            ("dns2.namecheaphosting.com", "Namecheap hosting"),
            ("ns-1536.awsdns-00.co.uk", "Amazon Route 53"),
            ("ns1045.ui-dns.org", "IONOS"),
            ("ns1017.ui-dns.de", "IONOS"),
            ("docks18.rzone.de", "Strato"),
            ("shades07.rzone.de", "Strato"),
            ("ns-strato.ui-dns.de", "Strato"),
            ("ns-strato.ui-dns.biz", "Strato"),
            ("ns-fh.ui-dns.com", "Fasthosts"),
            ("ns2.livedns.co.uk", "Fasthosts"),
            ("hydrogen.ns.hetzner.com", "Hetzner"),
            ("helium.ns.hetzner.de", "Hetzner"),
            ("ns1.your-server.de", "Hetzner konsoleH"),
            ("ns.second-ns.com", "Hetzner konsoleH"),
            ("ns3.second-ns.de", "Hetzner konsoleH"),
            ("ns1.first-ns.de", "Hetzner Robot"),
            ("robotns2.second-ns.de", "Hetzner Robot"),
            ("robotns3.second-ns.com", "Hetzner Robot"),
            ("dns104.ovh.net", "OVHcloud"),
            ("ns200.anycast.me", "OVHcloud"),
            ("ns-cloud-b1.googledomains.com", "Squarespace (Google Domains)"),
            ("ns02.squarespacedns.com", "Squarespace (Google Domains)"),
            ("ns1.systemdns.com", "Squarespace (Google Domains)"),
            ("ns8.wixdns.net", "Wix"),
            ("ns5.kasserver.com", "ALL-INKL.COM"),
            ("ns.udag.de", "united-domains"),
            ("solar.dns-parking.com", "Hostinger"),
            ("second-dns.netcup.net", "netcup"),
            ("ns01.agenturserver.it", "Mittwald"),
            ("ns1.agenturserver.de", "Mittwald"),
            ("ns2.hostpoint.ch", "Hostpoint"),
            ("ns1.world4you.at", "World4You"),
            ("ns11.infomaniak.ch", "Infomaniak"),
            ("ns2.hans.hosteurope.de", "Host Europe"),
            ("ns.namespace4you.de", "domainfactory"),
            ("ns2.123-reg.co.uk", "123-reg"),
            ("ns02.one.com", "one.com"),
            ("ns3.inwx.eu", "INWX"),
            ("ns2.checkdomain.de", "checkdomain"),
            ("ns1.cyon.ch", "cyon"),
            ("ns3.hosttech.ch", "Hosttech"),
            ("ns1-03.azure-dns.info", "Azure DNS"),
            ("ns2.vercel-dns.com", "Vercel"),
            ("ns3.digitalocean.com", "DigitalOcean"),
            ("ns-212-a.gandi.net", "Gandi"),
            ("maceio.ns.porkbun.com", "Porkbun"),
            ("ns41.worldnic.com", "Network Solutions"),
            ("ns1fkl.name.com", "Name.com"),
            ("ns1.bdm.microsoftonline.com", "Microsoft 365"),
            ("ns4.linode.com", "Linode"),
            ("ns2.dnsimple-edge.net", "DNSimple"),
            ("ns1.dreamhost.com", "DreamHost"),
            ("ns1.bluehost.com", "Bluehost"),
            ("ns7.websitewelcome.com", "HostGator"),
            ("ns1.transip.nl", "TransIP"),
            ("ns3.combell.net", "Combell"),
            ("dns2.technorail.com", "Aruba"),
        ] {
            let help = detect("customer.example", [server].into_iter()).expect(server);
            assert_eq!(help.name, name, "{server}");
            seen.push(name);
        }
        // The list above covers every row of the table.
        for p in PROVIDERS {
            assert!(seen.contains(&p.name), "{}", p.name);
        }
    }

    #[test]
    fn similar_server_names_are_not_recognized() {
        for server in [
            "ns1.customer.example",
            "notovh.net",
            // Brands of the same company, and a customer's server in a provider's zone.
            "ns-arsys.ui-dns.com",
            "ns-gmx.ui-dns.de",
            "ns-1and1.ui-dns.com",
            "vps12.ovh.net",
            // Shared by several providers, or by resellers.
            "dns1.p01.nsone.net",
            "a.ns14.net",
            "ns1.rrpproxy.net",
            "ns.your-server.de.evil.example",
            "ns-x.awsdns-00.com",
        ] {
            assert!(detect("customer.example", [server].into_iter()).is_none(), "{server}");
        }
    }

    #[test]
    fn every_pattern_matches_one_provider() {
        for p in PROVIDERS {
            for pattern in p.servers {
                let server = pattern.replacen("*.", "a1.", usize::from(pattern.starts_with("*.")));
                let server = server.replace('#', "17").replace('*', "2-b");
                let serving: Vec<&str> = PROVIDERS.iter().filter(|p| p.serves(&server)).map(|p| p.name).collect();
                assert_eq!(serving, [p.name], "{pattern}");
            }
        }
    }

    #[test]
    fn the_link_contains_the_zone_if_the_panel_supports_it() {
        let help = detect("customer.example", ["ns37.domaincontrol.com"].into_iter()).unwrap();
        assert_eq!(
            help.url,
            "https://dcc.godaddy.com/control/portfolio/customer.example/settings?tab=dns"
        );
    }

    #[test]
    fn every_provider_has_steps_in_both_languages() {
        // Panels that append the zone to a target without a final dot, and panels where TXT values need
        // quotation marks.
        const DOT: [&str; 9] = [
            "Strato",
            "ALL-INKL.COM",
            "Hetzner",
            "Hetzner konsoleH",
            "Hetzner Robot",
            "OVHcloud",
            "Gandi",
            "DigitalOcean",
            "123-reg",
        ];
        const QUOTES: [&str; 4] = ["Hetzner", "Hetzner konsoleH", "Hetzner Robot", "Amazon Route 53"];
        for p in PROVIDERS {
            assert!(
                p.url.starts_with("https://") && p.en.ends_with(['.', ')']) && p.de.ends_with(['.', ')']),
                "{}",
                p.name
            );
            assert!(!p.servers.is_empty(), "{}", p.name);
            assert!(p.en != p.de || p.name == "Combell", "{}", p.name);
            assert_eq!(p.en.contains("with a dot"), DOT.contains(&p.name), "{}", p.name);
            assert_eq!(p.de.contains("mit einem Punkt"), DOT.contains(&p.name), "{}", p.name);
            assert_eq!(
                p.en.contains("in quotation marks"),
                QUOTES.contains(&p.name),
                "{}",
                p.name
            );
        }
    }
}
