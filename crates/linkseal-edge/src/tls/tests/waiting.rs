//! Handshakes that wait for a certificate.

use super::*;

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn without_a_certificate_the_client_gets_internal_error() {
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

#[tokio::test(flavor = "local")]
async fn handshakes_of_one_network_that_wait_for_one_name_are_bounded() {
    let mut edge = TestEdge::start(Options::default());
    edge.register(A, |_| {});
    let hello = client_hello(&edge.client(), Some(A));
    let mut waiting = Vec::new();
    for _ in 0..crate::tls::waiting::OF_NETWORK_PER_NAME {
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

#[tokio::test(flavor = "local")]
async fn a_client_that_closes_ends_its_wait() {
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

#[tokio::test(flavor = "local")]
async fn an_expired_certificate_is_presented_only_if_no_other_comes() {
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
