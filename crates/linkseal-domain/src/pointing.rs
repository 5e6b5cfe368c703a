//! Which records make a name point to the edge: a CNAME, or addresses where DNS allows no CNAME. The
//! sentence for a domain's state and the report on its records both use it.

use super::name::registered_domain;

/// What a customer is asked to publish at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointing {
    /// A CNAME to the target.
    Cname,
    /// A and AAAA records with the edge's addresses: a zone's top can hold no CNAME (RFC 1034 §3.6.2).
    Addresses,
    /// An ALIAS record to the target, at a zone's top when the edge's addresses are not configured.
    Alias,
    /// The target itself, when its addresses are not configured.
    Target,
}

impl Pointing {
    /// What `name` needs. `has_addresses`: whether the edge's public addresses are configured.
    pub fn of(name: &str, target: &str, has_addresses: bool) -> Self {
        let (is_target, is_apex) = (name == target, registered_domain(name) == name);
        match (is_target || is_apex, has_addresses) {
            (false, _) => Self::Cname,
            (true, true) => Self::Addresses,
            (true, false) if is_target => Self::Target,
            (true, false) => Self::Alias,
        }
    }
}

/// Whether the host of a CAA record that forbids a name belongs to the platform: the resolvers follow
/// the name's CNAME, so the record of its target decides, and the customer cannot change that.
pub fn is_platforms_caa(host: &str, name: &str, target: &str) -> bool {
    let zone = registered_domain(host);
    zone == registered_domain(target) && zone != registered_domain(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cname_is_asked_for_only_where_dns_allows_one() {
        const TARGET: &str = "track.platform.example";
        for (name, has_addresses, pointing) in [
            ("links.customer.example", true, Pointing::Cname),
            ("links.customer.example", false, Pointing::Cname),
            ("customer.example", true, Pointing::Addresses),
            ("customer.example", false, Pointing::Alias),
            (TARGET, true, Pointing::Addresses),
            (TARGET, false, Pointing::Target),
        ] {
            assert_eq!(Pointing::of(name, TARGET, has_addresses), pointing, "{name}");
        }
    }

    #[test]
    fn a_caa_record_is_the_platforms_only_behind_a_cname() {
        let is_ours = |host, name| is_platforms_caa(host, name, "track.platform.example");
        assert!(is_ours("platform.example", "links.customer.example"));
        assert!(!is_ours("customer.example", "links.customer.example"));
        assert!(!is_ours("platform.example", "track.platform.example"));
    }
}
