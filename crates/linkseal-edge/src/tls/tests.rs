//! Handshakes with real clients over real sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linkseal_domain::admission::Admitted;
use linkseal_domain::cert::cache::CertificateAnswer;
use linkseal_domain::record::DomainRecord;
use linkseal_domain::ssl::Reason;
use rustls::crypto::aws_lc_rs::{DEFAULT_KX_GROUPS, kx_group};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::alert::{INTERNAL_ERROR, UNRECOGNIZED_NAME};
use crate::testing::{EDGE, Options, PATIENT, TestEdge, certificate_info, client_hello, name, raw, until};

const HANDSHAKES: &str = "linkseal_tls_handshakes_total";
const A: &str = "links.a.example";
const B: &str = "links.b.example";
/// For waits that are to run out.
const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_certificate_in_memory_is_served_in_every_version_and_protocol() {
    let mut edge = TestEdge::start(Options::default());
    edge.issued(A);
    for (version, label) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let offers = [
            (vec!["h2", "http/1.1"], true),
            (vec!["http/1.1"], false),
            (vec!["acme-tls/1", "h2"], true),
            (vec![], false),
        ];
        for (offered, h2) in offers {
            let mut client = edge.client_with(&[version], DEFAULT_KX_GROUPS);
            client.alpn_protocols = offered.iter().map(|p: &&str| p.as_bytes().to_vec()).collect();
            let io = edge.connect(A, &Arc::new(client)).await;
            let connection = edge.arrival().await;
            assert_eq!(
                (connection.client, connection.local),
                (io.get_ref().0.local_addr().unwrap(), edge.https)
            );
            let tls = connection.tls.unwrap();
            assert_eq!(
                (tls.version, tls.h2, tls.challenges_only),
                (label, h2, false),
                "{offered:?}"
            );
            assert_eq!((tls.name, tls.entry.name.as_str()), (Some(name(A)), A));
        }
        edge.until_counted(HANDSHAKES, label, 4.0).await;
    }
    assert_eq!((edge.metric(HANDSHAKES, "ok"), edge.admission.asked()), (8.0, 0));
}

#[tokio::test]
async fn a_name_is_known_in_any_case_and_with_a_trailing_dot() {
    let mut edge = TestEdge::start(Options::default());
    edge.issued(A);
    let mut hello = client_hello(&edge.client(), Some("links.a.examplex"));
    let at = hello.windows(16).position(|w| w == b"links.a.examplex").unwrap();
    hello[at..at + 16].copy_from_slice(b"LINKS.a.Example.");
    let mut socket = TcpStream::connect(edge.https).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), 0x16, "a ServerHello");
    let client = Arc::new(edge.client());
    edge.connect("LINKS.A.example", &client).await;
    assert_eq!(edge.arrival().await.tls.unwrap().name, Some(name(A)));
}

#[tokio::test]
async fn the_post_quantum_group_is_taken_when_preferred_and_costs_no_retry_when_not() {
    let edge = TestEdge::start(Options::default());
    edge.issued(A);
    for (offered, chosen) in [
        (
            &[kx_group::X25519MLKEM768, kx_group::X25519][..],
            NamedGroup::X25519MLKEM768,
        ),
        (&[kx_group::X25519, kx_group::X25519MLKEM768], NamedGroup::X25519),
        (&[kx_group::SECP256R1], NamedGroup::secp256r1),
    ] {
        let client = edge.client_with(&[&TLS13], offered);
        let io = edge.connect(A, &Arc::new(client)).await;
        let session = io.get_ref().1;
        assert_eq!(session.negotiated_key_exchange_group().map(|g| g.name()), Some(chosen));
        assert_eq!(
            session.handshake_kind(),
            Some(HandshakeKind::Full),
            "no HelloRetryRequest"
        );
    }
}

#[tokio::test]
async fn without_sni_the_edges_own_certificate_is_served() {
    let mut edge = TestEdge::start(Options::default());
    edge.issued(EDGE);
    edge.issued(A);
    let mut client = edge.client();
    client.enable_sni = false;
    edge.connect(EDGE, &Arc::new(client)).await;
    let tls = edge.arrival().await.tls.unwrap();
    assert_eq!((tls.name, tls.entry.name.as_str()), (None, EDGE));
}

#[tokio::test]
async fn a_handshake_waits_for_the_certificate_and_the_next_does_not() {
    let mut edge = TestEdge::start(Options::default());
    edge.register(A, |_| {});
    let (first, second) = (edge.certificate(A), edge.certificate(A));
    let client = Arc::new(edge.client());
    let admission = edge.admission.clone();
    let (https, waiter) = (edge.https, client.clone());
    let waiting = edge.tasks.spawn(async move {
        let connector = tokio_rustls::TlsConnector::from(waiter);
        let socket = TcpStream::connect(https).await.unwrap();
        connector
            .connect(ServerName::try_from(A).unwrap(), socket)
            .await
            .unwrap()
    });
    let request = edge.request().await;
    assert_eq!(
        (request.name, edge.connections.acceptor().names_waited_for()),
        (name(A), 1)
    );
    assert!(!waiting.is_finished());
    request.reply.send(CertificateAnswer::Ready(first)).unwrap();
    waiting.await.unwrap();
    assert_eq!(edge.arrival().await.tls.unwrap().name, Some(name(A)));
    edge.certificates.put(name(A), second);
    edge.connect(A, &client).await;
    assert!(edge.requests.try_recv().is_err());
    assert_eq!(
        (edge.connections.acceptor().names_waited_for(), admission.asked()),
        (0, 0)
    );
}

#[tokio::test]
async fn when_no_certificate_comes_the_client_is_told_internal_error() {
    let mut edge = TestEdge::start(Options {
        handshake_wait: SHORT,
        ..Options::default()
    });
    edge.register(A, |_| {});
    let hello = client_hello(&edge.client(), Some(A));
    assert_eq!(raw(edge.https, &hello).await, INTERNAL_ERROR);
    edge.until_counted(HANDSHAKES, "certificate_timeout", 1.0).await;
    assert!(
        edge.request().await.reply.is_closed(),
        "the control plane sees that no handshake waits"
    );

    let mut edge = TestEdge::start(Options::default());
    edge.register(A, |_| {});
    for (answer, label) in [
        (CertificateAnswer::None, "no_certificate"),
        (CertificateAnswer::Busy, "busy"),
    ] {
        let (https, hello) = (edge.https, hello.clone());
        let told = edge.tasks.spawn(async move { raw(https, &hello).await });
        edge.request().await.reply.send(answer).unwrap();
        assert_eq!(told.await.unwrap(), INTERNAL_ERROR);
        edge.until_counted(HANDSHAKES, label, 1.0).await;
    }
    assert_eq!(edge.connections.acceptor().names_waited_for(), 0);
}

#[tokio::test]
async fn only_so_many_of_one_network_wait_for_one_name() {
    let mut edge = TestEdge::start(Options::default());
    edge.register(A, |_| {});
    let hello = client_hello(&edge.client(), Some(A));
    let mut waiting = Vec::new();
    for _ in 0..super::waiting::OF_NETWORK_PER_NAME {
        let mut socket = TcpStream::connect(edge.https).await.unwrap();
        socket.write_all(&hello).await.unwrap();
        waiting.push((socket, edge.request().await));
    }
    assert_eq!(raw(edge.https, &hello).await, INTERNAL_ERROR);
    edge.until_counted(HANDSHAKES, "busy", 1.0).await;
    assert!(edge.requests.try_recv().is_err());
    drop(waiting);
    edge.until_idle().await;
    assert_eq!(edge.connections.acceptor().names_waited_for(), 0);
}

#[tokio::test]
async fn a_client_that_speaks_no_http_is_told_so() {
    let edge = TestEdge::start(Options::default());
    edge.issued(A);
    let mut client = edge.client_with(&[&TLS12], DEFAULT_KX_GROUPS);
    client.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let answer = raw(edge.https, &client_hello(&client, Some(A))).await;
    assert_eq!((answer[0], answer[answer.len() - 1]), (0x15, NO_APPLICATION_PROTOCOL));
    edge.until_counted(HANDSHAKES, "handshake_failed", 1.0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_waited_for() {
    let mut edge = TestEdge::start(Options::default());
    edge.register(A, |_| {});
    let hello = client_hello(&edge.client(), Some(A));
    let mut socket = TcpStream::connect(edge.https).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    let mut request = edge.request().await;
    assert!(!request.reply.is_closed());
    drop(socket);
    request.reply.closed().await;
    edge.until_idle().await;
    edge.until_counted(HANDSHAKES, "client_gone", 1.0).await;
    assert_eq!(edge.connections.acceptor().names_waited_for(), 0);
}

#[tokio::test]
async fn a_name_that_is_not_admitted_gets_the_seven_bytes() {
    let edge = TestEdge::start(Options::default());
    edge.registry.set_loaded();
    let client = edge.client();
    assert_eq!(
        raw(edge.https, &client_hello(&client, Some(A))).await,
        UNRECOGNIZED_NAME
    );
    assert_eq!(edge.admission.asked(), 1);

    // Names that cannot be served are not asked about.
    let hello = client_hello(&client, Some("aaa.bbb.ccc.d"));
    let at = hello.windows(13).position(|w| w == b"aaa.bbb.ccc.d").unwrap();
    for bad in [
        b"127.100.200.1",
        b"aaa_bbb_ccc_d",
        b"aaa..bb.ccc.d",
        b"aaa.bbb.ccc.1",
        b"localhosthost",
        b"*.bbb.ccc.ddd",
    ] {
        let mut hello = hello.clone();
        hello[at..at + 13].copy_from_slice(bad);
        assert_eq!(
            raw(edge.https, &hello).await,
            UNRECOGNIZED_NAME,
            "{}",
            bad.escape_ascii()
        );
    }
    assert_eq!(edge.admission.asked(), 1);
    edge.until_counted(HANDSHAKES, "unrecognized_name", 7.0).await;
}

#[tokio::test]
async fn what_is_known_but_not_wanted_is_refused_like_what_is_unknown() {
    let mut edge = TestEdge::start(Options::default());
    edge.register(A, |record| record.ssl.reason = Reason::Denied);
    edge.register(B, |record| record.retired = Some(record.created));
    let client = edge.client();
    assert_eq!(
        raw(edge.https, &client_hello(&client, Some(A))).await,
        UNRECOGNIZED_NAME
    );
    assert_eq!(
        raw(edge.https, &client_hello(&client, Some(B))).await,
        UNRECOGNIZED_NAME
    );
    assert_eq!(
        edge.admission.asked(),
        1,
        "a denied name may be allowed by now; a retired one comes back by the API only"
    );
    assert!(edge.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_certificate_held_is_served_whatever_admission_says() {
    let mut edge = TestEdge::start(Options::default());
    let (held, loadable) = (edge.certificate(A), edge.certificate(B));
    let retired_and_denied = |certificate: &_| {
        let info = certificate_info(certificate);
        move |record: &mut DomainRecord| {
            record.ssl.certificate = Some(info);
            record.ssl.reason = Reason::Denied;
            record.retired = Some(record.created);
        }
    };
    edge.register(A, retired_and_denied(&held));
    edge.register(B, retired_and_denied(&loadable));
    edge.certificates.put(name(A), held);
    edge.admission.answers(Admitted::Unreachable);
    let client = Arc::new(edge.client());
    edge.connect(A, &client).await;
    let (https, hello) = (edge.https, client_hello(&client, Some(B)));
    let told = edge.tasks.spawn(async move {
        let mut socket = TcpStream::connect(https).await.unwrap();
        socket.write_all(&hello).await.unwrap();
        socket.read_u8().await.unwrap()
    });
    edge.request()
        .await
        .reply
        .send(CertificateAnswer::Ready(loadable))
        .unwrap();
    assert_eq!((told.await.unwrap(), edge.admission.asked()), (0x16, 0));

    // Nothing is held, and no one can say whether anything should be.
    let unknown = client_hello(&client, Some("links.c.example"));
    assert_eq!(raw(edge.https, &unknown).await, INTERNAL_ERROR);
    edge.until_counted(HANDSHAKES, "admission_unreachable", 1.0).await;
}

#[tokio::test]
async fn a_name_admitted_now_gets_its_certificate() {
    let mut edge = TestEdge::start(Options::default());
    let certificate = edge.certificate(A);
    let record = DomainRecord::new(name(A), None, linkseal_domain::record::Origin::Asked, edge.clock.now());
    edge.admission
        .answers(Admitted::Yes(Arc::new(linkseal_domain::registry::Entry::of(&record))));
    let hello = client_hello(&edge.client(), Some(A));
    let mut socket = TcpStream::connect(edge.https).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    edge.request()
        .await
        .reply
        .send(CertificateAnswer::Ready(certificate))
        .unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), 0x16, "a ServerHello");
}

#[tokio::test]
async fn an_expired_certificate_is_presented_only_where_no_other_comes() {
    let mut edge = TestEdge::start(Options::default());
    edge.issued(A);
    edge.clock.advance(Duration::from_secs(3000 * 365 * 86_400));
    let hello = client_hello(&edge.client(), Some(A));
    let mut socket = TcpStream::connect(edge.https).await.unwrap();
    socket.write_all(&hello).await.unwrap();
    let request = edge.request().await;
    assert_eq!(request.name, name(A));
    request.reply.send(CertificateAnswer::None).unwrap();
    assert_eq!(
        socket.read_u8().await.unwrap(),
        0x16,
        "a ServerHello: the client judges"
    );
}

#[tokio::test]
async fn a_dawdling_client_is_closed_at_the_deadline() {
    let edge = TestEdge::start(Options {
        handshake_timeout: SHORT,
        ..Options::default()
    });
    edge.issued(A);
    let hello = client_hello(&edge.client(), Some(A));
    let started = Instant::now();
    assert!(raw(edge.https, &[]).await.is_empty());
    assert!(raw(edge.https, &hello[..hello.len() / 2]).await.is_empty());
    assert!(started.elapsed() >= 2 * SHORT);
    edge.until_counted(HANDSHAKES, "hello_timeout", 2.0).await;
    // One that stops after the ClientHello gets what a server says, and then the end.
    assert_eq!(raw(edge.https, &hello).await[0], 0x16);
    edge.until_idle().await;
    edge.until_counted(HANDSHAKES, "handshake_timeout", 1.0).await;
}

#[tokio::test]
async fn what_is_no_tls_is_told_so() {
    let edge = TestEdge::start(Options::default());
    let answer = raw(edge.https, b"GET / HTTP/1.1\r\nHost: links.a.example\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    assert_eq!(raw(edge.https, b"SSH-2.0-x\r\n").await[..3], [0x15, 3, 3]);
    edge.until_counted(HANDSHAKES, "hello_invalid", 2.0).await;
}

#[tokio::test]
async fn a_health_check_that_only_connects_is_no_handshake() {
    let edge = TestEdge::start(Options::default());
    for _ in 0..3 {
        drop(TcpStream::connect(edge.https).await.unwrap());
    }
    edge.until_counted("linkseal_connections_total", "https", 3.0).await;
    edge.until_idle().await;
    assert_eq!(edge.metric(HANDSHAKES, ""), 0.0);
}

#[tokio::test]
async fn a_flood_of_random_names_leaves_nothing_behind() {
    let mut edge = TestEdge::start(Options::default());
    edge.registry.set_loaded();
    let client = edge.client();
    for i in 0..500 {
        let sni = format!(
            "{i}-{:016x}.example",
            u64::from_be_bytes(linkseal_base::random::bytes())
        );
        assert_eq!(
            raw(edge.https, &client_hello(&client, Some(&sni))).await,
            UNRECOGNIZED_NAME
        );
    }
    edge.until_idle().await;
    assert!(edge.registry.is_empty() && edge.certificates.is_empty());
    assert!(edge.requests.try_recv().is_err(), "no order, no query");
    assert_eq!(
        (edge.connections.acceptor().names_waited_for(), edge.limits.addresses()),
        (0, 0)
    );
    until(|| edge.tasks.len() == 2).await; // The two listeners.
}

#[tokio::test]
async fn the_stand_in_serves_challenges_only_waits_for_nothing_and_is_not_resumed() {
    let mut edge = TestEdge::start(Options::default());
    let hour = Duration::from_secs(3600);
    let until = edge.clock.now() + hour;
    edge.register(A, |record| record.ssl.facts.stand_in_until = Some(until));
    let any = linkseal_net::unverified::connector().unwrap();
    let connect = async || {
        let socket = TcpStream::connect(edge.https).await.unwrap();
        any.connect(ServerName::try_from(A).unwrap(), socket).await
    };
    for _ in 0..2 {
        let io = connect().await.unwrap();
        let session = io.get_ref().1;
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(session.alpn_protocol(), None);
    }
    assert!(edge.requests.try_recv().is_err(), "no certificate is asked for");
    // Its time is over: as without it.
    edge.clock.advance(hour);
    let pending = connect();
    tokio::pin!(pending);
    assert!(futures_util::poll!(&mut pending).is_pending());
    let request = tokio::select! {
        request = edge.requests.recv() => request.unwrap(),
        _ = &mut pending => panic!("a session without a certificate"),
    };
    request
        .reply
        .send(CertificateAnswer::Ready(edge.certificate(A)))
        .unwrap();
    pending.await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let connection = tokio::time::timeout(PATIENT, edge.arrivals.recv()).await.unwrap();
        seen.push(connection.unwrap().tls.unwrap().challenges_only);
    }
    assert_eq!(seen, [true, true, false]);
}

#[tokio::test]
async fn failures_are_noted_for_known_domains_only() {
    let mut edge = TestEdge::start(Options::default());
    edge.issued(A);
    // A client that trusts no one.
    let client = edge.client_with(&[&TLS13], DEFAULT_KX_GROUPS);
    let mut nobody = client.clone();
    nobody.alpn_protocols.clear();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(nobody));
    edge.issued(B);
    let to = |name: &'static str| ServerName::try_from(name).unwrap();
    let socket = async || TcpStream::connect(edge.https).await.unwrap();
    connector.connect(to(A), socket().await).await.expect("trusted");
    connector.connect(to(B), socket().await).await.expect_err("made later");
    connector
        .connect(to("links.unknown.example"), socket().await)
        .await
        .expect_err("refused");
    until(|| edge.failures.of(&name(B)).is_some()).await;
    let failures = edge.failures.of(&name(B)).unwrap();
    assert_eq!(failures.count, 1);
    assert!(failures.error.starts_with("received fatal alert"), "{}", failures.error);
    assert_eq!(edge.failures.of(&name(A)), None);
    assert_eq!(edge.failures.of(&name("links.unknown.example")), None);
    // No certificate, and none on its way.
    edge.register("links.none.example", |_| {});
    let (hello, https) = (client_hello(&client, Some("links.none.example")), edge.https);
    let refused = edge.tasks.spawn(async move { raw(https, &hello).await });
    edge.request().await.reply.send(CertificateAnswer::None).unwrap();
    assert_eq!(refused.await.unwrap(), INTERNAL_ERROR);
    let failures = edge.failures.of(&name("links.none.example")).unwrap();
    assert!(
        failures.error.starts_with("there is no certificate"),
        "{}",
        failures.error
    );
}
