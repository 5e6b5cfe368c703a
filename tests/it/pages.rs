//! The admin pages in a real browser: Debian's Chromium, driven by `tests/pages/pages.mjs`, uses a running
//! edge as support staff and customers do.
//!
//! Takes about 45 seconds: the browser visits every page in two sizes, colour schemes and languages.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linkseal_devca::{Endpoint, Refusal};
use linkseal_dns::Kind as Record;
use linkseal_domain::ssl::Reason;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::client::fetch_with_agent;
use crate::support::edge::EDGE_NAME;
use crate::support::world::{Plan, World};

const HOUR: Duration = Duration::from_secs(3600);
/// For all scenarios together: about four times what they take.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Domains of one tenant: more than a page of the list shows.
const FLEET: usize = 240;
const PLATFORM: &str = "Mailwerk";
const TOKENS: [(&str, &str); 3] = [("ops", "admin"), ("helpdesk", "support"), ("auditor", "viewer")];

fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn support_and_customers_can_use_the_pages() {
    let world = world().await;
    fleet(&world).await;
    traffic(&world).await;
    troubles(&world).await;
    browse(&world).await;
}

async fn world() -> World {
    let mut plan = Plan::new().await;
    for (name, role) in TOKENS {
        plan = plan.add_token(name, role, &token(name), "");
    }
    let world = plan
        .set("dns.spf_include", "spf.edge.test")
        .set("dns.dmarc", "present")
        .set("pages.name", PLATFORM)
        .set("pages.accent", "#0f766e")
        .set("pages.accent_dark", "#5eead4")
        .start()
        .await;
    world.dns.add("spf.edge.test", Record::Txt, "v=spf1 ip4:192.0.2.1 -all");
    world
}

async fn fleet(world: &World) {
    for i in 0..FLEET {
        world
            .edge
            .register_for(Some("fleet"), &format!("c{i:03}.fleet.test"))
            .await;
    }
}

/// An issued domain with a day of opens and clicks.
async fn traffic(world: &World) {
    let name = "links.acme.test";
    world.edge.register(name).await;
    world.edge.verify(name).await;
    world.edge.until_issued(name).await;
    for hour in 0..26_usize {
        // Like a mailing: most opens come at first.
        let opens = 14 / (hour + 1) + 1 + (hour * 7) % 3;
        for i in 0..opens {
            // A new message each time: many opens of one message would look like a scanner.
            let links = world.links(name);
            visit(world, name, &links.open()).await;
            if i % 3 == 0 {
                visit(world, name, &links.click("https://acme.example/offer")).await;
            }
        }
        world.clock.advance(HOUR);
    }
}

/// A request by a browser.
async fn visit(world: &World, name: &str, path: &str) {
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let config = world.client(&[b"h2"]);
    let answer = fetch_with_agent(agent, world.edge.https, name, path, &config).await;
    answer.expect("an answer");
}

/// One domain that waits for the CA, and two whose DNS is wrong.
async fn troubles(world: &World) {
    let (limited, elsewhere) = ("go.shop.test", "news.club.test");
    let refusal = Refusal::too_many_failures(limited, HOUR);
    world.faults().refuse_name(limited, None, refusal);
    world.edge.register(limited).await;
    world.edge.verify(limited).await;
    world.edge.until_reason(limited, Reason::RateLimited).await;
    // An NS record makes it a zone of its own, into which the wildcard of the world does not reach.
    world.dns.add("club.test", Record::Ns, "ns.hetzner.com");
    world.dns.add(elsewhere, Record::Cname, "old.platform.example");
    world.edge.register(elsewhere).await;
    world.edge.verify(elsewhere).await;
    world.dns.add("customer.test", Record::Ns, "ns.hetzner.com");
}

/// Runs the script, and changes the world as it requests: each line of JSON from the script is a request,
/// which is confirmed by a line.
async fn browse(world: &World) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    assert!(
        folder.join("node_modules").is_dir(),
        "run tests/run.sh, or `npm ci` in tests/pages, to install the browser driver"
    );
    let setting = json!({
        "admin": format!("http://{}", world.edge.admin),
        "edge": EDGE_NAME,
        "tokens": TOKENS.map(|(name, _)| (name, token(name))).into_iter().map(|(name, token)| (name.to_owned(), json!(token))).collect::<serde_json::Map<_, _>>(),
        "fleet": FLEET,
        "platform": PLATFORM,
    });
    let child = Command::new("node")
        .args(["pages.mjs", &setting.to_string()])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node; tests/run.sh installs it");
    let mut script = Script(child);
    let mut answers = script.0.stdin.take().expect("piped");
    let stdout = script.0.stdout.take().expect("piped");
    let (output, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            drop(output.blocking_send(line));
        }
    });
    let talk = async {
        while let Some(line) = lines.recv().await {
            match serde_json::from_str::<Value>(&line) {
                Ok(request) => {
                    change(world, &request).await;
                    answers.write_all(b"done\n").expect("the script reads");
                }
                // Progress, for the person who runs the test.
                Err(_) => println!("{line}"),
            }
        }
    };
    timeout(TIMEOUT, talk).await.expect("the scenarios end in time");
    let status = script.0.wait().expect("the script exits");
    assert!(status.success(), "a scenario failed; see the output above");
}

/// The running script, killed on drop.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // Killing fails when the script has exited already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn change(world: &World, request: &Value) {
    let text = |key: &str| request[key].as_str().unwrap_or_else(|| panic!("{key} in {request}"));
    match text("do") {
        // The customer creates the record.
        "cname" => {
            world.dns.remove(text("name"), Record::Cname);
            world.dns.add(text("name"), Record::Cname, EDGE_NAME);
        }
        // The CA takes long enough for the pages to show the order in progress.
        "slow" => world.faults().set_validation_delay(Duration::from_millis(2_500)),
        // The account's limit is used up.
        "limit" => world
            .faults()
            .refuse_next(Endpoint::NewOrder, 1, Refusal::too_many_orders(HOUR)),
        "visit" => {
            let name = text("name");
            visit(world, name, &world.links(name).open()).await;
        }
        other => panic!("{other}: unknown request"),
    }
}
