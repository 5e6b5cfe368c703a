//! Back ends behind TLS, and those that speak HTTP/2.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// Requests received: version, authority or Host, path.
type Seen = Arc<Mutex<Vec<(http::Version, String, String)>>>;

/// TLS with a self-signed certificate for a name.
fn certified(name: &str) -> (rustls::ServerConfig, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (config, made.cert.der().clone())
}

/// A back end on hyper. `tls`: the name in its certificate, and its ALPN.
async fn back_end(tls: Option<(&str, &[u8])>) -> (SocketAddr, Seen, Vec<CertificateDer<'static>>, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, connections) = (Seen::default(), Arc::new(AtomicU32::new(0)));
    let mut trust = Vec::new();
    let acceptor = tls.map(|(name, alpn)| {
        let (mut config, certificate) = certified(name);
        trust.push(certificate);
        config.alpn_protocols = vec![alpn.to_vec()];
        (tokio_rustls::TlsAcceptor::from(Arc::new(config)), alpn == b"h2")
    });
    let (all, count) = (Arc::clone(&seen), Arc::clone(&connections));
    Tasks::new().spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let (all, acceptor) = (Arc::clone(&all), acceptor.clone());
            Tasks::new().spawn(async move {
                match acceptor {
                    Some((acceptor, h2)) => {
                        let Ok(io) = acceptor.accept(socket).await else { return };
                        speak(io, h2, all).await;
                    }
                    None => speak(socket, true, all).await,
                }
            });
        }
    });
    (address, seen, trust, connections)
}

async fn speak<IO>(io: IO, h2: bool, all: Seen)
where
    IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let all = Arc::clone(&all);
        async move {
            let host = request.headers().get(HOST).map(|h| h.to_str().unwrap().to_owned());
            let host = host.unwrap_or_else(|| request.uri().authority().unwrap().to_string());
            let path = request.uri().path_and_query().unwrap().to_string();
            all.lock().unwrap().push((request.version(), host, path));
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(http::Response::new(Full::new(body)))
        }
    });
    if h2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
    }
}

#[tokio::test(flavor = "local")]
async fn alpn_chooses_and_the_authority_is_the_clients() {
    for (alpn, version) in [
        (&b"h2"[..], http::Version::HTTP_2),
        (b"http/1.1", http::Version::HTTP_11),
    ] {
        let (address, seen, trust, connections) = back_end(Some(("localhost", alpn))).await;
        let mut rule = rule("/", &format!("https://localhost:{}", address.port()));
        rule.origin.trust = trust;
        let edge = edge(rule);
        for via in BOTH {
            let got = edge.send(via, CUSTOMER, Request::post("/a%2Fb//?c=%zz"), "body").await;
            assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"body"[..]));
        }
        let line = (version, CUSTOMER.to_owned(), "/a%2Fb//?c=%zz".to_owned());
        assert_eq!(*seen.lock().unwrap(), [line.clone(), line]);
        assert_eq!(connections.load(Ordering::Relaxed), 1, "one connection for both");
    }
}

#[tokio::test(flavor = "local")]
async fn http2_without_tls_where_it_is_known() {
    let (address, seen, _, connections) = back_end(None).await;
    let mut rule = rule("/", &format!("http://{address}"));
    rule.origin.http2 = Http2::PriorKnowledge;
    let edge = edge(rule);
    let asked = (0..20).map(|_| edge.get(BOTH[1], CUSTOMER, "/x"));
    for got in futures_util::future::join_all(asked).await {
        assert_eq!(got.status, StatusCode::OK);
    }
    assert_eq!(seen.lock().unwrap().len(), 20);
    assert_eq!(seen.lock().unwrap()[0].0, http::Version::HTTP_2);
    let after = connections.load(Ordering::Relaxed);
    edge.get(BOTH[1], CUSTOMER, "/x").await;
    assert_eq!(connections.load(Ordering::Relaxed), after);
}

#[tokio::test(flavor = "local")]
async fn an_untrusted_or_wrong_certificate_is_refused() {
    let (address, seen, trust, _) = back_end(Some(("localhost", b"http/1.1"))).await;
    let (other, other_seen, other_trust, _) = back_end(Some(("other.example", b"http/1.1"))).await;
    let to = |address: SocketAddr| format!("https://localhost:{}", address.port());
    for (address, trust) in [
        // The public roots.
        (address, Vec::new()),
        // Another CA.
        (address, other_trust.clone()),
        // A certificate for another name.
        (other, other_trust),
    ] {
        let mut rule = rule("/", &to(address));
        rule.origin.trust = trust;
        let (edge, registry) = edge_with(vec![rule]);
        assert_eq!(edge.get(BOTH[0], CUSTOMER, "/x").await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(counted(&registry, "unreachable"), 1);
    }
    assert!(seen.lock().unwrap().is_empty() && other_seen.lock().unwrap().is_empty());
    let mut rule = rule("/", &to(address));
    rule.origin.trust = trust;
    assert_eq!(edge(rule).get(BOTH[0], CUSTOMER, "/x").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "local")]
async fn a_back_end_that_stops_speaking_http2_gets_parallel_connections_again() {
    const TOGETHER: usize = 3;
    let (config, certificate) = certified("localhost");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rule = rule(
        "/",
        &format!("https://localhost:{}", listener.local_addr().unwrap().port()),
    );
    rule.origin.trust = vec![certificate];
    let (seen, over) = (Seen::default(), [(); 2].map(|()| CancellationToken::new()));
    let (all, ends) = (Arc::clone(&seen), over.clone());
    Tasks::new().spawn(async move {
        // All but the first two connections are made together.
        let together = Arc::new(tokio::sync::Barrier::new(TOGETHER));
        for number in 0usize.. {
            let Ok((socket, _)) = listener.accept().await else {
                return;
            };
            let (mut config, h2) = (config.clone(), number == 0);
            config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let (all, together, ends) = (Arc::clone(&all), Arc::clone(&together), ends.get(number).cloned());
            Tasks::new().spawn(async move {
                if ends.is_none() {
                    together.wait().await;
                }
                let Ok(io) = acceptor.accept(socket).await else { return };
                tokio::select! {
                    () = speak(io, h2, all) => {}
                    () = ends.unwrap_or_default().cancelled_owned() => {}
                }
            });
        }
    });
    let edge = edge(rule);
    let versions = || {
        seen.lock()
            .unwrap()
            .iter()
            .map(|(version, ..)| *version)
            .collect::<Vec<_>>()
    };
    assert_eq!(edge.get(BOTH[0], CUSTOMER, "/x").await.status, StatusCode::OK);
    assert_eq!(versions(), [http::Version::HTTP_2]);
    over[0].cancel();
    while versions().last() != Some(&http::Version::HTTP_11) {
        edge.get(BOTH[0], CUSTOMER, "/x").await;
    }
    over[1].cancel();
    let before = versions().len();
    let asked = (0..TOGETHER).map(|_| edge.get(BOTH[0], CUSTOMER, "/x"));
    for got in futures_util::future::join_all(asked).await {
        assert_eq!(got.status, StatusCode::OK);
    }
    assert_eq!(versions().len(), before + TOGETHER);
}
