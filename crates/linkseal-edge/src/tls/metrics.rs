//! Metrics of handshakes. Each core counts for itself.

use std::time::Duration;

use linkseal_base::cores::PerCore;
use linkseal_base::summed;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::refusal::Refusal;

/// In seconds: from a local resumption to a wait for a certificate to be issued.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0,
];

/// The metrics of handshakes. Clones share the same counters.
#[derive(Clone)]
pub struct Metrics {
    cores: PerCore<Handshakes>,
}

/// The handshakes of one core. Labels are resolved here, so that the hot path only adds.
struct Handshakes {
    /// By version (1.2, 1.3), then full and resumed.
    done: [[IntCounter; 2]; 2],
    refused: [IntCounter; Refusal::COUNT],
    seconds: Histogram,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Self {
        let handshakes = Opts::new("linkseal_tls_handshakes_total", "TLS handshakes, by result.");
        let seconds = HistogramOpts::new(
            "linkseal_tls_handshake_seconds",
            "Time from accept to the end of a TLS handshake that succeeded.",
        )
        .buckets(BUCKETS.to_vec());
        let labels = ["result", "version", "resumed"];
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        let (handshakes, seconds) = (
            summed::register(registry, || IntCounterVec::new(handshakes.clone(), &labels)).expect("registered once"),
            summed::register(registry, || Histogram::with_opts(seconds.clone())).expect("registered once"),
        );
        let cores = handshakes.with(&seconds, |handshakes, seconds| Handshakes {
            done: ["1.2", "1.3"].map(|v| ["false", "true"].map(|r| handshakes.with_label_values(&["ok", v, r]))),
            // A failed handshake has no version.
            refused: Refusal::LABELS.map(|l| handshakes.with_label_values(&[l, "", "false"])),
            seconds: seconds.clone(),
        });
        Self { cores }
    }

    pub(super) fn done(&self, tls13: bool, resumed: bool, took: Duration) {
        let here = self.cores.here();
        let [[full12, resumed12], [full13, resumed13]] = &here.done;
        match (tls13, resumed) {
            (false, false) => full12,
            (false, true) => resumed12,
            (true, false) => full13,
            (true, true) => resumed13,
        }
        .inc();
        here.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, why: Refusal) {
        if let Some(counter) = self.cores.here().refused.get(why as usize) {
            counter.inc();
        }
    }
}
