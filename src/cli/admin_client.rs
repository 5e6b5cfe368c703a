//! A client of the admin API (docs/specification.md §7), for the commands that talk to a running edge.
//! Every call is bounded in time and size; every error is one sentence.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use linkseal_config::ADMIN_TOKEN_VARIABLE;
use linkseal_config::{HttpUrl, argument};
use linkseal_net::http_client::{HttpClient, HttpError, Pool, http1_connector, read_body};
use linkseal_net::tls_client::{self, Trust};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::Failure;

/// Maximum time of a call: a verification checks DNS for up to 10 s.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer in bytes: a page of 1000 domains is about 2 MiB.
const LARGEST_ANSWER: usize = 64 << 20;

/// Connections kept for the next call of a command.
const POOL: Pool = Pool {
    max_idle: 4,
    idle_timeout: Duration::from_secs(90),
};
/// Maximum pause in a streamed answer: a line of an import may wait for DNS.
const STALL: Duration = Duration::from_secs(60);

/// Calls that the API's errors advise, and the commands for them.
const COMMANDS: [(&str, &str); 4] = [
    ("POST /v1/domains registers it", "`linkseal domain add` registers it"),
    ("PATCH {\"paused\": false}", "`linkseal domain resume`"),
    ("DELETE /v1/issuer/freeze", "`linkseal api DELETE /v1/issuer/freeze`"),
    (
        "DELETE /v1/domains/NAME?purge=true",
        "`linkseal domain remove NAME --purge`",
    ),
];

/// A request body.
#[derive(Clone, Debug)]
pub(super) struct RawBody {
    pub(super) media_type: &'static str,
    pub(super) bytes: Bytes,
}

/// How to reach the admin API. The token comes from the environment, because arguments show in `ps`.
#[derive(Debug, clap::Args)]
pub(super) struct AdminOptions {
    /// URL of the edge's admin API. The token is read from LINKSEAL_ADMIN_TOKEN.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9180", global = true, value_parser = argument::<HttpUrl>)]
    admin: HttpUrl,
    /// PEM file of CA certificates to trust, in addition to the public ones.
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
}

/// A group of commands that call the admin API.
#[derive(Debug, clap::Args)]
pub(super) struct Group<C: clap::Subcommand> {
    #[command(flatten)]
    pub(super) admin: AdminOptions,
    /// Print JSON (the API's answer where there is one).
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: C,
}

/// A client of one admin API.
pub(super) struct AdminClient {
    http: HttpClient,
    base: String,
    token: Option<SecretString>,
}

/// An error of the API (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

impl AdminClient {
    pub(super) fn new(options: &AdminOptions) -> Result<Self, Failure> {
        let tls = match &options.ca_file {
            None => tls_client::config(Trust::PublicAnd(&[]), &[]).map_err(Failure::failed)?,
            Some(file) => trusting(file)?,
        };
        Ok(Self {
            http: HttpClient::new(http1_connector(tls), TIMEOUT, POOL),
            base: options.admin.as_str().trim_end_matches('/').to_owned(),
            token: linkseal_config::admin_token(),
        })
    }

    /// A client without a token.
    #[cfg(test)]
    pub(super) fn at(base: String) -> Self {
        let tls = tls_client::config(Trust::PublicAnd(&[]), &[]).unwrap();
        Self {
            http: HttpClient::new(http1_connector(tls), TIMEOUT, POOL),
            base,
            token: None,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.call(Method::POST, path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.delete_for(path).await.map(drop)
    }

    /// [`Self::delete`], with the answer.
    pub(super) async fn delete_for(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::DELETE, path, None).await
    }

    /// Opens a stream of server-sent events, from the event after the id `last` or from now on. The body does
    /// not end.
    pub(super) async fn stream(&self, path: &str, last: Option<&str>) -> Result<Incoming, Failure> {
        let mut request = self.request(Method::GET, path)?;
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request
            .body(Full::default())
            .map_err(|e| Failure::Usage(e.to_string()))?;
        let answer = self.http.send(request).await.map_err(|e| self.no_answer(&e))?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = read_body(body, LARGEST_ANSWER).await.unwrap_or_default();
        Err(self.refusal(head.status, &body))
    }

    /// Makes one call and prints its answer as it arrives: metrics, the lines of an export or import, events.
    /// JSON is printed whole, with a line break at its end.
    pub(super) async fn passed_on(
        &self,
        method: Method,
        path: &str,
        body: Option<RawBody>,
        mut print: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut request = self.request(method, path)?;
        if let Some(body) = &body {
            request = request.header(header::CONTENT_TYPE, body.media_type);
        }
        let request = request
            .body(Full::new(body.map(|body| body.bytes).unwrap_or_default()))
            .map_err(|e| Failure::Usage(e.to_string()))?;
        let answer = self.http.send(request).await.map_err(|e| self.no_answer(&e))?;
        let (head, mut body) = answer.into_parts();
        let media_type = head.headers.get(header::CONTENT_TYPE).map_or(&[][..], |v| v.as_bytes());
        if !head.status.is_success() || media_type.starts_with(b"application/json") {
            let read = tokio::time::timeout(TIMEOUT, read_body(body, LARGEST_ANSWER)).await;
            let read = read
                .map_err(|_| self.silent(TIMEOUT))?
                .map_err(|e| self.no_answer(&e))?;
            if !head.status.is_success() {
                return Err(self.refusal(head.status, &read));
            }
            print(&read)?;
            return if read.ends_with(b"\n") { Ok(()) } else { print(b"\n") };
        }
        loop {
            let frame = tokio::time::timeout(STALL, body.frame()).await;
            match frame.map_err(|_| self.silent(STALL))? {
                None => return Ok(()),
                Some(frame) => {
                    if let Ok(data) = frame.map_err(|e| self.broke_off(&e))?.into_data() {
                        print(&data)?;
                    }
                }
            }
        }
    }

    fn broke_off(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!("the answer of {} ended early: {error}", self.base))
    }

    fn request(&self, method: Method, path: &str) -> Result<http::request::Builder, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {}", token.expose_secret());
            let mut bearer = http::HeaderValue::try_from(bearer).map_err(|_| {
                Failure::Usage(format!(
                    "{ADMIN_TOKEN_VARIABLE} must contain the token and nothing else: visible ASCII characters, no line break"
                ))
            })?;
            bearer.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, bearer);
        }
        Ok(request)
    }

    fn no_answer(&self, error: &HttpError) -> Failure {
        match error {
            HttpError::Timeout(within) => self.silent(*within),
            HttpError::Request(error) => self.unreachable(error),
            HttpError::Body { cause, .. } => self.broke_off(cause),
        }
    }

    fn silent(&self, within: Duration) -> Failure {
        Failure::Failed(format!(
            "no answer from {} within {} s; check its log",
            self.base,
            within.as_secs()
        ))
    }

    /// Makes one call; an empty answer is [`Value::Null`].
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let mut request = self.request(method, path)?;
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |b| b.to_string().into());
        let request = request
            .body(Full::new(body))
            .map_err(|e| Failure::Usage(e.to_string()))?;
        let fetched = self.http.fetch(request, LARGEST_ANSWER).await;
        let (head, body) = fetched.map_err(|e| self.no_answer(&e))?.into_parts();
        if !head.status.is_success() {
            return Err(self.refusal(head.status, &body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        let no_json = |_| {
            Failure::Failed(format!(
                "{} answers, but not as a linkseal admin API; check the address given with --admin",
                self.base
            ))
        };
        serde_json::from_slice(&body).map_err(no_json)
    }

    /// An error of the API as one sentence.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> Failure {
        let value = serde_json::from_slice::<Value>(body).ok();
        // Every error of the API has a code; an answer without one comes from another program.
        let problem = value.and_then(|value| linkseal_base::json::read::<Problem>(value).ok());
        let Some(problem) = problem.filter(|problem| problem.code.is_some()) else {
            return Failure::Failed(format!(
                "{} answers {status}, but not as a linkseal admin API; check the address given with --admin, and \
                 whether a proxy in front can reach the edge",
                self.base
            ));
        };
        let text = problem.detail.or(problem.title).unwrap_or_else(|| status.to_string());
        let text = COMMANDS
            .iter()
            .fold(text, |text, (call, command)| text.replace(call, command));
        let advice = match status {
            StatusCode::UNAUTHORIZED => format!("; set {ADMIN_TOKEN_VARIABLE} to a token of this edge"),
            _ => String::new(),
        };
        let code = problem.code.map(|c| format!(" ({c})")).unwrap_or_default();
        Failure::Failed(format!("{}{code}{advice}", text.trim_end_matches('.')))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let cause = cause.to_string();
        // So rustls reports an answer in plain HTTP.
        let advice = match self.base.strip_prefix("https://") {
            Some(rest) if cause.contains("InvalidContentType") => {
                format!("; it speaks plain HTTP: try --admin http://{rest}")
            }
            _ => "; check that linkseal runs there, and the address given with --admin".to_owned(),
        };
        Failure::Failed(format!(
            "the admin API at {} cannot be reached ({cause}){advice}",
            self.base
        ))
    }
}

/// TLS that also trusts the certificates of a PEM file.
fn trusting(file: &Path) -> Result<ClientConfig, Failure> {
    let bad = |e: &dyn std::fmt::Display| {
        Failure::Usage(format!(
            "--ca-file: {} must contain certificates in PEM form ({e})",
            file.display()
        ))
    };
    let trust = tls_client::read_ca_file(file).map_err(|e| bad(&e))?;
    tls_client::config(Trust::PublicAnd(&trust), &[]).map_err(|e| bad(&e))
}

/// Reads the part of an answer that a command needs.
pub(super) fn read<T: for<'de> Deserialize<'de>>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|e| {
        Failure::Failed(format!(
            "the answer of the admin API cannot be read ({e}); check that command and edge have the same version"
        ))
    })
}

/// A path with those query parameters that have a value.
pub(super) fn with_query<'a>(path: &str, parameters: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut out = path.to_owned();
    for (key, value) in parameters {
        if let Some(value) = value {
            out.push(if out.contains('?') { '&' } else { '?' });
            out.push_str(&format!("{key}={}", query_value(value)));
        }
    }
    out
}

/// Percent-encodes a value for a query (RFC 3986 §3.4).
pub(super) fn query_value(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use linkseal_control::OperatorError;
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_one_sentence() {
        let client = AdminClient::at("http://127.0.0.1:9180".to_owned());
        let said = |status, body: &str| client.refusal(status, body.as_bytes()).to_string();
        let body = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"x belongs to tenant y.","code":"conflict"}"#;
        assert_eq!(
            said(StatusCode::CONFLICT, body),
            "linkseal: x belongs to tenant y (conflict)"
        );
        let body = r#"{"detail":"the domain is not registered; POST /v1/domains registers it","code":"not_found"}"#;
        assert_eq!(
            said(StatusCode::NOT_FOUND, body),
            "linkseal: the domain is not registered; `linkseal domain add` registers it (not_found)"
        );
        let body = r#"{"detail":"this token is not known here","code":"unauthorized"}"#;
        assert_eq!(
            said(StatusCode::UNAUTHORIZED, body),
            "linkseal: this token is not known here (unauthorized); set LINKSEAL_ADMIN_TOKEN to a token of this edge"
        );
        let frozen = json!({"detail": OperatorError::Frozen.to_string(), "code": "conflict"}).to_string();
        assert_eq!(
            said(StatusCode::CONFLICT, &frozen),
            "linkseal: all orders are frozen; `linkseal api DELETE /v1/issuer/freeze` ends the freeze (conflict)"
        );
        // Answers of the edge's public port, of another program and of a proxy.
        for body in ["", "<html>", "[]", "{}", r#"{"error":"not found"}"#] {
            let said = said(StatusCode::NOT_FOUND, body);
            assert!(
                said.contains("404") && said.contains("check the address given with --admin"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_rejected() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "root:x:0:0\n").unwrap();
        let options = AdminOptions {
            admin: "http://127.0.0.1:9180".parse().unwrap(),
            ca_file: Some(file.path().to_owned()),
        };
        let Err(error) = AdminClient::new(&options) else {
            panic!("a file without certificates was accepted");
        };
        assert!(error.to_string().contains("certificates in PEM form"), "{error}");
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(query_value("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
