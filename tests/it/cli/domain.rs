//! Commands that call the admin API: `domain`, `issuer` and `api`.

use linkseal_dns::Kind;
use serde_json::{Value, json};

use super::{stdout, text};
use crate::support::edge::EDGE_NAME;
use crate::support::process::{run, run_with_token};
use crate::support::world::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_verifies_all_domains_without_changing_any() {
    let plan = Plan::new().await;
    let process = plan.serve().await;
    let (right, wrong) = ("links.right.test", "links.wrong.example");
    for name in [right, wrong] {
        process.register(name).await;
    }
    let before = [process.domain(right).await, process.domain(wrong).await];
    let admin = process.admin_url();
    let survey = |options: &[&str]| {
        let arguments = ["domain", "--admin", &admin, "verify", "--all", "--dry-run"];
        run(&[&arguments, options].concat())
    };
    let output = survey(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains(&format!("CNAME  {wrong}  {EDGE_NAME}")), "{table}");
    assert!(!table.contains(right), "correct domains are not listed: {table}");
    assert!(table.contains("3 domains: 2 right, "), "{table}");
    // The hint is the same as in the API and on the pages.
    let report = process
        .admin("GET", &format!("/v1/domains/{wrong}/dns"), None)
        .await
        .json();
    assert!(
        table.contains(report["records"][0]["hint"]["en"].as_str().expect("a hint")),
        "{table}"
    );

    let output = survey(&["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        all["counts"],
        json!({"right": 2, "https_only": 0, "wrong": 1, "failed": 0})
    );
    let one = run(&["domain", "--admin", &admin, "verify", right, "--dry-run"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    assert_eq!([process.domain(right).await, process.domain(wrong).await], before);
    assert_eq!(plan.ca.name_stats(right).orders, 0);
}

/// The daily work of support, and `linkseal api` for everything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn domains_are_paused_resumed_shown_and_shared() {
    let plan = Plan::new().await;
    let process = plan.serve().await;
    let (name, admin) = ("links.right.test", process.admin_url());
    process.register(name).await;
    let domain = |command: &str| stdout(&run(&["domain", "--admin", &admin, command, name]));
    assert!(domain("pause").contains("paused"), "{}", domain("show"));
    let listed = stdout(&run(&["domain", "--admin", &admin, "list"]));
    assert!(listed.contains("paused"), "{listed}");
    assert!(!domain("resume").contains("paused:"), "{}", domain("show"));
    let timeline = domain("timeline");
    for event in ["EVENT", "paused", "resumed", "registered"] {
        assert!(timeline.contains(event), "{event}: {timeline}");
    }
    assert!(domain("share").starts_with('/') || domain("share").starts_with("http"));
    let shown = stdout(&run(&["api", "GET", &format!("/v1/domains/{name}"), "--admin", &admin]));
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["name"], &shown["paused"]), (&json!(name), &json!(false)));
    let refused = run(&["domain", "--admin", &admin, "show", "nosuch.right.test"]);
    let message = text(&refused.stderr);
    assert!(message.contains("`linkseal domain add` registers it"), "{message}");
    for command in ["pause", "verify", "reissue", "share", "remove"] {
        let refused = run(&["domain", "--admin", &admin, command, "nosuch.right.test"]);
        let message = text(&refused.stderr);
        assert!(
            message.contains("`linkseal domain add` registers it"),
            "{command}: {message}"
        );
    }
    // The edge's public port is not the admin API.
    let elsewhere = run(&["domain", "--admin", &format!("http://{}", process.http), "list"]);
    let message = text(&elsewhere.stderr);
    assert!(message.contains("check the address given with --admin"), "{message}");
}

/// Proof of ownership, paused domains, limits, unknown names and CAs, and an unreadable row in the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_api_are_printed_with_advice() {
    let (ops, tenants) = ("ops-token-0123456789abcdef", "tenant-token-0123456789abcdef");
    let plan = Plan::new().await;
    let plan = plan.add_token("ops", "admin", ops, "");
    let plan = plan.add_token("ours", "admin", tenants, "tenant = \"ours\"");
    let plan = plan.set("acme.issue", "on_demand");
    let process = plan.serve().await;
    let admin = process.admin_url();
    let run_for = |token: &str, arguments: &[&str]| {
        let (command, rest) = arguments.split_first().expect("a command");
        let all: Vec<&str> = [*command, "--admin", &admin]
            .into_iter()
            .chain(rest.iter().copied())
            .collect();
        run_with_token(token, &all)
    };
    let name = "links.customer.test";
    let refused = run_for(tenants, &["domain", "add", name]);
    let message = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    for part in ["_linkseal.customer.test", "TXT", "linkseal-owner=", "(forbidden)"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let value = message
        .split("value ")
        .nth(1)
        .and_then(|rest| rest.split([';', ' ']).next())
        .expect("a value");
    plan.dns.add("_linkseal.customer.test", Kind::Txt, value);
    stdout(&run_for(tenants, &["domain", "add", name]));
    stdout(&run_for(ops, &["domain", "pause", name]));
    let refused = run_for(ops, &["domain", "reissue", name]);
    assert!(text(&refused.stderr).contains("resume it first"), "{refused:?}");
    stdout(&run_for(ops, &["domain", "resume", name]));
    stdout(&run_for(ops, &["domain", "reissue", name]));
    let refused = run_for(ops, &["domain", "reissue", name]);
    assert!(text(&refused.stderr).contains("(rate_limited)"), "{refused:?}");
    assert!(stdout(&run_for(ops, &["issuer", "release", "--domain", name])).contains("waits ended"));
    stdout(&run_for(ops, &["issuer", "release"]));
    for (option, unknown, expected) in [
        ("--domain", "nosuch.customer.test", "not registered"),
        ("--ca", "other.example", "no such CA is configured"),
    ] {
        let refused = run_for(ops, &["issuer", "release", option, unknown]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(expected), "{refused:?}");
    }
    // Another program has damaged a row in the store.
    let db = rusqlite::Connection::open(plan.dir.path().join("linkseal.db")).expect("the store");
    stdout(&run_for(ops, &["domain", "add", "spoilt.customer.test"]));
    let spoil = "UPDATE domains SET name = 'bad name' WHERE name = 'spoilt.customer.test'";
    assert_eq!(db.execute(spoil, []).expect("written"), 1);
    drop(db);
    assert_eq!(run_for(ops, &["domain", "remove", "bad name"]).status.code(), Some(64));
    let gone = stdout(&run_for(ops, &["domain", "remove", "bad name", "--purge"]));
    assert!(gone.contains("deleted"), "{gone}");
    let again = run_for(ops, &["domain", "remove", "bad name", "--purge"]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}
