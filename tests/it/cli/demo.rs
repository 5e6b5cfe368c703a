//! `linkseal demo`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::Child;
use std::sync::Arc;

use linkseal_peers::ports::free_port;
use serde_json::{Value, json};

use super::utf8;
use crate::support::client::{self, Web};
use crate::support::process::spawn;
use crate::support::until;

/// The demo's admin port is this far above the base.
const ADMIN_OFFSET: u16 = 1_000;

/// A child process that is killed on drop.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn host_and_path(url: &str) -> (String, String) {
    let uri: http::Uri = url.parse().expect("a URL");
    (uri.host().expect("a host").to_owned(), uri.path().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_issues_serves_and_delivers() {
    let dir = tempfile::tempdir().expect("a directory");
    // A base low enough that the ports derived from it are valid.
    let base = free_port().port().min(u16::MAX - 2 * ADMIN_OFFSET);
    let base_text = base.to_string();
    let mut demo = KillOnDrop(spawn(&[
        "demo",
        "--json",
        "--port-base",
        &base_text,
        "--dir",
        utf8(dir.path()),
    ]));
    let mut line = String::new();
    let output = demo.0.stdout.take().expect("piped");
    let (mut reader, line) = tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::new(output);
        reader.read_line(&mut line).expect("a line");
        (reader, line)
    })
    .await
    .expect("read");
    let info: Value = serde_json::from_str(&line).expect("one line of JSON");
    for key in ["http", "https", "admin", "ca_file", "token", "open_url", "click_url"] {
        assert!(info[key].is_string(), "{key}: {info}");
    }
    let root = fs::read_to_string(info["ca_file"].as_str().unwrap()).expect("the root");
    let https: SocketAddr = info["https"]
        .as_str()
        .unwrap()
        .trim_start_matches("https://")
        .parse()
        .unwrap();
    let name = info["domains"][0].as_str().expect("a domain");
    let api = Web::plain().token(info["token"].as_str().unwrap());
    let url = format!("{}/v1/domains/{name}", info["admin"].as_str().unwrap());
    let before = until("the API answers", async || api.get(&url).await.ok()).await.json();
    assert_eq!(before["ssl"]["state"], "unknown");
    let config = Arc::new(client::tls(&root, &[b"h2"]));
    let (host, path) = host_and_path(info["open_url"].as_str().unwrap());
    assert_eq!(host, name);
    let open = client::fetch(https, name, &path, &config)
        .await
        .expect("an answer over HTTP/2");
    assert_eq!((open.status, open.body.len()), (200, 43));
    let (_, path) = host_and_path(info["click_url"].as_str().unwrap());
    let click = client::fetch(https, name, &path, &config).await.expect("an answer");
    assert_eq!(click.status, 302);
    assert!(click.header("location").unwrap().starts_with("https://example.com/"));
    assert_eq!(api.get(&url).await.expect("an answer").json()["ssl"]["state"], "issued");
    let unauthorized = Web::plain().get(&url).await.expect("an answer");
    assert_eq!(
        (unauthorized.status, &unauthorized.json()["code"]),
        (401, &json!("unauthorized"))
    );

    until("both events are delivered", async || {
        let delivered = fs::read_dir(dir.path().join("delivered")).ok()?;
        let all: String = delivered
            .flatten()
            .filter_map(|f| fs::read_to_string(f.path()).ok())
            .collect();
        (all.contains(r#""type":"open""#) && all.contains(r#""type":"click""#)).then_some(())
    })
    .await;
    let pid = demo.0.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill")
            .success()
    );
    let status = until("the demo exits", async || demo.0.try_wait().expect("a child")).await;
    assert!(status.success(), "{status}");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "", "one line of JSON and no more");
}
