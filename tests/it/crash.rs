//! The real binary: killed at the worst moments, told to stop, told to read its configuration
//! again, started where it cannot start.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use rustls::AlertDescription;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{self, Web};
use crate::support::edge::{EDGE_NAME, private};
use crate::support::process::{Process, run};
use crate::support::until;
use crate::support::world::{Links, Plan};

const HOUR: Duration = Duration::from_secs(3600);

/// A CA whose clock a test moves while the process has the system's: its certificates are good
/// for both.
async fn plan() -> Plan {
    Plan::with_ca(|ca| ca.backdate = 24 * HOUR).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_a_crash_interrupts_is_taken_up_again() {
    let plan = plan().await;
    let first = plan.serve().await;
    first.until_state(EDGE_NAME, "issued").await;
    let name = "links.crash.test";
    plan.faults().set_validation_delay(HOUR);
    first.register(name).await;
    assert_eq!(first.domain(name).await["ssl"]["state"], "unknown");
    let (edge, config) = (first.https, plan.client(&[]));
    let waiting = tokio::spawn(async move { client::handshake(edge, name, &config).await.is_ok() });
    plan.ca.until(|ca| ca.name_stats(name).validations == 1).await;
    let pending = first.until_state(name, "pending").await;
    assert!(pending["ssl"]["not_after"].is_null());
    first.kill();
    assert!(!waiting.await.expect("no panic"), "the one that waited is cut off");

    let second = plan.serve().await;
    second.until_logged("all domains are known").await;
    plan.clock.advance(HOUR);
    let issued = second.until_state(name, "issued").await;
    assert_eq!(issued["ssl"]["reason"], "ok");
    let stats = plan.ca.name_stats(name);
    assert_eq!(
        (stats.orders, stats.certificates),
        (1, 1),
        "the same order, not a second one"
    );
    client::handshake(second.https, name, &plan.client(&[]))
        .await
        .expect("served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_issued_survives_a_kill_and_is_served_at_once() {
    let plan = plan().await;
    let first = plan.serve().await;
    let name = "links.kept.test";
    first.register(name).await;
    let session = client::handshake(first.https, name, &plan.client(&[]))
        .await
        .expect("a certificate");
    let serial = client::serial(&session);
    // Not a moment later.
    first.kill();
    // The CA is gone, too: what is held must do.
    plan.faults().set_down(true);
    let second = plan.serve().await;
    let session = client::handshake(second.https, name, &plan.client(&[]))
        .await
        .expect("served at once");
    assert_eq!(client::serial(&session), serial);
    plan.faults().set_down(false);
    assert_eq!(plan.ca.name_stats(name).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_were_answered_survive_a_kill() {
    let plan = plan().await;
    let first = plan.serve().await;
    let name = "links.events.test";
    first.register(name).await;
    let links = Links::of(name, &plan.clock);
    for _ in 0..20 {
        let answer = client::fetch(first.https, name, &links.open(), &plan.client(&[b"h2"])).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    first.kill();
    let _second = plan.serve().await;
    let delivered = until("every event is delivered", async || {
        let text = fs::read_to_string(plan.settings.delivered()).unwrap_or_default();
        (text.lines().filter(|l| l.contains(r#""type":"open""#)).count() >= 20).then_some(text)
    })
    .await;
    let mut ids: Vec<_> = delivered
        .lines()
        .filter(|l| l.contains(r#""type":"open""#))
        .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "each has one id, however often it is delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_what_is_open_finish() {
    let mut plan = plan().await;
    plan.settings.set("edge.drain_delay", "2s").set("edge.drain", "20s");
    let mut process = plan.serve().await;
    process.until_state(EDGE_NAME, "issued").await;
    let health = format!("http://{}/healthz", process.http);
    let web = Web::plain();
    assert_eq!(web.get(&health).await.expect("an answer").status, 200);
    // A request that has begun and not ended when the signal comes.
    let mut open = TcpStream::connect(process.http).await.expect("connected");
    open.write_all(format!("GET /o/x HTTP/1.1\r\nhost: {EDGE_NAME}\r\n").as_bytes())
        .await
        .expect("sent");
    process.signal("TERM");
    until("health checks are told", async || {
        (web.get(&health).await.ok()?.status == 503).then_some(())
    })
    .await;
    let _late = TcpStream::connect(process.http)
        .await
        .expect("still accepting during the delay");
    process.until_logged("draining").await;
    open.write_all(b"x-late: yes\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    open.read_to_string(&mut answer).await.expect("answered, then closed");
    assert!(answer.starts_with("HTTP/1.1 302"), "{answer}");
    let status = process.ended().await;
    assert!(status.success(), "{status}: {}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_over_a_new_link_key_and_a_bad_one_changes_nothing() {
    let mut plan = plan().await;
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
    assert_eq!(click().await, 404, "the key is not known yet");

    let file = plan.dir.path().join("link-2.key");
    fs::write(&file, &secret).expect("written");
    private(&file);
    let keys: toml::Table =
        r#"keys = [{ id = 1, secret_file = "link-1.key" }, { id = 2, secret_file = "link-2.key" }]"#
            .parse()
            .expect("TOML");
    let mut settings = plan.settings.clone();
    settings.set("links.keys", keys["keys"].clone()).write();
    process.signal("HUP");
    process.until_logged("the configuration was read again").await;
    assert_eq!(click().await, 302);

    settings.set("links.keys", "no list").write();
    process.signal("HUP");
    process.until_logged("the configuration is not taken over").await;
    assert_eq!(click().await, 302, "the old configuration stays");
    plan.settings = settings;
}

/// Runs `serve` where it cannot start: the exit status and the one sentence about it.
fn refusal(config: &Path) -> (i32, String) {
    let output = run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    // Lines of the log come before it.
    let said: Vec<_> = stderr.lines().filter(|l| !l.starts_with('{')).collect();
    assert_eq!(said.len(), 1, "one sentence: {stderr}");
    (output.status.code().expect("an exit status"), said[0].to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_it_from_starting_is_said_in_one_sentence() {
    let mut plan = plan().await;
    let process = plan.serve().await;
    process.until_state(EDGE_NAME, "issued").await;
    let config = plan.settings.write();

    let (status, said) = refusal(&config);
    assert_eq!(status, 1);
    assert!(
        said.contains("in use by another process") && said.contains("linkseal.db"),
        "{said}"
    );
    process.kill();

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let listen = vec![address.clone()];
    plan.settings.set("listen.https", listen).write();
    let (status, said) = refusal(&config);
    assert_eq!(status, 1);
    assert!(said.contains("in use") && said.contains(&address), "{said}");
    plan.settings
        .set("listen.https", vec!["127.0.0.1:0".to_owned()])
        .write();

    let key = plan.dir.path().join("linkseal.key");
    let kept = fs::read(&key).unwrap_or_else(|e| panic!("{}: {e}", key.display()));
    fs::write(&key, "not a key").expect("written");
    let (status, said) = refusal(&config);
    assert_eq!(status, 1);
    assert!(
        said.contains("linkseal.key") && said.contains("64 hexadecimal digits"),
        "{said}"
    );
    fs::write(&key, kept).expect("written");

    let database = plan.dir.path().join("linkseal.db");
    let version: i64 = {
        let db = rusqlite::Connection::open(&database).expect("SQLite");
        let version = db
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .expect("a version");
        db.pragma_update(None, "user_version", version + 1000).expect("raised");
        version
    };
    let (status, said) = refusal(&config);
    assert_eq!(status, 1);
    assert!(
        said.contains("newer version") && said.contains(&(version + 1000).to_string()),
        "{said}"
    );
    let db = rusqlite::Connection::open(&database).expect("SQLite");
    db.pragma_update(None, "user_version", version).expect("lowered");
    drop(db);

    // Nothing of all that has cost anything.
    let process = plan.serve().await;
    assert_eq!(process.domain(EDGE_NAME).await["ssl"]["state"], "issued");
    assert_eq!(plan.ca.name_stats(EDGE_NAME).orders, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_names_file_line_and_key() {
    let mut plan = plan().await;
    plan.settings.set("edge.handshake_wait", "soon");
    let config = plan.settings.write();
    let output = run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(64), "{said}");
    let line = fs::read_to_string(&config)
        .expect("read")
        .lines()
        .position(|l| l.starts_with("handshake_wait"));
    let place = format!("{}:{}", config.display(), line.expect("the line") + 1);
    assert!(said.contains(&place) && said.contains("handshake_wait"), "{said}");
    let missing = run(&["serve", "--config", "/nowhere/linkseal.toml"]);
    assert_eq!(missing.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere/linkseal.toml"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_shows_a_domain_from_unknown_over_pending_to_issued() {
    let plan = plan().await;
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
        .expect_err("forgotten");
    assert_eq!(client::alert(&error), Some(AlertDescription::UnrecognisedName));
}
