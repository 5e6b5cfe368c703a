//! At which DNS host a zone is, by its name servers, and where to click there.
//!
//! The names of the servers are those the hosts assign; the steps follow the hosts' own help
//! pages and stay general enough to outlive a new coat of paint.

use serde::Serialize;

use super::cdn::ends_in;
use super::row::Hint;

/// The host of a zone, as a report shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct ProviderHelp {
    /// Its name.
    pub name: &'static str,
    /// Where to sign in.
    pub url: &'static str,
    /// Where to click.
    pub steps: Hint,
}

/// The host whose name servers these are. `None`: not one of those known here.
pub(super) fn detect<'a>(name_servers: impl Iterator<Item = &'a str>) -> Option<ProviderHelp> {
    let provider = name_servers
        .into_iter()
        .find_map(|ns| PROVIDERS.iter().find(|p| p.serves(ns)))?;
    Some(ProviderHelp {
        name: provider.name,
        url: provider.url,
        steps: Hint::new(provider.en, provider.de),
    })
}

struct Provider {
    name: &'static str,
    url: &'static str,
    /// Its name servers lie in one of these.
    zones: &'static [&'static str],
    /// A label of its name servers starts like this. `None`: the zones tell enough.
    label: Option<&'static str>,
    en: &'static str,
    de: &'static str,
}

impl Provider {
    fn serves(&self, name_server: &str) -> bool {
        self.zones.iter().any(|z| ends_in(name_server, z))
            || self
                .label
                .is_some_and(|l| name_server.split('.').any(|label| label.starts_with(l)))
    }
}

const PROVIDERS: &[Provider] = &[
    Provider {
        name: "Cloudflare",
        url: "https://dash.cloudflare.com/",
        zones: &["ns.cloudflare.com"],
        label: None,
        en: "Choose the domain, then DNS > Records > Add record. Set the proxy status to “DNS only”: the cloud must be grey.",
        de: "Wählen Sie die Domain, dann DNS > Einträge > Eintrag hinzufügen. Stellen Sie den Proxy-Status auf „Nur DNS“: Die Wolke muss grau sein.",
    },
    Provider {
        name: "GoDaddy",
        url: "https://dcc.godaddy.com/",
        zones: &["domaincontrol.com"],
        label: None,
        en: "Open Domain Portfolio, choose the domain, then DNS > DNS Records > Add New Record.",
        de: "Öffnen Sie das Domain-Portfolio, wählen Sie die Domain, dann DNS > DNS-Einträge > Neuen Eintrag hinzufügen.",
    },
    Provider {
        name: "Namecheap",
        url: "https://ap.www.namecheap.com/",
        zones: &["registrar-servers.com"],
        label: None,
        en: "Open Domain List, click Manage beside the domain, then Advanced DNS > Add New Record.",
        de: "Öffnen Sie Domain List, klicken Sie neben der Domain auf Manage, dann Advanced DNS > Add New Record.",
    },
    Provider {
        name: "Amazon Route 53",
        url: "https://console.aws.amazon.com/route53/v2/hostedzones",
        zones: &[],
        label: Some("awsdns-"),
        en: "Open Hosted zones, choose the zone, then Create record.",
        de: "Öffnen Sie Gehostete Zonen, wählen Sie die Zone, dann Datensatz erstellen.",
    },
    Provider {
        name: "IONOS",
        url: "https://my.ionos.com/domains",
        zones: &["ui-dns.com", "ui-dns.de", "ui-dns.org", "ui-dns.biz"],
        label: None,
        en: "Open Domains & SSL, choose the domain, then DNS > Add record. Take off a forwarding of the subdomain, if there is one.",
        de: "Öffnen Sie Domains & SSL, wählen Sie die Domain, dann DNS > Record hinzufügen. Entfernen Sie eine Weiterleitung der Subdomain, falls vorhanden.",
    },
    Provider {
        name: "Strato",
        url: "https://www.strato.de/apps/CustomerService",
        zones: &["rzone.de"],
        label: None,
        en: "Open Domains > Manage domains, create the subdomain, then choose DNS under its gear and edit the CNAME or TXT records.",
        de: "Öffnen Sie Domains > Domainverwaltung, legen Sie die Subdomain an, wählen Sie unter dem Zahnrad DNS und bearbeiten Sie CNAME- oder TXT-Einträge.",
    },
    Provider {
        name: "Hetzner",
        url: "https://console.hetzner.com/",
        zones: &[
            "ns.hetzner.com",
            "ns.hetzner.de",
            "your-server.de",
            "second-ns.com",
            "second-ns.de",
            "first-ns.de",
        ],
        label: None,
        en: "Open DNS, choose the zone, then Records > Add record. End the target of a CNAME with a dot.",
        de: "Öffnen Sie DNS, wählen Sie die Zone, dann Records > Record hinzufügen. Beenden Sie das Ziel eines CNAME mit einem Punkt.",
    },
    Provider {
        name: "OVHcloud",
        url: "https://www.ovh.com/manager/",
        zones: &["ovh.net", "ovh.ca", "anycast.me"],
        label: None,
        en: "Open Web Cloud > Domain names, choose the domain, then DNS zone > Add an entry. End the target of a CNAME with a dot.",
        de: "Öffnen Sie Web Cloud > Domainnamen, wählen Sie die Domain, dann DNS-Zone > Eintrag hinzufügen. Beenden Sie das Ziel eines CNAME mit einem Punkt.",
    },
    Provider {
        name: "Squarespace (Google Domains)",
        url: "https://account.squarespace.com/domains",
        zones: &["googledomains.com", "squarespacedns.com"],
        label: None,
        en: "Choose the domain, then DNS > DNS settings > Custom records > Add record. A zone in Google Cloud DNS is edited in its console.",
        de: "Wählen Sie die Domain, dann DNS > DNS-Einstellungen > Benutzerdefinierte Einträge > Eintrag hinzufügen. Eine Zone in Google Cloud DNS bearbeiten Sie in deren Konsole.",
    },
    Provider {
        name: "Wix",
        url: "https://manage.wix.com/account/domains",
        zones: &["wixdns.net"],
        label: None,
        en: "Open Domains, choose Manage DNS records under the dots beside the domain, then Add record.",
        de: "Öffnen Sie Domains, wählen Sie unter den Punkten neben der Domain DNS-Einträge verwalten, dann Eintrag hinzufügen.",
    },
    Provider {
        name: "ALL-INKL.COM",
        url: "https://kas.all-inkl.com/",
        zones: &["kasserver.com"],
        label: None,
        en: "In the KAS open Tools > DNS settings, edit the domain, then create a new DNS entry.",
        de: "Öffnen Sie im KAS Tools > DNS-Einstellungen, bearbeiten Sie die Domain, dann Neuen DNS-Eintrag erstellen.",
    },
    Provider {
        name: "united-domains",
        url: "https://www.united-domains.de/portfolio/",
        zones: &["udag.de", "udag.net", "udag.org", "udagdns.de", "udagdns.net"],
        label: None,
        en: "Open the portfolio, click DNS beside the domain, then add the subdomain with its record.",
        de: "Öffnen Sie das Portfolio, klicken Sie neben der Domain auf DNS und ergänzen Sie die Subdomain mit ihrem Eintrag.",
    },
    Provider {
        name: "netcup",
        url: "https://www.customercontrolpanel.de/",
        zones: &["netcup.net"],
        label: None,
        en: "In the CCP open Domains, click the magnifier beside the domain, then DNS and add the record.",
        de: "Öffnen Sie im CCP Domains, klicken Sie neben der Domain auf die Lupe, dann DNS, und ergänzen Sie den Eintrag.",
    },
    Provider {
        name: "Mittwald",
        url: "https://studio.mittwald.de/",
        zones: &[
            "agenturserver.de",
            "agenturserver.it",
            "agenturserver.co",
            "agenturserver.eu",
            "mittwald.de",
        ],
        label: None,
        en: "In mStudio open the project's Domains, choose the (sub)domain, then DNS and edit the records.",
        de: "Öffnen Sie im mStudio die Domains des Projekts, wählen Sie die (Sub-)Domain, dann DNS, und bearbeiten Sie die Einträge.",
    },
    Provider {
        name: "Hostpoint",
        url: "https://admin.hostpoint.ch/",
        zones: &["hostpoint.ch"],
        label: None,
        en: "Open Domains, choose the domain, then Edit DNS zone > Add record.",
        de: "Öffnen Sie Domains, wählen Sie die Domain, dann DNS-Zone bearbeiten > Eintrag hinzufügen.",
    },
    Provider {
        name: "World4You",
        url: "https://my.world4you.com/",
        zones: &["world4you.at", "world4you.com"],
        label: None,
        en: "Choose the domain, then Domain > DNS and add the record.",
        de: "Wählen Sie die Domain, dann Domain > DNS, und fügen Sie den Eintrag hinzu.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_their_servers() {
        for (server, name) in [
            ("ada.ns.cloudflare.com", "Cloudflare"),
            ("ns37.domaincontrol.com", "GoDaddy"),
            ("dns1.registrar-servers.com", "Namecheap"),
            ("ns-1536.awsdns-00.co.uk", "Amazon Route 53"),
            ("ns1045.ui-dns.org", "IONOS"),
            ("docks18.rzone.de", "Strato"),
            ("hydrogen.ns.hetzner.com", "Hetzner"),
            ("dns104.ovh.net", "OVHcloud"),
            ("ns-cloud-b1.googledomains.com", "Squarespace (Google Domains)"),
            ("ns8.wixdns.net", "Wix"),
            ("ns5.kasserver.com", "ALL-INKL.COM"),
            ("ns.udag.de", "united-domains"),
            ("second-dns.netcup.net", "netcup"),
            ("ns1.agenturserver.de", "Mittwald"),
            ("ns2.hostpoint.ch", "Hostpoint"),
            ("ns1.world4you.at", "World4You"),
        ] {
            assert_eq!(detect([server].into_iter()).unwrap().name, name, "{server}");
        }
        assert!(detect(["ns1.customer.example", "notovh.net"].into_iter()).is_none());
    }

    #[test]
    fn every_host_says_where_to_click_in_both_languages() {
        for p in PROVIDERS {
            assert!(
                p.url.starts_with("https://") && p.en.ends_with('.') && p.de.ends_with('.'),
                "{}",
                p.name
            );
            assert!(!p.zones.is_empty() || p.label.is_some(), "{}", p.name);
            assert_ne!(p.en, p.de);
        }
    }
}
