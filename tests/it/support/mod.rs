//! What tests start and talk to: edges, CAs, DNS servers, peers and clients.

pub(crate) mod client;
pub(crate) mod edge;
pub(crate) mod fleet;
pub(crate) mod gate;
pub(crate) mod nats;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod pebble;
pub(crate) mod process;
pub(crate) mod stalling_disk;
pub(crate) mod world;

pub(crate) use linkseal_peers::{TIMEOUT, until, until_within};
use tokio::sync::{Mutex, MutexGuard};

/// Serializes tests that keep all cores busy or measure time: hold the guard for the whole test.
pub(crate) async fn exclusive() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::const_new(());
    ONE.lock().await
}
