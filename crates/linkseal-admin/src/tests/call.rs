//! Requests to the admin port and its answers.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::PATIENT;

pub(super) struct Call {
    pub(super) request: http::request::Builder,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn header(mut self, key: &str, value: &str) -> Self {
        self.request = self.request.header(key, value);
        self
    }

    pub(super) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(super) fn json(mut self, body: Value) -> Self {
        self.body = body.to_string().into();
        self
    }

    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) async fn send(self) -> Reply {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let request = self.request.body(Full::new(self.body)).unwrap();
        let answer = tokio::time::timeout(PATIENT, client.request(request))
            .await
            .unwrap()
            .unwrap();
        let (parts, body) = answer.into_parts();
        // A stream of events has no end.
        let endless = parts
            .headers
            .get("content-type")
            .is_some_and(|t| t == "text/event-stream");
        let body = match endless {
            true => Bytes::new(),
            false => tokio::time::timeout(PATIENT, body.collect())
                .await
                .unwrap()
                .unwrap()
                .to_bytes(),
        };
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, key: &str) -> &str {
        self.headers.get(key).map_or("", |v| v.to_str().unwrap())
    }

    /// Asserts that it is a problem with this status and code, and returns it.
    pub(super) fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert!(problem["detail"].as_str().unwrap().len() > 5, "{self:?}");
        problem
    }

    pub(super) fn names(&self) -> Vec<String> {
        let domains = self.json()["domains"].as_array().unwrap().clone();
        domains.iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect()
    }
}
