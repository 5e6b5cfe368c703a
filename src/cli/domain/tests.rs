use super::answers::{Report, describe};
use super::list::list;
use super::survey::survey;
use super::verify::verify;
use super::*;

#[test]
fn the_list_shows_why_a_certificate_is_not_renewed() {
    for (paused, retired, reason, shown) in [
        (false, None, "ok", "ok"),
        (true, None, "ok", "ok, paused"),
        (true, None, "paused", "paused"),
        (true, Some("2026-11-29T02:24:55Z"), "ok", "ok, retired"),
    ] {
        let domain: Domain = read(&json!({
            "name": "links.customer.example", "tenant": "t", "https_ready": true, "paused": paused,
            "retired": retired, "ssl": {"state": "issued", "reason": reason},
        }))
        .unwrap();
        assert_eq!(domain.reason(), shown);
    }
}

#[test]
fn a_report_names_the_record_to_change() {
    let report: Report = read(&json!({
        "https": false, "verified": false, "checked": null,
        "records": [{"type": "CNAME", "host": "links.customer.example", "expected": ["track.platform.example"],
                     "found": [], "verdict": "missing", "hint": {"en": "Add it.", "de": "Anlegen."}}],
        "ssl": {"state": "unknown", "reason": "dns_missing", "message": {"en": "No record.", "de": "Kein Eintrag."}, "since": "x",
                "not_before": null, "not_after": null, "issuer": null, "serial": null, "sans": [], "renew_at": null,
                "attempts": 0, "next_attempt": null, "eta": null, "last_error": null},
    }))
    .unwrap();
    let text = describe(&"links.customer.example".parse().unwrap(), &report);
    assert_eq!(
        text,
        "links.customer.example: unknown (dns_missing)\nNo record.\n\
         TYPE   HOST                    EXPECTED                FOUND    VERDICT\n\
         CNAME  links.customer.example  track.platform.example  nothing  missing\n\
         CNAME links.customer.example: Add it.\n"
    );
    let said = Report {
        ssl: answers::Ssl {
            message: report.records[0]
                .hint
                .as_ref()
                .map(|h| answers::Sentence { en: h.en.clone() }),
            ..report.ssl
        },
        ..report
    };
    let text = describe(&"links.customer.example".parse().unwrap(), &said);
    assert_eq!(text.matches("Add it.").count(), 1, "{text}");
}

#[test]
fn a_freeze_is_described_with_what_the_token_may_see() {
    let freeze = |note: Value, by: Value| {
        let freeze: Freeze = read(&json!({"since": "2026-11-28T10:00:00Z", "note": note, "by": by})).unwrap();
        freeze.sentence()
    };
    let since = "All orders have been frozen since 2026-11-28T10:00:00Z";
    assert_eq!(
        freeze(json!("incident 7"), json!("ops")),
        format!("{since} by ops: incident 7")
    );
    assert_eq!(freeze(Value::Null, Value::Null), format!("{since}."));
}

/// An admin API with three domains on two pages, one of them not correct yet.
async fn fake_api(tasks: &linkseal_base::shutdown::Tasks) -> AdminClient {
    use axum::extract::{Path, RawQuery};
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use axum::{Json, Router};
    let ssl = |state: &str| json!({"state": state, "reason": "ok", "message": {"en": "x", "de": "y"}, "not_after": null, "issuer": null, "next_attempt": null, "last_error": null});
    let domain = move |name: &str| json!({"name": name, "tenant": "t", "https_ready": true, "paused": false, "ssl": ssl("issued")});
    let list = move |RawQuery(query): RawQuery| async move {
        let second = query.unwrap_or_default().contains("cursor=b%20c");
        let (names, next) = if second {
            (vec!["c.example"], None)
        } else {
            (vec!["a.example", "b.example"], Some("b c"))
        };
        let domains: Vec<_> = names.into_iter().map(domain).collect();
        Json(json!({"domains": domains, "next": next, "counts": {"issued": 3, "pending": 0, "unknown": 0}}))
    };
    let verify = move |Path(name): Path<String>| async move {
        let right = name != "b.example";
        let state = match name.as_str() {
            "paused.example" => "unknown",
            "mail.example" => "issued",
            _ => "pending",
        };
        if name == "mail.example" {
            let spf = json!({"type": "TXT", "host": name, "expected": ["v=spf1 …"], "found": [], "verdict": "missing",
                             "hint": {"en": "Add it.", "de": "Anlegen."}});
            let report = json!({"https": true, "verified": false, "records": [spf], "ssl": ssl(state)});
            return (StatusCode::ACCEPTED, Json(report));
        }
        (
            StatusCode::ACCEPTED,
            Json(
                json!({"https": right, "verified": right, "records": [], "ssl": ssl(state),
                        "freeze": (name == "a.example").then(|| json!({"since": "2026-11-28T10:00:00Z", "note": "incident 7", "by": "ops"}))}),
            ),
        )
    };
    let dns = move |Path(name): Path<String>| async move {
        let right = name == "a.example";
        let wrong = json!({"type": "CNAME", "host": name, "expected": ["edge.example"], "found": [], "verdict": "missing",
                           "hint": {"en": "Add it.", "de": "Anlegen."}});
        let records = if right { json!([]) } else { json!([wrong]) };
        Json(json!({"https": right, "verified": right, "checked": null, "records": records, "ssl": ssl("unknown")}))
    };
    // Its order ends between two checks.
    let show = move |Path(name): Path<String>| async move {
        match name.as_str() {
            "late.example" => (StatusCode::OK, Json(domain(&name))),
            _ => (
                StatusCode::NOT_FOUND,
                Json(json!({"detail": "there is no such domain", "code": "not_found"})),
            ),
        }
    };
    let app = Router::new()
        .route("/v1/domains", get(list))
        .route("/v1/domains/{name}/verify", post(verify))
        .route("/v1/domains/{name}/dns", get(dns))
        .route(
            "/v1/domains/{name}",
            get(show).delete(|| async { StatusCode::NO_CONTENT }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn_until_stop(async move { axum::serve(listener, app).await.unwrap() });
    AdminClient::at(format!("http://{address}"))
}

#[tokio::test]
async fn pages_are_followed_and_errors_are_reported() {
    let tasks = linkseal_base::shutdown::Tasks::new();
    let client = fake_api(&tasks).await;
    let mut lines = Vec::new();
    let tenant = [("tenant", Some("a&b".to_owned()))];
    list(&client, &tenant, true, |text| {
        lines.push(text.to_owned());
        Ok(())
    })
    .await
    .unwrap();
    let whole: Value = serde_json::from_str(&lines.concat()).unwrap();
    let names: Vec<_> = whole["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a.example", "b.example", "c.example"]);
    assert_eq!(whole["counts"]["issued"], 3);

    let (right, wrong) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
    assert!(verify(&client, &right, None, true).await.is_ok());
    assert!(matches!(
        verify(&client, &wrong, None, true).await,
        Err(Failure::NotYet)
    ));
    // A freeze may last for days, so the command does not wait for an order.
    let long = Instant::now() + std::time::Duration::from_secs(3_600);
    let waited = verify(&client, &right, Some(long), false);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), waited).await;
    assert!(matches!(waited, Ok(Err(Failure::NotYet))), "{waited:?}");
    // The same for a pause.
    let paused = "paused.example".parse().unwrap();
    let waited = verify(&client, &paused, Some(long), false);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(60), waited).await;
    assert!(matches!(waited, Ok(Err(Failure::NotYet))), "{waited:?}");
    // Records that HTTPS does not need are not waited for.
    let mail = "mail.example".parse().unwrap();
    for until in [None, Some(long)] {
        let waited = verify(&client, &mail, until, false);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(5), waited).await;
        assert!(matches!(waited, Ok(Ok(()))), "{waited:?}");
    }
    // The timeout holds even if it is shorter than the interval of checks.
    let started = Instant::now();
    let short = started + std::time::Duration::from_millis(200);
    let waited = verify(&client, &wrong, Some(short), false).await;
    assert!(matches!(waited, Err(Failure::NotYet)), "{waited:?}");
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
    // When the time is up, the state is read once more.
    let late = "late.example".parse().unwrap();
    let short = Instant::now() + std::time::Duration::from_millis(50);
    let waited = verify(&client, &late, Some(short), true).await;
    assert!(waited.is_ok(), "{waited:?}");
    assert!(client.delete("/v1/domains/a.example").await.is_ok());
    let error = client.get("/v1/domains/x.example").await.unwrap_err();
    assert_eq!(error.to_string(), "linkseal: there is no such domain (not_found)");
    tasks.stop();
}

#[tokio::test]
async fn a_survey_reports_incorrect_domains_and_counts_all() {
    let tasks = linkseal_base::shutdown::Tasks::new();
    let client = fake_api(&tasks).await;
    let mut printed = Vec::new();
    let outcome = survey(&client, false, |text| {
        printed.push(text.to_owned());
        Ok(())
    });
    assert!(matches!(outcome.await, Err(Failure::NotYet)));
    let text = printed.concat();
    assert!(!text.contains("a.example:"), "{text}");
    assert!(text.contains("CNAME c.example: Add it."), "{text}");
    let last = "3 domains: 1 right, 0 right for HTTPS but not for all records, 2 wrong, 0 not checked\n";
    assert!(text.ends_with(last), "{text}");

    let mut printed = Vec::new();
    let outcome = survey(&client, true, |text| {
        printed.push(text.to_owned());
        Ok(())
    });
    assert!(matches!(outcome.await, Err(Failure::NotYet)));
    let whole: Value = serde_json::from_str(&printed.concat()).unwrap();
    assert_eq!(
        whole["counts"],
        json!({"right": 1, "https_only": 0, "wrong": 2, "failed": 0})
    );
    assert_eq!(whole["domains"][1]["name"], "b.example");
    assert_eq!(whole["domains"][1]["records"][0]["verdict"], "missing");
    tasks.stop();
}
