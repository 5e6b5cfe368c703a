//! Versions, protocols and names; clients that are slow or speak no TLS.

use super::*;

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn names_are_matched_in_any_case_and_with_a_trailing_dot() {
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

#[tokio::test(flavor = "local")]
async fn the_post_quantum_group_is_used_if_preferred_and_costs_no_retry_if_not() {
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

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn a_client_without_a_common_protocol_gets_an_alert() {
    let edge = TestEdge::start(Options::default());
    edge.issued(A);
    let mut client = edge.client_with(&[&TLS12], DEFAULT_KX_GROUPS);
    client.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    const NO_APPLICATION_PROTOCOL: u8 = 120;
    let answer = raw(edge.https, &client_hello(&client, Some(A))).await;
    assert_eq!((answer[0], answer[answer.len() - 1]), (0x15, NO_APPLICATION_PROTOCOL));
    edge.until_counted(HANDSHAKES, "handshake_failed", 1.0).await;
}

#[tokio::test(flavor = "local")]
async fn a_slow_client_is_closed_at_the_deadline() {
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
    // One that stops after the ClientHello gets the server's flight, then the close.
    assert_eq!(raw(edge.https, &hello).await[0], 0x16);
    edge.until_idle().await;
    edge.until_counted(HANDSHAKES, "handshake_timeout", 1.0).await;
}

#[tokio::test(flavor = "local")]
async fn a_client_that_speaks_no_tls_gets_an_answer() {
    let edge = TestEdge::start(Options::default());
    let answer = raw(edge.https, b"GET / HTTP/1.1\r\nHost: links.a.example\r\n\r\n").await;
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    assert_eq!(raw(edge.https, b"SSH-2.0-x\r\n").await[..3], [0x15, 3, 3]);
    edge.until_counted(HANDSHAKES, "hello_invalid", 2.0).await;
}

#[tokio::test(flavor = "local")]
async fn a_health_check_that_only_connects_is_not_counted_as_a_handshake() {
    let edge = TestEdge::start(Options::default());
    for _ in 0..3 {
        drop(TcpStream::connect(edge.https).await.unwrap());
    }
    edge.until_counted("linkseal_connections_total", "https", 3.0).await;
    edge.until_idle().await;
    assert_eq!(edge.metric(HANDSHAKES, ""), 0.0);
}

#[tokio::test(flavor = "local")]
async fn the_stand_in_serves_challenges_only_does_not_wait_and_is_not_resumed() {
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
    // The stand-in has expired: as without one.
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
