//! HTTP-01 challenges (RFC 8555 §8.3), answered without any state: the account's key is all that
//! is needed, so any node of a fleet answers for any order.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::connect::HttpConnector;
use linkseal_domain::ssl::Reason;
use linkseal_net::http_client::{HttpClient, HttpError, Pool, read_body};
use linkseal_net::shares::Turns;
use tokio::sync::Semaphore;

use super::host::Host;
use super::metrics::Challenge;
use super::reply::{self, Reply};
use super::respond::Step;
use super::server::Session;
use crate::Listener;

/// Longest token: CAs send 43 characters (RFC 8555 §8.3 asks for 128 bits of entropy).
const MAX_TOKEN: usize = 128;
/// How long an upstream may take, waiting for a turn included; a CA waits 10 s.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(8);
/// Largest answer of an upstream, in bytes; a key authorization has 87.
const UPSTREAM_BODY: usize = 4 * 1024;
/// Challenges that may be with the upstream at once; the others wait for their turn, as this edge's
/// answer would fail a validation of the older system's.
pub const UPSTREAM_AT_ONCE: usize = 64;
/// How many of them one client network may have: a CA asks from several.
const UPSTREAM_OF_NETWORK: usize = 8;

/// Answers a challenge, or has it answered by the upstream when no order of ours runs for the host.
pub(super) fn answer(session: &Arc<Session>, method: &Method, token: &str, host: Option<Host<'_>>) -> Step {
    let context = &session.context;
    if !is_token(token) {
        context.metrics.challenge(Challenge::Malformed);
        return Step::Done(reply::empty(StatusCode::NOT_FOUND));
    }
    if let (Some(upstream), Some(host), Listener::Http) = (
        context.challenge_upstream.load_full(),
        host,
        session.connection.listener,
    ) && !has_order(session, host)
    {
        let (session, method) = (Arc::clone(session), method.clone());
        let (token, host) = (token.to_owned(), host.as_str().to_owned());
        return Step::Slow(Box::pin(async move {
            let client = session.connection.client.ip();
            match upstream.fetch(client, &host, &token).await {
                Ok(body) => {
                    session.context.metrics.challenge(Challenge::Upstream);
                    reply::for_method(reply::text(StatusCode::OK, body), &method)
                }
                Err(error) => {
                    // An order of ours may be so young that this node has not heard of it.
                    tracing::debug!(%host, %error, "challenge_upstream did not answer");
                    own(&session, &method, &token)
                }
            }
        }));
    }
    Step::Done(own(session, method, token))
}

fn own(session: &Session, method: &Method, token: &str) -> Reply {
    let context = &session.context;
    let Some(thumbprint) = context.thumbprint.load_full() else {
        context.metrics.challenge(Challenge::NoAccount);
        return reply::empty(StatusCode::SERVICE_UNAVAILABLE);
    };
    context.metrics.challenge(Challenge::Answered);
    reply::for_method(reply::text(StatusCode::OK, format!("{token}.{thumbprint}")), method)
}

/// base64url, as RFC 8555 §8.3 says: nothing that could mean something in a page or a path.
fn is_token(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len())
        && token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether an order of ours runs for the host, as far as this node knows.
fn has_order(session: &Session, host: Host<'_>) -> bool {
    let entry = host.lower(|name| session.context.registry.get(name)).flatten();
    entry.is_some_and(|e| matches!(e.reason, Reason::Ordering | Reason::Validating | Reason::Renewing))
}

/// Where challenges of an older system are answered while its domains move here.
#[derive(Clone)]
pub struct ChallengeUpstream {
    /// `http://host:port` and perhaps a path, without a slash at its end.
    base: Arc<str>,
    client: HttpClient<HttpConnector>,
    at_once: Arc<Semaphore>,
    turns: Turns,
}

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The configured URL cannot be used.
    #[error("acme.challenge_upstream must be an http URL such as http://10.0.0.5:80")]
    Url,
    /// Too many wait for it.
    #[error("too many challenges wait for it")]
    Busy,
    /// It took longer than eight seconds.
    #[error("it took longer than 8 s")]
    Timeout,
    /// It could not be reached.
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] HttpError),
    /// It has no answer either.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// Its answer is too long or broke off.
    #[error("its answer is longer than 4 KiB or broke off")]
    Body,
}

impl ChallengeUpstream {
    /// To a base URL; `/.well-known/acme-challenge/{token}` is added.
    ///
    /// # Errors
    /// When it is no http URL.
    pub fn new(base: &str) -> Result<Self, UpstreamError> {
        let uri: Uri = base.parse().map_err(|_| UpstreamError::Url)?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(UpstreamError::Url);
        }
        // Challenges are rare: a connection each.
        let pool = Pool {
            max_idle: 0,
            idle_timeout: UPSTREAM_TIMEOUT,
        };
        Ok(Self {
            base: base.trim_end_matches('/').into(),
            client: HttpClient::new(HttpConnector::new(), UPSTREAM_TIMEOUT, pool),
            at_once: Arc::new(Semaphore::new(UPSTREAM_AT_ONCE)),
            turns: Turns::new(UPSTREAM_OF_NETWORK),
        })
    }

    async fn fetch(&self, client: IpAddr, host: &str, token: &str) -> Result<Bytes, UpstreamError> {
        let request = Request::get(format!("{}/.well-known/acme-challenge/{token}", self.base))
            .header(HOST, host)
            .body(Full::default())
            .map_err(|_| UpstreamError::Url)?;
        let fetched = async {
            // The network's own turn first: those who wait for it hold nothing of the others'.
            let _turn = self.turns.take(client).await.ok_or(UpstreamError::Busy)?;
            let _permit = self.at_once.acquire().await.map_err(|_| UpstreamError::Busy)?;
            let response = self.client.send(request).await?;
            if response.status() != StatusCode::OK {
                return Err(UpstreamError::Status(response.status()));
            }
            let body = read_body(response.into_body(), UPSTREAM_BODY).await;
            body.map_err(|_| UpstreamError::Body)
        };
        tokio::time::timeout(UPSTREAM_TIMEOUT, fetched)
            .await
            .unwrap_or(Err(UpstreamError::Timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (token, is) in [
            ("abc-DEF_09", true),
            ("", false),
            ("a/b", false),
            ("a.b", false),
            ("<b>", false),
            ("a%41", false),
        ] {
            assert_eq!(is_token(token), is, "{token}");
        }
        assert!(is_token(&"a".repeat(128)) && !is_token(&"a".repeat(129)));
    }

    #[test]
    fn an_upstream_is_an_http_url() {
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
