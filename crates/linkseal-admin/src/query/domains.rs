//! The list of domains: filtered, counted, page by page, and searchable in Unicode.

use linkseal_domain::ssl::{Reason, State as SslState};
use linkseal_domain::{DomainName, DomainRecord, search_prefix};
use linkseal_store::{DomainQuery, SharedStore, StoreError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::context::Context;
use crate::input::{cursor, cut, from_cursor, limit};
use crate::problem::Problem;
use crate::scope::Scope;
use crate::view::Counts;

/// Which domains to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainFilter {
    /// Only domains in this state.
    pub(crate) state: Option<SslState>,
    /// Only domains with this reason.
    pub(crate) reason: Option<Reason>,
    /// Only domains of this tenant.
    #[schemars(length(min = 1, max = 253))]
    pub(crate) tenant: Option<String>,
    /// Only names that start with this text, in A-labels or in Unicode.
    #[schemars(length(max = 253))]
    pub(crate) q: Option<String>,
    /// The most entries to return: 1 to 1000, 100 by default.
    #[schemars(with = "Option<u32>", range(min = 1, max = 1000), extend("default" = 100))]
    pub(crate) limit: Option<String>,
    /// `next` of the previous page.
    #[schemars(length(max = 1024))]
    pub(crate) cursor: Option<String>,
}

/// A page of the list.
pub(crate) struct Listed {
    /// Sorted by name.
    pub(crate) records: Vec<DomainRecord>,
    /// The cursor of the next page.
    pub(crate) next: Option<String>,
    /// The number of domains in each state: of the tenant that was asked for, else of all.
    pub(crate) counts: Counts,
}

/// Reads a page of the domains within a scope.
pub(crate) async fn listed(context: &Context, scope: &Scope, filter: DomainFilter) -> Result<Listed, Problem> {
    let limit = limit(filter.limit.as_deref())?;
    let after = from_cursor(filter.cursor.as_deref(), |name| DomainName::parse(name).ok())?;
    let store = context.control.store();
    let tenant = scope.narrow(filter.tenant)?;
    let counts = Counts::of(&store.counts(tenant.as_deref()).await?);
    let (prefix, unicode) = search_prefix(filter.q.as_deref().unwrap_or_default());
    let query = DomainQuery {
        state: filter.state,
        reason: filter.reason,
        tenant,
        prefix: Some(prefix).filter(|p| !p.is_empty()),
        after,
        // One more shows whether there is a next page.
        limit: limit + 1,
    };
    let mut records = match unicode {
        None => store.list(&query).await?,
        Some(unicode) => in_unicode(store, query, &unicode).await?,
    };
    let more = cut(&mut records, limit);
    let next = records.last().filter(|_| more).map(|r| cursor(r.name.as_str()));
    let records = records.into_iter().map(|r| scope.shown(r)).collect();
    Ok(Listed { records, next, counts })
}

/// Domains that a search in Unicode reads at a time.
const UNICODE_BATCH: usize = 1_000;
/// The most batches it reads.
const UNICODE_BATCHES: usize = 50;

/// The domains whose names start with a text in Unicode. A-labels do not sort like Unicode, so every
/// name in the query's range is read.
async fn in_unicode(
    store: &SharedStore,
    mut query: DomainQuery,
    unicode: &str,
) -> Result<Vec<DomainRecord>, StoreError> {
    let wanted = std::mem::replace(&mut query.limit, UNICODE_BATCH);
    let mut found = Vec::new();
    for _ in 0..UNICODE_BATCHES {
        let names = store.list(&query).await?;
        let Some(last) = names.last().map(|r| r.name.clone()) else {
            break;
        };
        query.after = Some(last);
        found.extend(names.into_iter().filter(|r| r.name.starts_with_unicode(unicode)));
        if found.len() >= wanted {
            break;
        }
    }
    found.truncate(wanted);
    Ok(found)
}
