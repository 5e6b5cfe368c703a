//! `[dns]`: whom to ask, and what customers are asked to publish beside the CNAME.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Findings;
use super::text::{DnsName, Endpoint, Label};

/// Whom to ask, and what customers are asked to publish beside the CNAME. The latter is reported, never a gate for HTTPS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Resolvers. Empty: the system's.
    pub resolvers: Vec<Endpoint>,
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

impl Dns {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
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
