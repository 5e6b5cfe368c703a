//! What the tests of the control plane share.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Actor;
use crate::store::SharedStore;
use crate::store::sqlite::SqliteStore;

/// An empty store, and the directory it is in.
pub(super) fn fresh() -> (SharedStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("linkseal.db"), None).unwrap();
    (Arc::new(store), dir)
}

pub(super) fn actor() -> Actor {
    Actor {
        who: "ops".into(),
        from: Ipv4Addr::LOCALHOST.into(),
        tenant: None,
    }
}
