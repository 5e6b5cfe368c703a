//! The command line as a user has it: the demo, links, backups, exit statuses.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Output};
use std::sync::Arc;

use linkseal_dns::Kind;
use serde_json::{Value, json};

use crate::support::client::{self, Web};
use crate::support::edge::{EDGE_NAME, domain, private};
use crate::support::ports::free_port;
use crate::support::process::{run, run_as, run_with_files, spawn};
use crate::support::until;
use crate::support::world::{Plan, World};

/// The admin port stands so far above the base.
const ADMIN_OFFSET: u16 = 1_000;

/// A process that is ended with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// What a command printed; it must have ended well.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The path of a URL, and the address behind it.
fn parts(url: &str) -> (String, String) {
    let uri: http::Uri = url.parse().expect("a URL");
    (uri.host().expect("a host").to_owned(), uri.path().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_shows_the_main_job_by_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    // A base whose offsets are ports, too.
    let base = free_port().port().min(u16::MAX - 2 * ADMIN_OFFSET);
    let base_text = base.to_string();
    let mut demo = Ends(spawn(&[
        "demo",
        "--json",
        "--port-base",
        &base_text,
        "--dir",
        utf8(dir.path()),
    ]));
    let mut line = String::new();
    let stdout = demo.0.stdout.take().expect("piped");
    let (mut reader, line) = tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::new(stdout);
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
    let (host, path) = parts(info["open_url"].as_str().unwrap());
    assert_eq!(host, name);
    let open = client::fetch(https, name, &path, &config)
        .await
        .expect("an answer over HTTP/2");
    assert_eq!((open.status, open.body.len()), (200, 43));
    let (_, path) = parts(info["click_url"].as_str().unwrap());
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
    let status = until("the demo ends", async || demo.0.try_wait().expect("a child")).await;
    assert!(status.success(), "{status}");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "", "one line, no more");
}

#[test]
fn wrong_use_is_64_and_says_what_is_allowed() {
    for arguments in [
        &["serve", "--nonsense"][..],
        &["fly"],
        &[],
        &[
            "link",
            "click",
            "--key-file",
            "/nowhere",
            "--base",
            "https://a.example",
            "--url",
            "ftp://x",
        ],
        &["config", "check", "/nowhere/linkseal.toml"],
        &["simulate", "--limits", "orders_per_account = \"many\""],
        &["simulate", "--order-time", "0s"],
        &["simulate", "--config", "/nowhere/linkseal.toml"],
    ] {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
    assert!(printed(&run(&["--version"])).starts_with("linkseal "));
    assert!(printed(&run(&["--help"])).contains("demo"));
}

#[test]
fn a_fleet_is_replayed_and_plotted_the_same_every_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let plot = dir.path().join("plot.svg");
    let limits = "orders_per_account = \"20/1d\"";
    let line = [
        "simulate",
        "--domains",
        "40",
        "--days",
        "60",
        "--lifetime",
        "45d",
        "--limits",
        limits,
    ];
    let once = printed(&run(&[&line[..], &["--json", "--svg", utf8(&plot)]].concat()));
    assert_eq!(once, printed(&run(&[&line[..], &["--json"]].concat())));
    let outcome: Value = serde_json::from_str(&once).expect("JSON");
    assert_eq!((&outcome["first"], &outcome["expired"]), (&40.into(), &0.into()));
    assert_eq!(outcome["days"], 60);
    assert!(outcome["longest_wait_seconds"].as_u64() > Some(80_000), "{once}");
    assert!(fs::read_to_string(&plot).expect("a plot").starts_with("<svg "));
    let table = printed(&run(&line));
    assert!(table.contains("expired") && table.contains("none"), "{table}");
    let bad = run(&["simulate", "--lifetime", "45"]);
    assert!(text(&bad.stderr).contains("160h"), "what is allowed is said");
}

#[test]
fn a_link_goes_both_ways() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("link-1.key");
    printed(&run(&["link", "keygen", "--out", utf8(&key)]));
    let again = run(&["link", "keygen", "--out", utf8(&key)]);
    assert_eq!(again.status.code(), Some(1), "a key file is never written over");
    let (url, base) = ("https://shop.example/?a=1&b=2", "https://links.customer.example");
    let minted = printed(&run(&[
        "link",
        "click",
        "--key-file",
        utf8(&key),
        "--base",
        base,
        "--url",
        url,
        "--link",
        "7",
    ]));
    let minted = minted.trim();
    assert!(minted.starts_with("https://links.customer.example/c/"), "{minted}");
    let found = printed(&run(&["link", "inspect", minted, "--key-file", utf8(&key), "--json"]));
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(
        (&found["destination"], &found["link"]),
        (&json!(url), &json!(7)),
        "{found}"
    );
    assert_eq!(
        (&found["kind"], &found["valid"]),
        (&json!("click"), &json!(true)),
        "{found}"
    );
    let other = dir.path().join("link-2.key");
    printed(&run(&["link", "keygen", "--out", utf8(&other)]));
    let output = run(&["link", "inspect", minted, "--key-file", utf8(&other), "--json"]);
    assert_eq!(output.status.code(), Some(2), "a script sees that it does not work");
    let found = text(&output.stdout);
    assert_eq!(
        serde_json::from_str::<Value>(&found).expect("JSON")["valid"],
        false,
        "{found}"
    );
}

#[test]
fn the_example_is_a_good_configuration_but_for_what_only_the_user_knows() {
    let example = printed(&run(&["config", "example"]));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("linkseal.toml");
    let filled_in = example
        .replace("accept_terms = false", "accept_terms = true")
        .replace("platform.example", "platform.internal");
    fs::write(&file, filled_in).expect("written");
    let output = run(&["config", "check", utf8(&file)]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "its link key is not there: {said}");
    assert!(said.contains("link-1.key"), "{said}");
    let key = dir.path().join("link-1.key");
    printed(&run(&["link", "keygen", "--out", utf8(&key)]));
    printed(&run(&["config", "check", utf8(&file)]));
    // As a user who may neither read the key nor write beside it; only root can ask that.
    let as_nobody = run(&["config", "check", utf8(&file), "--user", "nobody"]);
    let said = text(&as_nobody.stderr);
    assert!(!as_nobody.status.success(), "{said}");
    assert!(
        said.contains("cannot be read") || said.contains("only root can"),
        "{said}"
    );
    // Fewer open files are allowed than it needs: it can run, and the user learns what to raise.
    let few = run_with_files(512, &["config", "check", utf8(&file)]);
    printed(&few);
    let said = text(&few.stderr);
    for part in ["warning:", "edge.max_connections", "512 are allowed", "LimitNOFILE"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let few = printed(&run_with_files(512, &["config", "check", utf8(&file), "--json"]));
    let few: Value = serde_json::from_str(&few).expect("JSON");
    assert_eq!(few["ok"], true, "{few}");
    let keys = |few: &Value| {
        few["warnings"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|w| w["key"].clone())
            .collect::<Vec<_>>()
    };
    assert!(keys(&few).contains(&json!("edge.max_connections")), "{few}");
    let missing = run(&["config", "check", utf8(&file), "--user", "no-such-user"]);
    assert_eq!(missing.status.code(), Some(64));
    // Where the journal cannot be made, it is told before the start.
    fs::write(dir.path().join("events"), "a file").expect("written");
    let output = run(&["config", "check", utf8(&file)]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("events.dir") && said.contains("cannot be written to"),
        "{said}"
    );
    let schema = printed(&run(&["config", "schema"]));
    serde_json::from_str::<Value>(&schema).expect("JSON");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_everything_back() {
    let world = Plan::new().await.start().await;
    let name = "links.saved.test";
    world.edge.register(name).await;
    let serial = world.served(name).await;
    let config = world.settings.write();
    let copy = world.dir().join("backup.db");
    // While it runs.
    let arguments = ["store", "backup", utf8(&copy), "--config", utf8(&config)];
    printed(&run(&arguments));
    assert_eq!(run(&arguments).status.code(), Some(1), "a copy is never written over");

    let restore = ["store", "restore", utf8(&copy), "--config", utf8(&config)];
    assert_eq!(run(&restore).status.code(), Some(1), "a store is never written over");
    let control = &world.edge.control;
    control
        .purge(&domain(name), &crate::support::edge::operator())
        .await
        .expect("purged");
    let orders = world.ca.stats().orders;
    let world = world
        .restart_after(|dir| {
            for file in fs::read_dir(dir).expect("a folder").flatten() {
                let is_store = file.file_name().to_string_lossy().starts_with("linkseal.db");
                if is_store {
                    fs::remove_file(file.path()).expect("removed");
                }
            }
            printed(&run(&restore));
        })
        .await;
    assert_eq!(world.served(name).await, serial, "certificate and key are back");
    world.handshake(EDGE_NAME).await.expect("so is the edge's own");
    assert_eq!(world.ca.stats().orders, orders);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_a_cut_over_all_domains_are_looked_at_and_none_is_changed() {
    let plan = Plan::new().await;
    let process = plan.serve().await;
    let (right, wrong) = ("links.right.test", "links.wrong.example");
    for name in [right, wrong] {
        process.register(name).await;
    }
    let before = [process.domain(right).await, process.domain(wrong).await];
    let admin = process.admin_url();
    let survey = |more: &[&str]| {
        let arguments = ["domain", "--admin", &admin, "verify", "--all", "--dry-run"];
        run(&[&arguments, more].concat())
    };
    let people = survey(&[]);
    assert_eq!(people.status.code(), Some(2), "{}", text(&people.stderr));
    let told = text(&people.stdout);
    assert!(told.contains(&format!("CNAME  {wrong}  {EDGE_NAME}")), "{told}");
    assert!(!told.contains(right), "nothing of what is right: {told}");
    assert!(told.contains("3 domains: 2 right, "), "{told}");
    // The page and the API say the same.
    let report = process
        .admin("GET", &format!("/v1/domains/{wrong}/dns"), None)
        .await
        .json();
    assert!(
        told.contains(report["records"][0]["hint"]["en"].as_str().expect("a hint")),
        "{told}"
    );

    let machines = survey(&["--json"]);
    assert_eq!(machines.status.code(), Some(2));
    let all: Value = serde_json::from_slice(&machines.stdout).expect("JSON");
    assert_eq!(
        all["counts"],
        json!({"right": 2, "https_only": 0, "wrong": 1, "failed": 0})
    );
    let one = run(&["domain", "--admin", &admin, "verify", right, "--dry-run"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    assert_eq!([process.domain(right).await, process.domain(wrong).await], before);
    assert_eq!(plan.ca.name_stats(right).orders, 0);
}

/// What support does of a day, and any other call of the API.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_are_paused_resumed_shared_and_told_of_by_command() {
    let plan = Plan::new().await;
    let process = plan.serve().await;
    let (name, admin) = ("links.right.test", process.admin_url());
    process.register(name).await;
    let domain = |command: &str| printed(&run(&["domain", "--admin", &admin, command, name]));
    assert!(domain("pause").contains("paused"), "{}", domain("show"));
    let listed = printed(&run(&["domain", "--admin", &admin, "list"]));
    assert!(listed.contains("paused"), "{listed}");
    assert!(!domain("resume").contains("paused:"), "{}", domain("show"));
    let told = domain("timeline");
    for event in ["EVENT", "paused", "resumed", "registered"] {
        assert!(told.contains(event), "{event}: {told}");
    }
    assert!(domain("share").starts_with('/') || domain("share").starts_with("http"));
    let shown = printed(&run(&["api", "GET", &format!("/v1/domains/{name}"), "--admin", &admin]));
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["name"], &shown["paused"]), (&json!(name), &json!(false)));
    let refused = run(&["domain", "--admin", &admin, "show", "nosuch.right.test"]);
    let said = text(&refused.stderr);
    assert!(said.contains("`linkseal domain add` registers it"), "{said}");
    for command in ["pause", "verify", "reissue", "share", "remove"] {
        let refused = run(&["domain", "--admin", &admin, command, "nosuch.right.test"]);
        let said = text(&refused.stderr);
        assert!(said.contains("`linkseal domain add` registers it"), "{command}: {said}");
    }
    // The edge's port for the world is no admin API, whatever it answers.
    let elsewhere = run(&["domain", "--admin", &format!("http://{}", process.http), "list"]);
    let said = text(&elsewhere.stderr);
    assert!(said.contains("--admin names another address"), "{said}");
}

/// Names that tenants take, what cannot be read, and waits, by command.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_of_the_api_are_printed_with_what_to_do() {
    let (ops, tenants) = ("ops-token-0123456789abcdef", "tenant-token-0123456789abcdef");
    let plan = Plan::new().await;
    let mut tokens = Vec::new();
    for (name, secret, more) in [("ops", ops, ""), ("ours", tenants, "tenant = \"ours\"\n")] {
        let file = plan.dir.path().join(format!("{name}.token"));
        fs::write(&file, secret).expect("written");
        private(&file);
        let entry = format!("name = \"{name}\"\nrole = \"admin\"\n{more}secret_file = \"{name}.token\"");
        tokens.push(toml::Value::Table(entry.parse().expect("TOML")));
    }
    let plan = plan.set("admin.tokens", tokens).set("acme.issue", "on_demand");
    let process = plan.serve().await;
    let admin = process.admin_url();
    let as_ = |token: &str, arguments: &[&str]| {
        let (command, rest) = arguments.split_first().expect("a command");
        let all: Vec<&str> = [*command, "--admin", &admin]
            .into_iter()
            .chain(rest.iter().copied())
            .collect();
        run_as(token, &all)
    };
    let name = "links.customer.test";
    let refused = as_(tenants, &["domain", "add", name]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for part in ["_linkseal.customer.test", "TXT", "linkseal-owner=", "(forbidden)"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let value = said
        .split("value ")
        .nth(1)
        .and_then(|rest| rest.split([';', ' ']).next())
        .expect("a value");
    plan.dns.add("_linkseal.customer.test", Kind::Txt, value);
    printed(&as_(tenants, &["domain", "add", name]));
    printed(&as_(ops, &["domain", "pause", name]));
    let refused = as_(ops, &["domain", "reissue", name]);
    assert!(text(&refused.stderr).contains("resume it first"), "{refused:?}");
    printed(&as_(ops, &["domain", "resume", name]));
    printed(&as_(ops, &["domain", "reissue", name]));
    let refused = as_(ops, &["domain", "reissue", name]);
    assert!(text(&refused.stderr).contains("(rate_limited)"), "{refused:?}");
    assert!(printed(&as_(ops, &["issuer", "release", "--domain", name])).contains("waits no longer"));
    printed(&as_(ops, &["issuer", "release"]));
    for (option, unknown, said) in [
        ("--domain", "nosuch.customer.test", "not registered"),
        ("--ca", "other.example", "no such CA is configured"),
    ] {
        let refused = as_(ops, &["issuer", "release", option, unknown]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(said), "{refused:?}");
    }
    // Another program has written into the store.
    let db = rusqlite::Connection::open(plan.dir.path().join("linkseal.db")).expect("the store");
    printed(&as_(ops, &["domain", "add", "spoilt.customer.test"]));
    let spoil = "UPDATE domains SET name = 'bad name' WHERE name = 'spoilt.customer.test'";
    assert_eq!(db.execute(spoil, []).expect("written"), 1);
    drop(db);
    assert_eq!(as_(ops, &["domain", "remove", "bad name"]).status.code(), Some(64));
    let gone = printed(&as_(ops, &["domain", "remove", "bad name", "--purge"]));
    assert!(gone.contains("forgotten"), "{gone}");
    let again = as_(ops, &["domain", "remove", "bad name", "--purge"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

/// A store that was put back without its key: told at once, and no key is made in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_asks_for_its_own_key() {
    let world = World::start().await;
    world.edge.register("links.customer.test").await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("linkseal.toml");
    let configuration = "[edge]\nname = \"track.platform.internal\"\n[acme]\nissue = \"off\"\n\
                         [store]\nurl = \"sqlite:new/linkseal.db\"\n[listen]\nhttp = [\"127.0.0.1:0\"]\n\
                         https = [\"127.0.0.1:0\"]\nadmin = [\"127.0.0.1:0\"]\n";
    fs::write(&file, configuration).expect("written");
    let copy = dir.path().join("copy.db");
    let source = world
        .settings
        .delivered()
        .parent()
        .expect("the edge's folder")
        .join("linkseal.db");
    linkseal_store::sqlite::backup(&source, &copy).expect("a backup");

    let restored = run(&["store", "restore", utf8(&copy), "--config", utf8(&file)]);
    let said = text(&restored.stderr);
    assert_eq!(restored.status.code(), Some(1), "{said}");
    assert!(said.contains("linkseal.key is missing"), "{said}");
    let key = dir.path().join("new/linkseal.key");
    assert!(dir.path().join("new/linkseal.db").exists(), "the folder was made");

    let served = run(&["serve", "--config", utf8(&file)]);
    let said = text(&served.stderr);
    assert_eq!(served.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("is missing").count(), 1, "said once: {said}");
    assert!(!key.exists(), "no other key lies where the right one belongs");
}
