//! Counts DNS checks by result.

use linkseal_domain::dns::DnsVerdict;
use prometheus::{IntCounterVec, Opts, Registry};

/// `linkseal_dns_checks_total{result}`.
#[derive(Clone, Debug)]
pub struct Metrics {
    checks: IntCounterVec,
}

impl Metrics {
    /// Creates the metrics and adds them to a registry.
    ///
    /// # Panics
    /// If they are registered already.
    pub fn register(registry: &Registry) -> Self {
        let opts = Opts::new("linkseal_dns_checks_total", "DNS checks of domains, by result.");
        #[allow(
            clippy::expect_used,
            reason = "names and labels are constants; a second registration is a bug"
        )]
        let checks = {
            let checks = IntCounterVec::new(opts, &["result"]).expect("the name and label are valid");
            registry.register(Box::new(checks.clone())).expect("registered once");
            checks
        };
        // `increase` misses the event with which a series appears, so every series exists from the start.
        for result in RESULTS {
            checks.with_label_values(&[result]);
        }
        Self { checks }
    }

    /// `ours`: our own resolvers did not answer.
    pub(crate) fn count(&self, verdict: &DnsVerdict, ours: bool) {
        let result = if ours { OURS } else { verdict.as_str() };
        self.checks.with_label_values(&[result]).inc();
    }
}

/// Our own resolvers did not answer.
const OURS: &str = "no_resolver";

const RESULTS: [&str; 8] = [
    "right",
    "missing",
    "elsewhere",
    "proxied",
    "stray_aaaa",
    "caa_forbids",
    "error",
    OURS,
];
