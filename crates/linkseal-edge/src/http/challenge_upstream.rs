//! The older system that answers challenges for its domains while they move here
//! (`acme.challenge_upstream`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use linkseal_net::http_client::{HttpClient, HttpError, Pool, read_body};
use linkseal_net::shares::Turns;
use tokio::sync::Semaphore;

/// How long the upstream may take, waiting for a turn included; a CA waits 10 s.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Largest answer of the upstream, in bytes; a key authorization has 87.
const MAX_BODY: usize = 4 * 1024;
/// Challenges that may be with the upstream at once. Others wait for their turn: this edge's answer
/// would fail a validation of the older system's.
pub const MAX_CONCURRENT: usize = 64;
/// How many of them one client network may have: a CA asks from several.
const PER_NETWORK: usize = 8;

/// A client of the older system.
#[derive(Clone)]
pub struct ChallengeUpstream {
    /// `http://host:port` and perhaps a path, without a slash at its end.
    base: Arc<str>,
    client: HttpClient<HttpConnector>,
    permits: Arc<Semaphore>,
    turns: Turns,
}

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("acme.challenge_upstream must be an http URL such as http://10.0.0.5:80")]
    Url,
    #[error("too many challenges wait for it")]
    Busy,
    #[error("it took longer than {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] HttpError),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its answer is longer than {} KiB or broke off", MAX_BODY >> 10)]
    Body,
}

impl ChallengeUpstream {
    /// `/.well-known/acme-challenge/{token}` is added to `base`.
    ///
    /// # Errors
    /// `base` is not an http URL.
    pub fn new(base: &str) -> Result<Self, UpstreamError> {
        let uri: Uri = base.parse().map_err(|_| UpstreamError::Url)?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(UpstreamError::Url);
        }
        // Challenges are rare: each has a connection of its own.
        let pool = Pool {
            max_idle: 0,
            idle_timeout: TIMEOUT,
        };
        Ok(Self {
            base: base.trim_end_matches('/').into(),
            client: HttpClient::new(HttpConnector::new(), TIMEOUT, pool),
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            turns: Turns::new(PER_NETWORK),
        })
    }

    /// The older system's answer to a challenge for `host`, asked by `client`.
    pub(super) async fn fetch(&self, client: IpAddr, host: &str, token: &str) -> Result<Bytes, UpstreamError> {
        let request = Request::get(format!("{}/.well-known/acme-challenge/{token}", self.base))
            .header(HOST, host)
            .body(Full::default())
            .map_err(|_| UpstreamError::Url)?;
        let fetched = async {
            // The network's own turn first: what waits for it holds no permit.
            let _turn = self.turns.take(client).await.ok_or(UpstreamError::Busy)?;
            let _permit = self.permits.acquire().await.map_err(|_| UpstreamError::Busy)?;
            let response = self.client.send(request).await?;
            if response.status() != StatusCode::OK {
                return Err(UpstreamError::Status(response.status()));
            }
            let body = read_body(response.into_body(), MAX_BODY).await;
            body.map_err(|_| UpstreamError::Body)
        };
        tokio::time::timeout(TIMEOUT, fetched)
            .await
            .unwrap_or(Err(UpstreamError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_must_be_an_http_url() {
        for base in ["http://10.0.0.5", "http://10.0.0.5:8080/", "http://old.example/base"] {
            assert!(ChallengeUpstream::new(base).is_ok(), "{base}");
        }
        for base in [
            "",
            "10.0.0.5",
            "https://old.example",
            "ftp://old.example",
            "http://",
            "/x",
            "http://a/?b",
        ] {
            assert!(ChallengeUpstream::new(base).is_err(), "{base}");
        }
    }
}
