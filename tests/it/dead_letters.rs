//! Dead letters: a webhook receiver refuses some events, and an operator lists, replays and drops
//! them through the admin API and the command line.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::support::process::run;
use crate::support::world::{Links, Plan};
use crate::support::{client::Web, until};

const ACCEPTED: &str = "links.good.test";
const REFUSED: &str = "links.bad.test";

/// A webhook receiver that can be switched to refuse every batch with an event of [`REFUSED`].
#[derive(Clone)]
struct Receiver {
    refuses: Arc<Mutex<bool>>,
    /// The domains of the accepted events.
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self {
            refuses: Arc::new(Mutex::new(true)),
            accepted: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let this = receiver.clone();
        let app = axum::Router::new().fallback(async move |body: Bytes| this.receive(&body));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn receive(&self, body: &[u8]) -> (StatusCode, &'static str) {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let events = body["data"].as_array().expect("events");
        if *self.refuses.lock().expect("a lock") && events.iter().any(|e| e["domain"] == REFUSED) {
            return (StatusCode::UNPROCESSABLE_ENTITY, "I know no such domain");
        }
        let domains = events.iter().filter_map(|e| e["domain"].as_str().map(str::to_owned));
        self.accepted.lock().expect("a lock").extend(domains);
        (StatusCode::OK, "")
    }

    async fn until_accepted(&self, count: usize) {
        until(&format!("{count} events are accepted"), async || {
            (self.accepted.lock().expect("a lock").len() >= count).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_events_are_listed_replayed_and_dropped() {
    let (receiver, url) = Receiver::start().await;
    let plan = Plan::new().await.set("acme.issue", "off");
    let plan = plan.add_webhook("platform", &url, &["open"]);
    let process = plan.serve().await;
    let open = async |name: &str| {
        let url = format!("http://{}{}", process.http, Links::of(name, &plan.clock).open());
        let answer = Web::plain().call("GET", &url, None, &[("host", name)]).await;
        assert_eq!(answer.expect("an answer").status, 200);
    };
    for name in [ACCEPTED, REFUSED] {
        process.register(name).await;
    }
    for name in [ACCEPTED, REFUSED, ACCEPTED, REFUSED, ACCEPTED] {
        open(name).await;
    }
    receiver.until_accepted(3).await;
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
    until("both refused events are dead letters", async || {
        (list().lines().count() == 2).then_some(())
    })
    .await;
    for line in list().lines() {
        let letter: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(letter["event"]["domain"], REFUSED);
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
    assert!(events(&["retry", "--sink", "platform"]).contains("platform is being retried"));

    *receiver.refuses.lock().expect("a lock") = false;
    assert!(events(&["dead-letters", "replay", "--sink", "platform"]).starts_with("2 dead letters"));
    receiver.until_accepted(5).await;
    until("no dead letter is left", async || list().is_empty().then_some(())).await;
    *receiver.refuses.lock().expect("a lock") = true;
    open(REFUSED).await;
    until("the event is a dead letter", async || {
        (list().lines().count() == 1).then_some(())
    })
    .await;
    assert!(events(&["dead-letters", "drop", "--sink", "platform"]).starts_with("1 dead letters"));
    assert_eq!(list(), "");
    let unknown = run(&["events", "retry", "--sink", "nosuch", "--admin", &admin]);
    assert_eq!(unknown.status.code(), Some(1));
}
