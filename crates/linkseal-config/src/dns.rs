//! `[dns]`: whom to ask, and what customers are asked to publish beside the CNAME.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{ConfigDuration, DnsName, Label, ListenAddr};

/// Whom to ask, and what customers are asked to publish beside the CNAME. The latter is reported, never a gate for HTTPS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Resolvers. Empty: the system's.
    pub resolvers: Vec<ListenAddr>,
    /// How often a domain that holds a certificate is looked at, so that a move is known before its renewal.
    #[serde(alias = "recheck")]
    pub recheck_interval: ConfigDuration,
    /// How long a name may lead elsewhere until it counts as departed: it is looked at about once a week then, and at
    /// a handshake or "verify".
    pub departed_after: ConfigDuration,
    /// What a sending domain's SPF record is to include. Absent: SPF is not looked at.
    pub spf_include: Option<DnsName>,
    /// DKIM keys a sending domain is to delegate by CNAME.
    pub dkim: Vec<Dkim>,
    /// What a sending domain's DMARC policy is to be at least.
    pub dmarc: Dmarc,
}

/// A DKIM key delegated by CNAME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dkim {
    /// The selector (RFC 6376 §3.1): the record stands at selector._domainkey.sending-domain.
    pub selector: Label,
    /// Where its CNAME is to point.
    pub cname: DnsName,
}

/// What a sending domain's DMARC policy (RFC 7489 §6.3) is to be at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dmarc {
    /// There is a valid record.
    #[default]
    Present,
    /// p=none.
    None,
    /// p=quarantine.
    Quarantine,
    /// p=reject.
    Reject,
}

/// The shortest `dns.recheck_interval`: every domain costs a few questions each time.
const SHORTEST_RECHECK: ConfigDuration = ConfigDuration::secs(600);
/// The shortest `dns.departed_after`: DNS changes take up to two days to be seen everywhere.
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
    pub(super) fn check(&self, found: &mut Findings<'_>) {
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
                    "port 0 cannot be asked; the usual port is 53",
                );
            }
        }
    }
}
