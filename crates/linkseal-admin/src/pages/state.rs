//! What the pages need beside the endpoints' context.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::FromRef;
use http::Method;
use linkseal_config::pages::{Logo, Pages as PagesSettings};
use linkseal_dns::DnsReport;
use linkseal_domain::DomainName;
use moka::sync::Cache;

use super::brand::Brand;
use super::session::Sessions;
use crate::context::Context;
use crate::scope::Rule;
use crate::tokens::share::ShareUse;
use crate::tokens::signing::PagesKey;

/// Reports kept for the page that shows them: some kilobytes each.
const MAX_REPORTS: u64 = 256;
/// How long a report is kept.
const REPORT_LIFETIME: Duration = Duration::from_secs(60);

/// By method and path template.
pub(super) type PageTable<T> = HashMap<(Method, String), T>;

/// The state of the pages' router; handlers extract it, or the endpoints' context from it.
#[derive(Clone)]
pub(crate) struct PagesState {
    pub(super) admin: Arc<Context>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) brand: Arc<ArcSwap<Brand>>,
    /// What "verify" found, for the page that follows it.
    pub(super) reports: Cache<DomainName, Arc<DnsReport>>,
    pub(super) rules: Arc<PageTable<Rule>>,
    /// What each page that guests may use costs their link.
    pub(super) shared: Arc<PageTable<ShareUse>>,
}

impl PagesState {
    pub(super) fn new(
        admin: Arc<Context>,
        key: &PagesKey,
        brand: Brand,
        rules: PageTable<Rule>,
        shared: PageTable<ShareUse>,
    ) -> Self {
        Self {
            admin,
            sessions: Arc::new(Sessions::new(key)),
            brand: Arc::new(ArcSwap::from_pointee(brand)),
            reports: Cache::builder()
                .max_capacity(MAX_REPORTS)
                .time_to_live(REPORT_LIFETIME)
                .build(),
            rules: Arc::new(rules),
            shared: Arc::new(shared),
        }
    }

    /// Applies a reload.
    pub(crate) fn set_brand(&self, settings: &PagesSettings, logo: Option<&Logo>) {
        self.brand.store(Arc::new(Brand::new(settings, logo)));
    }
}

impl FromRef<PagesState> for Arc<Context> {
    fn from_ref(state: &PagesState) -> Self {
        Arc::clone(&state.admin)
    }
}
