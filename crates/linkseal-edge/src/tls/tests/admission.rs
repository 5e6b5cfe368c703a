//! Which names are admitted, and what is noted about failures.

use super::*;

#[tokio::test(flavor = "local")]
async fn a_name_that_is_not_admitted_gets_unrecognized_name() {
    let edge = TestEdge::start(Options::default());
    edge.registry.set_loaded();
    let client = edge.client();
    assert_eq!(
        raw(edge.https, &client_hello(&client, Some(A))).await,
        UNRECOGNIZED_NAME
    );
    assert_eq!(edge.admission.asked(), 1);

    // Admission is not asked about names that cannot be served.
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

#[tokio::test(flavor = "local")]
async fn denied_and_retired_names_are_refused_like_unknown_ones() {
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

#[tokio::test(flavor = "local")]
async fn a_stored_certificate_is_served_whatever_admission_says() {
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

    // No certificate is stored, and admission cannot say whether there should be one.
    let unknown = client_hello(&client, Some("links.c.example"));
    assert_eq!(raw(edge.https, &unknown).await, INTERNAL_ERROR);
    edge.until_counted(HANDSHAKES, "admission_unreachable", 1.0).await;
}

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
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
    until(|| edge.cores.set().loads() == [0, 0]).await;
}

#[tokio::test(flavor = "local")]
async fn failures_are_noted_for_known_domains_only() {
    let mut edge = TestEdge::start(Options::default());
    edge.issued(A);
    // A client whose roots were fixed before B's certificate was made.
    let client = edge.client_with(&[&TLS13], DEFAULT_KX_GROUPS);
    let mut distrustful = client.clone();
    distrustful.alpn_protocols.clear();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(distrustful));
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
    // No certificate, and none is being issued.
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
