//! `linkseal store`: backup and restore.

use std::fs;

use super::{stdout, text, utf8};
use crate::support::edge::{EDGE_NAME, domain, operator};
use crate::support::process::run;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restores_certificates_and_keys() {
    let world = World::start().await;
    let name = "links.saved.test";
    world.edge.register(name).await;
    let serial = world.served(name).await;
    let config = world.settings.write();
    let copy = world.dir().join("backup.db");
    // The edge is running.
    let arguments = ["store", "backup", utf8(&copy), "--config", utf8(&config)];
    stdout(&run(&arguments));
    assert_eq!(run(&arguments).status.code(), Some(1), "a copy is never overwritten");

    let restore = ["store", "restore", utf8(&copy), "--config", utf8(&config)];
    assert_eq!(run(&restore).status.code(), Some(1), "a store is never overwritten");
    let control = &world.edge.control;
    control
        .operator()
        .purge(&domain(name), &operator())
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
            stdout(&run(&restore));
        })
        .await;
    assert_eq!(world.served(name).await, serial, "certificate and key are restored");
    world
        .handshake(EDGE_NAME)
        .await
        .expect("the edge's own certificate is restored");
    assert_eq!(world.ca.stats().orders, orders);
}

/// Restoring a store without its key is reported at once, and no new key is created in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_requires_its_own_key() {
    let world = World::start().await;
    world.edge.register("links.customer.test").await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("linkseal.toml");
    let configuration = "[edge]\nname = \"track.platform.internal\"\n[acme]\nissue = \"off\"\n\
                         [store]\nurl = \"sqlite:new/linkseal.db\"\n[listen]\nhttp = [\"127.0.0.1:0\"]\n\
                         https = [\"127.0.0.1:0\"]\nadmin = [\"127.0.0.1:0\"]\n";
    fs::write(&file, configuration).expect("written");
    let copy = dir.path().join("copy.db");
    let source = world.dir().join("linkseal.db");
    linkseal_store::sqlite::backup(&source, &copy).expect("a backup");

    let restored = run(&["store", "restore", utf8(&copy), "--config", utf8(&file)]);
    let message = text(&restored.stderr);
    assert_eq!(restored.status.code(), Some(1), "{message}");
    assert!(message.contains("linkseal.key is missing"), "{message}");
    let key = dir.path().join("new/linkseal.key");
    assert!(dir.path().join("new/linkseal.db").exists(), "the directory is created");

    let served = run(&["serve", "--config", utf8(&file)]);
    let message = text(&served.stderr);
    assert_eq!(served.status.code(), Some(1), "{message}");
    assert_eq!(message.matches("is missing").count(), 1, "reported once: {message}");
    assert!(!key.exists(), "no other key lies where the right one belongs");
}
