//! Single requests and the meaning of their answers.

use super::*;

#[tokio::test]
async fn requests_are_signed_with_every_secret() {
    let endpoint = Endpoint::start().await;
    let clock = Clock::system();
    let mut sink = sink(&endpoint.settings(), &clock);
    sink.deliver(&Lines::of(&[record(1), record(2)])).await.unwrap();
    let [got] = endpoint.got().try_into().ok().unwrap();
    let time = got.header("webhook-timestamp");
    assert!((clock.now().as_secs() - time.parse::<i64>().unwrap()).abs() < 60);
    let mut signed = format!("{}.{time}.", got.header("webhook-id")).into_bytes();
    signed.extend_from_slice(&got.body);
    let expected = SECRETS.map(|secret| {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        format!("v1,{}", BASE64.encode(hmac_sha256(&key, &signed)))
    });
    assert_eq!(got.header("webhook-signature"), expected.join(" "));
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.events().len(), 2);
}

#[tokio::test]
async fn only_2xx_is_success_and_a_retry_is_the_same_request() {
    let endpoint = Endpoint::start().await;
    let clock = Clock::system();
    let mut sink = sink(&endpoint.settings(), &clock);
    let location = format!("http://{}/elsewhere", endpoint.address);
    endpoint.answer(500, &[]);
    endpoint.answer(302, &[(http::header::LOCATION, &location)]);
    endpoint.answer(308, &[(http::header::LOCATION, &location)]);
    endpoint.answer(502, &[(RETRY_AFTER, "7")]);
    endpoint.answer(204, &[]);
    for _ in 0..4 {
        let error = sink.deliver(&Lines::of(&[record(1)])).await.unwrap_err();
        assert_eq!(error.retry, Retry::Later, "{}", error.cause);
        assert!(
            !error.cause.contains('\u{1b}') && !error.cause.contains("/hook"),
            "{}",
            error.cause
        );
        clock.advance(Duration::from_secs(60));
    }
    sink.deliver(&Lines::of(&[record(1)])).await.unwrap();
    let got = endpoint.got();
    assert_eq!(got.len(), 5, "no redirect was followed");
    let first = got.first().unwrap();
    for again in &got {
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
    }
    assert_ne!(got[4].header("webhook-timestamp"), first.header("webhook-timestamp"));
    assert_ne!(got[4].header("webhook-signature"), first.header("webhook-signature"));
}

#[tokio::test]
async fn an_endpoint_may_ask_for_a_pause_or_to_stop() {
    let endpoint = Endpoint::start().await;
    let clock = Clock::system();
    let mut sink = sink(&endpoint.settings(), &clock);
    let cases = [
        (429, "120", Retry::After(Duration::from_secs(120))),
        (503, "0", Retry::After(SHORTEST_PAUSE)),
        (503, "99999999", Retry::After(LONGEST_PAUSE)),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT", Retry::After(SHORTEST_PAUSE)),
        (503, "soon", Retry::Later),
        (500, "120", Retry::Later),
        (410, "120", Retry::Never),
    ];
    for (status, value, expected) in cases {
        endpoint.answer(status, &[(RETRY_AFTER, value)]);
        let error = sink.deliver(&Lines::of(&[record(1)])).await.unwrap_err();
        assert_eq!(error.retry, expected, "{status} {value}");
    }
}

#[tokio::test]
async fn what_a_rejection_means_for_another_attempt() {
    let endpoint = Endpoint::start().await;
    let mut sink = sink(&endpoint.settings(), &Clock::system());
    let cases = [
        (Retry::Rejected, [400, 411, 413, 414, 415, 422, 431, 451].as_slice()),
        (Retry::AllRejected, &[401, 402, 403, 404, 405, 407, 421, 426]),
        (Retry::Later, &[301, 302, 408, 409, 425, 429, 500, 501, 502, 503, 504]),
        (Retry::Never, &[410]),
    ];
    for (expected, statuses) in cases {
        for status in statuses {
            endpoint.answer(*status, &[]);
            let error = sink.deliver(&Lines::of(&[record(1)])).await.unwrap_err();
            assert_eq!(error.retry, expected, "{status}");
        }
    }
}

#[tokio::test]
async fn addresses_that_are_not_public_are_refused_by_name_and_by_number() {
    let endpoint = Endpoint::start().await;
    let port = endpoint.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.1.2.3",
        "169.254.169.254",
    ] {
        for scheme in ["http", "https"] {
            let mut settings = settings(format!("{scheme}://{host}:{port}/"));
            settings.allow_private = false;
            let error = sink(&settings, &Clock::system())
                .deliver(&Lines::of(&[record(1)]))
                .await
                .unwrap_err();
            assert!(error.cause.contains("allow_private"), "{host}: {}", error.cause);
        }
    }
    assert!(endpoint.got().is_empty());
}

#[tokio::test]
async fn accepted_parts_of_a_batch_are_not_sent_again() {
    let endpoint = Endpoint::start().await;
    let mut settings = endpoint.settings();
    settings.batch = 2;
    let mut sink = sink(&settings, &Clock::system());
    endpoint.answer(200, &[]);
    endpoint.answer(500, &[]);
    let batch = [record(1), record(2), record(3)];
    sink.deliver(&Lines::of(&batch)).await.unwrap_err();
    sink.deliver(&Lines::of(&batch)).await.unwrap();
    let sizes: Vec<_> = endpoint.got().iter().map(|g| g.events().len()).collect();
    assert_eq!(sizes, [2, 1, 1]);
}

#[tokio::test]
async fn certificates_are_verified() {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.key_pair.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = StopAtEnd(Tasks::new());
    tasks.0.spawn_until_stop(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(Full::new(Bytes::new())))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                .serve_connection(io, service)
                .await
                .ok();
        }
    });
    let mut settings = settings(format!("https://localhost:{port}/"));
    let error = sink(&settings, &Clock::system())
        .deliver(&Lines::of(&[record(1)]))
        .await
        .unwrap_err();
    assert!(error.cause.contains("UnknownIssuer"), "{}", error.cause);
    settings.trust = vec![own.cert.der().clone()];
    sink(&settings, &Clock::system())
        .deliver(&Lines::of(&[record(1)]))
        .await
        .unwrap();
    // A trusted certificate for another name.
    settings.url = format!("https://127.0.0.1:{port}/").parse().unwrap();
    sink(&settings, &Clock::system())
        .deliver(&Lines::of(&[record(1)]))
        .await
        .unwrap_err();
}
