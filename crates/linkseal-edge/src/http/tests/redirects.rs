//! Stored redirects, kill switches and the age of links.

use std::collections::HashMap;

use linkseal_base::clock::Timestamp;
use linkseal_domain::links::{Found, Kill, SlugTargets, Target};
use linkseal_link::KillKind;

use super::*;

/// Stands in for the control plane: answers look-ups from a table of (domain or empty, slug).
pub(super) fn store(edge: &Edge, rows: &[(&str, &str, &str, Option<Timestamp>)]) -> Arc<AtomicU32> {
    let mut lookups = edge.lookups.lock().unwrap().take().unwrap();
    let rows: HashMap<(String, String), Found> = rows
        .iter()
        .map(|(domain, slug, url, expires)| {
            let target = Arc::new(Target::new(url, *expires).unwrap());
            (((*domain).to_owned(), (*slug).to_owned()), Some(target))
        })
        .collect();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    edge.tasks.spawn_until_stop(async move {
        while let Some(lookup) = lookups.recv().await {
            count.fetch_add(1, Ordering::Relaxed);
            let of = |domain: &str| {
                let found = rows.get(&(domain.to_owned(), lookup.slug().to_owned()));
                found.cloned().flatten()
            };
            let both = SlugTargets {
                own: of(lookup.domain()),
                common: of(""),
            };
            lookup.answer(both);
        }
    });
    asked
}

#[tokio::test(flavor = "local")]
async fn a_stored_redirect_is_followed_and_recorded() {
    for via in BOTH {
        let edge = Edge::new();
        let asked = store(
            &edge,
            &[
                (CUSTOMER, "sale", "https://shop.example/ä", None),
                ("", "sale", "https://all.example/", None),
                ("", "terms", "https://terms.example/", None),
            ],
        );
        for _ in 0..2 {
            let got = edge.get(via, CUSTOMER, "/r/sale").await;
            assert_eq!(
                (got.status, got.header(LOCATION)),
                (StatusCode::FOUND, "https://shop.example/%C3%A4")
            );
            assert_eq!(
                (got.header(CACHE_CONTROL), got.header("x-robots-tag")),
                ("no-store", "noindex, nofollow")
            );
            let got = edge.get(via, CUSTOMER, "/r/terms").await;
            assert_eq!(got.header(LOCATION), "https://terms.example/");
            let unknown = edge.get(via, CUSTOMER, "/r/unknown").await;
            assert_eq!(unknown.status, StatusCode::NOT_FOUND);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3, "each slug once, the unknown too");
        let head = edge.method(via, CUSTOMER, Method::HEAD, "/r/sale").await;
        assert_eq!((head.status, head.body.len()), (StatusCode::FOUND, 0));
        let post = edge.method(via, CUSTOMER, Method::POST, "/r/sale").await;
        assert_eq!(
            (post.status, post.header(ALLOW)),
            (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
        );
        let events = edge.events();
        assert_eq!(events.len(), 5, "{events:?}");
        assert_eq!(
            (
                events[0]["type"].as_str(),
                events[0]["slug"].as_str(),
                events[0]["url"].as_str()
            ),
            (Some("redirect"), Some("sale"), Some("https://shop.example/ä"))
        );
        assert_eq!(
            (events[0]["tenant"].as_str(), events[0]["verdict"]["class"].is_string()),
            (Some("acme"), true)
        );
        assert_eq!(events[4]["request"]["method"], "HEAD");
        // Redirects for all domains work on edge.name too.
        let got = edge.get(Via::H2(Some(EDGE)), EDGE, "/r/sale").await;
        assert_eq!(got.header(LOCATION), "https://all.example/");
    }
}

#[tokio::test(flavor = "local")]
async fn unknown_and_expired_slugs_get_the_fallback() {
    let fallback = "https://platform.example/broken";
    let edge = Edge::with(|s| s.fallback_url = Some(fallback.into()), |_| {});
    let soon = edge.context.clock.now() + Duration::from_secs(60);
    let own = format!("https://{CUSTOMER}/landing");
    let click = format!("https://{PENDING}/c/abc");
    let stored = format!("https://{}./r/b?x", PENDING.to_uppercase());
    let fine = format!("https://{PENDING}/robots.txt");
    let asked = store(
        &edge,
        &[
            (CUSTOMER, "brief", "https://shop.example/", Some(soon)),
            ("", "brief", "https://all.example/", None),
            ("", "own", &own, None),
            ("", "click", &click, None),
            ("", "stored", &stored, None),
            ("", "fine", &fine, None),
            ("", "strange", "https://strange.example/c/abc", None),
        ],
    );
    let location = async |path: &str| {
        let got = edge.get(BOTH[0], CUSTOMER, path).await;
        assert_eq!(got.status, StatusCode::FOUND, "{path}");
        got.header(LOCATION).to_owned()
    };
    assert_eq!(location("/r/brief").await, "https://shop.example/");
    assert_eq!(location("/r/fine").await, fine);
    assert_eq!(location("/r/strange").await, "https://strange.example/c/abc");
    edge.context.clock.advance(Duration::from_secs(61));
    // A domain's own redirect wins even if it has expired.
    for path in [
        "/r/brief",
        "/r/own",
        "/r/click",
        "/r/stored",
        "/r/unknown",
        "/r/",
        "/r/a/b",
        "/r/br%69ef",
    ] {
        assert_eq!(location(path).await, fallback, "{path}");
    }
    // Of `a/b` only `a` may be a slug.
    assert_eq!(asked.load(Ordering::Relaxed), 8, "what is no slug is not looked up");
    assert_eq!(edge.events().len(), 3);
}

#[tokio::test(flavor = "local")]
async fn text_appended_to_a_slug_does_not_break_it() {
    let edge = Edge::new();
    store(
        &edge,
        &[
            (CUSTOMER, "sommer", "https://shop.example/", None),
            ("", "with.dot.", "https://dot.example/", None),
        ],
    );
    // A slug's alphabet is wider than a token's.
    let outside = |appended: &&&str| {
        !appended.starts_with(['~']) && !appended.starts_with(".html") && !appended.starts_with(".gif")
    };
    for appended in APPENDED.iter().filter(outside) {
        for path in [format!("/r/sommer{appended}"), format!("//R//sommer{appended}")] {
            let got = edge.get(BOTH[0], CUSTOMER, &path).await;
            assert_eq!(got.header(LOCATION), "https://shop.example/", "{path}");
        }
    }
    let got = edge.get(BOTH[1], CUSTOMER, "/r/with.dot.").await;
    assert_eq!(got.header(LOCATION), "https://dot.example/");
    for path in [
        "/r/sommer2.",
        "/r/somme.",
        "/r/sommerx%22",
        "/r/Sommer",
        "/r/sommer-",
        "/r/sommer%2D",
    ] {
        assert_eq!(
            edge.get(BOTH[0], CUSTOMER, path).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
    let events = edge.events();
    assert_eq!(events.len(), 2 * APPENDED.iter().filter(outside).count() + 1);
    assert!(events.iter().rev().skip(1).all(|e| e["slug"] == "sommer"));
}

#[tokio::test(flavor = "local")]
async fn a_failed_look_up_is_not_answered_as_an_unknown_slug() {
    let edge = Edge::with(|s| s.fallback_url = Some("https://platform.example/".into()), |_| {});
    // The store cannot be read: look-ups get no answer.
    drop(edge.lookups.lock().unwrap().take());
    for via in BOTH {
        let got = edge.get(via, CUSTOMER, "/r/sale").await;
        assert_eq!(
            (got.status, got.header("retry-after"), got.header(LOCATION)),
            (StatusCode::SERVICE_UNAVAILABLE, "5", "")
        );
        assert_eq!(got.header(CACHE_CONTROL), "no-store");
    }
}

#[tokio::test(flavor = "local")]
async fn a_flood_of_slugs_costs_another_network_nothing() {
    let edge = Edge::new();
    // The control plane is slow: look-ups wait.
    let mut lookups = edge.lookups.lock().unwrap().take().unwrap();
    let flood = |n: usize| {
        let mut connection = edge.connection(BOTH[0]);
        connection.client = "198.51.100.7:4711".parse().unwrap();
        let mut io = edge.accept(connection);
        async move {
            let head = format!("GET /r/made-up-{n} HTTP/1.1\r\nHost: {CUSTOMER}\r\nConnection: close\r\n\r\n");
            io.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            io.read_to_string(&mut answer).await.unwrap();
            answer
        }
    };
    let attack = futures_util::future::join_all((0..200).map(flood));
    let bystander = async {
        // The flood has taken its network's share.
        while edge.context.lookups.networks() == 0 {
            tokio::task::yield_now().await;
        }
        edge.get(BOTH[1], CUSTOMER, "/r/sale").await.header(LOCATION).to_owned()
    };
    let control = async {
        // The flood's look-ups wait until they time out.
        let mut left = Vec::new();
        while let Some(lookup) = lookups.recv().await {
            if lookup.slug() == "sale" {
                let common = Some(Arc::new(Target::new("https://shop.example/", None).unwrap()));
                lookup.answer(SlugTargets { own: None, common });
                return (left, lookups);
            }
            left.push(lookup);
        }
        unreachable!("the edge lives")
    };
    let (answers, location, _) = tokio::join!(attack, bystander, control);
    assert_eq!(
        location, "https://shop.example/",
        "one that had to wait its turn would be refused in the end"
    );
    for answer in answers {
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 5"),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "local")]
async fn a_killed_link_gets_a_warning_and_its_event_says_so() {
    for (kind, value) in [
        (KillKind::Tenant, "acme"),
        (KillKind::Message, "00000000-0000-0000-0000-000000000007"),
        (KillKind::Host, "evil.example"),
    ] {
        for via in BOTH {
            let edge = Edge::new();
            store(&edge, &[(CUSTOMER, "sale", "https://login.evil.example/", None)]);
            let path = click("acme", "https://login.evil.example/");
            assert_eq!(edge.get(via, CUSTOMER, &path).await.status, StatusCode::FOUND);
            edge.context
                .kills
                .set([Kill::new(kind, value).unwrap()].into_iter().collect());
            let request = Request::get(&path).header(ACCEPT_LANGUAGE, "de");
            let got = edge.send(via, CUSTOMER, request, "").await;
            assert_eq!(
                (got.status, got.header("content-language"), got.header(LOCATION)),
                (StatusCode::GONE, "de", "")
            );
            assert_eq!(
                (got.header(CACHE_CONTROL), got.header("x-robots-tag")),
                ("no-store", "noindex, nofollow")
            );
            let page = str::from_utf8(&got.body).unwrap();
            assert!(page.contains("gesperrt") && !page.contains("evil"), "{page}");
            let stored = edge.get(via, CUSTOMER, "/r/sale").await.status;
            let by_message = kind == KillKind::Message;
            assert_eq!(
                stored,
                if by_message {
                    StatusCode::FOUND
                } else {
                    StatusCode::GONE
                }
            );
            // Opens and unsubscribing still work.
            let open = format!("/o/{}", minter("acme").open(&message()));
            assert_eq!(edge.get(via, CUSTOMER, &open).await.status, StatusCode::OK);
            let form = Request::post(format!("/u/{}", minter("acme").unsubscribe(&message(), 9)));
            let left = edge.send(via, CUSTOMER, form, "List-Unsubscribe=One-Click").await;
            assert_eq!(left.status, StatusCode::OK);
            let events = edge.events();
            let killed: Vec<_> = events.iter().map(|e| e["killed"].as_str()).collect();
            let says = Some(kind.as_str());
            assert_eq!(
                killed,
                [None, says, says.filter(|_| !by_message), None, None],
                "{events:?}"
            );
            assert_eq!(events[1]["url"], "https://login.evil.example/");
            assert_eq!(events[0]["verdict"], events[1]["verdict"]);
        }
    }
}

#[tokio::test(flavor = "local")]
async fn another_tenants_message_and_host_are_not_killed() {
    let edge = Edge::new();
    let all = [
        Kill::new(KillKind::Tenant, "other"),
        Kill::new(KillKind::Message, "00000000-0000-0000-0000-000000000008"),
        Kill::new(KillKind::Host, "evil.example"),
    ];
    edge.context.kills.set(all.into_iter().map(Result::unwrap).collect());
    let path = click("acme", "https://notevil.example/");
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &path).await.status, StatusCode::FOUND);
    // A link that is not signed gets no warning: it never had a destination.
    let forged = click("stranger", "https://evil.example/");
    assert_eq!(edge.get(BOTH[0], CUSTOMER, &forged).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "local")]
async fn links_expire_at_max_age() {
    // The tests' links are ten minutes old.
    let edge = Edge::with(|s| s.max_age = Some(Duration::from_secs(900)), |_| {});
    let click = click("acme", "https://example.com/");
    let open = format!("/o/{}", minter("acme").open(&message()));
    let unsubscribe = format!("/u/{}", minter("acme").unsubscribe(&message(), 9));
    let all = async || {
        let mut statuses = Vec::new();
        for path in [&click, &open, &unsubscribe] {
            statuses.push(edge.get(BOTH[0], CUSTOMER, path).await.status);
        }
        statuses
    };
    let [ok, found, not_found] = [StatusCode::OK, StatusCode::FOUND, StatusCode::NOT_FOUND];
    assert_eq!(all().await, [found, ok, ok]);
    assert_eq!(edge.events().len(), 2);
    edge.context.clock.advance(Duration::from_secs(600));
    assert_eq!(all().await, [not_found, ok, ok]);
    assert_eq!(edge.events().len(), 2, "an old pixel is no event");
}

/// Every kind of redirect with every kind of switch: none leads to a killed host, none of a killed tenant
/// redirects at all.
#[tokio::test(flavor = "local")]
async fn no_redirect_leads_to_a_killed_destination() {
    const HOSTS: [&str; 4] = ["shop.example", "own.example", "all.example", "stored.example"];
    let url = |host: &str| format!("https://login.{host}/x");
    let switches = HOSTS
        .map(|host| (KillKind::Host, host))
        .into_iter()
        .chain([(KillKind::Tenant, "acme"), (KillKind::Tenant, "other")]);
    for (kind, value) in switches {
        for own in [true, false] {
            let edge = Edge::with(|s| s.fallback_url = Some(url("all.example")), |_| {});
            let mut customer = record(CUSTOMER, Some("acme"), Reason::Ok);
            customer.fallback_url = own.then(|| url("own.example"));
            edge.context.registry.put(&customer);
            let past = edge.context.clock.now().minus(Duration::from_secs(1));
            let (stored, circle) = (url("stored.example"), format!("https://{CUSTOMER}/x"));
            store(
                &edge,
                &[
                    (CUSTOMER, "stored", &stored, None),
                    (CUSTOMER, "expired", &stored, Some(past)),
                    (CUSTOMER, "circle", &circle, None),
                ],
            );
            edge.context
                .kills
                .set([Kill::new(kind, value).unwrap()].into_iter().collect());
            let (right, own_host) = (click("acme", &url("shop.example")), click("acme", &circle));
            let paths = [
                right.as_str(),
                own_host.as_str(),
                "/c/abc",
                "/r/stored",
                "/r/expired",
                "/r/circle",
                "/r/unknown",
            ];
            let of_tenant = [format!("/t/acme{right}"), "/t/acme/c/abc".to_owned()];
            let all = paths.map(|path| (CUSTOMER, path));
            for (host, path) in all
                .into_iter()
                .chain(of_tenant.iter().map(|path| (EDGE, path.as_str())))
            {
                for (max_age, https) in [(None, true), (Some(Duration::from_secs(1)), true), (None, false)] {
                    let settings = edge.context.settings.load_full();
                    edge.context.settings.store(Arc::new(Settings {
                        max_age,
                        names: settings.names.clone(),
                        prefix: settings.prefix.clone(),
                        fallback_url: settings.fallback_url.clone(),
                        keys: Arc::clone(&settings.keys),
                        upstreams: settings.upstreams.clone(),
                        ..*settings
                    }));
                    let via = if https { Via::H1(Some(host)) } else { Via::Http };
                    let request = Request::get(path).header("x-forwarded-proto", "https");
                    let got = edge.send(via, host, request, "").await;
                    let location = got.header(LOCATION);
                    let context = format!("{kind:?} {value} {host}{path} own {own} age {max_age:?}: {location}");
                    match kind {
                        KillKind::Host => assert!(!location.contains(value), "{context}"),
                        _ if value == "acme" => assert_eq!((got.status, location), (StatusCode::GONE, ""), "{context}"),
                        _ => assert_eq!(got.status, StatusCode::FOUND, "{context}"),
                    }
                    assert!([StatusCode::FOUND, StatusCode::GONE].contains(&got.status), "{context}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "local")]
async fn fallbacks_of_two_domains_do_not_loop() {
    for path in ["/c/zz", "/C/zz", "/r/none", "/%63/zz"] {
        let edge = Edge::new();
        for (name, other) in [(CUSTOMER, PENDING), (PENDING, CUSTOMER)] {
            let mut record = record(name, Some("acme"), Reason::Ok);
            record.fallback_url = Some(format!("https://{other}{path}"));
            edge.context.registry.put(&record);
        }
        let got = edge.get(BOTH[0], CUSTOMER, "/c/zz").await;
        assert_eq!(
            (got.status, got.header(LOCATION)),
            (StatusCode::NOT_FOUND, ""),
            "{path}"
        );
    }
}
