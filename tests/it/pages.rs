//! The pages for people, in a real browser: Debian's Chromium, driven by `tests/pages/pages.mjs`,
//! looks at a running edge as support and customers do.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linkseal_control::NewDomain;
use linkseal_devca::{Endpoint, Refusal};
use linkseal_dns::Kind as Record;
use linkseal_domain::ssl::Reason;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::client::fetch_by;
use crate::support::edge::{EDGE_NAME, domain, operator, private};
use crate::support::world::{Plan, World};

const HOUR: Duration = Duration::from_secs(3600);
/// For the whole of it; it takes a quarter of that.
const PATIENCE: Duration = Duration::from_secs(180);
/// Domains of a tenant, to page through.
const FLEET: usize = 240;
const PLATFORM: &str = "Mailwerk";
const TOKENS: [(&str, &str); 3] = [("ops", "admin"), ("helpdesk", "support"), ("auditor", "viewer")];

fn token(name: &str) -> String {
    format!("{name}-0123456789abcdef")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_find_a_domain_see_what_to_change_and_have_it_issued() {
    let world = world().await;
    fleet(&world).await;
    traffic(&world).await;
    troubles(&world).await;
    browse(&world).await;
}

async fn world() -> World {
    let plan = Plan::new().await;
    let mut tokens = Vec::new();
    for (name, role) in TOKENS {
        let file = plan.dir.path().join(format!("{name}.token"));
        std::fs::write(&file, token(name)).expect("written");
        private(&file);
        let entry = format!("name = \"{name}\"\nrole = \"{role}\"\nsecret_file = \"{name}.token\"");
        tokens.push(toml::Value::Table(entry.parse().expect("TOML")));
    }
    let world = plan
        .set("admin.tokens", tokens)
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

/// More domains than a page shows.
async fn fleet(world: &World) {
    for i in 0..FLEET {
        let new = NewDomain {
            name: domain(&format!("c{i:03}.fleet.test")),
            tenant: Some("fleet".into()),
            sending_domain: None,
            records: None,
        };
        world.edge.control.register(new, &operator()).await.expect("registered");
    }
}

/// A domain in good state, with the opens and clicks of a day.
async fn traffic(world: &World) {
    let name = "links.acme.test";
    world.edge.register(name).await;
    world.edge.verify(name).await;
    world.edge.until_issued(name).await;
    for hour in 0..26_usize {
        // As a mailing goes: much at first, then less and less.
        let opens = 14 / (hour + 1) + 1 + (hour * 7) % 3;
        for i in 0..opens {
            // Each to another: one who does it all would be a machine.
            let links = world.links(name);
            visit(world, name, &links.open()).await;
            if i % 3 == 0 {
                visit(world, name, &links.click("https://acme.example/offer")).await;
            }
        }
        world.clock.advance(HOUR);
    }
}

/// Someone with a browser.
async fn visit(world: &World, name: &str, path: &str) {
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let config = world.client(&[b"h2"]);
    let answer = fetch_by(agent, world.edge.https, name, path, &config).await;
    answer.expect("an answer");
}

/// One domain that waits for the CA, and two whose DNS is not right.
async fn troubles(world: &World) {
    let (limited, elsewhere) = ("go.shop.test", "news.club.test");
    let refusal = Refusal::too_many_failures(limited, HOUR);
    world.faults().refuse_name(limited, None, refusal);
    world.edge.register(limited).await;
    world.edge.verify(limited).await;
    world.edge.until_reason(limited, Reason::RateLimited).await;
    // A zone of its own: the wildcard of the world does not reach into it.
    world.dns.add("club.test", Record::Ns, "ns.hetzner.com");
    world.dns.add(elsewhere, Record::Cname, "old.platform.example");
    world.edge.register(elsewhere).await;
    world.edge.verify(elsewhere).await;
    world.dns.add("customer.test", Record::Ns, "ns.hetzner.com");
}

/// Runs the script, and does in the world what it asks for: a line of JSON from it, a line back.
async fn browse(world: &World) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    assert!(
        folder.join("node_modules").is_dir(),
        "tests/run.sh installs what the pages are tested with; or run `npm ci` in tests/pages"
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
    let (said, mut lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            drop(said.blocking_send(line));
        }
    });
    let talk = async {
        while let Some(line) = lines.recv().await {
            match serde_json::from_str::<Value>(&line) {
                Ok(wish) => {
                    grant(world, &wish).await;
                    answers.write_all(b"done\n").expect("the script listens");
                }
                // What the script tells people.
                Err(_) => println!("{line}"),
            }
        }
    };
    timeout(PATIENCE, talk).await.expect("in time");
    let status = script.0.wait().expect("an end");
    assert!(status.success(), "the script says above what is wrong");
}

/// The running script; it ends with the test.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // It has ended already where all went well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn grant(world: &World, wish: &Value) {
    let text = |key: &str| wish[key].as_str().unwrap_or_else(|| panic!("{key} in {wish}"));
    match text("do") {
        // The customer enters the record.
        "cname" => {
            world.dns.remove(text("name"), Record::Cname);
            world.dns.add(text("name"), Record::Cname, EDGE_NAME);
        }
        // The CA takes its time, so that people see it at work.
        "slow" => world.faults().set_validation_delay(Duration::from_millis(2_500)),
        // The account's limit is used up.
        "limit" => world
            .faults()
            .refuse_next(Endpoint::NewOrder, 1, Refusal::too_many_orders(HOUR)),
        "visit" => {
            let name = text("name");
            visit(world, name, &world.links(name).open()).await;
        }
        other => panic!("{other}: not a wish"),
    }
}
