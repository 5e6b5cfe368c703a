//! Kill switches: links that no longer redirect, no matter who signed them. For phishing that was sent
//! already.
//!
//! An operator kills a tenant, a message or a destination host. The control plane stores that and fills
//! the snapshot here; the data plane reads it for every click and stored redirect. While nothing is
//! killed, that costs one relaxed load of a flag.
//!
//! A killed click or stored redirect is answered with a warning page, and its event says so (`killed`);
//! the verdict is unchanged, so that the platform learns which recipients clicked. Opens are served and
//! recorded as usual: they do no harm and show who has seen the message. Unsubscribing always works.

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use linkseal_link::{Destination, KillKind};
use uuid::Uuid;

use crate::record::is_tenant;

/// A kill switch: a kind and a value in its canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kill {
    kind: KillKind,
    value: String,
}

/// Why a text is not a value of a kill switch, and what is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KillError {
    #[error("a tenant has 1 to 253 bytes, no control characters and no slash")]
    Tenant,
    #[error("a message id is a UUID, such as 0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506")]
    Message,
    #[error("a host is a name or an address, such as evil.example, without scheme, port and path")]
    Host,
}

impl Kill {
    /// Checks a value and brings it into its canonical spelling: ids lower-case with hyphens, hosts
    /// lower-case ASCII without a dot at the end, addresses in the form in which they are compared.
    pub fn new(kind: KillKind, value: &str) -> Result<Self, KillError> {
        let value = match kind {
            KillKind::Tenant => {
                if !is_tenant(value) {
                    return Err(KillError::Tenant);
                }
                value.to_owned()
            }
            KillKind::Message => Uuid::parse_str(value).map_err(|_| KillError::Message)?.to_string(),
            KillKind::Host => {
                let in_brackets = value.parse::<Ipv6Addr>().map(|_| format!("[{value}]"));
                let value = in_brackets.as_deref().unwrap_or(value);
                let url = format!("https://{value}/");
                let host = Destination::new(&url).map_err(|_| KillError::Host)?;
                if host.host() != value {
                    return Err(KillError::Host);
                }
                host.ascii_host().ok_or(KillError::Host)?.into_owned()
            }
        };
        Ok(Self { kind, value })
    }

    /// A stored switch. Older versions stored values that [`Kill::new`] refuses today; they are kept as they
    /// are. `None`: the kind is unknown.
    pub fn stored(kind: &str, value: &str) -> Option<Self> {
        let kind = KillKind::parse(kind)?;
        Some(Self::new(kind, value).unwrap_or_else(|_| Self {
            kind,
            value: value.to_owned(),
        }))
    }

    pub fn kind(&self) -> KillKind {
        self.kind
    }

    /// The tenant, message id or host.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.value)
    }
}

/// All kill switches, indexed for look-ups.
#[derive(Debug, Default)]
pub struct Kills {
    tenants: HashSet<String>,
    messages: HashSet<Uuid>,
    hosts: HashSet<String>,
}

impl Kills {
    /// Which switch applies to a link; the widest first. `message`: `None` for a stored redirect.
    fn hit(&self, tenant: &str, message: Option<Uuid>, destination: &Destination<'_>) -> Option<KillKind> {
        if self.tenants.contains(tenant) {
            return Some(KillKind::Tenant);
        }
        if message.is_some_and(|id| self.messages.contains(&id)) {
            return Some(KillKind::Message);
        }
        (!self.hosts.is_empty() && self.kills_host(destination)).then_some(KillKind::Host)
    }

    fn kills_host(&self, destination: &Destination<'_>) -> bool {
        // A host that cannot be compared counts as killed while any host is.
        let Some(host) = destination.ascii_host() else {
            return true;
        };
        if destination.address().is_some() {
            // An address has no parent domains.
            let wrapped = || destination.embedded_v4().map(|v4| v4.to_string());
            return self.hosts.contains(host.as_ref()) || wrapped().is_some_and(|v4| self.hosts.contains(&v4));
        }
        let mut rest = host.as_ref();
        loop {
            if self.hosts.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return false,
            }
        }
    }
}

impl FromIterator<Kill> for Kills {
    fn from_iter<I: IntoIterator<Item = Kill>>(all: I) -> Self {
        let mut kills = Self::default();
        for Kill { kind, value } in all {
            match kind {
                KillKind::Tenant => drop(kills.tenants.insert(value)),
                KillKind::Message => kills.messages.extend(Uuid::parse_str(&value)),
                KillKind::Host => drop(kills.hosts.insert(value)),
            }
        }
        kills
    }
}

/// The kill switches in force. Clones share the same snapshot.
#[derive(Clone, Debug, Default)]
pub struct KillSwitches {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is any; the only read while there is none.
    any: AtomicBool,
    kills: ArcSwap<Kills>,
}

impl KillSwitches {
    pub fn new() -> Self {
        Self::default()
    }

    /// Which switch applies to a link. `message`: `None` for a stored redirect.
    pub fn hit(&self, tenant: &str, message: Option<Uuid>, destination: &Destination<'_>) -> Option<KillKind> {
        if !self.inner.any.load(Ordering::Relaxed) {
            return None;
        }
        self.inner.kills.load().hit(tenant, message, destination)
    }

    /// Replaces the snapshot.
    pub fn set(&self, kills: Kills) {
        let any = !(kills.tenants.is_empty() && kills.messages.is_empty() && kills.hosts.is_empty());
        self.inner.kills.store(Arc::new(kills));
        self.inner.any.store(any, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use linkseal_link::testing::spelling;
    use proptest::prelude::*;

    use super::*;

    fn hit(kills: &KillSwitches, tenant: &str, id: u128, url: &str) -> Option<KillKind> {
        kills.hit(tenant, Some(Uuid::from_u128(id)), &Destination::new(url).unwrap())
    }

    #[test]
    fn values_have_one_canonical_spelling() {
        for (kind, text, value) in [
            (KillKind::Tenant, "Acme", "Acme"),
            (
                KillKind::Message,
                "0192F3A4B5C67D8E9FA0B1C2D3E4F506",
                "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506",
            ),
            (KillKind::Host, "Evil.Example.", "evil.example"),
            (KillKind::Host, "bücher.example", "xn--bcher-kva.example"),
            (KillKind::Host, "192.0.2.1", "192.0.2.1"),
            (KillKind::Host, "[2001:DB8::1]", "[2001:db8::1]"),
            (KillKind::Host, "2001:db8:0:0:0:0:0:1", "[2001:db8::1]"),
            (KillKind::Host, "3405803781", "203.0.113.5"),
            (KillKind::Host, "0xcb.0.0x7105.", "203.0.113.5"),
            (KillKind::Host, "[::ffff:cb00:7105]", "203.0.113.5"),
        ] {
            assert_eq!(Kill::new(kind, text).unwrap().value(), value);
        }
        for (kind, text) in [
            (KillKind::Tenant, ""),
            (KillKind::Tenant, "a/b"),
            (KillKind::Message, "7"),
            (KillKind::Host, ""),
            (KillKind::Host, "https://evil.example"),
            (KillKind::Host, "evil.example:443"),
            (KillKind::Host, "evil.example/x"),
            (KillKind::Host, "*.evil.example"),
            (KillKind::Host, "user@evil.example"),
            (KillKind::Host, "1.2.3.4.5"),
            (KillKind::Host, "evil.example "),
        ] {
            assert!(Kill::new(kind, text).is_err(), "{kind:?} {text}");
        }
        for kind in KillKind::ALL {
            assert_eq!(KillKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(KillKind::parse("key"), None);
    }

    #[test]
    fn a_switch_kills_what_it_names_and_nothing_else() {
        let kills = KillSwitches::new();
        let url = "https://shop.example/";
        assert_eq!(hit(&kills, "acme", 7, url), None);
        let all = [
            Kill::new(KillKind::Tenant, "acme"),
            Kill::new(KillKind::Message, &Uuid::from_u128(7).to_string()),
            Kill::new(KillKind::Host, "evil.example"),
            Kill::new(KillKind::Host, "192.0.2.1"),
        ];
        kills.set(all.into_iter().map(Result::unwrap).collect());
        assert_eq!(hit(&kills, "acme", 8, url), Some(KillKind::Tenant));
        assert_eq!(hit(&kills, "Acme", 8, url), None);
        assert_eq!(hit(&kills, "other", 7, url), Some(KillKind::Message));
        for evil in [
            "https://evil.example/",
            "http://EVIL.example.:8080/x",
            "https://login.evil.example?a",
            "https://ｅvil.example/",
            "http://192.0.2.1/",
        ] {
            assert_eq!(hit(&kills, "other", 8, evil), Some(KillKind::Host), "{evil}");
        }
        for fine in [
            "https://notevil.example/",
            "https://evil.example.org/",
            "https://example/",
            url,
        ] {
            assert_eq!(hit(&kills, "other", 8, fine), None, "{fine}");
        }
        assert_eq!(kills.hit("other", None, &Destination::new(url).unwrap()), None);
        kills.set(Kills::default());
        assert_eq!(hit(&kills, "acme", 7, "https://evil.example/"), None);
    }

    #[test]
    fn a_killed_ipv4_address_is_killed_inside_ipv6_addresses_too() {
        let kills = KillSwitches::new();
        kills.set(
            [Kill::new(KillKind::Host, "203.0.113.5").unwrap()]
                .into_iter()
                .collect(),
        );
        for (host, killed) in [
            ("[::ffff:203.0.113.5]", true),
            ("[64:ff9b::cb00:7105]", true),
            ("[2002:cb00:7105::1]", true),
            ("[::203.0.113.5]", true),
            ("[64:ff9b::cb00:7106]", false),
            ("[2001:db8::203.0.113.5]", false),
        ] {
            let found = hit(&kills, "acme", 7, &format!("http://{host}/"));
            assert_eq!(found.is_some(), killed, "{host}");
        }
        // Killing one of the forms kills that form only.
        kills.set(
            [Kill::new(KillKind::Host, "64:ff9b::cb00:7105").unwrap()]
                .into_iter()
                .collect(),
        );
        assert!(hit(&kills, "acme", 7, "http://[64:ff9b::203.0.113.5]/").is_some());
        assert!(hit(&kills, "acme", 7, "http://203.0.113.5/").is_none());
    }

    #[test]
    fn a_value_stored_by_an_older_version_is_still_read() {
        let old = Kill::stored("host", "[2001:db8:0:0:0:0:0:5]").unwrap();
        assert_eq!(old, Kill::new(KillKind::Host, "2001:db8::5").unwrap());
        assert_eq!(Kill::stored("host", "1.2.3.4.5").unwrap().value(), "1.2.3.4.5");
        assert_eq!(Kill::stored("key", "1"), None);
    }

    proptest! {
        #[test]
        fn a_killed_address_is_killed_in_every_spelling(bits: u32, parts in 1usize..=4, radix in prop::array::uniform4(0u8..3), zeros in 0usize..4, dot: bool, wide: bool, port in "(:[0-9]{1,4})?") {
            let host = spelling(bits, parts, radix, zeros, dot, wide);
            let url = format!("http://{host}{port}/x");
            let killed = [Ipv4Addr::from(bits).to_string(), host, format!("::ffff:{}", Ipv4Addr::from(bits))];
            for value in killed {
                let kills = KillSwitches::new();
                kills.set([Kill::new(KillKind::Host, &value).unwrap()].into_iter().collect());
                prop_assert_eq!(hit(&kills, "t", 7, &url), Some(KillKind::Host), "{} kills {}", value, url);
                let other = format!("http://{}/x", Ipv4Addr::from(bits ^ 1));
                prop_assert_eq!(hit(&kills, "t", 7, &other), None);
            }
        }
    }
}
