//! Links: their answers and their events.

use super::*;

#[tokio::test(flavor = "local")]
async fn an_open_is_the_pixel_and_one_event() {
    for (via, version) in BOTH.into_iter().zip(["HTTP/1.1", "HTTP/2"]) {
        let edge = Edge::new();
        let token = minter("acme").open(&message());
        let request = Request::get(format!("/o/{token}.gif"))
            .header(USER_AGENT, "Mozilla/5.0 (X11) Firefox/130.0")
            .header(REFERER, "https://mail.example/");
        let got = edge.send(via, CUSTOMER, request, "").await;
        assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &open::PIXEL[..]));
        assert_eq!(
            (got.header(CONTENT_TYPE), got.header(CACHE_CONTROL)),
            ("image/gif", "no-store")
        );
        let events = edge.events();
        assert_eq!(events.len(), 1, "{events:?}");
        let event = &events[0];
        assert_eq!(
            (
                event["type"].as_str(),
                event["domain"].as_str(),
                event["tenant"].as_str(),
                event["node"].as_str()
            ),
            (Some("open"), Some(CUSTOMER), Some("acme"), Some("edge-1"))
        );
        assert_eq!(event["message_id"], Uuid::from_u128(7).to_string());
        assert_eq!(
            event["request"],
            serde_json::json!({"method": "GET", "version": version, "tls": "1.3"})
        );
        assert_eq!(event["client"]["ip"], "203.0.113.9");
        assert_eq!(event["client"]["referer"], "https://mail.example/");
        assert_eq!(event["verdict"]["class"], "human");
        assert!(event["since_issue_ms"].as_u64().unwrap() >= 600_000);
    }
}

#[tokio::test(flavor = "local")]
async fn an_answer_waits_for_the_disk_if_configured() {
    let dir = tempfile::tempdir().unwrap();
    for via in BOTH {
        let edge = Edge::with(|_| {}, |c| c.recorder = recorder(dir.path(), Durability::Synced));
        let got = edge.get(via, CUSTOMER, &click("acme", "https://example.com/")).await;
        assert_eq!(got.header(LOCATION), "https://example.com/");
    }
    assert_eq!(events_in(dir.path()).len(), 2);
}

#[tokio::test(flavor = "local")]
async fn a_closed_journal_breaks_no_redirect() {
    let edge = Edge::new();
    edge.context.recorder.journal().close(Duration::from_secs(30));
    let got = edge
        .get(BOTH[1], CUSTOMER, &click("acme", "https://example.com/"))
        .await;
    assert_eq!(got.header(LOCATION), "https://example.com/");
    assert!(edge.events().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_bad_open_is_the_same_pixel_and_no_event() {
    for via in BOTH {
        let edge = Edge::new();
        let good = edge
            .get(via, CUSTOMER, &format!("/o/{}", minter("acme").open(&message())))
            .await;
        for path in [
            "/o/",
            "/o/x",
            &format!("/o/{}", minter("stranger").open(&message())),
            &click("acme", "https://example.com/").replace("/c/", "/o/"),
        ] {
            let bad = edge.get(via, CUSTOMER, path).await;
            assert_eq!((bad.status, &bad.body), (good.status, &good.body), "{path}");
            let names = |got: &Got| got.headers.keys().map(|k| k.to_string()).collect::<Vec<_>>();
            assert_eq!(names(&bad), names(&good));
        }
        assert_eq!(edge.events().len(), 1);
    }
}

#[tokio::test(flavor = "local")]
async fn a_click_goes_to_its_destination() {
    for via in BOTH {
        let edge = Edge::new();
        let got = edge
            .get(via, CUSTOMER, &click("acme", "https://example.com/ä?x=%2F#f"))
            .await;
        assert_eq!(
            (got.status, got.header(LOCATION)),
            (StatusCode::FOUND, "https://example.com/%C3%A4?x=%2F#f")
        );
        assert_eq!(
            (got.header(CACHE_CONTROL), got.header("x-robots-tag")),
            ("no-store", "noindex, nofollow")
        );
        assert!(got.body.is_empty());
        assert!(
            edge.get(via, CUSTOMER, &click("old-acme", "https://example.com/"))
                .await
                .status
                == StatusCode::FOUND
        );
        let events = edge.events();
        assert_eq!(
            (events[0]["type"].as_str(), events[0]["link"].as_u64()),
            (Some("click"), Some(3))
        );
        assert_eq!(events[0]["url"], "https://example.com/ä?x=%2F#f");
        assert_eq!(events[1]["tenant"], "old-acme");
    }
}

#[tokio::test(flavor = "local")]
async fn text_appended_to_a_link_does_not_break_it() {
    for via in BOTH {
        let edge = Edge::new();
        for (nth, appended) in APPENDED.iter().enumerate() {
            // A message of its own: repeats of one link are written once and then counted.
            let message = Message {
                id: Uuid::from_u128(nth as u128 + 1),
                ..message()
            };
            let destination = Destination::new("https://example.com/").unwrap();
            let click = format!("/c/{}", minter("acme").click(&message, 3, &destination));
            let open = format!("/o/{}", minter("acme").open(&message));
            let unsubscribe = format!("/u/{}", minter("old-acme").unsubscribe(&message, 9));
            let got = edge.get(via, CUSTOMER, &format!("{click}{appended}")).await;
            assert_eq!(
                (got.status, got.header(LOCATION)),
                (StatusCode::FOUND, "https://example.com/"),
                "{appended}"
            );
            for tail in ["", ".gif", ".GIF"] {
                let got = edge.get(via, CUSTOMER, &format!("{open}{tail}{appended}")).await;
                assert_eq!(got.status, StatusCode::OK, "{appended}");
            }
            let path = format!("{unsubscribe}{appended}");
            assert_eq!(
                edge.get(via, CUSTOMER, &path).await.status,
                StatusCode::OK,
                "{appended}"
            );
            let form = edge.send(via, CUSTOMER, Request::post(&path), "List-Unsubscribe=One-Click");
            assert_eq!(form.await.status, StatusCode::OK, "{appended}");
        }
        let events = edge.events();
        let count = |kind: &str| events.iter().filter(|e| e["type"] == kind).count();
        assert_eq!(
            (count("click"), count("open"), count("unsubscribe")),
            (APPENDED.len(), 3 * APPENDED.len(), APPENDED.len())
        );
        for nth in 1..=APPENDED.len() {
            let id = Uuid::from_u128(nth as u128).to_string();
            assert_eq!(events.iter().filter(|e| e["message_id"] == id).count(), 5);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn raw_bytes_that_mailers_send_in_a_target_are_encoded() {
    let edge = Edge::new();
    let click = click("acme", "https://example.com/");
    for appended in [
        &b"?n=\"a\""[..],
        b"?n=<FNAME>",
        b"?n=J\xf6rg",
        b"?n=J\xc3\xb6rg",
        b">",
        b"\">",
        b"<br>",
        b"\xe2\x80\x8b",
        b"\xa0x",
        b"{x}|^`\\",
    ] {
        // Beside a body that looks like a request, on one connection.
        let mut sent =
            b"POST /u/x HTTP/1.1\r\nHost: links.customer.example\r\nContent-Length: 19\r\n\r\nGET /\" HTTP/1.1\r\n\r\n"
                .to_vec();
        for last in ["", "Connection: close\r\n"] {
            sent.extend_from_slice(format!("GET {click}").as_bytes());
            sent.extend_from_slice(appended);
            sent.extend_from_slice(format!(" HTTP/1.1\r\nHost: {CUSTOMER}\r\n{last}\r\n").as_bytes());
        }
        let mut io = edge.connect(BOTH[0]);
        io.write_all(&sent).await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        let shown = String::from_utf8_lossy(appended);
        assert!(text.starts_with("HTTP/1.1 404"), "{shown}: {text}");
        assert_eq!(text.matches("HTTP/1.1 302").count(), 2, "{shown}: {text}");
        assert_eq!(
            text.matches("location: https://example.com/\r\n").count(),
            2,
            "{shown}: {text}"
        );
    }
    for bad in ["\x01", "\t", " x", "\x7f"] {
        let mut io = edge.connect(BOTH[0]);
        let sent = format!("GET {click}{bad} HTTP/1.1\r\nHost: {CUSTOMER}\r\nConnection: close\r\n\r\n");
        io.write_all(sent.as_bytes()).await.unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 400"), "{bad:?}: {text}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_path_may_be_respelled() {
    let edge = Edge::new();
    let token = click("acme", "https://example.com/").split_off(3);
    for start in ["//c/", "/c//", "/C/", "/c%2F", "/%2fc/"] {
        let got = edge.get(BOTH[0], CUSTOMER, &format!("{start}{token}")).await;
        assert_eq!(got.header(LOCATION), "https://example.com/", "{start}");
    }
    // `-` and `_` need no encoding, which some clients do not know.
    let encoded = token.replace('-', "%2D").replace('_', "%5f");
    let got = edge.get(BOTH[1], CUSTOMER, &format!("/c/{encoded}%22")).await;
    assert_eq!(got.header(LOCATION), "https://example.com/");
    let got = edge
        .get(Via::H1(Some(EDGE)), EDGE, &format!("//T/acme//C/{token}."))
        .await;
    assert_eq!(got.header(LOCATION), "https://example.com/");
}

#[tokio::test(flavor = "local")]
async fn a_changed_token_stays_wrong_whatever_was_appended() {
    let edge = Edge::new();
    let path = click("acme", "https://example.com/");
    let (rest, last) = path.split_at(path.len() - 1);
    let other = if last == "A" { "B" } else { "A" };
    for bad in [
        format!("{rest}{other}"),
        rest.to_owned(),
        format!("{path}A"),
        format!("{path}-"),
        format!("{path}_"),
        format!("{path}%41"),
        format!("{path}%2D"),
        format!("{path}3D"),
        format!("{rest}.{last}"),
        format!("{rest}=%0D%0A{last}"),
        path.to_ascii_uppercase(),
    ] {
        for appended in ["", ".", "%22", "=", "/"] {
            let got = edge.get(BOTH[0], CUSTOMER, &format!("{bad}{appended}")).await;
            assert_eq!(got.status, StatusCode::NOT_FOUND, "{bad}{appended}");
        }
    }
    assert!(edge.events().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_bad_click_leads_to_the_fallback_or_a_page() {
    for via in BOTH {
        let edge = Edge::new();
        redirects::store(&edge, &[]);
        let bad = [
            "/c/".to_owned(),
            "/c/abc".into(),
            "/r/unknown".into(),
            click("stranger", "https://example.com/"),
            click("acme", &format!("https://{CUSTOMER}./x")),
        ];
        for path in &bad {
            let got = edge
                .send(
                    via,
                    CUSTOMER,
                    Request::get(path).header(ACCEPT_LANGUAGE, "de-DE,de;q=0.9"),
                    "",
                )
                .await;
            assert_eq!(
                (got.status, got.header("content-language")),
                (StatusCode::NOT_FOUND, "de"),
                "{path}"
            );
            assert!(got.header("content-security-policy").starts_with("default-src 'none'"));
            assert!(str::from_utf8(&got.body).unwrap().contains("funktioniert nicht"));
        }
        let edge = Edge::with(
            |s| s.fallback_url = Some("https://platform.example/broken".into()),
            |_| {},
        );
        redirects::store(&edge, &[]);
        for path in &bad {
            let got = edge.get(via, CUSTOMER, path).await;
            assert_eq!(
                (got.status, got.header(LOCATION)),
                (StatusCode::FOUND, "https://platform.example/broken"),
                "{path}"
            );
        }
        let mut own = record(CUSTOMER, Some("acme"), Reason::Ok);
        own.fallback_url = Some("https://customer.example/".into());
        edge.context.registry.put(&own);
        assert_eq!(
            edge.get(via, CUSTOMER, "/c/abc").await.header(LOCATION),
            "https://customer.example/"
        );
        own.fallback_url = Some(format!("https://{CUSTOMER}/c/xyz"));
        edge.context.registry.put(&own);
        assert_eq!(edge.get(via, CUSTOMER, "/c/abc").await.status, StatusCode::NOT_FOUND);
        assert!(edge.events().is_empty());
    }
}

#[tokio::test(flavor = "local")]
async fn unsubscribing_takes_a_post() {
    for via in BOTH {
        let edge = Edge::new();
        let path = format!("/u/{}", minter("acme").unsubscribe(&message(), 9));
        let page = edge.get(via, CUSTOMER, &path).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(str::from_utf8(&page.body).unwrap().contains("<form method=\"post\">"));
        assert!(edge.events().is_empty());
        let form = Request::post(&path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let got = edge.send(via, CUSTOMER, form, "List-Unsubscribe=One-Click").await;
        assert_eq!((got.status, got.header(LOCATION)), (StatusCode::OK, ""));
        assert!(got.headers.get("set-cookie").is_none());
        let asked = edge
            .send(via, CUSTOMER, Request::post(&path), "List-Unsubscribe=No")
            .await;
        assert_eq!(asked.status, StatusCode::BAD_REQUEST);
        assert!(str::from_utf8(&asked.body).unwrap().contains("<form method=\"post\">"));
        assert_eq!(
            edge.send(via, CUSTOMER, Request::post("/u/abc"), "List-Unsubscribe=One-Click")
                .await
                .status,
            StatusCode::NOT_FOUND
        );
        let long: &'static str = Box::leak("x".repeat(5000).into_boxed_str());
        assert_eq!(
            edge.send(via, CUSTOMER, Request::post(&path), long).await.status,
            StatusCode::PAYLOAD_TOO_LARGE
        );
        assert_eq!(edge.events().len(), 1, "another value asks");
        // Every POST to a link that verifies unsubscribes.
        for body in [
            "",
            "hello",
            "{\"List-Unsubscribe\":\"One-Click\"}",
            "List%2DUnsubscribe=One%2DClick",
        ] {
            let got = edge.send(via, CUSTOMER, Request::post(&path), body).await;
            assert_eq!(got.status, StatusCode::OK, "{body}");
        }
        let events = edge.events();
        assert_eq!(events.len(), 5, "{events:?}");
        assert_eq!(
            (events[0]["type"].as_str(), events[0]["list"].as_u64()),
            (Some("unsubscribe"), Some(9))
        );
        assert_eq!(events[0]["request"]["method"], "POST");
    }
}

#[tokio::test(flavor = "local")]
async fn tenants_without_a_domain_use_edge_name() {
    for via in [Via::H1(Some(EDGE)), Via::H2(Some(EDGE)), Via::H2(None)] {
        let edge = Edge::new();
        let path = format!("/t/k%C3%B6%20x{}", click("kö x", "https://example.com/"));
        assert_eq!(
            edge.get(via, EDGE, &path).await.header(LOCATION),
            "https://example.com/"
        );
        assert_eq!(
            edge.get(via, EDGE, &format!("/t/other{}", click("kö x", "https://example.com/")))
                .await
                .status,
            StatusCode::NOT_FOUND
        );
        assert_eq!(edge.events()[0]["tenant"], "kö x");
        let elsewhere = edge.get(Via::H1(Some(CUSTOMER)), CUSTOMER, &path).await;
        assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
        assert_eq!(edge.events().len(), 1);
    }
}

#[tokio::test(flavor = "local")]
async fn a_prefix_is_honoured() {
    let edge = Edge::with(|s| s.prefix = "/track".into(), |_| {});
    let path = click("acme", "https://example.com/");
    assert_eq!(
        edge.get(BOTH[0], CUSTOMER, &format!("/track{path}")).await.status,
        StatusCode::FOUND
    );
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "local")]
async fn a_revoked_keys_links_lead_to_the_fallback() {
    let edge = Edge::new();
    let path = click("acme", "https://example.com/");
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::FOUND);
    edge.context.settings.load().keys.revoke(1);
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::NOT_FOUND);
}
