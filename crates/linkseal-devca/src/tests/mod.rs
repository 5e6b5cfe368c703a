//! The CA driven from outside: by rustls-acme's low-level client, and by raw signed requests for what a
//! client library never sends.

mod faults;
mod issuance;
mod protocol;
mod raw;
mod web;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use http::{Method, StatusCode};
use linkseal_base::clock::Timestamp;
use linkseal_domain::cert::certificate::{Leaf, chain_from_pem};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use rustls_acme::acme::{Account, AuthStatus, Directory, OrderStatus};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::raw::Raw;
use self::web::{Web, ok, serve};
use super::*;

/// Longer than anything here takes: only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A CA, and a web server that answers for every name.
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
    roots.add(chain_from_pem(ca.root_pem()).unwrap().remove(0)).unwrap();
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

fn leaf(chain_pem: &str) -> Leaf {
    Leaf::of(&chain_from_pem(chain_pem).unwrap()).unwrap()
}
