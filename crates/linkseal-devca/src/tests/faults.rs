//! Every fault, as a client sees it.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_nth_nonce_is_refused() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    lab.ca.faults().bad_nonce_every(Some(3));
    let mut refused = Vec::new();
    for _ in 0..6 {
        refused.push(raw.post(raw.kid.as_ref().unwrap(), "").await.status == StatusCode::BAD_REQUEST);
    }
    assert_eq!(refused, [false, false, true, false, false, true]);
    assert_eq!(lab.ca.stats().bad_nonces, 2);
}

#[tokio::test]
async fn limits_are_reported_with_retry_after() {
    let lab = Lab::start().await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    faults.refuse_next(Endpoint::NewOrder, 2, Refusal::too_many_orders(36 * MINUTE / 60));
    for _ in 0..2 {
        let answer = raw.new_order(&["a.localhost"], json!({})).await;
        assert!(
            answer
                .is_problem(429, "rateLimited")
                .starts_with("too many new orders (300) from this account")
        );
        assert_eq!(answer.header("retry-after"), "36");
    }
    assert_eq!(
        raw.new_order(&["a.localhost"], json!({})).await.status,
        StatusCode::CREATED
    );

    faults.refuse_name(
        "b.localhost",
        None,
        Refusal::too_many_failures("b.localhost", 12 * MINUTE),
    );
    for _ in 0..3 {
        let detail = raw
            .new_order(&["b.localhost"], json!({}))
            .await
            .is_problem(429, "rateLimited");
        assert!(
            detail.starts_with("too many failed authorizations (5) for \"b.localhost\""),
            "{detail}"
        );
    }
    assert_eq!(
        raw.new_order(&["a.localhost"], json!({})).await.status,
        StatusCode::CREATED
    );
    faults.allow_name("b.localhost");
    assert_eq!(
        raw.new_order(&["b.localhost"], json!({})).await.status,
        StatusCode::CREATED
    );
    let registered = Refusal::too_many_certificates("example.com", MINUTE);
    faults.refuse_name("c.localhost", Some(1), registered);
    raw.new_order(&["c.localhost"], json!({}))
        .await
        .is_problem(429, "rateLimited");
    assert_eq!(
        raw.new_order(&["c.localhost"], json!({})).await.status,
        StatusCode::CREATED
    );

    let at = Timestamp::parse_rfc3339("2027-01-04T08:49:37Z").unwrap();
    let refusal = Refusal {
        retry_after: Some(RetryAfter::Date(at)),
        ..Refusal::busy(MINUTE)
    };
    faults.refuse_next(Endpoint::NewOrder, 1, refusal);
    let answer = raw.new_order(&["a.localhost"], json!({})).await;
    answer.is_problem(503, "rateLimited");
    assert_eq!(answer.header("retry-after"), "Mon, 04 Jan 2027 08:49:37 GMT");

    assert_eq!(lab.ca.stats().rate_limited, 6);
    assert_eq!(
        lab.ca.name_stats("b.localhost"),
        NameStats {
            orders: 1,
            refused: 3,
            ..NameStats::default()
        }
    );
}

#[tokio::test]
async fn identifiers_are_rejected_with_subproblems() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let policy =
        "The ACME server refuses to issue a certificate for this domain name, because it is forbidden by policy";
    let problem = Problem::rejected_identifiers([("x.localhost", policy)]);
    lab.ca.faults().refuse_name("x.localhost", None, problem.into());
    let answer = raw.new_order(&["a.localhost", "x.localhost"], json!({})).await;
    assert!(answer.is_problem(400, "rejectedIdentifier").contains(policy));
    assert_eq!(
        answer.json()["subproblems"][0]["identifier"],
        json!({"type": "dns", "value": "x.localhost"})
    );
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_answer_has() {
    let lab = Lab::start().await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    let url = raw.url("/new-order");
    let payload = json!({"identifiers": [{"type": "dns", "value": "a.localhost"}]}).to_string();
    faults.lose_next(Endpoint::NewOrder, Lost::Request, 1);
    raw.try_post(&url, &payload).await.err().unwrap();
    assert_eq!(lab.ca.stats().orders, 0);
    faults.lose_next(Endpoint::NewOrder, Lost::Answer, 1);
    raw.try_post(&url, &payload).await.err().unwrap();
    assert_eq!(lab.ca.stats().orders, 1);

    let created = raw.new_order(&["a.localhost"], json!({})).await;
    raw.validate(&lab.ca, &created.json()).await;
    faults.lose_next(Endpoint::Finalize, Lost::Answer, 1);
    let csr = json!({"csr": B64.encode(csr(&["a.localhost"]))}).to_string();
    raw.try_post(created.json()["finalize"].as_str().unwrap(), &csr)
        .await
        .err()
        .unwrap();
    // A client that resumes the order gets the certificate.
    let order = raw.post(&created.header("location"), "").await.json();
    assert_eq!(order["status"], "valid");
    assert!(order["certificate"].is_string());
}

#[tokio::test]
async fn a_ca_can_be_down_or_in_maintenance() {
    let lab = Lab::start().await;
    let (raw, faults, url) = (lab.raw_account().await, lab.ca.faults(), lab.ca.directory_url());
    faults.set_down(true);
    raw.try_send(Method::GET, &url, None).await.err().unwrap();
    faults.set_down(false);
    faults.set_maintenance(Some(RetryAfter::Seconds(MINUTE)));
    let answer = raw.get(&url).await;
    answer.is_problem(503, "serverInternal");
    assert_eq!(answer.header("retry-after"), "60");
    faults.set_maintenance(None);
    assert_eq!(raw.get(&url).await.status, StatusCode::OK);
    faults.refuse_next(
        Endpoint::Directory,
        1,
        Refusal::of(Problem::internal("Error creating new order")),
    );
    raw.get(&url).await.is_problem(500, "serverInternal");
    assert_eq!(raw.get(&url).await.status, StatusCode::OK);
}

/// Starts the only challenge of a new order; returns the authorization's URL.
async fn start_challenge(raw: &Raw, name: &str) -> String {
    let order = raw.new_order(&[name], json!({})).await.json();
    let url = order["authorizations"][0].as_str().unwrap().to_owned();
    let authorization = raw.post(&url, "").await.json();
    let challenge = authorization["challenges"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(raw.post(&challenge, "{}").await.json()["status"], "processing");
    url
}

#[tokio::test]
async fn validation_can_be_slow_or_stuck() {
    let lab = Lab::start().await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    faults.set_validation_delay(60 * MINUTE);
    let slow = start_challenge(&raw, "slow.localhost").await;
    lab.ca.until(|ca| ca.stats().validations == 1).await;
    let waiting = raw.post(&slow, "").await;
    assert_eq!(waiting.json()["status"], "pending");
    assert_eq!(waiting.json()["challenges"][0]["status"], "processing");
    assert_eq!(waiting.header("retry-after"), "1");
    lab.clock.advance(60 * MINUTE);
    let asked = lab.ca.until(|_| lab.web.asked().len() == 1);
    tokio::time::timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(raw.post(&slow, "").await.json()["status"], "valid");

    faults.set_validation_delay(Duration::ZERO);
    faults.set_stuck_validations(&["stuck.localhost"]);
    let stuck = start_challenge(&raw, "stuck.localhost").await;
    let other = raw.new_order(&["other.localhost"], json!({})).await.json();
    assert_eq!(raw.validate(&lab.ca, &other).await[0]["status"], "valid");
    lab.clock.advance(60 * MINUTE);
    assert_eq!(
        raw.post(&stuck, "").await.json()["challenges"][0]["status"],
        "processing"
    );
    assert!(!lab.web.asked().iter().any(|(host, _)| host == "stuck.localhost"));
    assert_eq!(lab.web.asked().len(), 2);
}

#[tokio::test]
async fn challenges_can_be_rejected_by_name() {
    let lab = Lab::start().await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    let caa = Problem::new(
        StatusCode::FORBIDDEN,
        "caa",
        "CAA record for x.localhost prevents issuance",
    );
    faults.reject_challenge("x.localhost", Some(caa));
    let order = raw.new_order(&["x.localhost"], json!({})).await.json();
    let authorization = raw.validate(&lab.ca, &order).await.remove(0);
    assert_eq!(authorization["status"], "invalid");
    assert_eq!(
        authorization["challenges"][0]["error"]["type"],
        "urn:ietf:params:acme:error:caa"
    );
    assert_eq!(lab.ca.name_stats("x.localhost").failed, 1);
    faults.reject_challenge("x.localhost", None);
    raw.issue(&lab.ca, &["x.localhost"], json!({})).await;
}

#[tokio::test]
async fn a_valid_authorization_can_be_used_again() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    raw.issue(&lab.ca, &["a.localhost"], json!({})).await;
    lab.ca.faults().set_reuse_authorizations(true);
    assert_eq!(
        raw.new_order(&["a.localhost"], json!({})).await.json()["status"],
        "ready"
    );
    assert_eq!(
        raw.new_order(&["a.localhost", "b.localhost"], json!({})).await.json()["status"],
        "pending"
    );
    assert_eq!((lab.ca.stats().orders, lab.ca.stats().authorizations), (3, 2));
}

#[tokio::test]
async fn finalization_can_be_slow_or_fail() {
    let lab = Lab::start().await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    faults.set_processing(MINUTE);
    let created = raw.new_order(&["a.localhost"], json!({})).await;
    raw.validate(&lab.ca, &created.json()).await;
    let processing = raw.finalize(&created.json(), &["a.localhost"]).await;
    assert_eq!(
        (&processing.json()["status"], processing.header("retry-after").as_str()),
        (&json!("processing"), "1")
    );
    assert!(processing.json().get("certificate").is_none());
    lab.clock.advance(MINUTE);
    assert_eq!(
        raw.post(&created.header("location"), "").await.json()["status"],
        "valid"
    );

    faults.fail_finalize(1, Problem::internal("Error finalizing order"));
    let created = raw.new_order(&["b.localhost"], json!({})).await;
    raw.validate(&lab.ca, &created.json()).await;
    let failed = raw.finalize(&created.json(), &["b.localhost"]).await.json();
    assert_eq!(
        (&failed["status"], &failed["error"]["detail"]),
        (&json!("invalid"), &json!("Error finalizing order"))
    );
    assert_eq!(lab.ca.name_stats("b.localhost").certificates, 0);
    faults.set_processing(Duration::ZERO);
    raw.issue(&lab.ca, &["b.localhost"], json!({})).await;
}

#[tokio::test]
async fn renewal_information_follows_the_life_of_a_certificate_or_the_injected_window() {
    let lab = Lab::with(|c| c.lifetime = 90 * MINUTE).await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    let pem = raw.issue(&lab.ca, &["a.localhost"], json!({})).await;
    let (id, leaf) = (leaf(&pem).ari_id.unwrap(), leaf(&pem));
    let directory = raw.get(&lab.ca.directory_url()).await.json();
    let url = format!("{}/{id}", directory["renewalInfo"].as_str().unwrap());
    let window = async || {
        let answer = raw.get(&url).await;
        let time =
            |key: &str| Timestamp::parse_rfc3339(answer.json()["suggestedWindow"][key].as_str().unwrap()).unwrap();
        (time("start"), time("end"), answer.header("retry-after"))
    };
    let usual = (
        leaf.not_before + 60 * MINUTE,
        leaf.not_before + 75 * MINUTE,
        "21600".to_owned(),
    );
    assert_eq!(window().await, usual);

    let (now, long_ago) = (lab.clock.now(), lab.clock.now().minus(24 * 60 * MINUTE));
    faults.set_ari_window(Some(Window {
        start: long_ago,
        end: now,
    }));
    faults.set_ari_retry_after(Some(MINUTE));
    assert_eq!(window().await, (long_ago, now, "60".to_owned()));
    faults.set_ari_window_of(
        &id,
        Some(Window {
            start: now,
            end: now + MINUTE,
        }),
    );
    assert_eq!(window().await, (now, now + MINUTE, "60".to_owned()));
    faults.set_ari_window_of(&id, None);
    faults.set_ari_window(None);
    assert_eq!(window().await.0, usual.0);

    raw.get(&format!("{url}AA")).await.is_problem(404, "malformed");
    faults.set_ari_off(true);
    assert!(
        raw.get(&lab.ca.directory_url())
            .await
            .json()
            .get("renewalInfo")
            .is_none()
    );
    raw.get(&url).await.is_problem(404, "malformed");
    // `replaces` is then a field like any unknown one.
    let order = raw.new_order(&["a.localhost"], json!({"replaces": "junk"})).await;
    assert_eq!(order.status, StatusCode::CREATED);
    assert_eq!(lab.ca.stats().orders_with_replaces, 0);
}

#[tokio::test]
async fn a_certificate_is_replaced_once() {
    let lab = Lab::start().await;
    let (raw, faults) = (lab.raw_account().await, lab.ca.faults());
    let pem = raw.issue(&lab.ca, &["a.localhost"], json!({})).await;
    let replaces = json!({"replaces": leaf(&pem).ari_id.unwrap()});

    raw.new_order(&["b.localhost"], replaces.clone())
        .await
        .is_problem(400, "malformed");
    raw.new_order(&["a.localhost"], json!({"replaces": "AAAA.AAAA"}))
        .await
        .is_problem(404, "malformed");
    let other = lab.raw_account().await;
    other
        .new_order(&["a.localhost"], replaces.clone())
        .await
        .is_problem(403, "unauthorized");
    let refusal = Refusal::of(Problem::malformed("replaces is not welcome here"));
    faults.refuse_replaces(Some(refusal));
    raw.new_order(&["a.localhost"], replaces.clone())
        .await
        .is_problem(400, "malformed");
    assert_eq!(
        raw.new_order(&["a.localhost"], json!({})).await.status,
        StatusCode::CREATED
    );
    faults.refuse_replaces(None);

    // A failed order has replaced nothing.
    lab.web.answer_for(raw.thumbprint());
    faults.reject_challenge("a.localhost", Some(Problem::unauthorized("no")));
    let failed = raw.new_order(&["a.localhost"], replaces.clone()).await;
    assert_eq!(failed.json()["replaces"], replaces["replaces"]);
    raw.validate(&lab.ca, &failed.json()).await;
    faults.reject_challenge("a.localhost", None);
    raw.issue(&lab.ca, &["a.localhost"], replaces.clone()).await;
    raw.new_order(&["a.localhost"], replaces)
        .await
        .is_problem(409, "alreadyReplaced");
    assert_eq!(lab.ca.stats().orders_with_replaces, 2);
}

#[tokio::test]
async fn a_certificate_is_revoked_by_its_account() {
    let lab = Lab::start().await;
    let raw = lab.raw_account().await;
    let pem = raw.issue(&lab.ca, &["a.localhost"], json!({})).await;
    let der = B64.encode(&chain_from_pem(&pem).unwrap()[0]);
    let serial = leaf(&pem).serial;
    let revoke = json!({"certificate": der, "reason": 1}).to_string();
    let other = lab.raw_account().await;
    other
        .post(&other.url("/revoke-cert"), &revoke)
        .await
        .is_problem(403, "unauthorized");
    assert_eq!(lab.ca.revocation(&serial), None);
    assert_eq!(raw.post(&raw.url("/revoke-cert"), &revoke).await.status, StatusCode::OK);
    assert_eq!((lab.ca.revocation(&serial), lab.ca.stats().revocations), (Some(1), 1));
    raw.post(&raw.url("/revoke-cert"), &revoke)
        .await
        .is_problem(400, "alreadyRevoked");
    // Its window has passed: renew at once.
    let info = raw
        .get(&raw.url(&format!("/renewal-info/{}", leaf(&pem).ari_id.unwrap())))
        .await
        .json();
    let end = Timestamp::parse_rfc3339(info["suggestedWindow"]["end"].as_str().unwrap()).unwrap();
    assert!(end < lab.clock.now());
}
