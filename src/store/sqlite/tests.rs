//! SQLite against the suite.

use std::sync::Arc;

use super::SqliteStore;
use crate::store::conformance::Fresh;

crate::store::conformance::conformance_suite!(fresh);

async fn fresh() -> Fresh {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("linkseal.db"), None).unwrap();
    Fresh {
        store: Arc::new(store),
        _kept: Box::new(dir),
    }
}
