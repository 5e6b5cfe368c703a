//! Raw signed requests, for what a client library never sends.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{B64, Lab, PATIENCE, csr, jwk, thumbprint};
use crate::DevCa;

pub(super) struct Raw {
    pub(super) base: String,
    tls: Arc<ClientConfig>,
    key: EcdsaKeyPair,
    pub(super) kid: Option<String>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map_or(String::new(), |v| v.to_str().unwrap().to_owned())
    }

    /// Checks that it is an ACME error of this type, with everything an error carries.
    #[track_caller]
    pub(super) fn is_problem(&self, status: u16, kind: &str) -> String {
        let json = self.json();
        assert_eq!(
            (self.status.as_u16(), json["type"].as_str().unwrap()),
            (status, &*format!("urn:ietf:params:acme:error:{kind}")),
            "{json}"
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert!(!self.header("replay-nonce").is_empty(), "errors carry a nonce too");
        json["detail"].as_str().unwrap().to_owned()
    }
}

impl Raw {
    pub(super) fn new(lab: &Lab) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let base = lab.ca.directory_url().strip_suffix("/dir").unwrap().to_owned();
        Self {
            base,
            tls: lab.tls.clone(),
            key,
            kid: None,
        }
    }

    pub(super) fn point(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    pub(super) fn thumbprint(&self) -> String {
        thumbprint(self.point())
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) async fn nonce(&self) -> String {
        let answer = self.send(Method::HEAD, &self.url("/new-nonce"), None).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("replay-nonce")
    }

    /// The protected header of a correct client.
    pub(super) fn protected(&self, url: &str, nonce: &str) -> Value {
        match &self.kid {
            Some(kid) => json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": url}),
            None => json!({"alg": "ES256", "jwk": jwk(self.point()), "nonce": nonce, "url": url}),
        }
    }

    pub(super) fn sign(&self, protected: &Value, payload: &str) -> Value {
        let (protected, payload) = (B64.encode(protected.to_string()), B64.encode(payload));
        let signature = self
            .key
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .unwrap();
        json!({"protected": protected, "payload": payload, "signature": B64.encode(signature)})
    }

    /// A correct request. An empty payload is POST-as-GET.
    pub(super) async fn post(&self, url: &str, payload: &str) -> Answer {
        self.try_post(url, payload).await.unwrap()
    }

    /// The same, when the connection may break.
    pub(super) async fn try_post(&self, url: &str, payload: &str) -> Result<Answer, String> {
        let jws = self.sign(&self.protected(url, &self.nonce().await), payload);
        self.try_send(Method::POST, url, Some(jws.to_string())).await
    }

    pub(super) async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, None).await
    }

    pub(super) async fn send(&self, method: Method, url: &str, body: Option<String>) -> Answer {
        self.try_send(method, url, body).await.unwrap()
    }

    pub(super) async fn try_send(&self, method: Method, url: &str, body: Option<String>) -> Result<Answer, String> {
        let exchange = async {
            let uri: Uri = url.parse().unwrap();
            let stream = TcpStream::connect(uri.authority().unwrap().as_str())
                .await
                .map_err(|e| e.to_string())?;
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let stream = TlsConnector::from(self.tls.clone())
                .connect(name, stream)
                .await
                .map_err(|e| e.to_string())?;
            let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|e| e.to_string())?;
            tokio::join!(request(sender, method, uri, body), connection).0
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }

    pub(super) async fn new_account(&mut self, payload: Value) -> Answer {
        self.kid = None;
        let answer = self.post(&self.url("/new-acct"), &payload.to_string()).await;
        if answer.status.is_success() {
            self.kid = Some(answer.header("location"));
        }
        answer
    }

    pub(super) async fn new_order(&self, names: &[&str], more: Value) -> Answer {
        let identifiers: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
        let mut payload = json!({ "identifiers": identifiers });
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.post(&self.url("/new-order"), &payload.to_string()).await
    }

    /// Has every challenge of an order validated; returns the authorizations.
    pub(super) async fn validate(&self, ca: &DevCa, order: &Value) -> Vec<Value> {
        let mut authorizations = Vec::new();
        for url in order["authorizations"].as_array().unwrap() {
            let url = url.as_str().unwrap();
            let authorization = self.post(url, "").await.json();
            let challenge = authorization["challenges"][0]["url"].as_str().unwrap();
            self.post(challenge, "{}").await;
            let id = url.rsplit('/').next().unwrap();
            let decided = ca.until(|ca| {
                let state = ca.core.state();
                state.authorizations[id].status(ca.core.clock.now()) != "pending"
            });
            tokio::time::timeout(PATIENCE, decided).await.unwrap();
            authorizations.push(self.post(url, "").await.json());
        }
        authorizations
    }

    pub(super) async fn finalize(&self, order: &Value, names: &[&str]) -> Answer {
        let payload = json!({"csr": B64.encode(csr(names))}).to_string();
        self.post(order["finalize"].as_str().unwrap(), &payload).await
    }

    /// Orders, validates and finalizes; returns the chain.
    pub(super) async fn issue(&self, ca: &DevCa, names: &[&str], more: Value) -> String {
        let created = self.new_order(names, more).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
        self.validate(ca, &created.json()).await;
        let order = self.finalize(&created.json(), names).await.json();
        assert_eq!(order["status"], "valid", "{order}");
        self.post(order["certificate"].as_str().unwrap(), "").await.text()
    }
}

async fn request(
    mut sender: SendRequest<Full<Bytes>>,
    method: Method,
    uri: Uri,
    body: Option<String>,
) -> Result<Answer, String> {
    let request = Request::builder()
        .method(method)
        .uri(uri.path())
        .header("host", uri.authority().unwrap().as_str())
        .header("content-type", "application/jose+json")
        .body(Full::from(body.unwrap_or_default()))
        .unwrap();
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}
