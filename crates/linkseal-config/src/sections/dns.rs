//! `[dns]`: resolvers, the schedule of checks, and the mail records to check.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::findings::Findings;
use crate::values::{ConfigDuration, DnsName, Label, ListenAddr};

/// Resolvers, the schedule of DNS checks, and the mail records of sending domains. Mail records are reported and never prevent HTTPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// DNS resolvers. Empty: the system's.
    pub resolvers: Vec<ListenAddr>,
    /// How often the DNS of a domain with a certificate is checked, so that a move is noticed before the renewal. At least 10m.
    pub recheck_interval: ConfigDuration,
    /// How long a name may point elsewhere before it counts as departed. It is then checked about once a week, and at a handshake or verification. At least 48h.
    pub departed_after: ConfigDuration,
    /// The name that a sending domain's SPF record should include. Without one SPF is not checked.
    pub spf_include: Option<DnsName>,
    /// DKIM keys that a sending domain should delegate by CNAME.
    pub dkim: Vec<Dkim>,
    /// The minimum DMARC policy of a sending domain.
    pub dmarc: Dmarc,
}

/// A DKIM key delegated by CNAME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dkim {
    /// The selector (RFC 6376 §3.1): the record is at SELECTOR._domainkey.SENDING-DOMAIN.
    pub selector: Label,
    /// The name its CNAME should point to.
    pub cname: DnsName,
}

/// The minimum DMARC policy (RFC 7489 §6.3) of a sending domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dmarc {
    /// Any valid record.
    #[default]
    Present,
    /// p=none or stricter.
    None,
    /// p=quarantine or stricter.
    Quarantine,
    /// p=reject.
    Reject,
}

/// The shortest `dns.recheck_interval`: each check costs a few queries per domain.
const SHORTEST_RECHECK: ConfigDuration = ConfigDuration::secs(600);
/// The shortest `dns.departed_after`: DNS changes can take two days to propagate.
const SHORTEST_DEPARTED_AFTER: ConfigDuration = ConfigDuration::hours(48);

impl Default for Dns {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            recheck_interval: ConfigDuration::hours(24),
            departed_after: ConfigDuration::hours(30 * 24),
            spf_include: None,
            dkim: Vec::new(),
            dmarc: Dmarc::default(),
        }
    }
}

impl Dns {
    pub(crate) fn check(&self, found: &mut Findings<'_>) {
        for (key, span, least) in [
            ("dns.recheck_interval", self.recheck_interval, SHORTEST_RECHECK),
            ("dns.departed_after", self.departed_after, SHORTEST_DEPARTED_AFTER),
        ] {
            if span < least {
                found.problem(key, format!("must be at least {least}"));
            }
        }
        for (i, resolver) in self.resolvers.iter().enumerate() {
            if resolver.port() == 0 {
                found.problem(
                    &format!("dns.resolvers[{i}]"),
                    "port 0 cannot be queried; the usual port is 53",
                );
            }
        }
    }
}
