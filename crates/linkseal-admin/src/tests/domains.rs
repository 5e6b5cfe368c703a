//! Domains: their JSON, their list, changes, and what is refused.

use linkseal_domain::ssl::{Reason, SslEvent};
use linkseal_store::Transition;
use serde_json::json;

use super::*;

const A: &str = "/v1/domains/a.customer.example";

#[tokio::test]
async fn a_domain_has_the_specified_shape() {
    let edge = Harness::start(vec![]).await;
    let body = json!({"name": "A.Customer.Example.", "tenant": "acme", "sending_domain": "customer.example"});
    let reply = edge.post("/v1/domains", body.clone()).await;
    assert_eq!(reply.status, 201);
    let domain = reply.json();
    let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&domain),
        [
            "name",
            "unicode_name",
            "tenant",
            "former_tenants",
            "sending_domain",
            "created",
            "https_ready",
            "paused",
            "retired",
            "origin",
            "records",
            "fallback_url",
            "app_links",
            "http_while_pending",
            "hsts",
            "ssl",
            "dns",
            "probe",
            "handshakes"
        ]
    );
    let none = json!({"failed": 0, "last_failed": null, "last_error": null});
    assert_eq!(domain["handshakes"], none);
    assert_eq!(
        keys(&domain["ssl"]),
        [
            "state",
            "reason",
            "message",
            "since",
            "not_before",
            "not_after",
            "issuer",
            "serial",
            "sans",
            "renew_at",
            "attempts",
            "next_attempt",
            "eta",
            "last_error"
        ]
    );
    assert_eq!(keys(&domain["dns"]), ["checked", "https", "verified"]);
    assert_eq!(domain["name"], "a.customer.example");
    assert_eq!(domain["ssl"]["state"], "unknown");
    assert_eq!(domain["ssl"]["sans"], json!([]));
    assert_eq!(domain["ssl"]["not_after"], Value::Null);
    assert_eq!(domain["https_ready"], false);
    for language in ["en", "de"] {
        assert!(domain["ssl"]["message"][language].as_str().unwrap().len() > 10);
    }
    assert_eq!(edge.get(A).await.json(), domain);
    assert_eq!(edge.post("/v1/domains", body).await.status, 200);
    let other = edge
        .post("/v1/domains", json!({"name": "a.customer.example", "tenant": "other"}))
        .await;
    other.is_problem(409, "conflict");
}

#[tokio::test]
async fn changes_retirement_and_purge() {
    let edge = Harness::start(vec![]).await;
    edge.add("a.customer.example").await;
    let patch = |body: Value| edge.call("PATCH", A).json(body).send();
    let changed = patch(json!({
        "tenant": "acme", "sending_domain": "customer.example", "fallback_url": "https://customer.example/",
        "app_links": {"apple": {"applinks": {}}}, "http_while_pending": false,
        "records": [{"type": "TXT", "host": "customer.example", "value": "x"}],
    }));
    let changed = changed.await.json();
    assert_eq!(changed["tenant"], "acme");
    assert_eq!(changed["former_tenants"], json!(["a.customer.example"]));
    assert_eq!(changed["records"][0]["type"], "TXT");
    assert_eq!(
        changed["app_links"],
        json!({"apple": {"applinks": {}}, "android": null})
    );
    let cleared = patch(json!({"sending_domain": null, "fallback_url": null}))
        .await
        .json();
    assert_eq!(
        (&cleared["sending_domain"], &cleared["fallback_url"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(cleared["tenant"], "acme", "what is absent stays");

    assert_eq!(edge.call("DELETE", A).send().await.status, 204);
    assert!(edge.get(A).await.json()["retired"].is_string());
    assert_eq!(
        edge.post("/v1/domains", json!({"name": "a.customer.example"}))
            .await
            .status,
        200
    );
    assert_eq!(edge.get(A).await.json()["retired"], Value::Null);
    let purged = edge.call("DELETE", &format!("{A}?purge=true")).send().await;
    assert_eq!((purged.status.as_u16(), purged.body.len()), (204, 0));
    edge.get(A).await.is_problem(404, "not_found");
    edge.call("DELETE", A).send().await.is_problem(404, "not_found");
    edge.control.operator().register_own_names(&name(EDGE).into()).await;
    edge.call("DELETE", &format!("/v1/domains/{EDGE}"))
        .send()
        .await
        .is_problem(409, "conflict");
}

#[tokio::test]
async fn invalid_requests_are_explained() {
    let edge = Harness::start(vec![]).await;
    for bad in ["*.example.com", "10.0.0.1", "a..example", "localhost", ""] {
        edge.post("/v1/domains", json!({"name": bad}))
            .await
            .is_problem(400, "invalid_name");
    }
    let reply = edge
        .post("/v1/domains", json!({"name": "a.example.com", "sending_domain": "x y"}))
        .await;
    assert!(
        reply.is_problem(400, "invalid_name")["detail"]
            .as_str()
            .unwrap()
            .starts_with("sending_domain")
    );
    edge.get("/v1/domains/a_b").await.is_problem(400, "invalid_name");
    for (body, word) in [
        (json!({}), "name"),
        (json!({"name": 7}), "7"),
        (json!({"name": "a.example.com", "tennant": "x"}), "tenant"),
        (json!({"name": "a.example.com", "tenant": "a/b"}), "slash"),
        (
            json!({"name": "a.example.com", "records": [{"type": "SRV", "host": "a", "value": "b"}]}),
            "CNAME",
        ),
    ] {
        let problem = edge.post("/v1/domains", body).await.is_problem(400, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    edge.call("POST", "/v1/domains")
        .body("{")
        .send()
        .await
        .is_problem(400, "invalid_request");
    let large = edge
        .call("POST", "/v1/domains")
        .body(vec![b' '; 65 * 1024])
        .send()
        .await;
    large.is_problem(413, "invalid_request");
    for query in [
        "state=fine",
        "reason=none",
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=!",
        "cursor=AA",
        "sort=name",
    ] {
        edge.get(&format!("/v1/domains?{query}"))
            .await
            .is_problem(400, "invalid_request");
    }
    let states = edge.get("/v1/domains?state=fine").await.json();
    assert!(
        states["detail"].as_str().unwrap().contains("pending"),
        "it says what is allowed: {states}"
    );
    for query in ["revoke=true", "purge=true&revoke=yes"] {
        let call = edge.call("DELETE", &format!("{A}?{query}"));
        call.send().await.is_problem(400, "invalid_request");
    }
    edge.call("DELETE", &format!("{A}?purge=yes"))
        .send()
        .await
        .is_problem(400, "invalid_request");
    for path in [
        "/v1/nothing",
        "/v1/event",
        "/nothing",
        "/v1/domains/a.example.com/other",
    ] {
        edge.get(path).await.is_problem(404, "not_found");
    }
    let method = edge.call("PUT", "/v1/domains").send().await;
    method.is_problem(405, "invalid_request");
    assert!(method.header("allow").contains("POST"));
}

#[tokio::test]
async fn the_list_is_paged_filtered_and_counted() {
    let edge = Harness::start(vec![]).await;
    for i in 0..7 {
        let tenant = if i % 2 == 0 { "even" } else { "odd" };
        let body = json!({"name": format!("d{i}.customer.example"), "tenant": tenant});
        assert_eq!(edge.post("/v1/domains", body).await.status, 201);
    }
    let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = edge.get(&format!("/v1/domains?state=&limit=3&cursor={cursor}")).await;
        all.extend(page.names());
        pages += 1;
        let page = page.json();
        assert_eq!(page["counts"], json!({"issued": 0, "pending": 0, "unknown": 7}));
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let expected: Vec<_> = (0..7).map(|i| format!("d{i}.customer.example")).collect();
    assert_eq!((all, pages), (expected, 3));
    // A page that ends with the last domain has no cursor.
    assert_eq!(edge.get("/v1/domains?limit=7").await.json()["next"], Value::Null);
    let odd = edge.get("/v1/domains?tenant=odd").await;
    assert_eq!(odd.names().len(), 3);
    assert_eq!(odd.json()["counts"]["unknown"], 3);
    assert_eq!(edge.get("/v1/domains?q=D6").await.names(), ["d6.customer.example"]);
    assert_eq!(edge.get("/v1/domains?q=%25").await.names().len(), 0);
    assert_eq!(edge.get("/v1/domains?state=issued").await.names().len(), 0);
    assert_eq!(
        edge.get("/v1/domains?state=unknown&reason=never_requested")
            .await
            .names()
            .len(),
        7
    );
}

#[tokio::test]
async fn https_ready_means_issued_and_pointing_here() {
    let edge = Harness::start(vec![]).await;
    edge.add("right.customer.example").await;
    let ready = async || edge.get("/v1/domains/right.customer.example").await.json()["https_ready"] == true;
    let change = async |change: &dyn Fn(&mut linkseal_domain::DomainRecord)| {
        let mut record = edge
            .store
            .domain(&name("right.customer.example"))
            .await
            .unwrap()
            .unwrap();
        change(&mut record);
        edge.store.transition(Transition::of(record)).await.unwrap();
    };
    let now = edge.clock.now();
    let info = linkseal_domain::ssl::CertificateInfo {
        not_before: now,
        not_after: now + Duration::from_secs(86_400),
        obtained: None,
        issuer: "CA".to_owned(),
        serial: "01".to_owned(),
        sans: vec!["right.customer.example".to_owned()],
        ca: "https://127.0.0.1:9/directory".to_owned(),
        ari_id: None,
        renew_at: now + Duration::from_secs(80_000),
        ari_check_at: None,
    };
    change(&|r| r.ssl = r.ssl.then(SslEvent::Issued(info.clone()), now)).await;
    assert!(!ready().await, "DNS was never right");
    change(&|r| r.dns.https = true).await;
    assert!(ready().await);
    let metrics = edge.get("/metrics/domains").await;
    let end = info.not_after.as_secs();
    for line in [
        "linkseal_domain_ssl_state{domain=\"right.customer.example\",state=\"issued\"} 1".to_owned(),
        format!("linkseal_domain_certificate_not_after_seconds{{domain=\"right.customer.example\"}} {end}"),
    ] {
        assert!(metrics.text().lines().any(|l| l == line), "{}", metrics.text());
    }
    // More than one batch: families are still grouped and complete.
    let lines: String = (0..1_200)
        .map(|i| format!("{{\"name\":\"a{i}.customer.example\"}}\n"))
        .collect();
    edge.call("POST", "/v1/domains/import").body(lines).send().await;
    let metrics = edge.get("/metrics/domains").await;
    let families: Vec<&str> = metrics
        .text()
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(families.len(), 3, "{families:?}");
    let states = metrics
        .text()
        .lines()
        .filter(|l| l.starts_with("linkseal_domain_ssl_state{"));
    assert_eq!(states.count(), 1_201);
    let (before, after) = metrics
        .text()
        .split_once("# HELP linkseal_domain_certificate_not_after_seconds")
        .unwrap();
    assert!(before.contains("a1199.customer.example") && !after.contains("linkseal_domain_ssl_state{"));
    assert!(after.contains(&format!("right.customer.example\"}} {end}")));
    change(&|r| r.ssl.reason = Reason::Moved).await;
    assert!(!ready().await, "it points elsewhere");
    change(&|r| r.ssl.reason = Reason::Ok).await;
    edge.clock.advance(Duration::from_secs(86_400));
    assert!(
        !ready().await,
        "the certificate has run out, though no event says so yet"
    );
}

#[tokio::test]
async fn internationalized_names_are_displayed_and_searched_in_unicode() {
    let edge = Harness::start(vec![]).await;
    for name in [
        "links.bücher.example",
        "links.böcher.example",
        "links.buch.example",
        "links.раypal.example",
    ] {
        edge.add(name).await;
    }
    let (ascii, unicode) = ("links.xn--bcher-kva.example", "links.bücher.example");
    let domain = edge.get(&format!("/v1/domains/{ascii}")).await.json();
    assert_eq!(
        (&domain["name"], &domain["unicode_name"]),
        (&ascii.into(), &unicode.into())
    );
    let query = |q: &str| form_urlencoded::byte_serialize(q.as_bytes()).collect::<String>();
    for (q, found) in [
        ("links.bü", vec![ascii]),
        ("links.BÜ", vec![ascii]),
        ("links.bücher.e", vec![ascii]),
        ("links.bu", vec!["links.buch.example"]),
        ("links.ü", vec![]),
    ] {
        let names = edge.get(&format!("/v1/domains?q={}", query(q))).await.names();
        assert_eq!(names, found, "{q}");
    }
    let mut browser = browser::Browser::new(&edge);
    let list = browser.get(&format!("/?q={}", query("https://links.bü"))).await;
    assert!(list.text().contains(unicode) && list.text().contains(ascii), "{list:?}");
    assert!(!list.text().contains("links.buch.example"), "{list:?}");
    let page = browser.get(&format!("/domains/{ascii}")).await;
    assert!(
        page.text().contains(&format!("<h1>{unicode}</h1>")) && page.text().contains(ascii),
        "{page:?}"
    );
    // A confusable name is displayed in A-labels.
    let other = edge.get("/v1/domains?q=links.xn--").await.json();
    let hidden = other["domains"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|d| d["name"] == d["unicode_name"])
        .count();
    assert_eq!(hidden, 1, "{other}");
}

#[tokio::test]
async fn an_array_is_not_taken_for_an_object() {
    let edge = Harness::start(vec![]).await;
    for (method, path, body) in [
        ("POST", "/v1/domains", json!(["arr.example", "arr", null, []])),
        ("POST", "/v1/domains", json!([])),
        (
            "POST",
            "/v1/domains",
            json!({"name": "a.example", "records": [["A", "a.example", "192.0.2.1"]]}),
        ),
        ("PUT", "/v1/issuer/freeze", json!([])),
        ("PUT", "/v1/kills/tenant/x", json!([])),
        ("PUT", "/v1/redirects/x", json!(["https://a.example/"])),
        ("POST", "/v1/links/inspect", json!(["x"])),
        ("POST", "/v1/domains/https_ready", json!([["a.example"]])),
        ("POST", "/v1/events/erase", json!(["acme", null])),
    ] {
        let reply = edge.call(method, path).json(body.clone()).send().await;
        let problem = reply.is_problem(400, "invalid_request");
        assert!(
            problem["detail"].as_str().unwrap().contains("object"),
            "{path} {body}: {problem}"
        );
    }
    let import = edge
        .call("POST", "/v1/domains/import")
        .body("[\"a.example\"]\n")
        .send()
        .await;
    assert!(import.text().contains("a line is a JSON object"), "{import:?}");
    assert!(edge.get("/v1/domains").await.names().is_empty());
}
