//! Metrics of requests. Labels are resolved once: the hot path looks none up. Each core counts for itself.

use std::time::Duration;

use http::StatusCode;
use linkseal_base::cores::PerCore;
use linkseal_base::summed;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::router::RouteLabel;
use super::upstream;

const ROUTES: usize = RouteLabel::ALL.len();
/// Status classes, 1xx to 5xx.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// In seconds: from an answer out of memory (tens of microseconds) to a slow upstream.
const BUCKETS: [f64; 10] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0, 10.0];

/// The metrics of HTTP. Clones share the same counters.
#[derive(Clone)]
pub struct Metrics {
    answers: PerCore<Answers>,
    challenges: [IntCounter; Challenge::ALL.len()],
    upstream: upstream::Metrics,
}

/// The requests answered on one core.
struct Answers {
    requests: [[IntCounter; CLASSES.len()]; ROUTES],
    seconds: [Histogram; ROUTES],
}

/// The result of a challenge request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Answered,
    Upstream,
    /// There is no ACME account yet.
    NoAccount,
    /// Not a token.
    Malformed,
}

impl Challenge {
    const ALL: [Self; 4] = [Self::Answered, Self::Upstream, Self::NoAccount, Self::Malformed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Upstream => "upstream",
            Self::NoAccount => "no_account",
            Self::Malformed => "malformed",
        }
    }
}

impl Metrics {
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let requests = Opts::new(
            "linkseal_http_requests_total",
            "Requests answered, by route and status class.",
        );
        let seconds = HistogramOpts::new(
            "linkseal_http_request_seconds",
            "Time from the end of a request's headers to its reply.",
        )
        .buckets(BUCKETS.to_vec());
        let requests = summed::register(registry, || IntCounterVec::new(requests.clone(), &["route", "status"]))?;
        let seconds = summed::register(registry, || HistogramVec::new(seconds.clone(), &["route"]))?;
        let answers = requests.with(&seconds, |requests, seconds| Answers {
            requests: RouteLabel::ALL.map(|r| CLASSES.map(|c| requests.with_label_values(&[r.as_str(), c]))),
            seconds: RouteLabel::ALL.map(|r| seconds.with_label_values(&[r.as_str()])),
        });
        let challenges = IntCounterVec::new(
            Opts::new(
                "linkseal_http01_challenges_total",
                "HTTP-01 challenge requests, by result.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(challenges.clone()))?;
        Ok(Self {
            upstream: upstream::Metrics::register(registry)?,
            answers,
            challenges: Challenge::ALL.map(|c| challenges.with_label_values(&[c.as_str()])),
        })
    }

    /// The metrics of upstream rules.
    pub fn upstream(&self) -> &upstream::Metrics {
        &self.upstream
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "a label's number is below the count of labels; the class is clamped"
    )]
    pub(super) fn answered(&self, route: RouteLabel, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let answers = self.answers.here();
        answers.requests[route as usize][class].inc();
        answers.seconds[route as usize].observe(took.as_secs_f64());
    }

    #[allow(
        clippy::indexing_slicing,
        reason = "the number of a variant is below the count of variants"
    )]
    pub(super) fn challenge(&self, result: Challenge) {
        self.challenges[result as usize].inc();
    }
}
