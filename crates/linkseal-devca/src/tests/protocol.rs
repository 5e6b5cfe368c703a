//! What the CA accepts from whom, and how it refuses the rest.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;

#[tokio::test]
async fn every_answer_has_a_nonce_and_a_nonce_is_valid_once() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    for answer in [raw.get(&raw.url("/dir")).await, raw.get(&raw.url("/nothing")).await] {
        assert!(!answer.header("replay-nonce").is_empty());
        assert_eq!(
            answer.header("link"),
            format!("<{}>;rel=\"index\"", lab.ca.directory_url())
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    assert_eq!(raw.get(&raw.url("/new-nonce")).await.status, StatusCode::NO_CONTENT);
    raw.get(&raw.url("/new-order")).await.is_problem(405, "malformed");

    let url = raw.url("/new-order");
    let payload = json!({"identifiers": [{"type": "dns", "value": "a.localhost"}]}).to_string();
    let jws = raw.sign(&raw.protected(&url, &raw.nonce().await), &payload).to_string();
    assert_eq!(
        raw.send(Method::POST, &url, Some(jws.clone())).await.status,
        StatusCode::CREATED
    );
    raw.send(Method::POST, &url, Some(jws))
        .await
        .is_problem(400, "badNonce");
    let invented = raw.sign(&raw.protected(&url, "bm9uY2U"), &payload).to_string();
    raw.send(Method::POST, &url, Some(invented))
        .await
        .is_problem(400, "badNonce");
    assert_eq!((lab.ca.stats().bad_nonces, lab.ca.stats().orders), (2, 1));
}

#[tokio::test]
async fn a_request_must_be_signed_by_the_account_for_this_url() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let stranger = Raw::new(&lab);
    let url = raw.url("/new-order");
    let payload = json!({"identifiers": [{"type": "dns", "value": "a.localhost"}]}).to_string();
    let send = async |jws: Value| raw.send(Method::POST, &url, Some(jws.to_string())).await;

    let nonce = raw.nonce().await;
    // Another key under this account's name.
    let detail = send(stranger.sign(&raw.protected(&url, &nonce), &payload))
        .await
        .is_problem(400, "malformed");
    assert_eq!(detail, "JWS verification error");
    // Another payload under this signature.
    let mut changed = raw.sign(&raw.protected(&url, &nonce), &payload);
    changed["payload"] = B64.encode("{}").into();
    send(changed).await.is_problem(400, "malformed");
    // Meant for another resource.
    send(raw.sign(&raw.protected(&raw.url("/revoke-cert"), &nonce), &payload))
        .await
        .is_problem(403, "unauthorized");
    // The nonce was not used up by any of them.
    assert_eq!(
        send(raw.sign(&raw.protected(&url, &nonce), &payload)).await.status,
        StatusCode::CREATED
    );

    let with = |key: &str, value: Value| {
        let mut header = raw.protected(&url, &nonce);
        header[key] = value;
        raw.sign(&header, &payload)
    };
    let algorithms = send(with("alg", json!("none"))).await;
    algorithms.is_problem(400, "badSignatureAlgorithm");
    assert_eq!(algorithms.json()["algorithms"], json!(["ES256"]));
    send(with("jwk", jwk(raw.point()))).await.is_problem(400, "malformed");
    send(with("kid", json!(raw.url("/acct/unknown"))))
        .await
        .is_problem(400, "accountDoesNotExist");
    send(stranger.sign(&stranger.protected(&url, &nonce), &payload))
        .await
        .is_problem(400, "malformed");
    let rsa = json!({"kty": "RSA", "crv": "", "x": "", "y": ""});
    let account_url = raw.url("/new-acct");
    let header = json!({"alg": "ES256", "jwk": rsa, "nonce": nonce, "url": account_url});
    let answer = raw
        .send(Method::POST, &account_url, Some(raw.sign(&header, "{}").to_string()))
        .await;
    answer.is_problem(400, "badPublicKey");
    raw.send(Method::POST, &url, Some("junk".into()))
        .await
        .is_problem(400, "malformed");
    raw.send(Method::POST, &url, Some("x".repeat(100_000)))
        .await
        .is_problem(413, "malformed");
    assert_eq!(lab.ca.stats().orders, 1);
}

#[tokio::test]
async fn resources_of_one_account_are_closed_to_others() {
    let lab = Lab::start().await;
    let owner = lab.raw_account().await;
    let created = owner.new_order(&["a.localhost"], json!({})).await;
    let order = created.json();
    owner.validate(&lab.ca, &order).await;
    let valid = owner.finalize(&order, &["a.localhost"]).await.json();
    let other = lab.raw_account().await;
    let authorization = order["authorizations"][0].as_str().unwrap();
    for url in [
        &created.header("location"),
        authorization,
        valid["certificate"].as_str().unwrap(),
    ] {
        other.post(url, "").await.is_problem(403, "unauthorized");
        assert_eq!(owner.post(url, "").await.status, StatusCode::OK);
    }
    other
        .finalize(&order, &["a.localhost"])
        .await
        .is_problem(403, "unauthorized");
    other
        .post(owner.kid.as_ref().unwrap(), "")
        .await
        .is_problem(403, "unauthorized");
    owner
        .post(&owner.url("/order/unknown"), "")
        .await
        .is_problem(404, "malformed");
    owner
        .post(&created.header("location"), "{}")
        .await
        .is_problem(400, "malformed");
}

#[tokio::test]
async fn an_account_is_identified_by_its_key() {
    let lab = Lab::start().await;
    let mut raw = Raw::new(&lab);
    raw.new_account(json!({"onlyReturnExisting": true}))
        .await
        .is_problem(400, "accountDoesNotExist");
    raw.new_account(json!({"contact": []}))
        .await
        .is_problem(400, "malformed");
    let phone = json!({"termsOfServiceAgreed": true, "contact": ["tel:+49301234567"]});
    raw.new_account(phone).await.is_problem(400, "unsupportedContact");
    let mail = json!({"termsOfServiceAgreed": true, "contact": ["mailto:ops@example.com"]});
    let created = raw.new_account(mail.clone()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.json()["contact"], json!(["mailto:ops@example.com"]));
    let kid = raw.kid.clone();
    for again in [mail, json!({"onlyReturnExisting": true})] {
        assert_eq!(raw.new_account(again).await.status, StatusCode::OK);
        assert_eq!(raw.kid, kid);
    }
    assert_eq!(lab.ca.stats().accounts, 1);
    let url = kid.unwrap();
    let changed = raw
        .post(&url, &json!({"contact": ["mailto:new@example.com"]}).to_string())
        .await;
    assert_eq!(changed.json()["contact"], json!(["mailto:new@example.com"]));
    let gone = raw.post(&url, &json!({"status": "deactivated"}).to_string()).await;
    assert_eq!(gone.json()["status"], "deactivated");
    raw.new_order(&["a.localhost"], json!({}))
        .await
        .is_problem(403, "unauthorized");
    raw.new_account(json!({"termsOfServiceAgreed": true}))
        .await
        .is_problem(403, "unauthorized");
}

/// An external account binding (RFC 8555 §7.3.4), with parts to vary.
fn binding(key_id: &str, secret: &[u8], url: &str, jwk: &Value) -> Value {
    let protected = B64.encode(json!({"alg": "HS256", "kid": key_id, "url": url}).to_string());
    let payload = B64.encode(jwk.to_string());
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": B64.encode(tag)})
}

#[tokio::test]
async fn external_account_bindings_are_verified() {
    let key = EabKey {
        key_id: "kid-1".into(),
        hmac_key: b"a shared secret".to_vec().into(),
    };
    let lab = Lab::with(|c| c.eab.push(key)).await;
    let mut raw = Raw::new(&lab);
    let directory = raw.get(&lab.ca.directory_url()).await.json();
    assert_eq!(directory["meta"]["externalAccountRequired"], true);
    raw.new_account(json!({"termsOfServiceAgreed": true}))
        .await
        .is_problem(403, "externalAccountRequired");

    let (url, own, other) = (raw.url("/new-acct"), jwk(raw.point()), jwk(Raw::new(&lab).point()));
    let secret = b"a shared secret".as_slice();
    for (wrong, status, kind) in [
        (binding("kid-1", b"another secret", &url, &own), 403, "unauthorized"),
        (binding("kid-2", secret, &url, &own), 403, "unauthorized"),
        (binding("kid-1", secret, &raw.url("/new-order"), &own), 400, "malformed"),
        (binding("kid-1", secret, &url, &other), 400, "malformed"),
        (json!("junk"), 400, "malformed"),
    ] {
        let answer = raw
            .new_account(json!({"termsOfServiceAgreed": true, "externalAccountBinding": wrong}))
            .await;
        answer.is_problem(status, kind);
    }
    let right = binding("kid-1", secret, &url, &own);
    let answer = raw
        .new_account(json!({"termsOfServiceAgreed": true, "externalAccountBinding": right}))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
}

#[tokio::test]
async fn orders_are_for_names_that_can_be_validated() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let wildcard = raw.new_order(&["*.a.localhost"], json!({})).await;
    assert!(wildcard.is_problem(400, "rejectedIdentifier").contains("wildcards"));
    let several = raw
        .new_order(&["*.a.localhost", "fine.localhost", "127.0.0.1"], json!({}))
        .await;
    several.is_problem(400, "rejectedIdentifier");
    let rejected: Vec<_> = several.json()["subproblems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["identifier"]["value"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(rejected, ["*.a.localhost", "127.0.0.1"]);
    raw.new_order(&[], json!({})).await.is_problem(400, "malformed");
    let ip = json!({"identifiers": [{"type": "ip", "value": "127.0.0.1"}]}).to_string();
    raw.post(&raw.url("/new-order"), &ip)
        .await
        .is_problem(400, "unsupportedIdentifier");
    raw.post(&raw.url("/new-order"), "[]")
        .await
        .is_problem(400, "malformed");
    let twice = raw.new_order(&["a.localhost", "a.localhost"], json!({})).await.json();
    assert_eq!(twice["identifiers"].as_array().unwrap().len(), 1);
    assert_eq!(lab.ca.stats().orders, 1);
}

#[tokio::test]
async fn finalize_accepts_a_csr_for_exactly_the_orders_names() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let created = raw.new_order(&["a.localhost"], json!({})).await;
    let order = created.json();
    raw.finalize(&order, &["a.localhost"])
        .await
        .is_problem(403, "orderNotReady");
    raw.validate(&lab.ca, &order).await;
    raw.finalize(&order, &["a.localhost", "b.localhost"])
        .await
        .is_problem(400, "badCSR");
    raw.finalize(&order, &["b.localhost"]).await.is_problem(400, "badCSR");
    let junk = json!({"csr": B64.encode("junk")}).to_string();
    raw.post(order["finalize"].as_str().unwrap(), &junk)
        .await
        .is_problem(400, "badCSR");
    // None of these has changed the order.
    assert_eq!(
        raw.post(&created.header("location"), "").await.json()["status"],
        "ready"
    );
    assert_eq!(raw.finalize(&order, &["a.localhost"]).await.json()["status"], "valid");
    raw.finalize(&order, &["a.localhost"])
        .await
        .is_problem(403, "orderNotReady");
    assert_eq!(lab.ca.stats().certificates, 1);
}

#[tokio::test]
async fn orders_expire_by_the_cas_clock() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let created = raw.new_order(&["a.localhost"], json!({})).await;
    raw.validate(&lab.ca, &created.json()).await;
    lab.clock.advance(Duration::from_secs(8 * 86_400));
    assert_eq!(
        raw.post(&created.header("location"), "").await.json()["status"],
        "invalid"
    );
    raw.finalize(&created.json(), &["a.localhost"])
        .await
        .is_problem(403, "orderNotReady");
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let lab = Lab::start().await;
    let stream = TcpStream::connect(lab.ca.core.base.strip_prefix("https://").unwrap())
        .await
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(lab.tls.clone()).connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .unwrap();
    lab.tasks.spawn_until_stop(async move { connection.await.unwrap() });
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..20 {
        sender.ready().await.unwrap();
        let request = Request::head("/new-nonce")
            .header("host", "localhost")
            .body(Full::default())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        nonces.insert(response.headers()["replay-nonce"].clone());
    }
    assert_eq!(nonces.len(), 20);
    assert_eq!(lab.ca.stats().connections, 1);
}
