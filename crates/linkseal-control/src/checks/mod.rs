//! What is checked before an order, and whether to believe it.
//!
//! | file | checks |
//! |---|---|
//! | [`dns`] | writes the outcome of a DNS check into a draft and plans the next check |
//! | [`places`] | how many DNS checks and reports run at the same time |
//! | [`preflight`] | whether the URL of a challenge reaches this fleet |
//! | [`renewal_info`] | when the CA wants a certificate renewed (RFC 9773) |
//! | [`mass_failure`] | whether an unusual number of domains fail at once, so that the fault is likely on this side |

pub(crate) mod dns;
pub(crate) mod mass_failure;
pub(crate) mod places;
pub(crate) mod preflight;
pub(crate) mod renewal_info;

use std::sync::Arc;

use linkseal_domain::DomainName;
use linkseal_domain::dns::DnsVerdict;

use self::mass_failure::MassFailureGuards;
use self::places::CheckPlaces;
use self::preflight::{Preflighter, Preflights};
use self::renewal_info::RenewalInfo;
use crate::core::Core;
use crate::core::log_limit::{LogLimit, RESOLVER_INTERVAL};
use crate::fairness::Fairness;

/// The checks of this node.
pub(crate) struct Checks {
    core: Arc<Core>,
    pub(crate) places: CheckPlaces,
    pub(crate) mass_failure: MassFailureGuards,
    pub(crate) preflights: Preflights,
    pub(crate) renewal_info: RenewalInfo,
    resolver_log: LogLimit,
}

impl Checks {
    pub(crate) fn new(core: Arc<Core>, fairness: Arc<Fairness>, preflighter: Option<Arc<Preflighter>>) -> Arc<Self> {
        Arc::new(Self {
            places: CheckPlaces::new(),
            mass_failure: MassFailureGuards::new(Arc::clone(&core)),
            preflights: Preflights::new(Arc::clone(&core), fairness, preflighter),
            renewal_info: RenewalInfo::new(Arc::clone(&core)),
            resolver_log: LogLimit::every(RESOLVER_INTERVAL),
            core,
        })
    }

    /// Logs that our own resolvers fail: once a minute, however many domains are checked.
    pub(crate) fn resolvers_failed(&self, name: &DomainName, verdict: &DnsVerdict) {
        let now = self.core.clock.uptime();
        if let Some(suppressed) = self.resolver_log.due("dns", "resolvers", now) {
            tracing::error!(
                domain = %name, %verdict, suppressed,
                "DNS resolvers do not answer; no new certificates are ordered (check dns.resolvers and this node's network)"
            );
        }
    }
}
