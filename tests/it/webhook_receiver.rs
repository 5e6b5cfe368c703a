//! `examples/webhook_receiver`: it stores what linkseal's webhook sink delivers, each event once, and
//! refuses requests with a wrong signature.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::client::Web;
use crate::support::edge::{WEBHOOK_SECRET, write_secret};
use crate::support::until;
use crate::support::world::{Links, Plan};

const NAME: &str = "links.webhook.test";
const RECEIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/webhook_receiver/receiver.py");

/// The running receiver, killed on drop.
struct Receiver {
    process: Child,
    url: String,
}

impl Receiver {
    async fn start(dir: &Path) -> Self {
        let secret = dir.join("receiver.key");
        write_secret(&secret, WEBHOOK_SECRET);
        let mut process = Command::new("python3")
            .args([
                RECEIVER,
                "--listen",
                "127.0.0.1:0",
                "--database",
                "received.db",
                "--secret-file",
            ])
            .arg(secret)
            .current_dir(dir)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("python3: {error}; tests/run.sh installs it"));
        let stdout = process.stdout.take().expect("piped");
        let line = tokio::task::spawn_blocking(|| BufReader::new(stdout).lines().next());
        let line = line.await.expect("no panic").expect("a line").expect("UTF-8");
        let url = line.strip_prefix("listening on ").expect("an address").to_owned();
        Self { process, url }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The stored events, as JSON.
fn stored(dir: &Path) -> Vec<String> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let db = rusqlite::Connection::open(dir.join("received.db"))?;
        let mut rows = db.prepare("SELECT event FROM events")?;
        rows.query_map([], |row| row.get(0))?.collect()
    };
    // The receiver creates the table with the first event.
    read().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_receiver_stores_signed_batches_and_refuses_others() {
    let plan = Plan::new().await.set("acme.issue", "off");
    let receiver = Receiver::start(plan.dir.path()).await;
    let plan = plan.add_webhook("platform", &receiver.url, &["open"]);
    let process = plan.serve().await;
    process.register(NAME).await;
    let links = Links::of(NAME, &plan.clock);
    let web = Web::plain();
    for _ in 0..3 {
        let url = format!("http://{}{}", process.http, links.open());
        let answer = web.call("GET", &url, None, &[("host", NAME)]).await;
        assert_eq!(answer.expect("an answer").status, 200);
    }
    let events = until("the receiver stores the events", async || {
        Some(stored(plan.dir.path())).filter(|events| events.len() >= 3)
    })
    .await;
    for event in events {
        let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!((&event["type"], &event["domain"]), (&"open".into(), &NAME.into()));
    }

    let now = plan.clock.now().as_secs().to_string();
    let forged = r#"{"type":"events.batch","data":[{"id":"forged"}]}"#;
    let headers = [
        ("webhook-id", "platform_1_1"),
        ("webhook-timestamp", now.as_str()),
        ("webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="),
    ];
    for headers in [&headers[..], &[]] {
        let answer = web.call("POST", &receiver.url, Some(forged.to_owned()), headers).await;
        assert_eq!(answer.expect("an answer").status, 401);
    }
    assert_eq!(stored(plan.dir.path()).len(), 3);
}
