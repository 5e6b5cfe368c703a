//! The members of a fleet: a node's name belongs to one process at a time.

use std::time::{Duration, Instant};

use crate::support::edge::Settings;
use crate::support::fleet::{Fleet, node_name};
use crate::support::process;

/// Far less than another process would have to wait for one that was killed.
const AT_ONCE: Duration = Duration::from_secs(10);

/// What `linkseal serve` says when it refuses to start.
fn refusal(settings: &Settings) -> String {
    let config = settings.write();
    let output = process::run(&["serve", "--config", config.to_str().expect("UTF-8")]);
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_of_a_node_is_refused() {
    let fleet = Fleet::new(2).await;
    let first = fleet.process(0).await;
    let mut same_name = fleet.settings[1].clone();
    same_name.set("edge.node", node_name(0));
    let refused = tokio::task::spawn_blocking(move || refusal(&same_name))
        .await
        .expect("no panic");
    assert!(refused.contains("edge.node"), "{refused}");
    assert!(refused.contains(&node_name(0)), "{refused}");
    let mut same_dir = fleet.settings[1].clone();
    same_dir.set("store.copy_dir", fleet.node_dir(0).join("copy").display().to_string());
    let refused = tokio::task::spawn_blocking(move || refusal(&same_dir))
        .await
        .expect("no panic");
    assert!(refused.contains("in use by another process"), "{refused}");
    // The first one has not noticed.
    assert_eq!(first.admin("GET", "/readyz", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_comes_back_at_once() {
    let fleet = Fleet::new(1).await;
    fleet.process(0).await.kill();
    let begun = Instant::now();
    let _second = fleet.process(0).await;
    let taken = begun.elapsed();
    assert!(taken < AT_ONCE, "{taken:?}");
}
