//! The port: in use, flooded, with TLS, stopping.

use linkseal_domain::cert::certificate::Certificate;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn the_error_names_a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(&[address]).unwrap_err().to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("in use"),
        "{error}"
    );
}

#[tokio::test]
async fn connections_are_bounded_and_the_oldest_idle_one_is_closed() {
    let edge = Harness::start(vec![]).await;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(TcpStream::connect(edge.address).await.unwrap());
    }
    let mut answer = String::new();
    let mut more = TcpStream::connect(edge.address).await.unwrap();
    more.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let read = tokio::time::timeout(PATIENT, more.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Closed by FIN or reset; the last one is still open.
    let closed = tokio::time::timeout(PATIENT, open[0].read(&mut [0; 1])).await.unwrap();
    assert!(!matches!(closed, Ok(1..)));
    let last = open.last_mut().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(matches!(last.read(&mut [0; 12]).await, Ok(12)));
}

#[tokio::test]
async fn a_stop_closes_idle_connections() {
    let edge = Harness::start(vec![]).await;
    let mut idle = TcpStream::connect(edge.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 4096]).await.unwrap() > 0);
    edge.tasks.stop();
    assert!(edge.tasks.wait(PATIENT).await);
    let closed = tokio::time::timeout(PATIENT, idle.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    TcpStream::connect(edge.address).await.unwrap_err();
}

#[tokio::test]
async fn a_stop_answers_accepted_requests() {
    let edge = Harness::start(vec![]).await;
    let mut probe = TcpStream::connect(edge.address).await.unwrap();
    edge.tasks.stop();
    tokio::task::yield_now().await;
    probe
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let ended = tokio::time::timeout(PATIENT, probe.read_to_string(&mut answer));
    ended.await.expect("it ends").unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 ") && answer.contains("connection: close"),
        "{answer:?}"
    );
}

/// Requests over TLS, trusting this certificate.
async fn tls(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", address.port())).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(EDGE).unwrap(), stream).await?;
    let ask = format!(
        "GET /v1/domains HTTP/1.1\r\nhost: {EDGE}\r\nauthorization: Bearer {VIEWER}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = String::new();
    // rustls reports a missing close_notify only after the data was read.
    drop(stream.read_to_string(&mut answer).await);
    Ok(answer)
}

async fn tls_with_any_certificate(address: SocketAddr) -> String {
    let stream = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
    let connector = linkseal_net::unverified::connector().unwrap();
    let mut stream = connector
        .connect(ServerName::try_from(EDGE).unwrap(), stream)
        .await
        .unwrap();
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().unwrap()[0].clone();
    let (_, leaf) = x509_parser::parse_x509_certificate(&shown).unwrap();
    assert!(
        leaf.subject_alternative_name()
            .unwrap()
            .is_some_and(|san| format!("{san:?}").contains(EDGE))
    );
    let ask = format!(
        "GET /v1/domains HTTP/1.1\r\nhost: {EDGE}\r\nauthorization: Bearer {VIEWER}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer).await);
    answer
}

#[tokio::test]
async fn off_loopback_it_speaks_tls_with_the_edges_certificate() {
    let edge = Harness::start_at("0.0.0.0:0", three_tokens(), Issue::Off).await;
    let made = rcgen::generate_simple_self_signed([EDGE.to_owned()]).unwrap();
    let trusted = made.cert.der().clone();
    assert!(
        tls(edge.address, &trusted).await.is_err(),
        "there is no certificate yet, and our own is not to be trusted by that"
    );
    let answer = tls_with_any_certificate(edge.address).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "it can be reached: {answer}");
    let certificate = Certificate::new(&made.cert.pem(), &made.key_pair.serialize_der()).unwrap();
    edge.certificates.put(name(EDGE), Arc::new(certificate));
    let answer = tls(edge.address, &trusted).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // With admin.plain it speaks plain HTTP.
    let plain = Settings {
        plain: true,
        ..settings_with(three_tokens())
    };
    edge.admin.set_settings(plain);
    let local = SocketAddr::from(([127, 0, 0, 1], edge.address.port()));
    let mut stream = TcpStream::connect(local).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
