//! `linkseal serve` as a process: graceful shutdown, reload, errors at start-up, and the states of a
//! domain as the admin API shows them.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rustls::AlertDescription;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{self, Web};
use crate::support::edge::{EDGE_NAME, write_secret};
use crate::support::process::{Process, run};
use crate::support::until;
use crate::support::world::Plan;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_requests_finish_during_shutdown() {
    let mut plan = Plan::with_backdated_ca().await;
    plan.settings.set("edge.drain_delay", "2s").set("edge.drain", "20s");
    let mut process = plan.serve().await;
    process.until_state(EDGE_NAME, "issued").await;
    let health = format!("http://{}/healthz", process.http);
    let web = Web::plain();
    assert_eq!(web.get(&health).await.expect("an answer").status, 200);
    // A request whose head is incomplete when the signal arrives.
    let mut open = TcpStream::connect(process.http).await.expect("connected");
    open.write_all(format!("GET /o/x HTTP/1.1\r\nhost: {EDGE_NAME}\r\n").as_bytes())
        .await
        .expect("sent");
    process.signal("TERM");
    until("health checks fail", async || {
        (web.get(&health).await.ok()?.status == 503).then_some(())
    })
    .await;
    let _late = TcpStream::connect(process.http)
        .await
        .expect("connections are accepted during drain_delay");
    process.until_logged("draining").await;
    open.write_all(b"x-late: yes\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.expect("answered, then closed");
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    let status = process.ended().await;
    assert!(status.success(), "{status}: {}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_adds_a_link_key_and_an_invalid_configuration_changes_nothing() {
    let mut plan = Plan::with_backdated_ca().await;
    let process = plan.serve().await;
    let name = "links.reload.test";
    process.register(name).await;
    let secret = "ff".repeat(32);
    let key = linkseal_link::LinkKey::from_hex(2, &secret).expect("a key");
    let destination = linkseal_link::Destination::new("https://shop.example/").expect("a destination");
    let message = linkseal_link::Message {
        id: uuid::Uuid::new_v4(),
        issued_at: 1_795_305_600,
    };
    let minter = linkseal_link::Minter::new(&key, name);
    let path = format!("/c/{}", minter.click(&message, 1, &destination));
    let click = async || {
        let answer = client::fetch(process.https, name, &path, &plan.client(&[b"h2"])).await;
        answer.expect("an answer").status
    };
    assert_eq!(click().await, 404, "the key is not configured yet");

    let file = plan.dir.path().join("link-2.key");
    write_secret(&file, &secret);
    let keys: toml::Table =
        r#"keys = [{ id = 1, secret_file = "link-1.key" }, { id = 2, secret_file = "link-2.key" }]"#
            .parse()
            .expect("TOML");
    let mut settings = plan.settings.clone();
    settings.set("links.keys", keys["keys"].clone()).write();
    process.signal("HUP");
    process.until_logged("configuration reloaded").await;
    assert_eq!(click().await, 302);

    settings.set("links.keys", "no list").write();
    process.signal("HUP");
    process.until_logged("configuration reload rejected").await;
    assert_eq!(click().await, 302, "the old configuration stays");
    plan.settings = settings;
}

/// Runs `serve` where it cannot start; returns its exit status and the one line of its error.
fn startup_error(config: &Path) -> (i32, String) {
    let output = run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    // The log is JSON.
    let lines: Vec<_> = stderr.lines().filter(|l| !l.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "one line: {stderr}");
    (output.status.code().expect("an exit status"), lines[0].to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_prevents_a_start_is_reported_in_one_line() {
    let mut plan = Plan::with_backdated_ca().await;
    let process = plan.serve().await;
    process.until_state(EDGE_NAME, "issued").await;
    let config = plan.settings.write();

    let (status, message) = startup_error(&config);
    assert_eq!(status, 1);
    assert!(
        message.contains("in use by another process") && message.contains("linkseal.db"),
        "{message}"
    );
    process.kill();

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let listen = vec![address.clone()];
    plan.settings.set("listen.https", listen).write();
    let (status, message) = startup_error(&config);
    assert_eq!(status, 1);
    assert!(message.contains("in use") && message.contains(&address), "{message}");
    plan.settings
        .set("listen.https", vec!["127.0.0.1:0".to_owned()])
        .write();

    let key = plan.dir.path().join("linkseal.key");
    let original = fs::read(&key).unwrap_or_else(|e| panic!("{}: {e}", key.display()));
    fs::write(&key, "not a key").expect("written");
    let (status, message) = startup_error(&config);
    assert_eq!(status, 1);
    assert!(
        message.contains("linkseal.key") && message.contains("64 hexadecimal digits"),
        "{message}"
    );
    fs::write(&key, original).expect("written");

    let database = plan.dir.path().join("linkseal.db");
    let version: i64 = {
        let db = rusqlite::Connection::open(&database).expect("SQLite");
        let version = db
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .expect("a version");
        db.pragma_update(None, "user_version", version + 1000).expect("raised");
        version
    };
    let (status, message) = startup_error(&config);
    assert_eq!(status, 1);
    assert!(
        message.contains("newer version") && message.contains(&(version + 1000).to_string()),
        "{message}"
    );
    let db = rusqlite::Connection::open(&database).expect("SQLite");
    db.pragma_update(None, "user_version", version).expect("lowered");
    drop(db);

    // None of the failed starts has damaged anything.
    let process = plan.serve().await;
    assert_eq!(process.domain(EDGE_NAME).await["ssl"]["state"], "issued");
    assert_eq!(plan.ca.name_stats(EDGE_NAME).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_configuration_is_reported_with_file_line_and_key() {
    let mut plan = Plan::with_backdated_ca().await;
    plan.settings.set("edge.handshake_wait", "soon");
    let config = plan.settings.write();
    let output = run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    let message = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(64), "{message}");
    let line = fs::read_to_string(&config)
        .expect("read")
        .lines()
        .position(|l| l.starts_with("handshake_wait"));
    let place = format!("{}:{}", config.display(), line.expect("the line") + 1);
    assert!(
        message.contains(&place) && message.contains("handshake_wait"),
        "{message}"
    );
    let missing = run(&["serve", "--config", "/nowhere/linkseal.toml"]);
    assert_eq!(missing.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/linkseal.toml"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_shows_a_domain_as_unknown_then_pending_then_issued() {
    let plan = Plan::with_backdated_ca().await;
    plan.faults().set_validation_delay(HOUR);
    let process: Process = plan.serve().await;
    let name = "links.states.test";
    process.register(name).await;
    let domain = process.domain(name).await;
    assert_eq!(
        (&domain["ssl"]["state"], &domain["ssl"]["reason"]),
        (&json!("unknown"), &json!("never_requested"))
    );
    assert_eq!(domain["https_ready"], false);
    let verified = process.admin("POST", &format!("/v1/domains/{name}/verify"), None).await;
    assert_eq!(verified.status, 202, "{}", verified.text());
    process.until_state(name, "pending").await;
    plan.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    plan.clock.advance(HOUR);
    let domain = process.until_state(name, "issued").await;
    assert_eq!(
        (&domain["ssl"]["reason"], &domain["https_ready"]),
        (&json!("ok"), &json!(true))
    );
    assert_eq!(domain["ssl"]["sans"], json!([name]));
    let deleted = process
        .admin("DELETE", &format!("/v1/domains/{name}?purge=true"), None)
        .await;
    assert_eq!(deleted.status, 204, "{}", deleted.text());
    let gone = process.admin("GET", &format!("/v1/domains/{name}"), None).await;
    assert_eq!((gone.status, &gone.json()["code"]), (404, &json!("not_found")));
    let error = client::handshake(process.https, name, &plan.client(&[]))
        .await
        .expect_err("purged");
    assert_eq!(client::alert(&error), Some(AlertDescription::UnrecognisedName));
}
