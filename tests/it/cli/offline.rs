//! Commands that need no running edge: `simulate`, `link` and `config`.

use std::fs;

use serde_json::{Value, json};

use super::{stdout, text, utf8};
use crate::support::process::{run, run_with_open_files};

#[test]
fn simulations_are_reproducible() {
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
    let once = stdout(&run(&[&line[..], &["--json", "--svg", utf8(&plot)]].concat()));
    assert_eq!(once, stdout(&run(&[&line[..], &["--json"]].concat())));
    let outcome: Value = serde_json::from_str(&once).expect("JSON");
    assert_eq!((&outcome["first"], &outcome["expired"]), (&40.into(), &0.into()));
    assert_eq!(outcome["days"], 60);
    assert!(outcome["longest_wait_seconds"].as_u64() > Some(80_000), "{once}");
    assert!(fs::read_to_string(&plot).expect("a plot").starts_with("<svg "));
    let table = stdout(&run(&line));
    assert!(table.contains("expired") && table.contains("none"), "{table}");
    let bad = run(&["simulate", "--lifetime", "45"]);
    assert!(text(&bad.stderr).contains("160h"), "the error shows the accepted form");
}

#[test]
fn minted_links_can_be_inspected() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("link-1.key");
    stdout(&run(&["link", "keygen", "--out", utf8(&key)]));
    let again = run(&["link", "keygen", "--out", utf8(&key)]);
    assert_eq!(again.status.code(), Some(1), "a key file is never overwritten");
    let (url, base) = ("https://shop.example/?a=1&b=2", "https://links.customer.example");
    let minted = stdout(&run(&[
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
    let found = stdout(&run(&["link", "inspect", minted, "--key-file", utf8(&key), "--json"]));
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
    stdout(&run(&["link", "keygen", "--out", utf8(&other)]));
    let output = run(&["link", "inspect", minted, "--key-file", utf8(&other), "--json"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "the exit status shows that the link is invalid"
    );
    let found = text(&output.stdout);
    assert_eq!(
        serde_json::from_str::<Value>(&found).expect("JSON")["valid"],
        false,
        "{found}"
    );
}

#[test]
fn the_example_configuration_is_valid_once_its_placeholders_are_filled_in() {
    let example = stdout(&run(&["config", "example"]));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("linkseal.toml");
    let filled_in = example
        .replace("accept_terms = false", "accept_terms = true")
        .replace("platform.example", "platform.internal");
    fs::write(&file, filled_in).expect("written");
    let output = run(&["config", "check", utf8(&file)]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "the link key is missing: {message}");
    assert!(message.contains("link-1.key"), "{message}");
    let key = dir.path().join("link-1.key");
    stdout(&run(&["link", "keygen", "--out", utf8(&key)]));
    stdout(&run(&["config", "check", utf8(&file)]));
    // As a user who may neither read the key nor write next to it. Only root can check for another user.
    let as_nobody = run(&["config", "check", utf8(&file), "--user", "nobody"]);
    let message = text(&as_nobody.stderr);
    assert!(!as_nobody.status.success(), "{message}");
    assert!(
        message.contains("cannot be read") || message.contains("only root can"),
        "{message}"
    );
    // A limit of open files below what it needs is only a warning, which says what to raise.
    let few = run_with_open_files(512, &["config", "check", utf8(&file)]);
    stdout(&few);
    let message = text(&few.stderr);
    for part in ["warning:", "edge.max_connections", "512 are allowed", "LimitNOFILE"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let few = stdout(&run_with_open_files(512, &["config", "check", utf8(&file), "--json"]));
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
    // A journal that cannot be created is reported before the start.
    fs::write(dir.path().join("events"), "a file").expect("written");
    let output = run(&["config", "check", utf8(&file)]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{message}");
    assert!(
        message.contains("events.dir") && message.contains("cannot be written to"),
        "{message}"
    );
    let schema = stdout(&run(&["config", "schema"]));
    serde_json::from_str::<Value>(&schema).expect("JSON");
}
