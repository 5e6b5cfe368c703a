//! Certificates, and whom the store does not talk to.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use linkseal_peers::postgres::{Database, Key, Options, Server, Tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use secrecy::SecretString;

use super::{Host, PostgresStore, Settings, settings, value};
use crate::{Store, StoreError};

async fn server(key: Key, names: &'static [&'static str]) -> Server {
    let options = Options {
        tls: Some(Tls { key, names }),
        ..Options::default()
    };
    Server::start(options).await
}

/// The part of the URL of a database after a word.
fn of_url<'a>(url: &'a str, after: &str, before: char) -> &'a str {
    let (_, rest) = url.split_once(after).unwrap();
    rest.split(before).next().unwrap()
}

/// What its URL says, for a server at this address that must have a certificate of this URL's CA.
fn verifying(database: &Database, address: SocketAddr, url: &str) -> Settings {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let pem = fs::read(of_url(url, "sslrootcert=", '&')).unwrap();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let url = database.url();
    let password = url.contains("sslrootcert").then(|| of_url(&url, "linkseal:", '@'));
    Settings {
        password: password.map(SecretString::from),
        tls: Some(Arc::new(tls)),
        ..settings(database, &[address])
    }
}

async fn refused(settings: &Settings) -> String {
    match PostgresStore::open(settings, None).await.map(drop) {
        Err(StoreError::Unavailable(why)) => why,
        answer => panic!("{answer:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_either_curve_is_verified_and_bound_to_the_password() {
    for key in [Key::P256, Key::P384] {
        let server = server(key, &["127.0.0.1"]).await;
        let database = server.database().await;
        let settings = verifying(&database, server.address(), &database.url());
        let store = PostgresStore::open(&settings, None).await.unwrap();
        store.probe().await.unwrap();
        let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
            WHERE application_name = 'linkseal edge-1'";
        assert_eq!(value(&database, encrypted).await, "t");

        let wrong = Settings {
            password: Some(SecretString::from("wrong")),
            ..settings
        };
        let why = refused(&wrong).await;
        assert!(why.contains("28P01"), "{why}");
        assert!(!why.contains("wrong"), "{why}");
    }
}

#[tokio::test]
async fn a_server_with_another_name_or_ca_or_in_the_clear_is_refused() {
    let server = server(Key::P256, &["db.example"]).await;
    let database = server.database().await;
    let why = refused(&verifying(&database, server.address(), &database.url())).await;
    assert!(why.contains("certificate") && why.contains("name"), "{why}");
    // By its name it is the right one, which shows that the rest was.
    let by_name = verifying(&database, server.address(), &database.url());
    let other = self::server(Key::P256, &["127.0.0.1"]).await;
    let of_other = other.database().await;
    let why = refused(&verifying(&of_other, other.address(), &database.url())).await;
    assert!(why.contains("certificate"), "{why}");

    let clear = Server::shared().await;
    let in_clear = clear.database().await;
    let settings = Settings {
        tls: by_name.tls,
        ..settings(&in_clear, &[clear.address()])
    };
    let why = refused(&settings).await;
    assert!(why.contains("TLS"), "{why}");
    // And one that speaks TLS only to a store that does not.
    let bare = Settings {
        tls: None,
        ..verifying(&of_other, other.address(), &of_other.url())
    };
    refused(&bare).await;
    assert_eq!(
        bare.hosts,
        [Host {
            name: "127.0.0.1".into(),
            port: other.address().port()
        }]
    );
}
