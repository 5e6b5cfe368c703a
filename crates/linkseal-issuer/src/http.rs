//! The HTTPS side of the ACME calls: one connection pool per CA, every call bounded in time and size
//! (hyper bounds the headers). The CA's nonces are kept for the next request.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AGE, CONTENT_TYPE, DATE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use linkseal_base::clock::{Clock, Timestamp};
use linkseal_base::fault::with_causes;
use linkseal_domain::ssl::FailureKind;
use linkseal_net::http_client::{HttpClient, HttpError, Pool};
use linkseal_net::retry_after::RetryAfter;
use linkseal_net::tls_client::{self, Trust};
use parking_lot::Mutex;
use prometheus::Histogram;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use serde::de::DeserializeOwned;

use super::problem::{CallError, Problem};

/// Longest time one call to a CA may take, connecting included.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer of a CA in bytes; chains are a few KiB.
const MAX_BODY: usize = 1024 * 1024;
/// How long an idle connection is kept: longer than the pauses of an order.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Most idle HTTP/1.1 connections kept per CA: as many as orders run at a time by default.
const MAX_IDLE: usize = 16;
/// Most nonces kept; each call brings one and uses one.
const MAX_NONCES: usize = 64;
/// Longest header value that is used, in bytes: nonces and URLs are kept.
const MAX_HEADER: usize = 2048;
const NONCE_HEADER: HeaderName = HeaderName::from_static("replay-nonce");

/// TLS towards one CA: the public roots, and those configured for it.
pub(super) fn tls_config(trust: &[CertificateDer<'static>]) -> Result<ClientConfig, String> {
    tls_client::config(Trust::PublicAnd(trust), &[]).map_err(|e| e.to_string())
}

/// The client of one CA.
pub(super) struct Http {
    client: HttpClient,
    clock: Clock,
    /// Duration of the calls, in seconds. `None`: not measured.
    seconds: Option<Histogram>,
    /// Newest last; the newest is used first, since a CA forgets old ones.
    nonces: Mutex<Vec<String>>,
    /// The last `Date` of the CA, and its arrival on the monotonic clock.
    date: Mutex<Option<(Timestamp, Duration)>>,
}

/// An answer of the CA with a 2xx status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<Timestamp>,
    /// The `Replay-Nonce` header, until it is kept for another request.
    nonce: Option<String>,
    pub(super) body: Bytes,
}

impl Http {
    pub(super) fn new(tls: ClientConfig, clock: Clock) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .enable_http2()
            .build();
        let pool = Pool {
            max_idle: MAX_IDLE,
            idle_timeout: IDLE_TIMEOUT,
        };
        let client = HttpClient::new(connector, CALL_TIMEOUT, pool);
        Self {
            client,
            clock,
            seconds: None,
            nonces: Mutex::new(Vec::new()),
            date: Mutex::new(None),
        }
    }

    /// Records the duration of every call.
    pub(super) fn measured(self, seconds: Histogram) -> Self {
        Self {
            seconds: Some(seconds),
            ..self
        }
    }

    /// With another time limit per call.
    #[cfg(test)]
    pub(super) fn within(mut self, time: Duration) -> Self {
        self.client = self.client.within(time);
        self
    }

    /// The CA's current time, by the `Date` of its last answer. `None`: no answer had one.
    pub(super) fn now(&self) -> Option<Timestamp> {
        let (date, came) = (*self.date.lock())?;
        Some(date + self.clock.uptime().saturating_sub(came))
    }

    /// Records the CA's time, unless the answer comes from a cache (`Age`, RFC 9111 §5.1).
    fn note_date(&self, headers: &HeaderMap) {
        let date = text(headers, &DATE).filter(|_| !headers.contains_key(AGE));
        if let Some(date) = date.and_then(|d| Timestamp::parse_http_date(&d)) {
            let now = self.clock.uptime();
            *self.date.lock() = Some((date, now));
        }
    }

    /// Sends an unsigned request.
    pub(super) async fn get(&self, url: &str) -> Result<Answer, CallError> {
        self.keeping_nonce(self.call(Method::GET, url, Vec::new()).await)
    }

    /// Sends a signed request.
    pub(super) async fn post(&self, url: &str, body: Vec<u8>) -> Result<Answer, CallError> {
        self.keeping_nonce(self.call(Method::POST, url, body).await)
    }

    /// A nonce of an earlier answer, else a new one (RFC 8555 §7.2).
    pub(super) async fn nonce(&self, new_nonce_url: &str) -> Result<String, CallError> {
        if let Some(nonce) = self.take_nonce() {
            return Ok(nonce);
        }
        // Taken from this answer: another request may use up a kept one in the meantime.
        self.call(Method::HEAD, new_nonce_url, Vec::new())
            .await?
            .nonce
            .ok_or_else(|| CallError::NoAnswer("the answer of newNonce has no Replay-Nonce".into()))
    }

    fn take_nonce(&self) -> Option<String> {
        self.nonces.lock().pop()
    }

    fn keeping_nonce(&self, mut called: Result<Answer, CallError>) -> Result<Answer, CallError> {
        if let Some(nonce) = called.as_mut().ok().and_then(|answer| answer.nonce.take()) {
            self.keep_nonce(nonce);
        }
        called
    }

    fn keep_nonce(&self, nonce: String) {
        let mut nonces = self.nonces.lock();
        if nonces.len() >= MAX_NONCES {
            nonces.remove(0);
        }
        nonces.push(nonce);
    }

    async fn call(&self, method: Method, url: &str, body: Vec<u8>) -> Result<Answer, CallError> {
        // Calls that fail or time out are measured too.
        let _timer = self.seconds.as_ref().map(Histogram::start_timer);
        let mut request = Request::builder().method(&method).uri(url);
        if method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/jose+json");
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| CallError::NoAnswer(format!("the CA gave an unusable URL: {e}")))?;
        let fetched = self.client.fetch(request, MAX_BODY).await.map_err(|e| match e {
            HttpError::Timeout(limit) => {
                CallError::NoAnswer(format!("no complete answer within {} s", limit.as_secs()))
            }
            HttpError::Request(e) => no_answer(&e, self.clock.now()),
            HttpError::Body { .. } => CallError::NoAnswer(e.to_string()),
        });
        let (parts, body) = fetched?.into_parts();
        self.note_date(&parts.headers);
        // An invalid value has to be ignored (RFC 8555 §6.5.1).
        let base64url = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        let nonce = text(&parts.headers, &NONCE_HEADER).filter(|n| !n.is_empty() && n.bytes().all(base64url));
        let retry_after =
            text(&parts.headers, &RETRY_AFTER).and_then(|v| RetryAfter::parse(&v)?.time(self.clock.now()));
        if !parts.status.is_success() {
            nonce.into_iter().for_each(|n| self.keep_nonce(n));
            return Err(refusal(parts.status, &body, retry_after));
        }
        Ok(Answer {
            location: text(&parts.headers, &LOCATION),
            retry_after,
            nonce,
            body,
        })
    }
}

impl Answer {
    /// The body, parsed as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, CallError> {
        serde_json::from_slice(&self.body)
            .map_err(|e| CallError::NoAnswer(format!("the answer does not conform to RFC 8555: {e}")))
    }

    /// The body as UTF-8.
    pub(super) fn text(self) -> Result<String, CallError> {
        String::from_utf8(self.body.into()).map_err(|_| CallError::NoAnswer("the answer is not text".into()))
    }

    /// The `Location` header, where the protocol requires one.
    pub(super) fn located(&self) -> Result<String, CallError> {
        self.location
            .clone()
            .ok_or_else(|| CallError::NoAnswer("the answer has no usable Location header".into()))
    }
}

/// Why a request got no answer. A server certificate that is not trusted is no failure of the CA: the
/// clock or the trust on this machine is wrong, or something in between answers.
fn no_answer(error: &(dyn std::error::Error + 'static), now: Timestamp) -> CallError {
    let text = with_causes(error);
    let Some(rustls::Error::InvalidCertificate(why)) = tls_error(error) else {
        return CallError::NoAnswer(text);
    };
    use rustls::CertificateError as E;
    match why {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => CallError::Here(
            FailureKind::Clock,
            format!(
                "by the clock of this machine, {now}, the TLS certificate of the CA's server has expired or is not valid \
                 yet: set the clock if it is wrong, otherwise the CA has to renew that certificate ({text})"
            ),
        ),
        _ => CallError::Here(
            FailureKind::Trust,
            format!(
                "the TLS certificate of the CA's server is not trusted: for a private CA set acme.ca_file to its root \
                 certificate in PEM and reload; for a public CA check what answers in its place, such as a proxy \
                 ({text})"
            ),
        ),
    }
}

/// The TLS error among the causes of an error.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // `source` of an I/O error skips the error that it wraps, which may be another I/O error.
        next = match cause.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    None
}

fn refusal(status: StatusCode, body: &[u8], retry_after: Option<Timestamp>) -> CallError {
    CallError::Refused(Problem::from_response(
        status.as_u16(),
        &String::from_utf8_lossy(body),
        retry_after,
    ))
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name).filter(|v| v.len() <= MAX_HEADER)?;
    value.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_that_fails_is_measured_too() {
        let seconds = Histogram::with_opts(prometheus::HistogramOpts::new("s", "s")).unwrap();
        let http = Http::new(tls_config(&[]).unwrap(), Clock::system()).measured(seconds.clone());
        http.get("https://127.0.0.1:9/directory").await.unwrap_err();
        assert_eq!(seconds.get_sample_count(), 1);
    }

    #[test]
    fn nonces_are_bounded_and_the_newest_goes_first() {
        let http = Http::new(tls_config(&[]).unwrap(), Clock::system());
        for i in 0..MAX_NONCES + 3 {
            http.keep_nonce(i.to_string());
        }
        let taken: Vec<_> = std::iter::from_fn(|| http.take_nonce()).collect();
        assert_eq!(taken.len(), MAX_NONCES);
        assert_eq!(taken.first().unwrap(), &(MAX_NONCES + 2).to_string());
        assert_eq!(taken.last().unwrap(), "3");
    }

    #[test]
    fn an_untrusted_server_certificate_is_a_failure_of_the_clock_or_of_trust() {
        use rustls::CertificateError as E;
        let now = Timestamp::from_secs(1_795_305_600);
        let kind = |why: E| {
            let tls = rustls::Error::InvalidCertificate(why);
            // As the connector wraps it: twice.
            let once = std::io::Error::new(std::io::ErrorKind::InvalidData, tls);
            match no_answer(&std::io::Error::other(once), now) {
                CallError::Here(kind, text) => (kind, text),
                other => panic!("{other:?}"),
            }
        };
        for of_time in [E::Expired, E::NotValidYet] {
            let (kind, text) = kind(of_time);
            assert_eq!(kind, FailureKind::Clock);
            assert!(text.contains(&now.to_string()), "{text}");
        }
        for of_trust in [E::UnknownIssuer, E::NotValidForName, E::BadSignature] {
            let (kind, text) = kind(of_trust);
            assert_eq!(kind, FailureKind::Trust);
            assert!(text.contains("acme.ca_file"), "{text}");
        }
        let broken = no_answer(&std::io::Error::other("reset"), now);
        assert!(matches!(broken, CallError::NoAnswer(_)), "{broken:?}");
    }

    #[tokio::test]
    async fn a_refused_connection_says_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let http = Http::new(tls_config(&[]).unwrap(), Clock::system());
        let error = http.get(&format!("https://{address}/dir")).await.unwrap_err();
        assert!(
            matches!(&error, CallError::NoAnswer(text) if text.contains("refused")),
            "{error}"
        );
        let plain = http.get(&format!("http://{address}/dir")).await.unwrap_err();
        assert!(matches!(plain, CallError::NoAnswer(_)), "only https: {plain}");
    }
}
