//! The CA driven from outside: by rustls-acme's low-level client, as the issuer does, and by raw
//! signed requests for what a client library never sends.

mod faults;
mod issuance;
mod protocol;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use linkseal_base::clock::Timestamp;
use linkseal_domain::cert::certificate::{Leaf, chain_from_pem};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::acme::{Account, AuthStatus, Directory, OrderStatus};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;

/// Far more than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A CA with a web server that every name leads to.
struct Lab {
    ca: DevCa,
    clock: Clock,
    tasks: Tasks,
    web: Web,
    tls: Arc<ClientConfig>,
}

impl Lab {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut DevCaConfig)) -> Self {
        let (clock, tasks) = (Clock::system(), Tasks::new());
        let web = Web::start(&tasks).await;
        let mut config = DevCaConfig::new(clock.clone());
        config.http_port = web.address.port();
        change(&mut config);
        let ca = DevCa::start(config, &tasks).await.unwrap();
        let tls = client_config(&ca);
        Self {
            ca,
            clock,
            tasks,
            web,
            tls,
        }
    }

    /// An account in rustls-acme's client; the web server answers its challenges.
    async fn library_account(&self) -> Account {
        let directory = Directory::discover(&self.tls, self.ca.directory_url()).await.unwrap();
        let key = Account::generate_key_pair();
        let account = Account::create_with_keypair(&self.tls, directory, &["mailto:ops@example.com"], &key)
            .await
            .unwrap();
        self.web.answer_for(thumbprint(account.key_pair.public_key().as_ref()));
        account
    }

    /// An account in the raw client; the web server answers its challenges.
    async fn raw_account(&self) -> Raw {
        let mut raw = Raw::new(self);
        let created = raw.new_account(json!({"termsOfServiceAgreed": true})).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
        self.web.answer_for(raw.thumbprint());
        raw
    }
}

fn client_config(ca: &DevCa) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Arc::new(
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(ca))
            .with_no_client_auth(),
    )
}

fn roots(ca: &DevCa) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(ca.root_der().clone()).unwrap();
    roots
}

/// Whether a client that trusts the CA's root accepts the chain for a name at a time.
fn accepts(ca: &DevCa, chain: &[CertificateDer<'_>], name: &str, at: Timestamp) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)), provider)
        .build()
        .unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs().try_into().unwrap()));
    let name = ServerName::try_from(name).unwrap();
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], at)
        .map(|_| ())
}

/// A CSR for names, as DER.
fn csr(names: &[&str]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .serialize_request(&rcgen::KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
}

fn jwk(point: &[u8]) -> Value {
    json!({"crv": "P-256", "kty": "EC", "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
}

fn thumbprint(point: &[u8]) -> String {
    B64.encode(aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        jwk(point).to_string().as_bytes(),
    ))
}

// --- the web server that names lead to -------------------------------------------------------------

/// Answers challenges statelessly, unless told to say something else for a name.
struct Web {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

#[derive(Default)]
struct Says {
    thumbprint: String,
    /// Whole responses by Host; `{token}` stands for the token.
    by_host: HashMap<String, String>,
    /// Hosts and paths that were asked for.
    asked: Vec<(String, String)>,
}

impl Web {
    async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, says) = (listener.local_addr().unwrap(), Arc::<Mutex<Says>>::default());
        let (shared, spawner) = (says.clone(), tasks.clone());
        tasks.spawn_until_stop(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                spawner.spawn_until_stop(serve(stream, shared.clone()));
            }
        });
        Self { address, says }
    }

    fn answer_for(&self, thumbprint: String) {
        self.says.lock().unwrap().thumbprint = thumbprint;
    }

    fn say(&self, host: &str, response: &str) {
        self.says.lock().unwrap().by_host.insert(host.into(), response.into());
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.says.lock().unwrap().asked.clone()
    }
}

async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut stream: S, says: Arc<Mutex<Says>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let host = head.lines().find_map(|l| l.strip_prefix("host: ")).unwrap().to_owned();
    let token = path.rsplit('/').next().unwrap().to_owned();
    let response = {
        let mut says = says.lock().unwrap();
        says.asked.push((host.clone(), path));
        match says.by_host.get(&host) {
            Some(said) => said
                .replace("{token}", &token)
                .replace("{thumbprint}", &says.thumbprint),
            None => ok(&format!("{token}.{}", says.thumbprint)),
        }
    };
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.shutdown().await.ok();
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

// --- raw signed requests ---------------------------------------------------------------------------

struct Raw {
    base: String,
    tls: Arc<ClientConfig>,
    key: EcdsaKeyPair,
    kid: Option<String>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map_or(String::new(), |v| v.to_str().unwrap().to_owned())
    }

    /// Checks that it is an ACME error of this type, with everything an error carries.
    #[track_caller]
    fn is_problem(&self, status: u16, kind: &str) -> String {
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
    fn new(lab: &Lab) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let base = lab.ca.directory_url().strip_suffix("/dir").unwrap().to_owned();
        Self {
            base,
            tls: lab.tls.clone(),
            key,
            kid: None,
        }
    }

    fn point(&self) -> &[u8] {
        self.key.public_key().as_ref()
    }

    fn thumbprint(&self) -> String {
        thumbprint(self.point())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn nonce(&self) -> String {
        let answer = self.send(Method::HEAD, &self.url("/new-nonce"), None).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("replay-nonce")
    }

    /// The header a well-behaved client sends.
    fn protected(&self, url: &str, nonce: &str) -> Value {
        match &self.kid {
            Some(kid) => json!({"alg": "ES256", "kid": kid, "nonce": nonce, "url": url}),
            None => json!({"alg": "ES256", "jwk": jwk(self.point()), "nonce": nonce, "url": url}),
        }
    }

    fn sign(&self, protected: &Value, payload: &str) -> Value {
        let (protected, payload) = (B64.encode(protected.to_string()), B64.encode(payload));
        let signature = self
            .key
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .unwrap();
        json!({"protected": protected, "payload": payload, "signature": B64.encode(signature)})
    }

    /// A request as it should be. An empty payload is POST-as-GET.
    async fn post(&self, url: &str, payload: &str) -> Answer {
        self.try_post(url, payload).await.unwrap()
    }

    /// The same, when the connection may break.
    async fn try_post(&self, url: &str, payload: &str) -> Result<Answer, String> {
        let jws = self.sign(&self.protected(url, &self.nonce().await), payload);
        self.try_send(Method::POST, url, Some(jws.to_string())).await
    }

    async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, None).await
    }

    async fn send(&self, method: Method, url: &str, body: Option<String>) -> Answer {
        self.try_send(method, url, body).await.unwrap()
    }

    async fn try_send(&self, method: Method, url: &str, body: Option<String>) -> Result<Answer, String> {
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

    async fn new_account(&mut self, payload: Value) -> Answer {
        self.kid = None;
        let answer = self.post(&self.url("/new-acct"), &payload.to_string()).await;
        if answer.status.is_success() {
            self.kid = Some(answer.header("location"));
        }
        answer
    }

    async fn new_order(&self, names: &[&str], more: Value) -> Answer {
        let identifiers: Vec<_> = names.iter().map(|n| json!({"type": "dns", "value": n})).collect();
        let mut payload = json!({ "identifiers": identifiers });
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.post(&self.url("/new-order"), &payload.to_string()).await
    }

    /// Has every challenge of an order validated; returns the authorizations.
    async fn validate(&self, ca: &DevCa, order: &Value) -> Vec<Value> {
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

    async fn finalize(&self, order: &Value, names: &[&str]) -> Answer {
        let payload = json!({"csr": B64.encode(csr(names))}).to_string();
        self.post(order["finalize"].as_str().unwrap(), &payload).await
    }

    /// From nothing to a chain.
    async fn issue(&self, ca: &DevCa, names: &[&str], more: Value) -> String {
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

fn leaf(chain_pem: &str) -> Leaf {
    Leaf::of(&chain_from_pem(chain_pem).unwrap()).unwrap()
}
