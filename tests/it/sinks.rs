//! A receiver that refuses one event, seen by its operator: the binary, its admin API and its
//! command line.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::support::process::run;
use crate::support::world::{Links, Plan};
use crate::support::{client::Web, until};

const GOOD: &str = "links.good.test";
const BAD: &str = "links.bad.test";

/// A receiver that takes no batch with an event of one domain, while it is told to.
#[derive(Clone)]
struct Receiver {
    refuses: Arc<Mutex<bool>>,
    /// The domains of the events that it took.
    taken: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self {
            refuses: Arc::new(Mutex::new(true)),
            taken: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let this = receiver.clone();
        let app = axum::Router::new().fallback(async move |body: Bytes| this.take(&body));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn take(&self, body: &[u8]) -> (StatusCode, &'static str) {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let events = body["data"].as_array().expect("events");
        if *self.refuses.lock().expect("a lock") && events.iter().any(|e| e["domain"] == BAD) {
            return (StatusCode::UNPROCESSABLE_ENTITY, "I know no such domain");
        }
        let domains = events.iter().filter_map(|e| e["domain"].as_str().map(str::to_owned));
        self.taken.lock().expect("a lock").extend(domains);
        (StatusCode::OK, "")
    }

    async fn until_taken(&self, count: usize) {
        until("the receiver has them", async || {
            (self.taken.lock().expect("a lock").len() >= count).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_replays_and_drops_what_a_receiver_refuses() {
    let (receiver, url) = Receiver::start().await;
    let plan = Plan::new().await.set("acme.issue", "off");
    let secret = plan.dir.path().join("hook.key");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("written");
    crate::support::edge::private(&secret);
    let text = format!(
        r#"sink = [{{ name = "platform", kind = "webhook", url = "{url}", secret_files = ["hook.key"], allow_private = true, types = ["open"] }}]"#
    );
    let table: toml::Table = text.parse().expect("TOML");
    let plan = plan.set("events.sink", table["sink"].clone());
    let process = plan.serve().await;
    let open = async |name: &str| {
        let url = format!("http://{}{}", process.http, Links::of(name, &plan.clock).open());
        let answer = Web::plain().call("GET", &url, None, &[("host", name)]).await;
        assert_eq!(answer.expect("an answer").status, 200);
    };
    for name in [GOOD, BAD] {
        process.register(name).await;
    }
    for name in [GOOD, BAD, GOOD, BAD, GOOD] {
        open(name).await;
    }
    receiver.until_taken(3).await;
    let admin = process.admin_url();
    let events = |arguments: &[&str]| {
        let command = [&["events"], arguments, &["--admin", &admin]].concat();
        let output = run(&command);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            output.status.success(),
            "{text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    let list = || events(&["dead-letters", "list", "--sink", "platform"]);
    until("both are set aside", async || {
        (list().lines().count() == 2).then_some(())
    })
    .await;
    for line in list().lines() {
        let letter: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(letter["event"]["domain"], BAD);
        let answer = letter["answer"].as_str().expect("an answer");
        assert!(answer.contains("422") && answer.contains("no such domain"), "{answer}");
    }
    let metrics = process.admin("GET", "/metrics", None).await;
    for line in [
        r#"linkseal_dead_letters_total{sink="platform"} 2"#,
        r#"linkseal_dead_letters_waiting{sink="platform"} 2"#,
        "linkseal_delivery_running 1",
        r#"linkseal_sink_deliveries_total{result="gone",sink="platform"} 0"#,
    ] {
        assert!(metrics.text().contains(line), "{line}");
    }
    assert!(events(&["sinks"]).contains("running"));
    assert!(events(&["retry", "--sink", "platform"]).contains("platform is tried now"));

    *receiver.refuses.lock().expect("a lock") = false;
    assert!(events(&["dead-letters", "replay", "--sink", "platform"]).starts_with("2 dead letters"));
    receiver.until_taken(5).await;
    until("none is left", async || list().is_empty().then_some(())).await;
    *receiver.refuses.lock().expect("a lock") = true;
    open(BAD).await;
    until("it is set aside", async || (list().lines().count() == 1).then_some(())).await;
    assert!(events(&["dead-letters", "drop", "--sink", "platform"]).starts_with("1 dead letters"));
    assert_eq!(list(), "");
    let unknown = run(&["events", "retry", "--sink", "nosuch", "--admin", &admin]);
    assert_eq!(unknown.status.code(), Some(1));
}
