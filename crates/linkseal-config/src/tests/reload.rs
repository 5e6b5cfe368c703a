//! What a reload applies.

use std::fs;

use secrecy::ExposeSecret;

use super::*;
use crate::reload::changes_needing_restart;

#[test]
fn a_reload_reports_what_needs_a_restart_and_keeps_its_old_value() {
    let dir = example_dir();
    let file = dir.path().join("linkseal.toml");
    let text = EXAMPLE
        .replace("accept_terms = false", "accept_terms = true")
        .replace("platform.example", "platform.internal");
    fs::write(&file, &text).unwrap();
    let old = Config::load_with(&file, &filled_in()).unwrap();
    assert_eq!(changes_needing_restart(&old, &old), Vec::<&str>::new());

    let changed = text
        .replace("[\"[::]:80\"]", "[\"[::]:8080\"]")
        .replace("linkseal.db", "other.db")
        .replace("# node = \"edge-1\"", "node = \"edge-x\"")
        .replace("# copy_dir = \"copy\"", "copy_dir = \"copy-x\"")
        .replace("# connections = 10", "connections = 11")
        .replace("dir = \"events\"", "dir = \"elsewhere\"")
        .replace("drain = \"30s\"", "drain = \"31s\"");
    fs::write(&file, changed).unwrap();
    let reloaded = reload(&old, &file).unwrap();
    assert_eq!(
        reloaded.needs_restart,
        [
            "listen.http",
            "store.url",
            "store.connections",
            "store.copy_dir",
            "edge.node",
            "events.dir"
        ]
    );
    assert_eq!(reloaded.config.listen, old.listen);
    assert_eq!(reloaded.config.edge.drain, ConfigDuration::secs(31));
    assert_eq!(changes_needing_restart(&old, &reloaded.config), Vec::<&str>::new());

    fs::write(&file, "edge = 5").unwrap();
    assert!(reload(&old, &file).is_err());
}

#[test]
fn a_reload_keeps_the_password_of_the_store_that_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("linkseal.toml");
    let store = "[store]\nurl = \"postgres://u@db/d\"\nkey_file = \"k\"\npassword_file = \"p\"\n";
    fs::write(&file, format!("{SHORTEST}{store}")).unwrap();
    fs::write(dir.path().join("p"), "before").unwrap();
    let old = Config::load(&file).unwrap();
    fs::write(dir.path().join("p"), "after").unwrap();
    let kept = reload(&old, &file).unwrap().config.secrets.store.password.unwrap();
    assert_eq!(kept.expose_secret(), "before");
}
