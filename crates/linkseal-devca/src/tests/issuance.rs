//! Issuance, and the ways it fails.

use super::*;

#[tokio::test]
async fn rustls_acme_gets_a_certificate_that_verifies() {
    let lab = Lab::start().await;
    // Far ahead of the system's time: the CA uses its own clock.
    lab.clock.advance(Duration::from_secs(400 * 86_400));
    let account = lab.library_account().await;
    let name = "links.customer.localhost";
    let (url, order) = account.new_order(&lab.tls, vec![name.into()]).await.unwrap();
    assert_eq!(order.status, OrderStatus::Pending);
    let auth = account.auth(&lab.tls, &order.authorizations[0]).await.unwrap();
    assert!(matches!(auth.status, AuthStatus::Pending));
    let (challenge, _) = account.http_01(&auth.challenges).unwrap();
    account.challenge(&lab.tls, &challenge.url).await.unwrap();
    loop {
        match account.auth(&lab.tls, &order.authorizations[0]).await.unwrap().status {
            AuthStatus::Pending => {}
            AuthStatus::Valid => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(account.order(&lab.tls, &url).await.unwrap().status, OrderStatus::Ready);
    let order = account
        .finalize(&lab.tls, &order.finalize, &csr(&[name]))
        .await
        .unwrap();
    let OrderStatus::Valid { certificate } = order.status else {
        panic!("{:?}", order.status)
    };
    let pem = account.certificate(&lab.tls, certificate).await.unwrap();

    let chain = chain_from_pem(&pem).unwrap();
    assert_eq!(chain.len(), 2, "leaf and intermediate");
    accepts(&lab.ca, &chain, name, lab.clock.now() + Duration::from_secs(1)).unwrap();
    accepts(&lab.ca, &chain, name, Clock::system().now()).unwrap_err();
    accepts(&lab.ca, &chain, "other.localhost", lab.clock.now()).unwrap_err();
    let leaf = Leaf::of(&chain).unwrap();
    assert_eq!(leaf.sans, [name]);
    assert_eq!(leaf.not_after.since(leaf.not_before), Some(DEFAULT_LIFETIME));
    assert!(leaf.issuer.starts_with("Dev Issuing E1 "), "{}", leaf.issuer);
    assert!(leaf.ari_id.is_some(), "it has an authority key identifier");
    let (_, x509) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    assert!(x509.extended_key_usage().unwrap().unwrap().value.server_auth);
    let ski = x509_parser::oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER;
    assert!(x509.get_extension_unique(&ski).unwrap().is_some());

    // Requested by name, at the well-known path.
    assert!(matches!(lab.web.asked().as_slice(), [(host, path)]
        if host == name && path.starts_with("/.well-known/acme-challenge/")));
    let stats = lab.ca.stats();
    assert_eq!(
        (
            stats.accounts,
            stats.orders,
            stats.authorizations,
            stats.validations,
            stats.certificates
        ),
        (1, 1, 1, 1, 1)
    );
    assert_eq!(
        lab.ca.name_stats(name),
        NameStats {
            orders: 1,
            validations: 1,
            certificates: 1,
            ..NameStats::default()
        }
    );
}

#[tokio::test]
async fn one_order_for_several_names_needs_all_of_them() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let names = ["a.localhost", "b.localhost"];
    let pem = raw.issue(&lab.ca, &names, json!({})).await;
    assert_eq!(leaf(&pem).sans, names);

    lab.web
        .say("b.localhost", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    let created = raw.new_order(&names, json!({})).await;
    let authorizations = raw.validate(&lab.ca, &created.json()).await;
    assert_eq!(
        (&authorizations[0]["status"], &authorizations[1]["status"]),
        (&json!("valid"), &json!("invalid"))
    );
    let order = raw.post(&created.header("location"), "").await.json();
    assert_eq!(order["status"], "invalid");
    assert_eq!(order["error"]["type"], "urn:ietf:params:acme:error:unauthorized");
    raw.finalize(&order, &names).await.is_problem(403, "orderNotReady");
    assert_eq!(lab.ca.name_stats("b.localhost").failed, 1);
    assert_eq!(lab.ca.name_stats("a.localhost").failed, 0);
}

/// Type and detail of the error that a name's challenge ends with.
async fn challenge_error(lab: &Lab, raw: &Raw, name: &str) -> (String, String) {
    let order = raw.new_order(&[name], json!({})).await.json();
    let authorization = raw.validate(&lab.ca, &order).await.remove(0);
    assert_eq!(authorization["status"], "invalid");
    let error = &authorization["challenges"][0]["error"];
    let kind = error["type"]
        .as_str()
        .unwrap()
        .strip_prefix("urn:ietf:params:acme:error:")
        .unwrap();
    (kind.to_owned(), error["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn failed_challenges_say_why_as_lets_encrypt_does() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;

    lab.web.say("wrong.localhost", &ok("something else"));
    let (kind, detail) = challenge_error(&lab, &raw, "wrong.localhost").await;
    assert_eq!(kind, "unauthorized");
    assert!(
        detail.contains("did not match this challenge") && detail.contains("something else"),
        "{detail}"
    );

    lab.web.say(
        "missing.localhost",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
    );
    let (kind, detail) = challenge_error(&lab, &raw, "missing.localhost").await;
    assert_eq!(kind, "unauthorized");
    assert!(
        detail.starts_with("127.0.0.1: Invalid response from http://missing.localhost/.well-known/"),
        "{detail}"
    );
    assert!(detail.ends_with(": 404"), "{detail}");

    lab.ca.hosts().set("nowhere.localhost", None);
    let (kind, detail) = challenge_error(&lab, &raw, "nowhere.localhost").await;
    assert_eq!(kind, "dns");
    assert!(
        detail.contains("NXDOMAIN looking up A for nowhere.localhost"),
        "{detail}"
    );

    // An address where nothing listens on that port.
    lab.ca
        .hosts()
        .set("refused.localhost", Some("127.0.0.2".parse().unwrap()));
    let (kind, detail) = challenge_error(&lab, &raw, "refused.localhost").await;
    assert_eq!(kind, "connection");
    assert!(
        detail.starts_with("127.0.0.2: Fetching http://refused.localhost/"),
        "{detail}"
    );
    assert!(detail.ends_with("Connection refused"), "{detail}");

    lab.web.say("mute.localhost", "");
    let (kind, detail) = challenge_error(&lab, &raw, "mute.localhost").await;
    assert_eq!(kind, "connection");
    assert!(detail.ends_with("EOF"), "{detail}");
}

#[tokio::test]
async fn a_validation_ends_in_time() {
    // A listener that never accepts: the connection is established, and there is no answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = Lab::with(|c| {
        c.validation_timeout = Duration::from_millis(100);
        c.http_port = silent.local_addr().unwrap().port();
    })
    .await;
    let raw = lab.raw_account().await;
    let (kind, detail) = challenge_error(&lab, &raw, "slow.localhost").await;
    assert_eq!(kind, "connection");
    assert!(
        detail.ends_with("Timeout after connect (your server may be slow or overloaded)"),
        "{detail}"
    );
}

#[tokio::test]
async fn redirects_are_followed_to_known_ports_of_names_only() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let redirect = |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    lab.web
        .say("from.localhost", &redirect("http://to.localhost/elsewhere/{token}"));
    raw.issue(&lab.ca, &["from.localhost"], json!({})).await;
    assert!(
        lab.web
            .asked()
            .iter()
            .any(|(host, path)| host == "to.localhost" && path.starts_with("/elsewhere/"))
    );

    // To HTTPS, with a self-signed certificate for another name.
    let own = rcgen::generate_simple_self_signed(["old.example".to_owned()]).unwrap();
    let acceptor = server::acceptor(ca::ListenerCertificate {
        chain: vec![own.cert.der().clone()],
        key: own.key_pair.serialize_der().try_into().unwrap(),
    })
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    lab.ca.set_https_port(listener.local_addr().unwrap().port());
    let says = lab.web.says.clone();
    lab.tasks.spawn_until_stop(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(acceptor.accept(stream).await.unwrap(), says).await;
    });
    lab.web.say(
        "secure.localhost",
        &redirect("https://tls.localhost/.well-known/acme-challenge/{token}"),
    );
    raw.issue(&lab.ca, &["secure.localhost"], json!({})).await;
    assert!(lab.web.asked().iter().any(|(host, _)| host == "tls.localhost"));

    for (to, why) in [
        ("http://from.localhost:1/x", "Invalid port"),
        ("http://127.0.0.1/x", "Invalid host"),
        ("ftp://from.localhost/x", "Invalid protocol scheme"),
    ] {
        lab.web.say("bad.localhost", &redirect(to));
        let (kind, detail) = challenge_error(&lab, &raw, "bad.localhost").await;
        assert_eq!(kind, "connection");
        assert!(detail.contains(why), "{detail}");
    }
    lab.web.say("loop.localhost", &redirect("/again"));
    let (_, detail) = challenge_error(&lab, &raw, "loop.localhost").await;
    assert!(detail.ends_with("Too many redirects"), "{detail}");
    assert_eq!(
        lab.web
            .asked()
            .iter()
            .filter(|(host, _)| host == "loop.localhost")
            .count(),
        11
    );
}

#[tokio::test]
async fn lifetimes_come_from_fault_profile_and_configuration_in_this_order() {
    let minute = Duration::from_secs(60);
    let lab = Lab::with(|c| {
        c.lifetime = 10 * minute;
        c.backdate = minute;
        let short = Profile {
            description: "https://ca.example/short".into(),
            lifetime: Some(5 * minute),
        };
        c.profiles.insert("short".into(), short);
    })
    .await;
    let raw = lab.raw_account().await;
    let directory = raw.get(&raw.url("/dir")).await.json();
    assert_eq!(directory["meta"]["profiles"]["short"], "https://ca.example/short");
    let span = |pem: &str| leaf(pem).not_after.since(leaf(pem).not_before).unwrap();

    let pem = raw.issue(&lab.ca, &["a.localhost"], json!({})).await;
    assert_eq!(span(&pem), 10 * minute);
    assert!(leaf(&pem).not_before <= lab.clock.now().minus(minute), "backdated");
    let short = raw
        .new_order(&["a.localhost"], json!({"profile": "short"}))
        .await
        .json();
    assert_eq!(short["profile"], "short");
    assert_eq!(
        span(&raw.issue(&lab.ca, &["a.localhost"], json!({"profile": "short"})).await),
        5 * minute
    );
    lab.ca.faults().set_lifetime(Some(minute));
    assert_eq!(
        span(&raw.issue(&lab.ca, &["a.localhost"], json!({"profile": "short"})).await),
        minute
    );
    raw.new_order(&["a.localhost"], json!({"profile": "long"}))
        .await
        .is_problem(400, "invalidProfile");
    assert_eq!(lab.ca.stats().profiles, [("short".to_owned(), 3)].into());
}

#[tokio::test]
async fn after_a_restart_the_root_is_the_same_and_accounts_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let first = Lab::with(|c| c.state_dir = Some(dir.path().into())).await;
    let mut raw = first.raw_account().await;
    first.tasks.stop();
    assert!(first.tasks.wait(PATIENCE).await, "all tasks end");
    let second = Lab::with(|c| c.state_dir = Some(dir.path().into())).await;
    assert_eq!(first.ca.root_pem(), second.ca.root_pem());
    // The same key, account URL and trust store, sent to where the CA is now.
    raw.base = second.ca.core.base.clone();
    raw.new_order(&["a.localhost"], json!({}))
        .await
        .is_problem(400, "accountDoesNotExist");
    assert_eq!(
        raw.new_account(json!({"termsOfServiceAgreed": true})).await.status,
        StatusCode::CREATED
    );
    second.web.answer_for(raw.thumbprint());
    raw.issue(&second.ca, &["a.localhost"], json!({})).await;
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let mut config = DevCaConfig::new(Clock::system());
    config.listen = "0.0.0.0:0".parse().unwrap();
    let refused = DevCa::start(config, &Tasks::new()).await.err().unwrap();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}
