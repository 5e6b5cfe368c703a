//! An HTTP client for servers that may be slow, broken or hostile: every call has a time limit, and a
//! body is read up to a limit. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

/// The User-Agent of all requests.
const AGENT: &str = concat!("linkseal/", env!("CARGO_PKG_VERSION"));

/// A client with a pool of connections.
#[derive(Clone, Debug)]
pub struct HttpClient<C = HttpsConnector<HttpConnector>> {
    client: Client<C, Full<Bytes>>,
    timeout: Duration,
}

/// Which unused connections are kept for the next call.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Maximum per server.
    pub max_idle: usize,
    pub idle_timeout: Duration,
}

/// Why a call brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error(transparent)]
    Request(#[from] hyper_util::client::legacy::Error),
    #[error("the answer broke off, or is larger than {limit} bytes: {cause}")]
    Body {
        limit: usize,
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Connects over HTTP/1.1, with and without TLS.
pub fn http1_connector(tls: ClientConfig) -> HttpsConnector<HttpConnector> {
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build()
}

impl<C: Connect + Clone + Send + Sync + 'static> HttpClient<C> {
    /// A client whose calls take `timeout` at most, connecting included.
    pub fn new(connector: C, timeout: Duration, pool: Pool) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(pool.idle_timeout)
            .pool_max_idle_per_host(pool.max_idle)
            .build(connector);
        Self { client, timeout }
    }

    /// The same client with another time limit.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends a request and reads the whole answer within the time limit.
    ///
    /// # Errors
    /// No whole answer came in time, or its body is larger than `max_body` bytes.
    pub async fn fetch(&self, request: Request<Full<Bytes>>, max_body: usize) -> Result<Response<Bytes>, HttpError> {
        let whole = async {
            let (head, body) = self.client.request(with_agent(request)).await?.into_parts();
            Ok(Response::from_parts(head, read_body(body, max_body).await?))
        };
        let in_time = tokio::time::timeout(self.timeout, whole).await;
        in_time.unwrap_or(Err(HttpError::Timeout(self.timeout)))
    }

    /// Sends a request and waits for the head of the answer within the time limit. The caller bounds
    /// what it reads of the body: see [`read_body`].
    ///
    /// # Errors
    /// No head came in time.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let in_time = tokio::time::timeout(self.timeout, self.client.request(with_agent(request))).await;
        Ok(in_time.map_err(|_| HttpError::Timeout(self.timeout))??)
    }
}

/// Reads a body of at most `limit` bytes. The caller bounds the time.
///
/// # Errors
/// It broke off, or is larger.
pub async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, HttpError> {
    let read = Limited::new(body, limit).collect().await;
    let whole = read.map_err(|cause| HttpError::Body { limit, cause })?;
    Ok(whole.to_bytes())
}

fn with_agent(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let agent = request.headers_mut().entry(USER_AGENT);
    agent.or_insert(HeaderValue::from_static(AGENT));
    request
}

#[cfg(test)]
mod tests {
    use linkseal_base::shutdown::Tasks;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const POOL: Pool = Pool {
        max_idle: 1,
        idle_timeout: Duration::from_secs(1),
    };

    /// A server that answers every connection with `answer` and keeps it open, and the client's call.
    async fn call(answer: &'static str, within: Duration) -> (Result<Response<Bytes>, HttpError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (tasks, (sent, received)) = (Tasks::new(), tokio::sync::oneshot::channel());
        tasks.spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && socket.read_buf(&mut head).await.unwrap() > 0 {}
            socket.write_all(answer.as_bytes()).await.unwrap();
            let _ = sent.send(String::from_utf8(head).unwrap());
            std::future::pending::<()>().await;
        });
        let client = HttpClient::new(HttpConnector::new(), within, POOL);
        let answer = client.fetch(Request::get(url).body(Full::default()).unwrap(), 4).await;
        (answer, received.await.unwrap())
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read() {
        let (answer, head) = call(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
            Duration::from_secs(30),
        )
        .await;
        assert_eq!(answer.unwrap().into_body(), "body");
        assert!(head.contains(&format!("user-agent: {AGENT}\r\n")), "{head}");
    }

    #[tokio::test]
    async fn a_larger_body_is_an_error() {
        let (answer, _) = call(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nbody!",
            Duration::from_secs(30),
        )
        .await;
        assert!(matches!(answer, Err(HttpError::Body { limit: 4, .. })), "{answer:?}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_end_in_time_is_an_error() {
        let (answer, _) = call(
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbo",
            Duration::from_millis(200),
        )
        .await;
        assert!(matches!(answer, Err(HttpError::Timeout(_))), "{answer:?}");
    }
}
