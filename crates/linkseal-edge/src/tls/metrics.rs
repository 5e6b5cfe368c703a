//! Metrics of handshakes.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::refusal::Refusal;

/// In seconds: from a local resumption to a wait for a certificate to be issued.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0,
];

/// The metrics of handshakes. Labels are resolved here, so that the hot path only adds.
#[derive(Clone)]
pub struct Metrics {
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
        );
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        let (handshakes, seconds) = (
            IntCounterVec::new(handshakes, &["result", "version", "resumed"]).expect("valid"),
            Histogram::with_opts(seconds.buckets(BUCKETS.to_vec())).expect("valid"),
        );
        #[allow(
            clippy::expect_used,
            reason = "the names are constants, registered once per registry"
        )]
        {
            registry
                .register(Box::new(handshakes.clone()))
                .expect("registered once");
            registry.register(Box::new(seconds.clone())).expect("registered once");
        }
        let done = ["1.2", "1.3"].map(|v| ["false", "true"].map(|r| handshakes.with_label_values(&["ok", v, r])));
        // A failed handshake has no version.
        let refused = Refusal::LABELS.map(|l| handshakes.with_label_values(&[l, "", "false"]));
        Self { done, refused, seconds }
    }

    pub(super) fn done(&self, tls13: bool, resumed: bool, took: Duration) {
        let [[full12, resumed12], [full13, resumed13]] = &self.done;
        match (tls13, resumed) {
            (false, false) => full12,
            (false, true) => resumed12,
            (true, false) => full13,
            (true, true) => resumed13,
        }
        .inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, why: Refusal) {
        if let Some(counter) = self.refused.get(why as usize) {
            counter.inc();
        }
    }
}
