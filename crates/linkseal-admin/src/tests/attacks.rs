//! Clients that exhaust what is shared, and whether others are still served.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::browser::{Browser, csrf};
use super::events::Stream;
use super::*;
use crate::api::EVENT_STREAMS;
use crate::api::health;
use crate::peer::Peer;
use crate::port::server::{Port, Server};
use crate::port::watchdog::Watchdog;

const TENANT: &str = "tenant-viewer-token-0123";
/// How long a bystander's request may take on a busy machine; without an attack it takes a millisecond.
const SOON: Duration = Duration::from_secs(5);

fn with_a_tenant() -> Vec<AdminToken> {
    let mut tokens = three_tokens();
    tokens.push(AdminToken {
        name: "acme".to_owned(),
        role: Role::Viewer,
        tenant: Some("acme".to_owned()),
        token: TENANT.into(),
    });
    tokens
}

/// A file larger than the socket buffers of a connection.
async fn big_file(edge: &Harness) -> String {
    let page = edge.call("GET", "/sign-in").header("accept", "text/html").send().await;
    let (_, rest) = page.text().split_once("href=\"/assets/").unwrap();
    format!("/assets/{}", rest.split('"').next().unwrap())
}

/// A connection that requests a file repeatedly and reads nothing.
async fn never_reads(edge: &Harness, path: &str, token: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(edge.address).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    // An evicted connection may be closed while it writes.
    let _ = stream.write_all(ask.repeat(100).as_bytes()).await;
    stream
}

#[tokio::test]
async fn many_stalled_connections_do_not_close_the_port_to_others() {
    let edge = Harness::start(three_tokens()).await;
    let file = big_file(&edge).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(never_reads(&edge, &file, "none").await);
    }
    for path in ["/healthz", "/v1/domains"] {
        let begun = Instant::now();
        let reply = edge.call("GET", path).token(ADMIN).send().await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert!(begun.elapsed() < SOON, "{path} took {:?}", begun.elapsed());
    }
    let metrics = edge.call("GET", "/metrics").token(ADMIN).send().await;
    let displaced = metrics
        .text()
        .lines()
        .find(|l| l.starts_with("linkseal_admin_connections_closed_total{reason=\"displaced\"}"))
        .unwrap();
    let count: u32 = displaced.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 300 - crate::port::slots::MAX as u32, "{displaced}");
}

/// A client of the health port.
const CLIENT: Peer = Peer {
    ip: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)),
    tls: false,
};

fn health_server(edge: &Harness) -> Server {
    let router = health::router(&edge.admin.context);
    Server::new(&edge.admin.context, router, Port::Health, &edge.tasks)
}

#[tokio::test]
async fn a_connection_that_does_not_read_is_closed_in_time() {
    let edge = Harness::start(three_tokens()).await;
    let server = health_server(&edge);
    let (mut client, io) = tokio::io::duplex(256);
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let watchdog = Arc::new(Watchdog::new(begun));
    let asks = async {
        let ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        let _ = client.write_all(&ask).await;
        // Keeps it open without reading.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = asks => {}
        () = server.serve(io, CLIENT, &watchdog) => {}
    }
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(30)..Duration::from_secs(35)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn a_client_that_reads_very_slowly_is_closed_in_time() {
    let edge = Harness::start(three_tokens()).await;
    let server = health_server(&edge);
    let (mut client, io) = tokio::io::duplex(64);
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let watchdog = Arc::new(Watchdog::new(begun));
    let drips = async {
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let _ = client.read(&mut [0; 1]).await;
        }
    };
    tokio::select! {
        () = drips => {}
        () = server.serve(io, CLIENT, &watchdog) => {}
    }
    let took = begun.elapsed();
    assert!(
        (Duration::from_secs(120)..Duration::from_secs(130)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn an_event_stream_survives_a_flood_of_connections() {
    let edge = Harness::start(three_tokens()).await;
    let file = big_file(&edge).await;
    let mut operator = Stream::open_by(&edge, ADMIN, "", None).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(never_reads(&edge, &file, "none").await);
    }
    edge.append_event("a.example", "acme").await;
    operator.until(|text| text.contains("a.example")).await;
}

#[tokio::test]
async fn valid_tokens_are_admitted_after_wrong_ones_from_the_same_address() {
    let edge = Harness::start(with_a_tenant()).await;
    let wrong = || edge.call("GET", "/v1/domains").token("stale-token-0123456789").send();
    let mut refused = None;
    for _ in 0..60 {
        let reply = wrong().await;
        assert!([401, 429].contains(&reply.status.as_u16()), "{reply:?}");
        if reply.status == 429 {
            refused = Some(reply);
        }
    }
    let refused = refused.expect("wrong ones are bounded");
    refused.is_problem(429, "rate_limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    for (method, path, token) in [
        ("GET", "/metrics", VIEWER),
        ("PUT", "/v1/issuer/freeze", ADMIN),
        ("GET", "/v1/domains", TENANT),
    ] {
        let begun = Instant::now();
        let reply = edge.call(method, path).token(token).json(json!({})).send().await;
        assert!(reply.status.is_success(), "{path}: {reply:?}");
        assert!(begun.elapsed() < SOON);
        assert_eq!(wrong().await.status, 429);
    }
    // Also at the sign-in.
    let mut browser = Browser::new(&edge);
    assert_eq!(browser.sign_in("stale-token-0123456789").await.status, 429);
    assert_eq!(browser.sign_in(ADMIN).await.status, 303);
    let metrics = edge.call("GET", "/metrics").token(VIEWER).send().await;
    for reason in ["unknown_token", "throttled", "no_token"] {
        let line = format!("linkseal_admin_auth_failures_total{{reason=\"{reason}\"}} ");
        assert!(metrics.text().contains(&line), "{reason}");
    }
}

#[tokio::test]
async fn a_tenant_s_viewer_uses_up_only_its_own_streams() {
    let edge = Harness::start(with_a_tenant()).await;
    let mut taken = Vec::new();
    for _ in 0..EVENT_STREAMS.per_tenant_token {
        taken.push(Stream::open_by(&edge, TENANT, "", None).await);
    }
    let one_more = edge.call("GET", "/v1/events").token(TENANT).send().await;
    let problem = one_more.is_problem(429, "rate_limited");
    assert!(problem["detail"].as_str().unwrap().contains("\"acme\""), "{problem}");
    let begun = Instant::now();
    let mut operator = Stream::open_by(&edge, ADMIN, "", None).await;
    edge.append_event("a.example", "other").await;
    operator.until(|text| text.contains("a.example")).await;
    assert!(begun.elapsed() < SOON);
    // A closed stream makes room again.
    taken.pop();
    let look = async {
        while edge.call("GET", "/v1/events").token(TENANT).send().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENT, look).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let edge = Harness::start(with_a_tenant()).await;
    let stays = Stream::open_by(&edge, ADMIN, "", None).await;
    // Removed; for another tenant; another secret under the same name.
    let changes: [fn(&mut AdminToken); 2] = [
        |token| token.tenant = Some("other".to_owned()),
        |token| token.token = "another-token-0123456789".into(),
    ];
    let mut settings = vec![three_tokens()];
    for change in changes {
        let mut tokens = with_a_tenant();
        change(tokens.last_mut().unwrap());
        settings.push(tokens);
    }
    for tokens in settings {
        edge.admin.set_settings(settings_with(with_a_tenant()));
        let stream = Stream::open_by(&edge, TENANT, "", None).await;
        edge.admin.set_settings(settings_with(tokens));
        edge.append_event("late.example", "acme").await;
        let text = stream.until_the_end().await;
        assert!(!text.contains("late.example"), "{text}");
    }
    drop(stays);
}

#[tokio::test]
async fn an_import_ends_with_its_token() {
    let edge = Harness::start(three_tokens()).await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let head = format!(
        "POST /v1/domains/import HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let line = async |stream: &mut TcpStream, name: &str| {
        let line = format!("{{\"name\":\"{name}\"}}\n");
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        stream.write_all(chunk.as_bytes()).await.unwrap();
    };
    line(&mut stream, "a.customer.example").await;
    let mut text = String::new();
    while !text.contains("created") {
        let mut buffer = [0; 4096];
        let n = tokio::time::timeout(PATIENT, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "{text}");
        text.push_str(str::from_utf8(&buffer[..n]).unwrap());
    }
    edge.admin
        .set_settings(settings_with(three_tokens().into_iter().take(2).collect()));
    line(&mut stream, "b.customer.example").await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENT, stream.read_to_end(&mut rest))
        .await
        .unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("b.customer.example"));
    let b = edge
        .call("GET", "/v1/domains/b.customer.example")
        .token(VIEWER)
        .send()
        .await;
    b.is_problem(404, "not_found");
}

#[tokio::test]
async fn the_forms_of_strangers_are_small() {
    let edge = Harness::start(three_tokens()).await;
    let mut browser = Browser::new(&edge);
    let token = csrf(&browser.get("/sign-in").await);
    let long = "x".repeat(5_000);
    let reply = browser.post("/sign-in", &[("csrf", &token), ("token", &long)]).await;
    assert_eq!(reply.status, 303, "as one that is out of date: {reply:?}");
}

#[tokio::test]
async fn forwarded_requests_are_refused_without_tokens() {
    let edge = Harness::start(vec![]).await;
    for header in ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "via"] {
        for path in ["/v1/domains", "/"] {
            let call = edge
                .call("GET", path)
                .header("accept", "text/html")
                .header(header, "203.0.113.7");
            let reply = call.send().await;
            assert_eq!(reply.status, 403, "{header} {path}: {reply:?}");
            assert!(
                reply.text().contains(header) && reply.text().contains("token"),
                "{reply:?}"
            );
        }
        // These paths reveal nothing.
        assert_eq!(
            edge.call("GET", "/healthz").header(header, "x").send().await.status,
            200
        );
    }
    // Like nginx by default.
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let ask = format!(
        "GET /v1/domains HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n",
        edge.address
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 403 ") && answer.contains("HTTP/1.0"), "{answer}");
    // With tokens, proxies are accepted.
    edge.admin.set_settings(settings_with(three_tokens()));
    let call = edge.call("GET", "/v1/domains").token(VIEWER).header("via", "1.1 proxy");
    assert_eq!(call.send().await.status, 200);
}

#[tokio::test]
async fn only_a_trusted_proxy_names_the_client() {
    let edge = Harness::start(three_tokens()).await;
    let audited = async || {
        let audit = edge.call("GET", "/v1/audit").token(ADMIN).send().await.json();
        audit["entries"][0]["from"].as_str().unwrap().to_owned()
    };
    let freeze = |header: &'static str, value: &'static str| {
        let call = edge.call("PUT", "/v1/issuer/freeze").token(ADMIN).header(header, value);
        call.json(json!({})).send()
    };
    freeze("x-forwarded-for", "198.51.100.7").await;
    assert_eq!(audited().await, "127.0.0.1", "no proxy is trusted yet");
    edge.admin.set_settings(Settings {
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..settings_with(three_tokens())
    });
    freeze("x-forwarded-for", "192.0.2.1, 198.51.100.7").await;
    assert_eq!(audited().await, "198.51.100.7");
    freeze("forwarded", "for=\"[2001:db8::7]:99\"").await;
    assert_eq!(audited().await, "2001:db8::7");
    // By a PROXY header; headers of the client are then ignored.
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let ask = format!(
        "PROXY TCP4 203.0.113.9 127.0.0.1 4711 443\r\nPUT /v1/issuer/freeze HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         authorization: Bearer {ADMIN}\r\nx-forwarded-for: 192.0.2.1\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(audited().await, "203.0.113.9");
}

#[tokio::test]
async fn wrong_tokens_behind_a_trusted_proxy_count_for_the_client() {
    let edge = Harness::start(three_tokens()).await;
    edge.admin.set_settings(Settings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..settings_with(three_tokens())
    });
    let wrong = |from: &'static str| {
        let call = edge.call("GET", "/v1/domains").token("stale-token-0123456789");
        call.header("x-forwarded-for", from).send()
    };
    while wrong("198.51.100.7").await.status != 429 {}
    assert_eq!(wrong("198.51.100.8").await.status, 401);
}
