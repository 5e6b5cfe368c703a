//! HTTP-01 (RFC 8555 §8.3) by real requests: the challenge's URL is fetched over TCP
//! ([`linkseal_net::http01`]), with addresses from [`Hosts`](super::Hosts) and the edge's ports instead of 80 and 443.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use linkseal_net::http01::{self, ChallengeFailure, HostResolver, ResolveError};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::core::Core;
use super::problem::Problem;
use super::state::Challenge;

/// Default time limit of a request of a validation, as at Let's Encrypt.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Validates one challenge, and records the result.
pub(super) async fn validate(core: Arc<Core>, authorization: String) {
    let Some((name, token, thumbprint)) = core.challenge_to_validate(&authorization) else {
        return;
    };
    // Computed before it is counted: a test that sees the count may move the clock at once.
    let due = core.clock.now() + core.faults.validation_delay();
    core.stats.count(|s| s.validations += 1);
    core.stats.count_names([name.as_str()], |s| s.validations += 1);
    core.clock.sleep_until(due).await;
    if core.faults.is_stuck(&name) {
        return;
    }
    let visit = Visit {
        core: &core,
        records: Mutex::default(),
    };
    let result = match core.faults.rejected_challenge(&name) {
        Some(problem) => Err(problem),
        None => {
            let Ok(_turn) = core.validations.acquire().await else {
                return;
            };
            let expected = format!("{token}.{thumbprint}");
            let fetched = http01::fetch(&visit, &name, &token, &expected, core.validation_timeout).await;
            fetched.map_err(|miss| problem(&miss))
        }
    };
    if let Err(problem) = &result {
        tracing::info!(%name, detail = %problem.detail, "devca: the challenge failed");
        core.stats.count_names([name.as_str()], |s| s.failed += 1);
    }
    {
        let mut state = core.state();
        if let Some(authorization) = state.authorizations.get_mut(&authorization) {
            authorization.records = visit.records.into_inner();
            authorization.challenge = match result {
                Ok(()) => Challenge::Valid(core.clock.now()),
                Err(problem) => Challenge::Invalid(problem),
            };
        }
    }
    // Wakes the tests that wait, after the change.
    core.stats.count(|_| {});
}

/// Resolves names for one validation, and keeps its record.
struct Visit<'a> {
    core: &'a Core,
    records: Mutex<Vec<Value>>,
}

#[async_trait]
impl HostResolver for Visit<'_> {
    async fn addresses(&self, host: &str, https: bool) -> Result<Vec<SocketAddr>, ResolveError> {
        let ip = self.core.hosts.look_up(host).ok_or(ResolveError::NoAddress)?;
        Ok(vec![SocketAddr::new(ip, self.port(https))])
    }

    fn port(&self, https: bool) -> u16 {
        self.core.port(https)
    }

    fn visits(&self, url: &str, host: &str, to: SocketAddr) {
        let record = json!({
            "url": url, "hostname": host, "port": to.port().to_string(),
            "addressesResolved": [to.ip()], "addressUsed": to.ip(),
        });
        self.records.lock().push(record);
    }
}

fn problem(miss: &ChallengeFailure) -> Problem {
    let detail = miss.to_string();
    match miss {
        ChallengeFailure::NoAddress { .. } | ChallengeFailure::NotTried { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, "dns", detail)
        }
        ChallengeFailure::Connection(_) => Problem::new(StatusCode::BAD_REQUEST, "connection", detail),
        ChallengeFailure::Wrong(_) => Problem::unauthorized(detail),
    }
}
