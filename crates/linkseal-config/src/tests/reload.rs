//! What a reload applies.

use std::fs;

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
        .replace("dir = \"events\"", "dir = \"elsewhere\"")
        .replace("drain = \"30s\"", "drain = \"31s\"");
    fs::write(&file, changed).unwrap();
    let reloaded = reload(&old, &file).unwrap();
    assert_eq!(
        reloaded.needs_restart,
        ["listen.http", "store.url", "edge.node", "events.dir"]
    );
    assert_eq!(reloaded.config.listen, old.listen);
    assert_eq!(reloaded.config.edge.drain, ConfigDuration::secs(31));
    assert_eq!(changes_needing_restart(&old, &reloaded.config), Vec::<&str>::new());

    fs::write(&file, "edge = 5").unwrap();
    assert!(reload(&old, &file).is_err());
}
