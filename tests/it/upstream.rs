//! Upstream rules in front of nginx, a real back end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::nginx::Nginx;
use crate::support::world::{Plan, World};
use crate::support::{TIMEOUT, client, until};

const NAME: &str = "links.customer.test";

/// A world that forwards everything else to nginx; `options` is more keys of the rule as TOML.
async fn world_in_front_of(nginx: &Nginx, options: &str) -> World {
    let rule = format!("prefix = \"/\"\nto = \"http://{}\"\n{options}", nginx.address);
    let world = Plan::new().await.add("upstream", &rule).start().await;
    world.edge.register(NAME).await;
    world
}

/// Sends bytes over TLS and reads until the edge closes the connection.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut io = client::handshake(world.edge.https, NAME, &world.client(&[b"http/1.1"]))
        .await
        .expect("a handshake");
    io.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // The connection may end without close_notify.
    drop(
        tokio::time::timeout(TIMEOUT, io.read_to_end(&mut answer))
            .await
            .expect("the edge closes"),
    );
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_sees_the_original_path_host_and_client() {
    let nginx = Nginx::start().await;
    let world = world_in_front_of(&nginx, "").await;
    // `%zz` is in the query because nginx refuses it in a path.
    let path = "/track/%2F/~//x%7a/a%20b/?q=%2f&r=//%zz";
    let answer = world.fetch(NAME, path).await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "nginx\n"));
    // A click link of another system, with a foreign token.
    world.fetch(NAME, "/c/old-token").await.expect("an answer");
    let ours = world.links(NAME).click("https://shop.example/");
    assert_eq!(world.fetch(NAME, &ours).await.expect("an answer").status, 302);
    let spoofed = "GET /track/1 HTTP/1.1\r\nHost: LINKS.customer.test.\r\nUser-Agent: Old/1\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nConnection: close, X-Forwarded-For\r\n\r\n";
    assert!(raw(&world, spoofed.as_bytes()).await.starts_with("HTTP/1.1 200 "));
    let seen = until("three requests are logged", async || {
        Some(nginx.logged()).filter(|l| l.len() >= 3)
    })
    .await;
    let uris: Vec<_> = seen.iter().map(|l| l.uri.as_str()).collect();
    assert_eq!(uris, [path, "/c/old-token", "/track/1"]);
    for logged in &seen {
        assert_eq!(logged.host, NAME);
        assert_eq!(logged.forwarded_for, "127.0.0.1");
        assert_eq!(logged.forwarded_proto, "https");
        assert_eq!(logged.forwarded_host, NAME);
        assert_eq!(logged.forwarded, format!("for=127.0.0.1;host={NAME};proto=https"));
        assert_eq!(logged.connection, seen[0].connection, "one connection for all requests");
    }
    assert_eq!(seen[2].agent, "Old/1");
    assert_eq!(seen[2].requests, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_smuggled_past_the_edge() {
    let nginx = Nginx::start().await;
    let world = world_in_front_of(&nginx, "").await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: links.customer.test\r\n\r\n";
    let host = format!("Host: {NAME}\r\n");
    let close = "Connection: close\r\n";
    let length = hidden.len();
    // The edge may refuse any of these or forward it as exactly one request.
    let mut attempts: Vec<String> = vec![
        format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{hidden}"),
        format!("Content-Length: +{length}\r\n\r\n{hidden}"),
        format!("Content-Length: {length}, 0\r\n\r\n{hidden}"),
        format!("Content-Length : {length}\r\n\r\n{hidden}"),
        format!("Content-Length: {length}\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("X: y\nTransfer-Encoding: chunked\n\n{length:x}\n{hidden}\n0\n\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n{length:x};a=\"\r\n{hidden}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n0x{length:x}\r\n{hidden}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n-1\r\n{hidden}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n{hidden}\r\n0\r\n\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n{hidden}"),
        format!("Connection: Content-Length\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!(
            "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"
        ),
        format!(
            "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: {length}\r\n\r\n{hidden}"
        ),
        format!("Host: evil.test\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("X: a\0b\r\nContent-Length: {length}\r\n\r\n{hidden}"),
    ];
    attempts.extend(["\r", "\n", "\r\n", "\r\n\r\n"].map(|end| format!("X: y\r\n\r\n{end}")));
    let mut passed = 0;
    for (i, rest) in attempts.iter().enumerate() {
        for method in ["GET", "POST"] {
            // Without `Connection: close` the rest would be the client's own next request, which is
            // pipelining and not smuggling.
            let request = format!("{method} /outer/{i} HTTP/1.1\r\n{host}{close}{rest}");
            let answer = raw(&world, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 "), "{rest:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{rest:?}: {answer}");
            passed += usize::from(answer.starts_with("HTTP/1.1 200 "));
            // Another client's next request over the same connection to nginx gets its own response.
            let mark = format!("/mark/{i}/{method}");
            assert_eq!(
                world.fetch(NAME, &mark).await.expect("an answer").status,
                200,
                "after {rest:?}"
            );
        }
    }
    let marks = 2 * attempts.len();
    let seen = until("all marks are logged", async || {
        let seen = nginx.logged();
        let logged = seen.iter().filter(|l| l.uri.starts_with("/mark/")).count();
        (logged == marks).then_some(seen)
    })
    .await;
    for logged in &seen {
        assert!(!logged.request.contains("hidden"), "{logged:?}");
        assert!(
            logged.uri.starts_with("/mark/") || logged.uri.starts_with("/outer/"),
            "{logged:?}"
        );
        assert_eq!(logged.host, NAME, "{logged:?}");
        assert!(logged.length.bytes().all(|b| b.is_ascii_digit()), "{logged:?}");
    }
    let forwarded = seen
        .iter()
        .filter(|l| l.uri.starts_with("/outer/") && l.status == 200)
        .count();
    assert_eq!(forwarded, passed, "one request at nginx for each response");
    assert!(passed >= 10, "some attempts must reach nginx: {passed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_in_both_directions_up_to_the_limit() {
    let nginx = Nginx::start().await;
    let world = world_in_front_of(&nginx, "max_body = \"300kB\"").await;
    let answer = world.fetch(NAME, "/big").await.expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, 8 << 20));
    for (length, status) in [(300_000, "200"), (300_001, "413")] {
        let mut request =
            format!("POST /up HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        if status == "200" {
            request.push_str(&"x".repeat(length));
        }
        let answer = raw(&world, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let seen = until("both are logged", async || {
        Some(nginx.logged()).filter(|l| l.len() >= 2)
    })
    .await;
    assert_eq!(seen[1].length, "300000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_fail_only_while_the_back_end_is_down() {
    let nginx = Nginx::start().await;
    let world = world_in_front_of(&nginx, "").await;
    assert_eq!(world.fetch(NAME, "/a").await.expect("an answer").status, 200);
    let address = nginx.address;
    drop(nginx);
    let answer = world.fetch(NAME, "/a").await.expect("an answer");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("is unavailable"), "{}", answer.text());
    // linkseal's own links still work.
    let ours = world.links(NAME).click("https://shop.example/");
    assert_eq!(world.fetch(NAME, &ours).await.expect("an answer").status, 302);
    let _back = Nginx::start_at(address).await;
    assert_eq!(world.fetch(NAME, "/a").await.expect("an answer").status, 200);
}
